"""The ways of searching that benchmarks/search_quality.py compares."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from benchmarks.curves import read_curves, read_space
from benchmarks.replay import Replay
from benchmarks.replayed_search import Run
from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from search.samplers.cube import Cube
from search.samplers.freeze_thaw import End, FreezeThaw, Seen
from search.samplers.prior import Prior

FEW = 3  # trials that "one epoch first" trains to the end


class OptunasMethod:
    """A study of Optuna, with its sampler and pruner."""

    def __init__(self, replay: Replay, study: optuna.Study) -> None:
        self._study = study
        self._space = replay.spec.space.distributions()
        self._asked: optuna.Trial | None = None

    def next_knobs(self, runs: list[Run], left: float) -> Mapping[str, Any]:  # noqa: ARG002
        """Ask for a trial."""
        self._asked = self._study.ask(self._space)
        return self._asked.params

    def begun(self, run: Run) -> None:
        """Keep its trial."""
        run.trial, self._asked = self._asked, None

    def goes_on(self, runs: list[Run], run: Run, left: float) -> bool:  # noqa: ARG002
        """Report the epoch and ask the pruner."""
        self._report(run)
        return not self._trial(run).should_prune()

    def ended(self, run: Run) -> None:
        """Tell its end."""
        if run.state == "complete":
            self._report(run)
        value, state = (run.f1[-1], TrialState.COMPLETE) if run.state == "complete" else (None, TrialState.PRUNED)
        self._study.tell(self._trial(run), value, state=state)

    def _report(self, run: Run) -> None:
        self._trial(run).report(run.f1[-1], step=len(run.f1))

    @staticmethod
    def _trial(run: Run) -> optuna.Trial:
        assert run.trial is not None, "next_knobs asked for it"
        return run.trial


class FreezeThawMethod:
    """The project's freeze-thaw."""

    def __init__(self, replay: Replay, seed: int, **options: Any) -> None:
        self._epochs = replay.epochs
        self._decide = FreezeThaw(
            Cube(replay.spec.space.distributions()), replay.epochs, seed=seed, seconds_of=replay.seconds, **options
        )

    def next_knobs(self, runs: list[Run], left: float) -> Mapping[str, Any] | Run | None:
        """Return the step that promises most."""
        step = self._decide.next_step(self._seen(runs), new=self._new(left))
        if isinstance(step, End):
            return None
        return next((run for run in runs if run.number == step.number), step.knobs)

    def begun(self, run: Run) -> None:
        """There is nothing to keep."""

    def goes_on(self, runs: list[Run], run: Run, left: float) -> bool:
        """Whether no other step promises more; otherwise the trial pauses."""
        if self._decide.pause(self._seen(runs), run.number, new=self._new(left)) is None:
            return True
        run.state = "paused"
        return False

    def ended(self, run: Run) -> None:
        """There is nothing to tell."""

    def _new(self, left: float) -> int:
        return math.ceil(max(0.0, left) / self._epochs)

    def _seen(self, runs: list[Run]) -> list[Seen]:
        return [
            Seen(
                run.number,
                dict(run.knobs),
                tuple(run.f1),
                "ended" if run.state == "pruned" else run.state,
                seconds=run.seconds,
            )
            for run in runs
        ]


def earlier(replay: Replay, curves: Path, *, shuffled: bool = False) -> Prior:
    """Return the prior of other recorded curves, whose space lies beside them.

    `shuffled`: with each curve at another's configuration, so that what it tells is wrong.
    """
    space, rows = read_space(curves.with_suffix(".toml")), read_curves(curves)
    f1 = np.full((len(rows), space.epochs), np.nan)
    for row, curve in enumerate(rows):
        f1[row, : len(curve.curve)] = curve.curve
    rng = np.random.default_rng(0)
    prior = Prior(replay.spec.space.distributions(), TrialConfig.model_validate(replay.spec.space.pinned).model_dump())
    order = rng.permutation(len(rows)) if shuffled else np.arange(len(rows))
    prior.add(space.space.distributions(), [curve.knobs for curve in rows], f1[order], rng)
    return prior


class BestAfterOneEpoch:
    """As many random configurations as the budget allows for one epoch, then the best few of them to the end.

    Source: Bohdal et al., "Is One Epoch All You Need For Multi-Fidelity Hyperparameter Optimization?", 2023
    (arXiv 2307.15422).
    """

    def __init__(self, replay: Replay, seed: int) -> None:
        self._cube, self._epochs = Cube(replay.spec.space.distributions()), replay.epochs
        self._rng = np.random.default_rng(seed)
        self._count: int | None = None  # of configurations
        self._best: list[Run] = []

    def next_knobs(self, runs: list[Run], left: float) -> Mapping[str, Any] | Run | None:
        """Return a random configuration, or one of the best few once all have been trained for an epoch."""
        if self._count is None:
            self._count = max(FEW, int(left) - FEW * (self._epochs - 1))
        if len(runs) < self._count:
            return self._cube.knobs(self._cube.random(1, self._rng)[0])
        if not self._best and all(run.state == "paused" for run in runs):
            self._best = sorted(runs, key=lambda run: run.f1[-1], reverse=True)[:FEW]
        return next((run for run in self._best if run.state == "paused"), None)

    def begun(self, run: Run) -> None:
        """There is nothing to keep."""

    def goes_on(self, runs: list[Run], run: Run, left: float) -> bool:  # noqa: ARG002
        """Every trial pauses after its first epoch."""
        if len(run.f1) > 1:
            return True
        run.state = "paused"
        return False

    def ended(self, run: Run) -> None:
        """There is nothing to tell."""


class SmacMethod:
    """SMAC3's multi-fidelity facade with its defaults: Hyperband, whose configurations a random forest proposes.

    A trial that it asks for again with more epochs goes on where it was, which its own documentation does not promise.
    """

    def __init__(self, replay: Replay, trials: int, seed: int) -> None:
        try:
            from smac import MultiFidelityFacade, Scenario
        except ImportError:
            raise FmnistError("The search `smac` needs the package smac: pip install smac.") from None
        logging.getLogger("smac").setLevel(logging.ERROR)
        self._spaces, self._epochs = replay.spec.space.distributions(), replay.epochs
        self._folder = TemporaryDirectory()
        scenario = Scenario(
            _config_space(self._spaces, seed),
            deterministic=True,
            n_trials=trials,
            min_budget=1,
            max_budget=replay.epochs,
            seed=seed,
            output_directory=self._folder.name,
        )
        self._smac = MultiFidelityFacade(scenario, _never, logging_level=False, overwrite=True)
        self._runs: dict[Any, Run] = {}
        self._asked: Any = None
        self._wanted: dict[int, Any] = {}  # what a trial is trained for, by its number

    def next_knobs(self, runs: list[Run], left: float) -> Mapping[str, Any] | Run | None:  # noqa: ARG002
        """Ask, and answer at once where the epochs were trained before."""
        while True:
            wanted = self._smac.ask()
            run = self._runs.get(wanted.config)
            if run is None:
                self._asked = wanted
                return {name: _value(self._spaces[name], value) for name, value in dict(wanted.config).items()}
            self._wanted[run.number] = wanted
            if len(run.f1) < round(wanted.budget):
                return run
            self._tell(run)

    def begun(self, run: Run) -> None:
        """Keep what it is trained for."""
        self._runs[self._asked.config], self._wanted[run.number] = run, self._asked

    def goes_on(self, runs: list[Run], run: Run, left: float) -> bool:  # noqa: ARG002
        """Whether it has fewer epochs than were asked for."""
        if len(run.f1) < round(self._wanted[run.number].budget):
            return True
        self._tell(run)
        run.state = "paused"
        return False

    def ended(self, run: Run) -> None:
        """Tell the last epoch."""
        self._tell(run)

    def _tell(self, run: Run) -> None:
        from smac.runhistory.dataclasses import TrialValue

        wanted = self._wanted[run.number]
        epochs = round(wanted.budget)
        self._smac.tell(wanted, TrialValue(cost=1 - run.f1[epochs - 1], time=run.seconds * epochs), save=False)


def _never(config: Any, seed: int = 0, budget: float = 0) -> float:  # noqa: ARG001
    raise AssertionError("trials are asked for")


def _config_space(spaces: Mapping[str, BaseDistribution], seed: int) -> Any:
    from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

    space = ConfigurationSpace(seed=seed)
    for name, kind in spaces.items():
        match kind:
            case CategoricalDistribution(choices=choices):
                space.add(Categorical(name, list(range(len(choices)))))
            case FloatDistribution(low=low, high=high, log=log, step=None):
                space.add(Float(name, (low, high), log=log))
            case IntDistribution(low=low, high=high, log=log, step=1):
                space.add(Integer(name, (low, high), log=log))
            case (
                FloatDistribution(low=low, high=high, step=float() | int() as step)
                | IntDistribution(low=low, high=high, step=step)
            ):
                space.add(Integer(name, (0, round((high - low) / step))))  # the number of steps
            case _:
                raise AssertionError(kind)
    return space


def _value(kind: BaseDistribution, value: Any) -> Any:
    match kind:
        case CategoricalDistribution(choices=choices):
            return choices[int(value)]
        case FloatDistribution(low=low, step=float() | int() as step):
            return low + step * int(value)
        case IntDistribution(low=low, step=step) if step > 1:
            return low + step * int(value)
        case IntDistribution():
            return int(value)
        case _:
            return float(value)
