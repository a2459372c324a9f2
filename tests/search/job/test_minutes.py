"""The minutes of a whole job, on a machine whose trainings take a time that is fixed here."""

from collections.abc import Iterator
from typing import Any

import optuna
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.study import StudyDirection

from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint
from fmnist.network import describe
from search.errors import SearchError
from search.executors import EpochEnd, Event, Finished, Resumed, Task
from search.job.confirm import confirm
from search.job.estimate import Costs, measure_costs
from search.job.interrupt import Interrupt
from search.job.minutes import (
    MOST_FINAL,
    adopted,
    around,
    divided,
    expected_of,
    limited,
    with_minutes_for_target,
    with_values,
)
from search.job.place import Place
from search.job.progress.base import Progress
from search.job.progress.tally import Outlook
from search.job.replanning import before_confirm, before_final, outlook_of
from search.job.search import optimize
from search.job.stage import Stage
from search.study.budget import is_at_end
from search.study.records import Confirmation, DataRecord, Decision, SearchEnd
from search.study.sections import BudgetSection
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.timing import JobClock
from tests.search.tiny import PINNED, Inline, Say

CLASSES = ("a", "b", "c")
DATA = DataRecord(name="drawn", fingerprint="0", train=50_000, valid=10_000, class_names=CLASSES, test=10_000)
IMAGES = 60_000
SPEED = 4_000.0  # images a second that a network of TYPICAL operations is trained with
TYPICAL = 1e6
START = 4.0  # seconds of a run before its search


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("search.study.timing.time.monotonic", clock)
    monkeypatch.setattr(
        "search.job.estimate.measure_speed", lambda config, *_, **__: SPEED * TYPICAL / describe(config, 3).pass_flops
    )
    return clock


class Timed(Inline):
    """Workers whose trainings take so long, and find that more epochs and filters are better."""

    def __init__(self, clock: Clock, places: int, slower: float = 1.0) -> None:
        """`slower`: than measured."""
        super().__init__(places)
        self.clock, self.slower = clock, slower
        self._ends: dict[str, float] = {}  # when the next epoch of a task ends
        self._curves: dict[str, list[CurvePoint]] = {}  # of paused tasks, too

    def submit(self, task: Task) -> None:
        super().submit(task)
        self._ends[task.key] = self.clock.now + self._seconds(task)

    def events(self, timeout: float) -> list[Event]:  # noqa: ARG002
        if not self._running:
            return []
        key = min(self._running, key=self._ends.__getitem__)
        self.clock.now = max(self.clock.now, self._ends[key])
        event = next(self._running[key])
        if isinstance(event, Finished):
            del self._running[key]
        else:
            self._ends[key] += self._seconds(next(task for task in self.trained if task.key == key))
        return [event]

    def _seconds(self, task: Task) -> float:
        network = describe(task.config, len(CLASSES))
        images = DATA.train + 0.5 * DATA.valid * network.views
        return self.slower * images * network.pass_flops / TYPICAL / SPEED

    def _train(self, task: Task) -> Iterator[Event]:
        if curve := self._curves.setdefault(task.key, []):
            yield Resumed(task.key, tuple(curve))
        for epoch in range(len(curve) + 1, task.config.epochs + 1):
            value = 0.9 - 0.1 / epoch + task.config.filters / 1_000
            curve.append(CurvePoint(epoch, 1.0, 1.0, value, value, epoch * self._seconds(task)))
            yield EpochEnd(task.key, curve[-1], 1.0)
            if task.key in self._stopped | self._pausing:
                break
        yield Finished(task.key, task.config.epochs * self._seconds(task))


def study_of(minutes: float | str, *, trials: int = 100, **sections: Any) -> StudySpec:
    knobs = PINNED | {"filters": [4, 8], "learning_rate": {"low": 0.003, "high": 0.03, "log": True}}
    search = {"trials": trials, "sampler": "random", "pruner": "none"}
    values = {"name": "timed", "budget": {"minutes": minutes}, "search": search, "knobs": knobs} | sections
    return StudySpec.parse(values, context="test")


def plan(spec: StudySpec, workers: int = 2) -> tuple[StudySpec, Costs]:
    place = Place(torch.device("cpu"), workers, 1, None, None)
    costs = measure_costs(spec, place, data=DATA, images=IMAGES)
    return divided(spec, costs, DATA, None), costs


def job(spec: StudySpec, costs: Costs, clock: Clock, executor: Timed) -> tuple[Study, float, float]:
    """Run a job up to its final trainings; return its study, the seconds it takes with these, and those of an epoch."""
    directions = [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(spec.search.against)]
    study = Study(optuna.create_study(study_name=spec.name, directions=directions, sampler=spec.make_sampler(seed=0)))
    study.note_spec(spec)
    study.write(DATA)
    began = clock.now
    clock.now += START
    stage = Stage(study, spec, executor, Progress(), Interrupt(), JobClock(study, began))
    optimize(stage, len(CLASSES))
    stage = before_confirm(stage, costs)
    winner = confirm(stage)
    stage = before_final(stage, winner, costs, DATA, IMAGES)
    confirmation = study.read(Confirmation)
    assert confirmation is not None
    retrained = [one.config for one in confirmation.candidates if one.trial in {winner.trial, *confirmation.points}]
    images = IMAGES * sum(describe(config, len(CLASSES)).pass_flops for config in retrained) / TYPICAL
    rounds = max(1.0, stage.spec.final.seeds / executor.places)
    epoch = executor.slower * rounds * images / SPEED
    epochs = stage.spec.final.trained(winner.config).epochs
    return study, clock.now - began + epochs * epoch + around(spec, costs, DATA), epoch


@pytest.mark.usefixtures("clock")
def test_a_search_lasts_no_longer_than_the_study_says_and_the_final_trainings_have_the_rest() -> None:
    def asked(**search: Any) -> StudySpec:
        return study_of(10, search={"trials": 100, "sampler": "random", "pruner": "none"} | search)

    free, costs = plan(asked())
    bounded, _ = plan(asked(minutes=1))
    assert bounded.search.minutes == 1
    assert costs.of_final(bounded, bounded.final_epochs) > costs.of_final(free, free.final_epochs)
    loose, _ = plan(asked(minutes=1000))
    assert loose == free


def test_no_network_is_tried_that_has_no_time_for_a_final_training(clock: Clock) -> None:
    spec = study_of(40, knobs=PINNED | {"depth": 3, "filters": [4, 8, 64, 128]})
    place = Place(torch.device("cpu"), 2, 1, None, None)
    costs = measure_costs(spec, place, data=DATA, images=IMAGES)
    smaller = limited(spec, costs, DATA, None)
    flops = [
        describe(TrialConfig.model_validate(smaller.space.pinned | {"filters": width}), len(CLASSES)).flops
        for width in (4, 8, 64, 128)
    ]
    assert smaller.limits.max_flops is not None
    assert flops[1] <= smaller.limits.max_flops < flops[3]
    costs = measure_costs(smaller, place, data=DATA, images=IMAGES)
    executor = Timed(clock, 2)
    _, seconds, _ = job(divided(smaller, costs, DATA, None), costs, clock, executor)
    assert max(task.config.filters for task in executor.trained) < 128
    assert seconds <= 42 * 60
    assert limited(study_of(3, limits={"max_flops": 10**9}), costs, DATA, None).limits.max_flops == 10**9
    assert limited(study_of(3), costs, DATA, study_of(3)) == study_of(3)


def texts(study: Study) -> list[str]:
    return [decision.text for decision in study.read_all(Decision)]


@given(
    minutes=st.floats(2, 60),
    slower=st.floats(0.3, 3),
    workers=st.integers(1, 8),
    confirm_seeds=st.integers(0, 4),
    trials=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_job_ends_within_its_minutes(
    clock: Clock, minutes: float, slower: float, workers: int, confirm_seeds: int, trials: int
) -> None:
    spec = study_of(minutes, trials=trials, confirm={"seeds": confirm_seeds})
    planned, costs = plan(spec, workers)
    study, seconds, epoch = job(planned, costs, clock, Timed(clock, workers, slower))
    allowed = max(15, 0.05 * minutes * 60)
    assert seconds <= minutes * 60 + allowed
    is_at_its_longest = study.spec.final.epochs == MOST_FINAL
    assert seconds >= minutes * 60 - allowed - epoch or is_at_its_longest


def test_the_minutes_of_a_front_are_for_all_its_points(clock: Clock) -> None:
    spec = study_of(
        20,
        search={"trials": 6, "sampler": "gp", "pruner": "freeze-thaw", "against": ["parameters"]},
        knobs=PINNED | {"filters": [4, 8, 12, 16, 24], "learning_rate": {"low": 0.003, "high": 0.03, "log": True}},
        final={"points": 3, "seeds": 2},
    )
    planned, costs = plan(spec)
    assert limited(spec, costs, DATA, None) == spec
    study, seconds, epoch = job(planned, costs, clock, Timed(clock, 2, slower=2))
    confirmation = study.read(Confirmation)
    assert confirmation is not None
    assert 2 <= len(confirmation.points) <= 3
    assert texts(study)[-1].startswith(f"{study.spec.final.epochs} epochs for each of 2 final seeds of ")
    assert f"of {len(confirmation.points)} points of the front" in texts(study)[-1]
    assert seconds <= 21 * 60
    assert seconds >= 19 * 60 - epoch or study.spec.final.epochs == MOST_FINAL


def test_on_a_slower_machine_than_measured_the_final_trainings_are_shorter(clock: Clock) -> None:
    planned, costs = plan(study_of(10))
    as_measured, slower = (job(planned, costs, clock, Timed(clock, 2, factor))[0] for factor in (1.0, 3.0))
    assert slower.spec.final.epochs is not None
    assert as_measured.spec.final.epochs is not None
    assert 2.5 * slower.spec.final.epochs < as_measured.spec.final.epochs
    assert "are left" in texts(slower)[-1]


def test_with_too_few_minutes_for_a_search_the_first_configuration_is_trained(clock: Clock) -> None:
    configs = {"configs": [{"filters": 8, "learning_rate": 0.004}]}
    planned, costs = plan(study_of("30s", prior=configs), 1)
    executor = Timed(clock, 1)
    study, _, _ = job(planned, costs, clock, executor)
    assert [trial.params for trial in study.trials()] == configs["configs"]
    assert [(task.key, task.config.epochs) for task in executor.trained] == [("trial 0", 1)]
    middle, _ = plan(study_of("30s"), 1)
    assert middle.prior.configs[0]["learning_rate"] == pytest.approx((0.003 * 0.03) ** 0.5)


def test_a_job_whose_minutes_are_too_few_says_that_it_takes_longer(clock: Clock) -> None:
    planned, costs = plan(study_of("25s"), 1)
    study, seconds, _ = job(planned, costs, clock, Timed(clock, 1, 3.0))
    assert seconds > 25
    assert study.spec.final.epochs == 1
    assert texts(study)[-1].endswith("so the job will take longer")


def test_a_search_whose_time_is_up_before_a_trial_is_complete_goes_on_until_one_is(clock: Clock) -> None:
    planned, costs = plan(study_of(4))
    study, _, _ = job(planned, costs, clock, Timed(clock, 2, 30.0))
    assert [trial.state.name for trial in study.trials()].count("COMPLETE") >= 1


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("slower", [1.6, 2.2, 3.0])
def test_freeze_thaw_on_a_slower_machine_has_a_result(clock: Clock, slower: float, workers: int) -> None:
    search = {"trials": 100, "sampler": "gp", "pruner": "freeze-thaw"}
    planned, costs = plan(study_of(4, search=search), workers)
    study, _, _ = job(planned, costs, clock, Timed(clock, workers, slower))
    assert [trial.state.name for trial in study.trials()].count("COMPLETE") >= 1


def test_with_more_minutes_candidates_train_as_long_as_those_that_are_confirmed(clock: Clock) -> None:
    planned, costs = plan(study_of(3))
    confirmed = with_values(planned, confirm={"epochs": 2 * planned.epochs})
    longer = divided(adopted(study_of(30), confirmed), costs, DATA, confirmed)
    assert longer.confirm.epochs == 2 * planned.epochs


def test_a_higher_target_resumes_the_search() -> None:
    study, reached = (
        Study(optuna.create_study(direction="maximize")),
        study_of(10, budget={"minutes": 10, "target": 0.9}),
    )
    end = SearchEnd(reason="it has the target", trials=100, minutes=reached.search.minutes, target=0.9)
    study.write(end)
    study.optuna.add_trial(optuna.trial.create_trial(value=0.91))
    assert is_at_end(study, reached)
    assert not is_at_end(study, study_of(10, budget={"minutes": 10, "target": 0.95}))


def test_an_earlier_run_has_decided(clock: Clock) -> None:
    planned, costs = plan(study_of(10))
    study, _, _ = job(planned, costs, clock, Timed(clock, 2))
    again = adopted(study_of(10), study.spec)
    assert divided(again, costs, DATA, study.spec) == study.spec
    without = study_of(10).model_copy(update={"budget": BudgetSection()})
    assert adopted(without, study.spec) == study.spec


def test_more_minutes_keep_the_epochs_of_the_trials(clock: Clock) -> None:
    planned, costs = plan(study_of(3))
    longer = divided(adopted(study_of(30), planned), costs, DATA, planned)
    assert longer.epochs == planned.epochs
    assert longer.search.minutes is not None
    assert planned.search.minutes is not None
    assert longer.search.minutes > 5 * planned.search.minutes
    assert longer.final.epochs is not None
    assert planned.final.epochs is not None
    assert longer.final.epochs > planned.final.epochs


def test_the_time_of_earlier_runs_counts(clock: Clock) -> None:
    study = Study(optuna.create_study(direction="maximize"))
    first = JobClock(study, clock.now)
    clock.now += 100
    first.note()
    clock.now += 1_000  # nothing runs
    second = JobClock(study, clock.now)
    clock.now += 20
    assert second.seconds() == pytest.approx(120)


@pytest.mark.parametrize(
    ("given_as", "minutes"),
    [(10, 10), (2.5, 2.5), ("10", 10), ("90s", 1.5), ("10m", 10), ("1h30m", 90), ("1h 30 min", 90), ("2 h", 120)],
)
def test_a_time_can_be_written_in_several_ways(given_as: float | str, minutes: float) -> None:
    assert study_of(given_as).budget.minutes == pytest.approx(minutes)


@pytest.mark.parametrize(
    "wrong", ["", "ten", "10x", "1h30", "-5", 0, 0.01, True, "1e3", float("nan"), float("inf"), "h"]
)
def test_what_is_no_time_is_refused(wrong: Any) -> None:
    with pytest.raises(SearchError, match=r"budget\.minutes must be minutes, such as 10, or a time such as \"90s\""):
        study_of(wrong)


def test_a_run_cannot_ask_for_what_its_minutes_decide(say: Say) -> None:
    for more in (("--set", "epochs=3"), ("--search-minutes", "2")):
        code, _, errors = say("run", "tiny.toml", "--data", "synthetic", "--minutes", "5m", *more, "--dry-run")
        assert code == 2
        assert "The minutes of the whole job decide the epochs and the time of the search: leave out" in errors


@pytest.mark.usefixtures("clock")
def test_the_plan_says_how_the_minutes_are_divided(say: Say) -> None:
    code, output, _ = say("run", "tiny.toml", "--data", "synthetic", "--workers", "1", "--minutes", "5m", "--dry-run")
    assert code == 0
    assert "5 min 00 s for the whole job: search " in " ".join(output.split())


def test_a_search_ends_at_the_target_and_the_final_trainings_are_as_long_as_the_confirmed_ones(clock: Clock) -> None:
    budget = {"minutes": 30, "target": 0.88}  # a trial of five epochs has 0.88 and more
    planned, costs = plan(study_of(30, budget=budget, trials=1000))
    study, seconds, _ = job(planned, costs, clock, Timed(clock, 2))
    assert len(study.trials()) < 5
    assert seconds < 15 * 60
    assert study.spec.final.epochs == (study.spec.confirm.epochs or study.spec.epochs)
    assert texts(study)[-1].endswith("had the target")
    end = study.read(SearchEnd)
    assert end is not None
    assert end.reason.endswith("has reached the target of 0.88")


def test_a_target_that_is_not_reached_changes_nothing(clock: Clock) -> None:
    (plain, costs), (aiming, _) = (
        plan(study_of(10, budget={"minutes": 10} | more, trials=1000)) for more in ({}, {"target": 0.99})
    )
    epochs = [job(spec, costs, clock, Timed(clock, 2))[0].spec.final.epochs for spec in (plain, aiming)]
    assert epochs[0] == epochs[1]


def test_the_minutes_for_a_target_are_those_after_which_it_is_expected(clock: Clock) -> None:
    known = DATA.model_copy(update={"name": "Fashion-MNIST"})
    large = PINNED | {"depth": 4, "filters": [16, 20]}
    spec = study_of(1, budget={"target": 0.940}, knobs=large)
    _, costs = plan(study_of(1, knobs=large))
    minutes = [
        with_minutes_for_target(spec.overridden(target=target), costs, known).budget.minutes
        for target in (0.930, 0.940, 0.945)
    ]
    assert minutes == sorted(minutes)  # type: ignore[type-var]
    assert len(set(minutes)) == 3
    timed = divided(spec.overridden(minutes=minutes[1]), costs, known, None)
    found = expected_of(timed, costs)
    assert found is not None
    assert found.f1 == pytest.approx(0.940, abs=0.001)
    with pytest.raises(SearchError, match="is not to be expected in 7 days here"):
        with_minutes_for_target(spec.overridden(target=0.995), costs, known)
    with pytest.raises(
        SearchError, match=r"is known for Fashion-MNIST at 28 x 28 pixels and networks .* only\. Give --minutes"
    ):
        with_minutes_for_target(spec, costs, DATA)
    _, of_small = plan(study_of(1))
    with pytest.raises(SearchError, match=r"of 50,000 to 300,000 parameters only\. Give --minutes as well"):
        with_minutes_for_target(study_of(1, budget={"target": 0.945}), of_small, known)


def test_what_a_job_is_left_follows_what_its_best_trial_took(clock: Clock) -> None:
    spec, costs = plan(
        study_of(1, budget={}, trials=4, knobs=PINNED | {"filters": [4, 8, 64]}, confirm={"top": 1, "seeds": 2})
    )
    study = Study(optuna.create_study(study_name=spec.name, direction="maximize", sampler=spec.make_sampler(seed=0)))
    study.note_spec(spec)
    executor = Timed(clock, 2, slower=3.0)
    stage = Stage(study, spec, executor, Progress(), Interrupt())
    before, told = outlook_of(stage, costs, DATA), list[Outlook]()
    optimize(stage, len(CLASSES), lambda: told.append(outlook_of(stage, costs, DATA)))
    assert len(told) == 4
    best = confirm(stage).config
    epoch = 3.0 * describe(best, len(CLASSES)).pass_flops / TYPICAL / SPEED
    final = spec.final_epochs * IMAGES * epoch * spec.final.seeds / 2
    assert told[-1].stages["final"] == pytest.approx(final)
    assert told[-1].stages["confirm"] == pytest.approx(spec.epochs * (50_000 + 0.5 * 10_000) * epoch)
    assert told[-1].stages["final"] > 1.5 * before.stages["final"]
