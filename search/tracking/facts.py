"""What a tracker shows of a study, as plain data: a function of what the study has stored.

So nothing is lost by a kill, and a tracker is sent the same whether it is asked for before, during or after the job.
"""

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint
from fmnist.knobs import Scalar
from search.report.render import headline, read_report
from search.storage.sharing import OWNER
from search.storage.trial_record import TrialRecord
from search.study.coordinators import share_of
from search.study.curves import curve_in
from search.study.front import read_front
from search.study.record import record_in
from search.study.records import Confirmation, Final, FinalRun
from search.study.study import Study
from search.study.trials import FINISHED

State = Literal["complete", "pruned", "refused", "failed"]
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
VALIDATION, TEST = "f1/validation", "f1/test"  # macro F1
CURVE: dict[str, Callable[[CurvePoint], float | None]] = {
    VALIDATION: lambda point: point.macro_f1,
    "accuracy/validation": lambda point: point.accuracy,
    "loss/validation": lambda point: point.valid_loss,
    "loss/train": lambda point: point.train_loss,
}


@dataclass(frozen=True)
class Point:
    """One value of a score.

    Args:
        step: The epoch, from 1.
        time: In seconds since 1970.
    """

    score: str
    value: float
    step: int
    time: float


@dataclass(frozen=True)
class Training:
    """A training that has ended.

    Args:
        name: Unique in its study: "trial-003", "confirm-trial-003-seed-1001", "final-seed-2000".
        knobs: Those that are searched; none of a training after the search.
        config: All knobs.
        sizes: Of the network: parameters and flops.
        began: In seconds since 1970, as `ended`.
    """

    name: str
    stage: Literal["search", "confirm", "final"]
    state: State
    reason: str | None
    seed: int | None
    knobs: Mapping[str, Scalar | None]
    config: Mapping[str, Any]
    sizes: Mapping[str, int]
    points: tuple[Point, ...]
    began: float
    ended: float


@dataclass(frozen=True)
class Result:
    """The result of a study on the test split, and the files that say and hold it.

    Args:
        scores: Mean, interval and standard deviation over seeds of the test macro F1.
        files: Name among the files of the study -> path, of a file or a folder.
    """

    headline: str
    winner: int | None
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    ended: float
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Facts:
    """What a study has stored, as it was read. Trainings are made of it when they are sent: they may be thousands."""

    study: str
    id: str  # unique, also when a study is created again under the same name
    trials: Sequence[FrozenTrial] = field(repr=False)
    others: tuple[Training, ...]  # of the stages after the search
    result: Result | None  # once the files are written
    is_alone: bool  # no other run sends trainings of the study at this time

    @property
    def began(self) -> float | None:
        """When the first trial began, in seconds since 1970; None before one has ended."""
        return min((_seconds(trial.datetime_start) for trial in self.trials), default=None)

    @property
    def names(self) -> Iterator[str]:
        """The names of all trainings."""
        yield from map(_trial_name, self.trials)
        yield from (training.name for training in self.others)

    def unsent(self, sent: Container[str]) -> Iterator[Training]:
        """Yield the trainings whose names are not among `sent`."""
        yield from (_of_trial(trial) for trial in self.trials if _trial_name(trial) not in sent)
        yield from (training for training in self.others if training.name not in sent)


def read_facts(study: Study, study_id: str, *, is_over: bool, is_shared: bool) -> Facts:
    """Read the facts of the study from its storage.

    Args:
        is_over: Report and model of this run are written.
        is_shared: Other runs may have trials of the study, and send them. What a run has not sent, the one that brings
            the study to its end does.

    Raises: SearchError if this version cannot read a record. StorageLostError.
    """
    attributes = study.attributes
    trials = [trial for trial in study.trials(FINISHED) if TrialRecord(trial).began]
    is_alone = is_over or not is_shared
    if not is_alone:
        share = share_of(study)
        trials = [trial for trial in trials if share and trial.system_attrs.get(OWNER) == share.owner]
    end = max((_seconds(trial.datetime_complete) for trial in trials), default=0.0)
    others = (*_confirmed(study, attributes, end), *_finals(study, attributes, end)) if is_alone else ()
    result = _result(study, max([end, *(training.ended for training in others)])) if is_over else None
    return Facts(study.name, study_id, trials, others, result, is_alone)


def _of_trial(trial: FrozenTrial) -> Training:
    record, began = TrialRecord(trial), _seconds(trial.datetime_start)
    sizes = {"parameters": record.parameters, "flops": record.flops}
    return Training(
        name=_trial_name(trial),
        stage="search",
        state="refused" if record.is_refused else STATES[trial.state],
        reason=record.reason,
        seed=record.seed,
        knobs=trial.params,
        config=record.config or {},
        sizes={name: size for name, size in sizes.items() if size is not None},
        points=_points(record.curve, began),
        began=began,
        ended=_seconds(trial.datetime_complete),
    )


def _confirmed(study: Study, attributes: Mapping[str, Any], end: float) -> Iterator[Training]:
    confirmation = record_in(attributes, Confirmation)
    for candidate in confirmation.candidates if confirmation else ():
        config = study.spec.confirm.trained(candidate.config)
        for run in candidate.runs:
            key = f"trial {candidate.trial}, seed {run.seed}"
            last = (VALIDATION, run.macro_f1)
            yield _after_search(attributes, "confirm", key, run.seed, config, run.seconds, end, last)


def _finals(study: Study, attributes: Mapping[str, Any], end: float) -> Iterator[Training]:
    # Those of the result only: the winner may diverge with another seed, and then another trial is trained.
    if (final := record_in(attributes, Final)) is None:
        return
    rounds: list[tuple[str, TrialConfig, tuple[FinalRun, ...]]] = [("", final.config, final.runs)]
    if final.teachers:
        taught = ("teacher, ", final.teachers.config, final.teachers.runs)
        rounds = [taught, ("student, ", final.config, final.runs)]
    rounds += [
        (f"trial {point.trial}, ", point.final.config, point.final.runs)
        for point in read_front(study)
        if not point.is_winner
    ]
    for role, config, runs in rounds:
        for run in runs:
            last = (TEST, run.macro_f1)
            yield _after_search(attributes, "final", f"{role}seed {run.seed}", run.seed, config, run.seconds, end, last)


def _after_search(
    attributes: Mapping[str, Any],
    stage: Literal["confirm", "final"],
    key: str,
    seed: int,
    config: TrialConfig,
    seconds: float,
    end: float,
    last: tuple[str, float],
) -> Training:
    """Return a training after the search; `end`, of the search, stands for a time that an earlier version left out."""
    curve = curve_in(attributes, key)
    ended = datetime.fromisoformat(curve.ended).timestamp() if curve else end
    points = _points(curve.points if curve else (), ended - seconds)
    if last[0] not in {point.score for point in points}:
        points += (Point(*last, config.epochs, ended),)
    return Training(
        name=_name(f"{stage} {key}"),
        stage=stage,
        state="complete",
        reason=None,
        seed=seed,
        knobs={},
        config=config.model_dump(mode="json"),
        sizes={},
        points=points,
        began=ended - seconds,
        ended=ended,
    )


def _result(study: Study, ended: float) -> Result | None:
    final = study.read(Final)
    if final is None:
        return None
    scores = {TEST: final.mean, f"{TEST}_sd": final.sd, f"{TEST}_low": final.low, f"{TEST}_high": final.high}
    if (confirmation := study.read(Confirmation)) and confirmation.winner is not None:
        winner = next(one for one in confirmation.candidates if one.trial == confirmation.winner)
        scores |= {VALIDATION: winner.mean if winner.runs else winner.search_value}
    spec = study.spec.model_dump(mode="json")
    sections = {name: spec[name] for name in ("search", "budget", "confirm", "final", "limits")}
    folder = study.folder
    models = {"model": folder / "export"} | {
        f"points/{path.parent.name}": path for path in sorted(folder.glob("points/*/export"))
    }
    files = {name: folder / name for name in ("report.html", "report.md", "report.json")} | models
    return Result(
        headline=headline(read_report(study)),
        winner=final.trial,
        config=final.config.model_dump(mode="json"),
        settings={f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()},
        scores={name: score for name, score in scores.items() if score is not None},
        ended=ended,
        files={name: path for name, path in files.items() if path.exists()},
    )


def _points(curve: Sequence[CurvePoint], began: float) -> tuple[Point, ...]:
    return tuple(
        Point(score, value, point.number, began + (point.seconds or 0.0))
        for point in curve
        for score, read in CURVE.items()
        if (value := read(point)) is not None
    )


def _trial_name(trial: FrozenTrial) -> str:
    return _name(f"trial {trial.number}")


def _name(key: str) -> str:
    """Return "confirm-trial-003-seed-1001" for "confirm trial 3, seed 1001": so names sort by number."""
    padded = re.sub(r"trial (\d+)", lambda match: f"trial {int(match[1]):03}", key)
    return padded.replace(",", "").replace(" ", "-")


def _seconds(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0  # of Optuna, in local time
