"""The page that compares finished studies: its sections, and its file. No torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from search.report.comparison import Comparison
from search.report.comparison_tables import differences_table, interval, spaces_table, verdict
from search.report.facts import Report, read_report
from search.report.page import comparison_figures
from search.report.page.blocks import Block, Section, table_block
from search.report.page.class_figures import CLASSES_DRAWN, class_bars, class_differences
from search.report.page.comparison_tables import (
    classes_table,
    data_table,
    environment_table,
    openings_table,
    scores_table,
    searches_table,
    settings_table,
    sizes_table,
    timing_table,
)
from search.report.page.paths import TrialPath, read_paths
from search.report.page.rendering import Page, write_html
from search.report.page.spent import epochs_trained, over_epochs, over_minutes
from search.report.render import differing, warnings
from search.study.study import Study
from search.terminal.wording import f1

COMPARISON_PAGE = "compare.html"  # in the folder of studies
FREEZE_THAW = "freeze-thaw"
NAMES_SHOWN = 4  # in the title


@dataclass(frozen=True, eq=False)
class ComparisonFacts:
    """The data that the page is made from: of each study its report and its trials, in the order of `comparison`."""

    comparison: Comparison
    reports: Sequence[Report]
    paths: Sequence[Sequence[TrialPath]]

    @property
    def names(self) -> list[str]:
        """Return the names of the studies."""
        return [study.name for study in self.comparison.studies]


def write_comparison(comparison: Comparison, studies: Sequence[Study], path: Path) -> Path:
    """Write the page of the compared studies to `path`, atomically.

    Raises: SearchError if the file cannot be written.
    """
    reports, paths = [read_report(study) for study in studies], [read_paths(study) for study in studies]
    return write_html(comparison_page(ComparisonFacts(comparison, reports, paths)), path)


def comparison_page(facts: ComparisonFacts) -> Page:
    """Return the page."""
    comparison = facts.comparison
    return Page(
        kind="Comparison of studies",
        title=_title(facts.names),
        headline=headline(comparison),
        warnings=_warnings(facts),
        card=(),
        sections=[
            Section("studies", "The studies", list(_studies(comparison))),
            Section("classes", "Class by class", list(_classes(comparison))),
            Section("cost", "What the scores cost", list(_cost(comparison))),
            Section("searches", "The searches", list(_searches(facts))),
            Section(
                "spaces", "The spaces", [*map(table_block, (spaces_table(comparison), settings_table(comparison)))]
            ),
            Section("record", "On the record", list(_record(facts.reports))),
        ],
        source="the stored studies alone",
    )


def _title(names: Sequence[str]) -> str:
    return " · ".join(names) if len(names) <= NAMES_SHOWN else f"{names[0]} and {len(names) - 1} others"


def headline(comparison: Comparison) -> str:
    """Return in a sentence which studies are better than the baseline."""
    first = comparison.baseline
    stated = f"{first.name}, with test macro F1 {f1(first.final.mean)} {interval(first.final.low, first.final.high)}"
    better = [
        f"{other.name} by {by.value:+.4f} [{by.low:+.4f}, {by.high:+.4f}]"
        for other, by in zip(comparison.others, comparison.differences, strict=True)
        if verdict(by) == "better"
    ]
    if not better:
        return f"No study is clearly better than the baseline, {stated}."
    return f"Better than the baseline, {stated}: {', '.join(better)}."


def _warnings(facts: ComparisonFacts) -> list[str]:
    """Return the warnings of the studies, those of all of them once, and what makes them incomparable."""
    found = {report.study: warnings(report) for report in facts.reports}
    common = [line for line in found[facts.names[0]] if all(line in lines for lines in found.values())]
    lines = [*common]
    lines += [f"{name}: {line}" for name, own in found.items() for line in own if line not in common]
    if not facts.comparison.shares_validation:
        lines.append("The studies have other training files, so their validation scores cannot be compared.")
    if fields := differing(report.environments[-1] for report in facts.reports if report.environments):
        lines.append(f"The studies differ in {', '.join(fields)}: their times may not be comparable.")
    return lines


def _studies(comparison: Comparison) -> Iterator[Block]:
    text = (
        "The dot is the result, on the test split; the diamond the winner's score on validation images with fresh "
        "seeds; the ring the best value of the search, the highest of many with one seed each, and so too high. Choose "
        "between studies by the confirmed score: the best test score is partly luck with the test images."
    )
    figures = [comparison_figures.scores(comparison.studies)]
    yield Block("Scores", text, figures, [scores_table(comparison), sizes_table(comparison)], id="scores")
    yield replace(table_block(differences_table(comparison)), figures=[comparison_figures.differences(comparison)])


def _classes(comparison: Comparison) -> Iterator[Block]:
    finals = [study.final for study in comparison.studies]
    names = [study.name for study in comparison.studies]
    count = len(finals[0].classes)
    cut = f" Of {count} classes, the {CLASSES_DRAWN} that differ most." if count > CLASSES_DRAWN else ""
    figures = [class_bars(names, finals), class_differences(names, finals)]
    text = f"Means over the seeds of each study, on the test split; small differences may be chance.{cut}"
    yield Block("F1 of each class", text, figures, folded=[classes_table(comparison)])


def _cost(comparison: Comparison) -> Iterator[Block]:
    studies = comparison.studies
    what = "the whole job" if comparison.has_jobs else "search, confirm and final"
    figures = [
        comparison_figures.score_over(studies, [study.final.parameters for study in studies], "parameters"),
        comparison_figures.score_over(studies, [seconds / 60 for seconds in comparison.seconds], f"minutes of {what}"),
    ]
    yield Block("Size and time", "Both axes of costs are logarithmic.", figures, layout="grid")
    yield table_block(timing_table(comparison))


def _searches(facts: ComparisonFacts) -> Iterator[Block]:
    comparison = facts.comparison
    seconds = [study.records.timing.search for study in comparison.studies]
    minutes = [over_minutes(paths, searched) for paths, searched in zip(facts.paths, seconds, strict=True)]
    epochs = [over_epochs(paths) for paths in facts.paths]
    if any(minutes):
        figures = [
            comparison_figures.best_so_far(facts.names, minutes, "minutes"),
            comparison_figures.best_so_far(facts.names, epochs, "epochs trained"),
        ]
        text = (
            "Validation macro F1 of one seed. Minutes are of wall clock since the first trial, without pauses between "
            "runs; epochs of all trials that had ended by then."
        )
        if FREEZE_THAW in [study.records.spec.search.pruner for study in comparison.studies]:
            text += f" A training that {FREEZE_THAW} paused counts when it ended for good."
        yield Block("Best value so far", text, figures, layout="grid")
    yield table_block(searches_table(comparison, facts.reports, [epochs_trained(paths) for paths in facts.paths]))


def _record(reports: Sequence[Report]) -> Iterator[Block]:
    yield from map(table_block, (data_table(reports), openings_table(reports), environment_table(reports)))
