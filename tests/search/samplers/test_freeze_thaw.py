"""Freeze-thaw: what it begins, continues and pauses, and when it ends."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from search.samplers.cube import Cube
from search.samplers.freeze_thaw import STARTUP, End, FreezeThaw, Seen, Step

EPOCHS = 8
SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "drop": FloatDistribution(0.0, 1.0),
    "pool": CategoricalDistribution(("before", "after")),
}


def height(knobs: dict[str, Any]) -> float:
    """0.95 at a rate of 0.01, without drop, pooled before."""
    return float(
        0.95 - 0.02 * (np.log10(knobs["rate"]) + 2) ** 2 - 0.1 * knobs["drop"] - 0.02 * (knobs["pool"] == "after")
    )


def curve(knobs: dict[str, Any], number: int) -> tuple[float, ...]:
    noise = np.random.default_rng(number).normal(0, 0.001, EPOCHS)
    return tuple(height(knobs) - 0.3 * (1 / epoch - 1 / EPOCHS) + noise[epoch - 1] for epoch in range(1, EPOCHS + 1))


def trained(number: int, knobs: dict[str, Any], epochs: int, state: Any = "paused", **others: Any) -> Seen:
    return Seen(number, knobs, curve(knobs, number)[:epochs], state, **others)


def some(count: int, epochs: int, state: Any = "paused", *, seed: int = 0) -> list[Seen]:
    cube = Cube(SPACE)
    points = cube.random(count, np.random.default_rng(seed))
    return [trained(number, cube.knobs(point), epochs, state) for number, point in enumerate(points)]


def searched(decide: FreezeThaw, epochs: int, *, new: int = 1000, workers: int = 1) -> list[Seen]:
    """Trains so many epochs, one worker after another."""
    seen: list[Seen] = []
    at: list[int | None] = [None] * workers
    for used in range(epochs):
        worker = used % workers
        if at[worker] is None:
            step = decide.next_step(seen, new=new - len(seen))
            if isinstance(step, End):
                continue
            if step.number is None:
                assert step.knobs is not None
                seen.append(Seen(len(seen), step.knobs, (), "running"))
                at[worker] = len(seen) - 1
            else:
                at[worker] = step.number
                seen[step.number] = replace(seen[step.number], state="running")
        number = at[worker]
        assert number is not None
        trial = seen[number]
        seen[number] = trial = replace(trial, f1=curve(trial.knobs, number)[: len(trial.f1) + 1])
        if len(trial.f1) == EPOCHS:
            seen[number], at[worker] = replace(trial, state="complete"), None
        elif decide.pause(seen, number, new=new - len(seen)):
            seen[number], at[worker] = replace(trial, state="paused"), None
    return seen


def decisions(**options: Any) -> FreezeThaw:
    return FreezeThaw(Cube(SPACE), EPOCHS, seed=0, **options)


@pytest.mark.parametrize("workers", [1, 3])
def test_few_epochs_find_what_is_nearly_the_best(workers: int) -> None:
    seen = searched(decisions(), 10 * EPOCHS, workers=workers)
    complete = [trial for trial in seen if trial.state == "complete"]
    assert max(height(trial.knobs) for trial in complete) > 0.94
    lengths = [len(trial.f1) for trial in seen if trial.state == "paused"]
    assert min(lengths) < 3, "a bad configuration is left early"
    assert sum(lengths) + sum(len(trial.f1) for trial in complete) <= 10 * EPOCHS


def test_it_begins_at_random_and_each_one_apart() -> None:
    decide = decisions()
    steps = [decide.next_step([], new=10) for _ in range(STARTUP)]
    assert all(isinstance(step, Step) and step.knobs for step in steps)
    assert len({str(step) for step in steps}) == STARTUP


def test_workers_do_not_begin_the_same() -> None:
    seen = some(8, EPOCHS, "complete")
    decide = decisions()
    first = decide.next_step(seen, new=10)
    assert isinstance(first, Step)
    assert first.knobs is not None
    running = Seen(len(seen), first.knobs, (), "running")
    second = decide.next_step([*seen, running], new=10)
    assert isinstance(second, Step)
    assert second.knobs is not None
    places = Cube(SPACE).points([first.knobs, second.knobs])
    assert np.abs(places[0] - places[1]).max() > 0.01


def test_of_paused_trials_the_promising_one_continues() -> None:
    seen = some(10, 2)
    best = sorted(seen, key=lambda trial: height(trial.knobs))[-3:]
    step = decisions().next_step(seen, new=0)
    assert isinstance(step, Step)
    assert step.number in [trial.number for trial in best]


def test_a_running_trial_without_promise_is_paused_and_the_reason_is_told() -> None:
    seen = some(10, EPOCHS, "complete")
    bad = trained(10, {"rate": 1.0, "drop": 0.9, "pool": "after"}, 2, "running")
    pause = decisions().pause([*seen, bad], 10, new=10)
    assert pause is not None
    assert pause.promised is not None
    assert pause.best is not None
    assert pause.promised < pause.best < 0.96
    good = trained(10, {"rate": 0.01, "drop": 0.0, "pool": "before"}, EPOCHS - 1, "running")
    assert decisions().pause([*seen, good], 10, new=10) is None


def test_nothing_is_begun_or_continued_that_the_time_left_does_not_complete() -> None:
    good = {"rate": 0.01, "drop": 0.0, "pool": "before"}
    seen = [*some(6, EPOCHS, "complete"), trained(6, good, 5, seconds=10.0)]
    decide = decisions(seconds_of=lambda _: 10.0)
    assert decide.next_step(seen, new=10, seconds_left=25.0) == End()
    step = decide.next_step(seen, new=10, seconds_left=35.0)
    assert isinstance(step, Step)
    assert step.number == 6
    lost = [*seen[:-1], replace(seen[-1], kept=False)]  # without its snapshot it would begin again
    assert decide.next_step(lost, new=10, seconds_left=35.0) == End()


def test_the_search_ends_when_what_is_left_promises_less_than_the_noise() -> None:
    best = [trained(number, {"rate": 0.01, "drop": 0.0, "pool": "before"}, EPOCHS, "complete") for number in range(4)]
    bad = [trained(20 + number, {"rate": 1.0, "drop": 0.9, "pool": "after"}, 3) for number in range(3)]
    end = decisions().next_step([*best, *some(10, EPOCHS, "complete")[4:], *bad], new=0)
    assert isinstance(end, End)
    assert end.promised is not None
    assert end.noise is not None
    assert 0 <= end.promised < end.noise / 10
    for options in ({"patience": np.inf}, {"least": 20}):
        step = decisions(**options).next_step([*best, *some(10, EPOCHS, "complete")[4:], *bad], new=0)
        assert isinstance(step, Step)


def test_what_is_over_a_limit_is_not_proposed() -> None:
    decide = decisions(is_allowed=lambda knobs: knobs["drop"] > 0.5)
    seen = some(8, EPOCHS, "complete")
    for _ in range(5):
        step = decide.next_step(seen, new=10)
        assert isinstance(step, Step)
        assert step.knobs is not None
        assert step.knobs["drop"] > 0.5


def test_where_trials_failed_fewer_are_begun() -> None:
    good = [trial for trial in some(40, EPOCHS, "complete") if trial.knobs["pool"] == "after"]
    cube = Cube(SPACE)
    places = [cube.knobs(point) for point in cube.random(60, np.random.default_rng(5))]
    failed = [Seen(100 + n, knobs, (), "bad") for n, knobs in enumerate(places) if knobs["pool"] == "before"]

    def begun(seen: list[Seen]) -> int:
        steps = [FreezeThaw(cube, EPOCHS, seed=seed).next_step(seen, new=1) for seed in range(6)]
        return sum(
            isinstance(step, Step) and step.knobs is not None and step.knobs["pool"] == "before" for step in steps
        )

    assert begun([*good, *failed]) <= begun(good)


def test_a_trial_that_was_put_back_after_its_last_epoch_continues() -> None:
    last = trained(8, {"rate": 0.01, "drop": 0.0, "pool": "before"}, EPOCHS)
    step = decisions().next_step([*some(8, 3), last], new=0)
    assert isinstance(step, Step)
    assert step.number == 8
    assert step.seconds == 1.0


def test_of_very_many_trials_the_best_stay_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.samplers.freeze_thaw.MODELLED", 12)
    complete = [replace(trial, number=20 + trial.number) for trial in some(6, EPOCHS, "complete", seed=1)]
    seen = [*some(20, 2), *complete]
    step = decisions(patience=np.inf).next_step(seen, new=0)
    assert isinstance(step, Step)
    best = sorted(range(20), key=lambda number: seen[number].f1[-1])[-6:]
    assert step.number in best


def test_a_trial_that_was_put_back_before_its_first_epoch_continues() -> None:
    waiting = Seen(0, {"rate": 0.01, "drop": 0.0, "pool": "before"}, (), "paused", kept=False)
    step = decisions().next_step([waiting], new=0)
    assert isinstance(step, Step)
    assert step.number == 0
