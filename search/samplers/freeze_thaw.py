"""Freeze-thaw: a free worker begins a new configuration or continues a paused one, whichever promises more.

What a step promises is the expected improvement of the best last epoch, divided by a power of the seconds until then;
with costs, that of the best last epochs at all costs (search/samplers/front.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from search.samplers.cube import Cube
from search.samplers.front import Front
from search.samplers.learning_curves import REFIT, CurveModel, Posterior, Prediction, Trainings, unwarp
from search.samplers.prior import Prior

State = Literal["running", "paused", "complete", "ended", "bad"]
STARTUP = 4  # configurations that are begun at random
CANDIDATES = 1_000
PRICED = 50  # of so many candidates that promise most, the one is begun that promises most for its time
BEST, NEIGHBOURS = 5, 60  # more candidates, near the best ones
WIDTHS = (0.3, 0.15, 0.07, 0.03)  # of the steps to them, in rounds
UNKNOWN = 2.3  # y that counts as the best before anything is trained
THRIFT = 0.5  # exponent of the seconds
PATIENCE = 10.0  # the share of the deviation between seeds that the rest of the budget must promise, inverted
SWITCH = 1.1  # a trial is paused only for a step that promises so many times more
MODELLED = 300  # most trainings in the model, whose time grows with the cube of their number


@dataclass(frozen=True)
class Seen:
    """A trial as the search sees it.

    Args:
        number: The trial's number.
        knobs: Its searched knobs.
        f1: The validation F1 of its epochs so far.
        state: "bad" if it diverged, or exceeded the memory or a limit; "ended" if it ended for another reason.
        seconds: Of one of its epochs.
        kept: Whether a snapshot keeps its epochs, so that it can continue after them.
    """

    number: int
    knobs: dict[str, Any]
    f1: tuple[float, ...]
    state: State
    seconds: float = 1.0
    kept: bool = True


@dataclass(frozen=True)
class Step:
    """What a free worker does: it continues trial `number`, or begins a trial with these `knobs`."""

    gain: float = 1.0  # expected improvement of y of the best last epoch
    score: float = 1.0  # the same in relation to its cost
    seconds: float = 1.0  # until the last epoch
    number: int | None = None
    knobs: dict[str, Any] | None = None


@dataclass(frozen=True)
class End:
    """Why nothing is left to do: all that is left promises no more than `promised`, in F1; None if time is short."""

    promised: float | None = None
    noise: float | None = None  # deviation between seeds, in F1


@dataclass(frozen=True)
class Pause:
    """Why a trial pauses: what it promises, and the best trial, in F1; in a search against costs, of no more cost.

    None before the model knows anything; `best` also while no trial of no more cost is known.
    """

    promised: float | None
    best: float | None


class FreezeThaw:
    """The decisions of one search."""

    def __init__(
        self,
        cube: Cube,
        epochs: int,
        *,
        seed: int,
        is_allowed: Callable[[dict[str, Any]], bool] = lambda _: True,
        seconds_of: Callable[[dict[str, Any]], float] = lambda _: 1.0,
        patience: float = PATIENCE,
        least: int = 1,
        prior: Prior | None = None,
        costs_of: Callable[[dict[str, Any]], tuple[float, ...]] | None = None,
    ) -> None:
        """Prepare a search.

        Args:
            cube: The space.
            epochs: Of a whole training.
            seed: Of random numbers.
            is_allowed: Whether a configuration is within the limits that can be checked before its training.
            seconds_of: The expected seconds of an epoch of a configuration.
            patience: The search ends when all that is left promises less than the noise between seeds, divided by this.
            least: Complete trials before it may end so.
            prior: What earlier searches found.
            costs_of: The costs of a configuration, each above 0, where the search is for a front over them.
        """
        self._cube, self._epochs = cube, epochs
        self._is_allowed, self._seconds_of = is_allowed, seconds_of
        self._patience, self._least = patience, least
        self._rng = np.random.default_rng(seed)
        self._prior = prior if prior and len(prior) else None
        self._model = CurveModel(cube.knob_of, guesses=len(prior) if prior else 0)
        self._fitted_at = 0  # epochs
        self._costs_of = costs_of or (lambda _: ())
        within = self._allowed(np.random.default_rng(seed)) if costs_of else [{}]
        self._front = Front(np.array([self._costs_of(knobs) for knobs in within], dtype=np.float64))

    @property
    def is_flat(self) -> bool:
        """Whether all networks of the space have the same of some cost."""
        return self._front.is_flat

    def next_step(self, seen: Sequence[Seen], *, new: int, seconds_left: float = np.inf) -> Step | End:
        """Return what a free worker does; End if nothing that is left is worth its time, or can be completed in it.

        `new`: how many more trials may begin.
        """
        with threadpool_limits(1):  # the trainings have the cores
            return self._next_step(seen, self._outlook(seen), new, seconds_left)

    def pause(self, seen: Sequence[Seen], number: int, *, new: int, seconds_left: float = np.inf) -> Pause | None:
        """Return why the running trial pauses after an epoch; None if it continues."""
        seen = [replace(trial, state="paused") if trial.number == number else trial for trial in seen]
        with threadpool_limits(1):
            outlook = self._outlook(seen)
            step = self._next_step(seen, outlook, new, seconds_left, favoured=number)
        if isinstance(step, Step) and step.number == number:
            return None
        if outlook is None:
            return Pause(None, None)
        row = outlook.row(number)
        if row is None:
            return Pause(None, None)
        rival = self._front.rival(outlook.costs[row], outlook.best)
        best = None if rival is None else float(unwarp(np.array(rival)))
        return Pause(float(unwarp(outlook.own.mean[row])), best)

    def _next_step(
        self,
        seen: Sequence[Seen],
        outlook: "_Outlook | None",
        new: int,
        seconds_left: float,
        favoured: int | None = None,
    ) -> Step | End:
        begun = sum(bool(trial.f1) or trial.state == "running" for trial in seen)
        if new and begun < STARTUP:
            is_guessed = self._prior is not None and begun % 2 == 0  # the others test the guess
            return self._begin(outlook) if is_guessed and outlook else Step(knobs=self._random())
        paused = [trial for trial in seen if trial.state == "paused"]
        if outlook is None:
            if paused:
                return Step(number=paused[0].number)
            return Step(knobs=self._random()) if new else End()
        steps = [(self._thaw(outlook, trial, favoured), 1) for trial in paused]
        steps += [(self._begin(outlook), new)] if new else []
        steps = [(step, count) for step, count in steps if step.seconds <= seconds_left]
        if not steps:
            return End()
        workers = 1 + sum(trial.state == "running" for trial in seen)
        promised = sum(step.gain * min(count, workers * seconds_left / step.seconds) for step, count in steps)
        is_ready = sum(trial.state == "complete" for trial in seen) >= self._least
        if is_ready and promised < outlook.noise / self._patience:
            scale = float(np.exp(-outlook.best.max()))  # a small step of y in F1
            return End(promised * scale, outlook.noise * scale)
        return max((step for step, _ in steps), key=lambda step: step.score)

    def _random(self) -> dict[str, Any]:
        for point in self._cube.random(CANDIDATES, self._rng):
            if self._is_allowed(knobs := self._cube.knobs(point)):
                break
        return knobs  # over a limit if nothing was within: the search refuses it and says so

    def _allowed(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Return configurations within the limits; all of them over a limit if nothing is within."""
        found = [self._cube.knobs(point) for point in self._cube.random(CANDIDATES, rng)]
        return [knobs for knobs in found if self._is_allowed(knobs)] or found

    def _costs(self, configurations: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
        """Shape: [configurations, costs]."""
        costs = [self._costs_of(knobs) for knobs in configurations]
        return np.array(costs, dtype=np.float64).reshape(len(costs), self._front.costs)

    def _outlook(self, seen: Sequence[Seen]) -> "_Outlook | None":
        trained = [trial for trial in seen if trial.f1 and np.isfinite(trial.f1[0])]
        if not trained and self._prior is None:
            return None
        trained += [trial for trial in seen if trial.state == "running" and not trial.f1]
        if len(trained) > MODELLED:
            idle = [trial for trial in trained if trial.state not in ("running", "complete")]
            worst = sorted(idle, key=lambda trial: (trial.state == "paused", max(trial.f1)))
            left_out = {trial.number for trial in worst[: len(trained) - MODELLED]}
            trained = [trial for trial in trained if trial.number not in left_out]
        points = self._with_guesses(self._cube.points([trial.knobs for trial in trained]))
        f1 = np.full((len(trained), self._epochs), np.nan)
        for row, trial in enumerate(trained):
            f1[row, : len(trial.f1)] = trial.f1
        known = int(np.isfinite(f1).sum())
        if known and known >= self._fitted_at * REFIT:
            self._model.fit(Trainings(points, f1), self._rng)
            self._fitted_at = known
        posterior = self._model.condition(Trainings(points, f1))
        if running := [row for row, trial in enumerate(trained) if trial.state == "running"]:
            # Other workers should not do the same: running trials end as expected, and tell nothing new.
            f1[running, -1] = unwarp(posterior.of_trainings().mean[running])
            posterior = self._model.condition(Trainings(points, f1))
        smooth = posterior.at(points)
        ready = [row for row, trial in enumerate(trained) if trial.state in ("running", "complete")]
        costs = self._costs([trial.knobs for trial in trained])
        best = self._front.best(smooth.mean[ready], costs[ready], smooth.mean.min() if trained else UNKNOWN)
        bad = self._cube.points([trial.knobs for trial in seen if trial.state == "bad"])
        own = posterior.of_trainings()
        return _Outlook(trained, points, costs, posterior, own, smooth, best, bad, self._model.seed_deviation)

    def _thaw(self, outlook: "_Outlook", trial: Seen, favoured: int | None) -> Step:
        row = outlook.row(trial.number)
        # At least one epoch: a trial that was put back after its last one trains it again from its snapshot.
        seconds = max(1, self._epochs - (len(trial.f1) if trial.kept else 0)) * trial.seconds
        if row is None:  # it was put back before its first epoch, or is one of the worst of very many
            urgency = 0.0 if trial.f1 else 1.0
            return Step(urgency, urgency, seconds, number=trial.number)
        own, only = outlook.own, slice(row, row + 1)
        gain = float(self._front.improvement(own.mean[only], own.sd[only], outlook.costs[only], outlook.best)[0])
        worth = gain * (SWITCH if trial.number == favoured else 1.0)
        return Step(gain, worth / seconds**THRIFT, seconds, number=trial.number)

    def _with_guesses(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return points if self._prior is None else np.concatenate([points, self._prior(points)], axis=1)

    def _begin(self, outlook: "_Outlook") -> Step:
        points = self._cube.random(CANDIDATES, self._rng)
        gains = self._gains(outlook, points)
        best = self._front.holders(outlook.smooth.mean, outlook.costs, BEST)
        around = outlook.points[:, : points.shape[1]][best]
        for width in WIDTHS:
            around = np.concatenate([around, points[np.argsort(-gains)[:BEST]]])
            near = np.concatenate([self._cube.near(point, NEIGHBOURS, width, self._rng) for point in around])
            points, gains = np.concatenate([points, near]), np.concatenate([gains, self._gains(outlook, near)])
            around = around[:0]
        steps: list[Step] = []
        for row in np.argsort(-gains):
            if self._is_allowed(knobs := self._cube.knobs(points[row])):
                seconds, gain = self._epochs * self._seconds_of(knobs), float(gains[row])
                steps.append(Step(gain, gain / seconds**THRIFT, seconds, knobs=knobs))
                if len(steps) == PRICED:
                    break
        if not steps:
            return Step(0.0, 0.0, self._epochs * self._seconds_of(knobs), knobs=self._random())
        return max(steps, key=lambda step: step.score)

    def _gains(self, outlook: "_Outlook", points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expected improvement of new trials, less where similar ones failed. Shape: [points]."""
        guessed = self._with_guesses(points)
        costs = self._costs([self._cube.knobs(point) for point in points]) if self._front.costs else points[:, :0]
        there = outlook.posterior.at(guessed)
        return self._front.improvement(there.mean, there.sd, costs, outlook.best) * outlook.safety(guessed)


@dataclass(frozen=True, eq=False)
class _Outlook:
    """What the model says of the trained trials, which are in `seen`."""

    seen: Sequence[Seen]
    points: NDArray[np.float64]
    costs: NDArray[np.float64]
    posterior: Posterior
    own: Prediction  # of each trial, with the luck of its seed
    smooth: Prediction  # of its configuration
    best: NDArray[np.float64]  # y of the best configuration of a complete or running trial, in each cell of the front
    bad: NDArray[np.float64]  # points of trials that failed for what they are
    noise: float  # standard deviation of y between seeds, after the last epoch

    def row(self, number: int) -> int | None:
        """Return the row of trial `number`, None if it is not in the model."""
        return next((row for row, trial in enumerate(self.seen) if trial.number == number), None)

    def safety(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how likely a trial is not to fail, 1 with no failed ones near it. Shape: [points]."""
        if not len(self.bad):
            return np.ones(len(points))
        good = self.posterior.nearness(points, self.points).sum(axis=1)
        return np.asarray((1 + good) / (1 + good + self.posterior.nearness(points, self.bad).sum(axis=1)))
