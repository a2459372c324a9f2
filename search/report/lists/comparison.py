"""Finished studies side by side, on the same test images: from the predictions that were stored when each was tested.
Opens nothing.
"""

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
    *(
        "study",
        "final",
        "final_sd",
        "final_low",
        "final_high",
        "level",
        "seeds",
        "difference",
        "difference_low",
        "difference_high",
    ),
    *("parameters", "flops", "training_seconds", "seconds", "test_images"),
)


@dataclass(frozen=True, slots=True)
class Tested:
    """A study that was tested, with what it predicted. Shape: labels [N], predictions [S, N]."""

    name: str
    final: Final
    data: DataRecord
    seconds: float
    labels: npt.NDArray[np.integer]
    predictions: npt.NDArray[np.integer]


def compare(studies: Sequence[Study]) -> Answer:
    """A row a study, and by how much each is better than the first, with a paired interval.

    Raises: SearchError where there are fewer than two, one of them has no final score or lacks its predictions, or the
    test images differ.
    """
    names = [study.name for study in studies]
    if len(set(names)) < len(names) or len(names) < 2:
        raise SearchError(
            f"A comparison needs at least two studies, each once, got {', '.join(names)}. `fmnist-search status` lists "
            "them."
        )
    finals = [_final(study) for study in studies]  # all of them, before any file is read
    _require_same_images(names, [data for _, data in finals])
    tested = [_tested(study, *found) for study, found in zip(studies, finals, strict=True)]
    first, *others = tested
    _require_same_labels(first, others)
    classes = len(first.data.class_names)
    differences = [paired_difference(first.labels, one.predictions, first.predictions, classes) for one in others]
    rows = [_row(one, found) for one, found in zip(tested, (None, *differences), strict=True)]
    return Answer([_scores(tested), _differences(first, others, differences)], KEYS, rows)


def _final(study: Study) -> tuple[Final, DataRecord]:
    try:
        final, data = study.read(Final), study.read(DataRecord)
    except SearchError as error:
        raise SearchError(
            f"The study {study.name!r} holds records that this version cannot read. {error} Or leave it out."
        ) from None
    if final is None or data is None:
        raise SearchError(
            f"A comparison needs final scores; the study {study.name!r} has none yet. Finish it with the "
            "`fmnist-search run` that "
            "began it, or leave it out."
        )
    return final, data


def _require_same_images(names: Sequence[str], found: Sequence[DataRecord]) -> None:
    for name, data in zip(names, found, strict=True):
        if data.test_fingerprint is None:
            raise SearchError(
                f"The study {name!r} does not say which test images it was scored on, as those of version 0.1 do not. "
                "Leave it out, or "
                "run it again under another --name."
            )
        if data.test_fingerprint != found[0].test_fingerprint or data.class_names != found[0].class_names:
            raise SearchError(
                f"Studies are compared on the same test images only: those of {names[0]!r}, of {found[0].name}, have "
                "the fingerprint "
                f"{found[0].test_fingerprint}, those of {name!r}, of {data.name}, {data.test_fingerprint}. Compare "
                "studies of one data set."
            )


def _tested(study: Study, final: Final, data: DataRecord) -> Tested:
    name, timing = study.name, study.read(Timing) or Timing()
    found = read_predictions(study.folder, final)
    if found is None:
        raise SearchError(
            f"A comparison needs the predictions of the study {name!r}, which are not here: there is no "
            f"{predictions_path(study.folder)}. Give the command in the folder where the study ran."
        )
    return Tested(name, final, data, timing.total, found.labels, found.predicted)


def _require_same_labels(first: Tested, others: Sequence[Tested]) -> None:
    for one in others:
        if not np.array_equal(one.labels, first.labels):
            raise SearchError(
                f"The stored labels of {first.name!r} and {one.name!r} differ, although their test images are the same."
            )


def _row(one: Tested, difference: Difference | None) -> Facts:
    final = one.final
    return {
        "study": one.name,
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
        "seconds": one.seconds,
        "test_images": final.test_images,
    }


def _scores(tested: Sequence[Tested]) -> Table:
    rows: list[Row] = [
        (
            *(
                one.name,
                f1(one.final.mean),
                f1(one.final.sd),
                f"[{f1(one.final.low)}, {f1(one.final.high)}]",
                str(len(one.final.runs)),
            ),
            *(f"{one.final.parameters:,}", duration(one.seconds)),
        )
        for one in tested
    ]
    best = max(one.final.mean for one in tested)
    marks: dict[tuple[int, int], Mark] = {(i, 1): "strong" for i, one in enumerate(tested) if one.final.mean == best}
    images, level = counted(tested[0].final.test_images, "test image"), tested[0].final.level
    caption = (
        f"Macro F1 on the same {images}, mean over seeds with {100 * level:g} % interval. Time: wall clock of "
        "search, confirm and final."
    )
    columns = ("study", "macro F1", "sd", "interval", "seeds", "parameters", "time")
    return Table("Final scores", columns, rows, caption, marks=marks, spare=(3, 2, 4, 5, 6))


def _differences(first: Tested, others: Sequence[Tested], found: Sequence[Difference]) -> Table:
    rows = [
        (one.name, f"{each.value:+.4f}", f"[{each.low:+.4f}, {each.high:+.4f}]", _verdict(each))
        for one, each in zip(others, found, strict=True)
    ]
    several = " Of many comparisons some look plain by chance." if len(found) > 1 else ""
    caption = (
        "Paired bootstrap, 95 % interval: both are scored on the same drawn images. It is about the test images; the "
        "spread over seeds "
        f"comes on top.{several}"
    )
    columns = ("study", "difference", "interval", "so")
    return Table(f"Better than {first.name} by", columns, rows, caption, frozenset({0, 3}), spare=(2,))


def _verdict(found: Difference) -> str:
    if found.low > 0:
        return "better"
    return "worse" if found.high < 0 else "cannot be told apart"
