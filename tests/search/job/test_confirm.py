"""The confirm stage: who is trained again on which seeds, who wins, and what an interrupted stage remembers."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import optuna
import pytest
from optuna.trial import create_trial

from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint
from fmnist.errors import FmnistError
from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, Finished, Task
from search.job.confirm import FIRST_SEED, confirm, drop_winner
from search.job.interrupt import Interrupt, InterruptedRunError
from search.job.progress.base import Progress
from search.study.paths import HOME, snapshot_path
from search.study.records import Candidate, Confirmation, Dropped, SeedRun, Timing
from search.study.spec import StudySpec
from search.study.study import Study
from tests.search.tiny import Inline, InterruptAfter, stage, tiny_spec

VALUES = (0.80, 0.84, 0.82, 0.83)  # of the trials 0 to 3; best first they are 1, 3, 2, 0
SECONDS = 4.5  # of every training
NAN = "diverged: mean training loss nan"


class Told(Inline):
    """An executor whose trainings end as told: a macro F1 for (depth, seed), None for one that diverges."""

    def __init__(
        self, ends: Mapping[tuple[int, int], float | None] = MappingProxyType({}), otherwise: float | None = 0.8
    ) -> None:
        super().__init__()
        self.ends, self.otherwise = ends, otherwise

    def _train(self, task: Task) -> Iterator[Event]:
        value = self.ends.get((task.config.depth, task.seed), self.otherwise)
        if value is None:
            yield Failed(task.key, "diverged", NAN, SECONDS)
            return
        yield EpochEnd(task.key, CurvePoint(1, 0.5, 0.5, value, value, 1.0), 1.0)
        yield Finished(task.key, SECONDS)


class Begun(Progress):
    """Remembers how many trainings each stage said it had, and how many of them were done."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []

    def begin(self, stage: Any, *, total: int, done: int, **_: Any) -> None:
        self.stages.append((stage, total, done))


def confirming(*, top: int = 2, seeds: int = 2, seed: int = 0, **more: Any) -> StudySpec:
    spec = tiny_spec(**more)
    return spec.model_copy(
        update={"seed": seed, "confirm": spec.confirm.model_copy(update={"top": top, "seeds": seeds})}
    )


def searched(*values: float, depths: tuple[int, ...] = (1, 2, 3, 4)) -> Study:
    """A study whose trials are over: trial 0 of depth 1, trial 1 of depth 2, and so on where nothing else is said."""
    study = Study(optuna.create_study(study_name="tiny", direction="maximize"))
    for value, depth in zip(values or VALUES, depths, strict=False):
        study.optuna.add_trial(create_trial(value=value, user_attrs={"config": {"depth": depth, "epochs": 1}}))
    return study


def confirmed(
    study: Study, spec: StudySpec, executor: Inline | None = None, progress: Progress | None = None
) -> Candidate:
    return confirm(stage(study, spec, executor or Told(), progress or Progress(), Interrupt()))


def interrupted(study: Study, spec: StudySpec, *, trainings: int) -> None:
    interrupt = Interrupt()
    with pytest.raises(InterruptedRunError):
        confirm(stage(study, spec, Told(), InterruptAfter(interrupt, trainings), interrupt))


def record(study: Study) -> Confirmation:
    found = study.read(Confirmation)
    assert found is not None
    return found


def test_the_best_trials_are_trained_on_fresh_seeds_of_their_study_seed_by_seed() -> None:
    executor, study = Told(), searched()
    confirmed(study, confirming(seed=7), executor)
    assert FIRST_SEED == 1000
    assert [(task.key, task.config.depth, task.seed) for task in executor.trained] == [
        ("trial 1, seed 1007", 2, 1007),
        ("trial 3, seed 1007", 4, 1007),
        ("trial 1, seed 1008", 2, 1008),
        ("trial 3, seed 1008", 4, 1008),
    ]
    for task in executor.trained:
        assert (task.images, task.checkpoint, task.snapshot) == ("search", None, snapshot_path(HOME / "tiny", task.key))


def test_candidates_may_train_longer_than_in_the_search() -> None:
    executor, study, spec = Told(), searched(), confirming()
    longer = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"epochs": 7})})
    winner = confirmed(study, longer, executor)
    assert {task.config.epochs for task in executor.trained} == {7}
    assert winner.config.epochs == 1  # the trial's: the final stage has epochs of its own


def test_the_best_mean_wins_whatever_the_search_and_the_best_seed_say() -> None:
    study = searched()
    lucky = {(2, 1000): 0.90, (2, 1001): 0.70, (4, 1000): 0.83, (4, 1001): 0.81}
    winner = confirmed(study, confirming(), Told(lucky))
    assert (winner.trial, winner.search_value, winner.config) == (3, 0.83, TrialConfig(depth=4, epochs=1))
    assert winner.runs == tuple(
        SeedRun(seed=seed, macro_f1=value, seconds=SECONDS) for seed, value in ((1000, 0.83), (1001, 0.81))
    )
    found = record(study)
    assert found.winner == 3
    assert found.candidates[1] == winner
    assert {each.trial: each.mean for each in found.candidates} == {1: pytest.approx(0.80), 3: pytest.approx(0.82)}
    assert not found.dropped


def test_a_stage_that_is_interrupted_keeps_what_it_trained_and_has_no_winner_yet() -> None:
    study, spec = searched(), confirming()
    interrupted(study, spec, trainings=3)
    assert [len(each.runs) for each in record(study).candidates] == [1, 1]
    assert record(study).winner is None
    rest, progress = Told(), Begun()
    winner = confirmed(study, spec, rest, progress)
    assert [task.key for task in rest.trained] == ["trial 1, seed 1001", "trial 3, seed 1001"]
    assert progress.stages == [("confirm", 4, 2)]
    assert [[run.seed for run in each.runs] for each in record(study).candidates] == [[1000, 1001]] * 2
    timing, again = study.read(Timing), Begun()
    assert timing is not None
    assert timing.confirm > 0
    assert confirmed(study, spec, None, again) == winner
    assert not again.stages


def test_the_same_configuration_under_another_seed_is_no_second_candidate() -> None:
    study = searched(0.84, 0.83, 0.82, depths=(1, 1, 2))
    confirmed(study, confirming(seeds=1))
    assert [(each.trial, each.search_value) for each in record(study).candidates] == [(0, 0.84), (2, 0.82)]


def test_without_fresh_seeds_the_best_of_the_search_wins_untrained() -> None:
    study, executor, progress = searched(), Told(), Begun()
    winner = confirmed(study, confirming(top=3, seeds=0), executor, progress)
    assert winner == Candidate(trial=1, config=TrialConfig(depth=2, epochs=1), search_value=0.84)
    assert record(study) == Confirmation(candidates=(winner,), winner=1)
    assert (executor.trained, progress.stages) == ([], [])


@pytest.mark.parametrize(("top", "trials"), [(1, [1]), (3, [1, 3, 2]), (9, [1, 3, 2, 0])])
def test_as_many_are_candidates_as_the_study_asks_for_and_has(top: int, trials: list[int]) -> None:
    study = searched()
    confirmed(study, confirming(top=top, seeds=1))
    assert [each.trial for each in record(study).candidates] == trials


def test_one_that_diverges_is_dropped_with_its_reason_and_its_other_runs() -> None:
    study = searched()
    executor = Told({(2, 1001): None})
    winner = confirmed(study, confirming(), executor)
    found = record(study)
    assert found.dropped == (Dropped(trial=1, reason=f"{NAN}, with seed 1001"),)
    assert [each.trial for each in found.candidates] == [3, 2]
    assert winner.trial == found.winner == 3
    assert [task.key for task in executor.trained[-2:]] == ["trial 2, seed 1000", "trial 2, seed 1001"]
    assert [len(each.runs) for each in found.candidates] == [2, 2]


class Deaf(Told):
    """One whose trainings of 4 epochs do not hear that they should pause, and diverge in the third if told."""

    def stop(self, key: str, *, pause: bool = False) -> None:
        if not pause:
            super().stop(key)

    def _train(self, task: Task) -> Iterator[Event]:
        value = self.ends.get((task.config.depth, task.seed), self.otherwise)
        for number in range(1, 5 if value else 3):
            yield EpochEnd(task.key, CurvePoint(number, 0.5, 0.5, 0.8, 0.8, 1.0), 1.0)
        yield Finished(task.key, SECONDS) if value else Failed(task.key, "diverged", NAN, SECONDS)


@pytest.mark.parametrize("diverging", [2, 3, 4])
def test_one_that_diverges_when_another_has_its_turn_ends_the_stage(diverging: int) -> None:
    study, executor = searched(), Deaf({(diverging, 1000): None})
    executor.places = 2
    spec = confirming(top=3, seeds=1)
    spec = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"epochs": 4})})
    winner = confirmed(study, spec, executor)
    assert winner.config.depth != diverging
    assert len(record(study).dropped) == 1


def test_a_candidate_that_diverged_stays_out_when_it_is_interrupted_after_that() -> None:
    study, spec = searched(), confirming(seeds=1)
    interrupt = Interrupt()
    with pytest.raises(InterruptedRunError):
        confirm(stage(study, spec, Told({(2, 1000): None}), InterruptAfter(interrupt, 1), interrupt))
    assert record(study).dropped == (Dropped(trial=1, reason=f"{NAN}, with seed 1000"),)
    assert [each.trial for each in record(study).candidates] == [3]
    rest = Told()
    confirmed(study, spec, rest)
    assert [task.key for task in rest.trained] == ["trial 3, seed 1000", "trial 2, seed 1000"]


def test_the_winner_that_is_dropped_leaves_its_place_to_the_others_and_to_none_of_its_own_configuration() -> None:
    study, spec = searched(0.84, 0.83, 0.82, 0.81, depths=(1, 2, 1, 3)), confirming()
    values = {(1, 1000): 0.9, (1, 1001): 0.9}
    winner = confirmed(study, spec, Told(values))
    assert winner.trial == 0
    drop_winner(study, winner, "diverged at the end")
    assert record(study) == Confirmation(
        candidates=record(study).candidates, dropped=(Dropped(trial=0, reason="diverged at the end"),)
    )
    assert [(each.trial, len(each.runs)) for each in record(study).candidates] == [(1, 2)]
    rest = Told(values | {(3, 1000): 0.7, (3, 1001): 0.7})
    other = confirmed(study, spec, rest)
    assert other.trial == 1
    assert [task.config.depth for task in rest.trained] == [3, 3]
    drop_winner(study, other, "diverged, too")
    assert [(each.trial, each.reason) for each in record(study).dropped] == [
        (0, "diverged at the end"),
        (1, "diverged, too"),
    ]


def test_the_first_that_is_dropped_needs_no_record_of_a_stage() -> None:
    study = searched()
    drop_winner(
        study, Candidate(trial=1, config=TrialConfig(depth=2, epochs=1), search_value=0.84), "diverged at the end"
    )
    assert record(study) == Confirmation(candidates=(), dropped=(Dropped(trial=1, reason="diverged at the end"),))
    assert confirmed(study, confirming()).trial != 1


def test_where_all_diverge_the_error_names_the_last() -> None:
    study = searched(0.84, 0.83, 0.82)
    told = rf"the last one: trial 2: {NAN}, with seed 1002\. Search a narrower learning_rate"
    with pytest.raises(SearchError, match=told):
        confirmed(study, confirming(top=3, seeds=3), Told({(1, 1000): None, (2, 1001): None, (3, 1002): None}))
    assert [each.reason[-4:] for each in record(study).dropped] == ["1000", "1001", "1002"]


@pytest.mark.parametrize(
    ("spent", "says"),
    [
        (59.5, r"all ended early\. Raise --trials"),
        (60.0, r"its minutes are used up\. Raise --search-minutes"),
        (61.0, "its minutes are used up"),
    ],
)
def test_whether_the_minutes_were_over_is_told_to_the_second(spent: float, says: str) -> None:
    study = Study(optuna.create_study(study_name="tiny", direction="maximize"))
    study.write(Timing(search=spent))
    with pytest.raises(SearchError, match=says):
        confirmed(study, confirming(minutes=1.0))
    assert "confirmation" not in study.optuna.user_attrs


def test_a_trial_whose_configuration_this_version_does_not_know_is_named() -> None:
    study = searched()
    study.optuna.add_trial(create_trial(value=0.9, user_attrs={"config": {"deph": 4}}))
    with pytest.raises(FmnistError, match="trial 4: unknown knob 'deph'"):
        confirmed(study, confirming())
