"""The tables of a comparison: scores, differences from the baseline, and the difference of the spaces. No torch."""

from fmnist.metrics import Difference
from search.report.comparison import Comparison, Tested
from search.study.extension import entry_in_words
from search.terminal.table import Mark, Row, Table
from search.terminal.wording import counted, duration, f1, setting

VERDICTS: dict[str, Mark] = {"better": "strong", "worse": "alarm"}


def scores_table(comparison: Comparison) -> Table:
    """Return the test score of each study beside the confirmed one, its size and its time."""
    rows: list[Row] = [
        (
            study.name,
            f1(study.final.mean),
            f1(study.records.confirmed.mean if study.records.confirmed else None),
            f1(study.final.sd),
            interval(study.final.low, study.final.high),
            str(len(study.final.runs)),
            f"{study.final.parameters:,}",
            duration(study.records.timing.total),
        )
        for study in comparison.studies
    ]
    final = comparison.baseline.final
    caption = (
        f"Macro F1 on the same {counted(final.test_images, 'test image')}, mean over seeds with {100 * final.level:g} "
        f"% interval. {confirmed_in_words(comparison)} Time: wall clock of search, confirm and final."
    )
    columns = ("study", "macro F1", "confirmed", "sd", "interval", "seeds", "parameters", "time")
    marks = best_marked(comparison, column=1)
    return Table("Final scores", columns, rows, caption, marks=marks, spare=(4, 2, 6, 7, 3, 5))


def best_marked(comparison: Comparison, *, column: int) -> dict[tuple[int, int], Mark]:
    """Mark the highest test score in that column of a table with a row for each study."""
    best = max(study.final.mean for study in comparison.studies)
    return {(i, column): "strong" for i, study in enumerate(comparison.studies) if study.final.mean == best}


def confirmed_in_words(comparison: Comparison) -> str:
    """Return what the confirmed score is, and whether it can be compared."""
    said = "Confirmed: the winner's mean on validation images with fresh seeds"
    if not comparison.shares_validation:
        return f"{said}; the studies have other training files, so these are not comparable."
    return f"{said}. Choose between studies by it: a test score that was chosen for is too high."


def interval(low: float, high: float) -> str:
    """Format the interval of a score."""
    return f"[{f1(low)}, {f1(high)}]"


def differences_table(comparison: Comparison) -> Table:
    """Return the difference of each study from the baseline, with its paired interval."""
    pairs = list(zip(comparison.others, comparison.differences, strict=True))
    rows = [(other.name, f"{by.value:+.4f}", f"[{by.low:+.4f}, {by.high:+.4f}]", verdict(by)) for other, by in pairs]
    marks = {(i, 3): VERDICTS[said] for i, (_, by) in enumerate(pairs) if (said := verdict(by)) in VERDICTS}
    several = " Of several comparisons, some look clear by chance." if len(pairs) > 1 else ""
    caption = (
        "Paired bootstrap, 95 % interval: both studies are scored on the same resamples of the test images. The "
        f"interval does not include the spread over seeds.{several}"
    )
    columns = ("study", "difference", "interval", "so")
    title = f"Better than {comparison.baseline.name} by"
    return Table(title, columns, rows, caption, frozenset({0, 3}), marks, spare=(2,), id="differences")


def verdict(difference: Difference) -> str:
    """Return what an interval says: "better", "worse" or "no clear difference"."""
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "no clear difference"


def spaces_table(comparison: Comparison) -> Table:
    """Return the knobs that are not searched over the same values, or not pinned to the same one, in all studies."""
    title, names = "Where the spaces differ", comparison.differing_knobs
    if not names:
        return Table(title, caption="Nowhere: all studies search the same space.", id="space-differences")
    rows = [(name, *(_entry(study, name) for study in comparison.studies)) for name in names]
    caption = "The winner's value, of the values that were searched; alone, the value that the study pins."
    columns = ("knob", *(study.name for study in comparison.studies))
    everything = range(len(columns))
    return Table(
        title, columns, rows, caption, frozenset(everything), spare=tuple(everything[1:]), id="space-differences"
    )


def _entry(study: Tested, name: str) -> str:
    entry = entry_in_words(study.space, name)
    return f"{setting(study.value_of(name))} of {entry}" if name in study.space.knobs else entry
