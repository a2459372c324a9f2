"""Finished studies on the same test images, from their records and stored predictions: the split is not opened.

No torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from fmnist.config import TrialConfig
from fmnist.knobs import Scalar
from fmnist.metrics import Difference, paired_difference
from search.errors import SearchError
from search.report.exported import ExportedFile, read_exported
from search.report.facts import Confirmed, Optimism, States, confirm_epochs, confirmed_in, optimism_in, states_of
from search.storage.trial_record import TrialRecord
from search.study.extension import differing_knobs
from search.study.predictions import predictions_path, read_predictions
from search.study.record import parse_record
from search.study.records import Confirmation, DataRecord, Final, Opening, Timing
from search.study.space import Space
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import best_complete, value_of


@dataclass(frozen=True, slots=True)
class Records:
    """What a tested study has on record."""

    spec: StudySpec
    final: Final
    data: DataRecord
    timing: Timing
    openings: tuple[Opening, ...]
    states: States
    best: float | None  # the highest value of its search, of one seed
    confirmed: Confirmed | None  # the winner on fresh seeds; None if the study plans none
    optimism: Optimism | None
    winner: Mapping[str, Any]  # the winner's configuration in the search; that of the result if nothing was searched


@dataclass(frozen=True, slots=True)
class Tested:
    """A tested study with its predictions. Shape: labels [N], predictions [S, N]."""

    name: str
    records: Records
    exported: ExportedFile | None
    labels: npt.NDArray[np.integer]
    predictions: npt.NDArray[np.integer]

    @property
    def final(self) -> Final:
        """Return the result."""
        return self.records.final

    @property
    def space(self) -> Space:
        """Return the search space."""
        return self.records.spec.space

    def value_of(self, knob: str) -> Scalar | None:
        """Return the winner's value of a knob, searched or not."""
        value: Scalar | None = self.records.winner.get(knob, self.space.value_of(knob))
        return value


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tested studies, the first of which is the baseline, and the difference of each other one from it."""

    studies: Sequence[Tested]
    differences: Sequence[Difference]

    @property
    def baseline(self) -> Tested:
        """Return the study that the others are compared with."""
        return self.studies[0]

    @property
    def others(self) -> Sequence[Tested]:
        """Return the studies that `differences` are of."""
        return self.studies[1:]

    @property
    def differing_knobs(self) -> list[str]:
        """Return the knobs whose range or pinned value is not the same in all studies, in the order of TrialConfig."""
        spaces = [study.space for study in self.studies]
        names = {name for space in spaces[1:] for name in differing_knobs(spaces[0], space)}
        return [name for name in TrialConfig.model_fields if name in names]

    @property
    def seconds(self) -> list[float]:
        """Return the wall clock of each study: of the whole job if all have it on record, else of its stages."""
        return [study.records.timing.job if self.has_jobs else study.records.timing.total for study in self.studies]

    @property
    def has_jobs(self) -> bool:
        """Whether `seconds` are of whole jobs, with their start and the test. Older studies have only their stages."""
        return all(study.records.timing.job for study in self.studies)

    @property
    def shares_validation(self) -> bool:
        """Whether all studies were validated on the same images, so that their validation scores are comparable."""
        return is_one((data.fingerprint, data.train, data.valid) for data in self._data)

    @property
    def shares_processor(self) -> bool:
        """Whether all latencies were measured on the same processor, with as many threads."""
        return is_one(study.exported.timed_on for study in self.studies if study.exported)

    @property
    def _data(self) -> list[DataRecord]:
        return [study.records.data for study in self.studies]


def is_one(values: Iterable[object]) -> bool:
    """Whether at most one value occurs."""
    return len(set(values)) <= 1


def read_comparison(studies: Sequence[Study]) -> Comparison:
    """Return the studies with the difference of each from the first, with its paired interval.

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
    _require_same_images(names, [of.data for of in records])
    tested = [_tested(study, of) for study, of in zip(studies, records, strict=True)]
    first, *others = tested
    _require_same_labels(first, others)
    classes = len(first.records.data.class_names)
    differences = [paired_difference(first.labels, other.predictions, first.predictions, classes) for other in others]
    return Comparison(tested, differences)


def _records(study: Study) -> Records:
    try:
        final, data = study.read(Final), study.read(DataRecord)
        if final is not None and data is not None:
            return _read(study, final, data)
    except SearchError as error:
        raise SearchError(
            f"The study {study.name!r} holds records that this version cannot read. {error} Or leave it out."
        ) from None
    raise SearchError(
        f"A comparison needs final scores; the study {study.name!r} has none yet. Finish it with the "
        "`fmnist-search run` command that started it, or leave it out."
    )


def _read(study: Study, final: Final, data: DataRecord) -> Records:
    trials, confirmation = study.trials(), study.read(Confirmation) or Confirmation(candidates=())
    best = best_complete(trials)
    plan = parse_record(study.attributes.get("spec", {}), "spec", dict[str, JsonValue])
    winner = None if final.trial is None or final.trial >= len(trials) else TrialRecord(trials[final.trial]).config
    return Records(
        spec=study.spec,
        final=final,
        data=data,
        timing=study.read(Timing) or Timing(),
        openings=study.read_all(Opening),
        states=states_of(trials),
        best=None if best is None else value_of(best),
        confirmed=next(
            (row for row in confirmed_in(confirmation) if row.trial == confirmation.winner and row.seeds), None
        ),
        optimism=None if confirm_epochs(plan) else optimism_in(confirmation),
        winner=final.config.model_dump() if winner is None else winner,
    )


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


def _tested(study: Study, records: Records) -> Tested:
    predictions = read_predictions(study.folder, records.final)
    if predictions is None:
        raise SearchError(
            f"A comparison needs the predictions of the study {study.name!r}, which are not here: there is no "
            f"{predictions_path(study.folder)}. Run the command in the folder where the study ran."
        )
    exported = read_exported(study.folder, records.final, records.data)
    return Tested(study.name, records, exported, predictions.labels, predictions.predicted)


def _require_same_labels(first: Tested, others: Sequence[Tested]) -> None:
    for other in others:
        if not np.array_equal(other.labels, first.labels):
            raise SearchError(
                f"The stored labels of {first.name!r} and {other.name!r} differ, although their test images are the "
                "same. Compare other studies."
            )
