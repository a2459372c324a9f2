"""The tables that only the page of a comparison has. No torch."""

from collections.abc import Iterator, Mapping, Sequence

from search.report.comparison import Comparison, is_one
from search.report.comparison_tables import best_marked, confirmed_in_words, interval
from search.report.exported import ExportedFile
from search.report.facts import Report
from search.report.page.tables import brief
from search.terminal.table import Mark, Row, Table
from search.terminal.wording import counted, duration, f1, setting

DIGEST = 12  # characters of a fingerprint, enough to tell two apart
BESIDE_SPACE = ("name", "description", "knobs", "unlisted")  # of a spec: its names, and its space


def scores_table(comparison: Comparison) -> Table:
    """Return the scores of each study in a row."""
    rows: list[Row] = []
    for study in comparison.studies:
        final, records = study.final, study.records
        rows.append(
            (
                study.name,
                f1(final.mean),
                f1(records.confirmed.mean if records.confirmed else None),
                f1(records.best),
                f"{records.optimism.difference:+.4f}" if records.optimism else "-",
                interval(final.low, final.high),
                f1(final.sd),
                str(len(final.runs)),
            )
        )
    final = comparison.baseline.final
    caption = (
        f"Test: macro F1 on the same {counted(final.test_images, 'test image')}, mean over seeds, with "
        f"{100 * final.level:g} % interval. {confirmed_in_words(comparison)} Search: the best value, of one seed. "
        "Optimism: that value minus the same trial's confirmed mean."
    )
    if any(study.final.teachers for study in comparison.studies):
        caption += " Of a study that distils, the confirmed score is of the teachers' configuration."
    columns = ("study", "test", "confirmed", "search", "optimism", "interval of test", "sd", "seeds")
    return Table("Scores", columns, rows, caption, marks=best_marked(comparison, column=1), id="scores")


def sizes_table(comparison: Comparison) -> Table:
    """Return the sizes, the latency, the time and the trials of each study in a row."""
    rows: list[Row] = []
    for study, seconds in zip(comparison.studies, comparison.seconds, strict=True):
        exported, states = study.exported, study.records.states
        rows.append(
            (
                study.name,
                f"{study.final.parameters:,}",
                f"{study.final.flops / 1e6:.1f}",
                f"{exported.bytes / 1000:,.0f} kB" if exported else "-",
                _latency(exported),
                duration(seconds),
                f"{states.complete + states.pruned + states.failed:,}",
            )
        )
    columns = ("study", "parameters", "MFLOPs", "file", "1 image", "time", "trials")
    return Table("Size, time and trials", columns, rows, _sizes_caption(comparison), id="sizes")


def _latency(exported: ExportedFile | None) -> str:
    if exported is None or exported.milliseconds is None:
        return "-"
    return f"{exported.milliseconds:.3g} ms{'' if exported.is_steady else ', unsteady'}"


def _sizes_caption(comparison: Comparison) -> str:
    cpu = "" if comparison.shares_processor else ", not of the same CPU or threads for all, so not comparable"
    caption = (
        f"File and 1 image: the exported ONNX file and its latency on a CPU{cpu}. Time: wall clock of "
        f"{'the whole job' if comparison.has_jobs else 'search, confirm and final'}."
    )
    if any(study.exported is None for study in comparison.studies):
        caption += " Without a file: the study's folder here has no export of its result as ONNX."
    return caption


def classes_table(comparison: Comparison) -> Table:
    """Return the F1 of each class in each study, and its difference from the baseline."""
    first, *others = comparison.studies
    rows = []
    for i, score in enumerate(first.final.classes):
        differences = (f"{other.final.classes[i].f1 - score.f1:+.4f}" for other in others)
        scores = (f1(study.final.classes[i].f1) for study in comparison.studies)
        rows.append((brief(score.name), *scores, *differences, f"{score.images:,}"))
    names = [study.name for study in comparison.studies]
    columns = ("class", *names, *(f"{name} minus {names[0]}" for name in names[1:]), "images")
    return Table("F1 of each class", columns, rows, id="class-scores")


def timing_table(comparison: Comparison) -> Table:
    """Return the wall clock of the stages of each study."""
    rows = []
    for study in comparison.studies:
        timing = study.records.timing
        stages = (timing.search, timing.confirm, timing.final, timing.total)
        rows.append((study.name, *map(duration, stages), duration(timing.job) if timing.job else "-"))
    caption = "Sums over all runs of a study. The whole job has its start and the test too; older studies lack it."
    columns = ("study", "search", "confirm", "final", "together", "whole job")
    return Table("Wall clock", columns, rows, caption, id="timing")


def searches_table(comparison: Comparison, reports: Sequence[Report], epochs: Sequence[int]) -> Table:
    """Return how each study searched, with the epochs that its trials trained together."""
    rows = []
    for study, report, total in zip(comparison.studies, reports, epochs, strict=True):
        search, states = study.records.spec.search, study.records.states
        counts = (states.complete, states.pruned, states.failed, states.refused, total)
        earlier = report.prior.trainings.items() if report.prior else ()
        began = ", ".join(f"{name}: {count:,}" for name, count in earlier) or "-"
        rows.append((study.name, search.sampler, search.pruner, *(f"{count:,}" for count in counts), began))
    columns = ("study", "sampler", "pruner", "complete", "pruned", "failed", "refused", "epochs", "began with")
    caption = "Epochs: of all trials together. Began with: earlier trainings that the model of the search knew."
    return Table("How each searched", columns, rows, caption, frozenset({0, 1, 2, 8}), id="searches-table")


def settings_table(comparison: Comparison) -> Table:
    """Return the settings beside the space that are not the same in all studies."""
    specs = [
        dict(_flat(study.records.spec.model_dump(mode="json", exclude=set(BESIDE_SPACE))))
        for study in comparison.studies
    ]
    names = dict.fromkeys(name for spec in specs for name in spec)
    rows = [
        (name, *(spec.get(name, "-") for spec in specs))
        for name in names
        if not is_one(spec.get(name, "-") for spec in specs)
    ]
    title = "Other settings that differ"
    if not rows:
        return Table(title, caption="None: the study files differ in nothing but their spaces.", id="settings")
    columns = ("setting", *(study.name for study in comparison.studies))
    return Table(title, columns, rows, text_columns=frozenset(range(len(columns))), id="settings")


def _flat(values: Mapping[str, object], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        match value:
            case {}:
                yield from _flat(value, f"{before}{key}.")
            case None | []:
                yield f"{before}{key}", "-"
            case list():
                yield f"{before}{key}", ", ".join(map(setting, value))
            case _:
                yield f"{before}{key}", setting(value)


def data_table(reports: Sequence[Report]) -> Table:
    """Return the images of each study, with the fingerprints that tell whether they are the same."""
    data = [report.data for report in reports if report.data is not None]
    rows = [
        (
            report.study,
            brief(images.name),
            f"{images.train:,}",
            f"{images.valid:,}",
            "-" if images.test is None else f"{images.test:,}",
            images.fingerprint[:DIGEST],
            (images.test_fingerprint or "-")[:DIGEST],
        )
        for report, images in zip(reports, data, strict=True)
    ]
    others = "the same" if is_one(images.fingerprint for images in data) else "other"
    caption = (
        f"All studies have the same test images, and {others} training images. Fingerprints: SHA-256 of the images, "
        f"labels and class names after cleaning, the first {DIGEST} characters."
    )
    columns = ("study", "data", "train", "validation", "test", "training file", "test split")
    return Table("Data and splits", columns, rows, caption, frozenset({0, 1, 5, 6}), id="data")


def openings_table(reports: Sequence[Report]) -> Table:
    """Return how often each study's test split was opened, by what, and when first and last."""
    rows: list[Row] = []
    marks: dict[tuple[int, int], Mark] = {}
    for i, report in enumerate(reports):
        openings = report.openings
        before = report.prior.all_openings if report.prior else 0
        if len(openings) > 1:
            marks[i, 1] = "alarm"
        by = ", ".join(dict.fromkeys(opening.by for opening in openings))
        ends = (openings[0].at, openings[-1].at) if openings else ("-", "-")
        rows.append((report.study, f"{len(openings):,}", by or "-", *ends, f"{before:,}"))
    total = sum(len(report.openings) for report in reports)
    caption = (
        f"{counted(total, 'opening')} together; this comparison reads stored predictions and opens nothing. Before: in "
        "studies that this one began with."
    )
    columns = ("study", "openings", "by", "first", "last", "before")
    return Table("Openings of the test split", columns, rows, caption, frozenset({0, 2, 3, 4}), marks, id="openings")


def environment_table(reports: Sequence[Report]) -> Table:
    """Return where each study ran last."""
    rows = [
        (
            report.study,
            last.at,
            last.versions.get("fmnist-search", "-"),
            last.commit or "unknown",
            brief(last.device),
            f"{brief(last.processor)}, {counted(last.cores, 'core')}",
            str(last.workers),
        )
        for report in reports
        if report.environments
        for last in report.environments[-1:]
    ]
    columns = ("study", "last run", "version", "commit", "device", "processor", "workers")
    return Table("Environment", columns if rows else (), rows, "", frozenset(range(6)), id="environment")
