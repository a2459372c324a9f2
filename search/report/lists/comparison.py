"""Finished studies compared on the same test images, from their stored predictions; the test split is not opened."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmnist.metrics import Difference, paired_difference
from search.errors import SearchError
from search.report.lists.answer import Answer, Facts
from search.study.predictions import predictions_path, read_predictions
from search.study.records import DataRecord, Final, Timing
from search.study.study import Study
from search.terminal.table import Mark, Row, Table
from search.terminal.wording import counted, duration, f1

KEYS = (
    *("study", "final", "final_sd", "final_low", "final_high", "level", "seeds"),
    *("difference", "difference_low", "difference_high"),
    *("parameters", "flops", "training_seconds", "seconds", "test_images"),
)


@dataclass(frozen=True, slots=True)
class Tested:
    """A tested study with its predictions. Shape: labels [N], predictions [S, N]."""

    name: str
    final: Final
    data: DataRecord
    seconds: float
    labels: npt.NDArray[np.integer]
    predictions: npt.NDArray[np.integer]


def compare(studies: Sequence[Study]) -> Answer:
    """Return the scores of the studies, and the difference of each from the first with its paired interval.

    Raises: SearchError if there are fewer than two studies, one has no final score or no predictions, or their test
    images differ.
    """
    names = [study.name for study in studies]
    if len(set(names)) < len(names) or len(names) < 2:
        raise SearchError(
            f"A comparison needs at least two studies, each once, got {', '.join(names)}. `fmnist-search status` lists "
            "all studies."
        )
    records = [_records(study) for study in studies]  # of all studies, before any file is read
    _require_same_images(names, [data for _, data in records])
    tested = [_tested(study, *record) for study, record in zip(studies, records, strict=True)]
    first, *others = tested
    _require_same_labels(first, others)
    classes = len(first.data.class_names)
    differences = [paired_difference(first.labels, other.predictions, first.predictions, classes) for other in others]
    rows = [_row(study, difference) for study, difference in zip(tested, (None, *differences), strict=True)]
    return Answer([_scores(tested), _differences(first, others, differences)], KEYS, rows)


def _records(study: Study) -> tuple[Final, DataRecord]:
    try:
        final, data = study.read(Final), study.read(DataRecord)
    except SearchError as error:
        raise SearchError(
            f"The study {study.name!r} holds records that this version cannot read. {error} Or leave it out."
        ) from None
    if final is None or data is None:
        raise SearchError(
            f"A comparison needs final scores; the study {study.name!r} has none yet. Finish it with the "
            "`fmnist-search run` command that started it, or leave it out."
        )
    return final, data


def _require_same_images(names: Sequence[str], records: Sequence[DataRecord]) -> None:
    for name, data in zip(names, records, strict=True):
        if data.test_fingerprint is None:
            raise SearchError(
                f"The study {name!r} does not record which test images it was scored on, like all studies of version "
                "0.1. Leave it out, or run it again under another --name."
            )
        if data.test_fingerprint != records[0].test_fingerprint or data.class_names != records[0].class_names:
            raise SearchError(
                f"Compared studies must have the same test images: those of {names[0]!r}, of {records[0].name}, have "
                f"the fingerprint {records[0].test_fingerprint}, those of {name!r}, of {data.name}, "
                f"{data.test_fingerprint}. Compare studies of one data set."
            )


def _tested(study: Study, final: Final, data: DataRecord) -> Tested:
    name, timing = study.name, study.read(Timing) or Timing()
    predictions = read_predictions(study.folder, final)
    if predictions is None:
        raise SearchError(
            f"A comparison needs the predictions of the study {name!r}, which are not here: there is no "
            f"{predictions_path(study.folder)}. Run the command in the folder where the study ran."
        )
    return Tested(name, final, data, timing.total, predictions.labels, predictions.predicted)


def _require_same_labels(first: Tested, others: Sequence[Tested]) -> None:
    for other in others:
        if not np.array_equal(other.labels, first.labels):
            raise SearchError(
                f"The stored labels of {first.name!r} and {other.name!r} differ, although their test images are the "
                "same. Compare other studies."
            )


def _row(tested: Tested, difference: Difference | None) -> Facts:
    final = tested.final
    return {
        "study": tested.name,
        "final": final.mean,
        "final_sd": final.sd,
        "final_low": final.low,
        "final_high": final.high,
        "level": final.level,
        "seeds": len(final.runs),
        "difference": difference.value if difference else None,
        "difference_low": difference.low if difference else None,
        "difference_high": difference.high if difference else None,
        "parameters": final.parameters,
        "flops": final.flops,
        "training_seconds": sum(run.seconds for run in final.runs),
        "seconds": tested.seconds,
        "test_images": final.test_images,
    }


def _scores(tested: Sequence[Tested]) -> Table:
    rows: list[Row] = [
        (
            study.name,
            f1(study.final.mean),
            f1(study.final.sd),
            f"[{f1(study.final.low)}, {f1(study.final.high)}]",
            str(len(study.final.runs)),
            f"{study.final.parameters:,}",
            duration(study.seconds),
        )
        for study in tested
    ]
    best = max(study.final.mean for study in tested)
    marks: dict[tuple[int, int], Mark] = {
        (i, 1): "strong" for i, study in enumerate(tested) if study.final.mean == best
    }
    images, level = counted(tested[0].final.test_images, "test image"), tested[0].final.level
    caption = (
        f"Macro F1 on the same {images}, mean over seeds with {100 * level:g} % interval. Time: wall clock of search, "
        "confirm and final."
    )
    columns = ("study", "macro F1", "sd", "interval", "seeds", "parameters", "time")
    return Table("Final scores", columns, rows, caption, marks=marks, spare=(3, 2, 4, 5, 6))


def _differences(first: Tested, others: Sequence[Tested], differences: Sequence[Difference]) -> Table:
    rows = [
        (other.name, f"{by.value:+.4f}", f"[{by.low:+.4f}, {by.high:+.4f}]", _verdict(by))
        for other, by in zip(others, differences, strict=True)
    ]
    several = " Of several comparisons, some look clear by chance." if len(differences) > 1 else ""
    caption = (
        "Paired bootstrap, 95 % interval: both studies are scored on the same resamples of the test images. The "
        f"interval does not include the spread over seeds.{several}"
    )
    columns = ("study", "difference", "interval", "so")
    return Table(f"Better than {first.name} by", columns, rows, caption, frozenset({0, 3}), spare=(2,))


def _verdict(difference: Difference) -> str:
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "no clear difference"
