"""Which model predicts best where trainings end, from recorded learning curves.

    python benchmarks/curve_models.py [--space FILE.toml --curves FILE.csv] [--trainings N] [--repeats N] [--json FILE]

In each repeat some recorded trainings are seen, halved after epochs 1, 2 and 4: the worse half stops. Each model then
predicts the last F1 of the trainings that stopped, and of others that it has not seen.

stopped, unseen   root mean square error in hundredths of F1, over the better half; mean of the repeats
rank              Spearman's correlation over the better half of the unseen
surprise          mean negative log density of the unseen ones' -log(1 - F1), over the better half: less is better
CPU               seconds of fit and prediction, one thread

`ratio` in the JSON is the error of `warped` at the unseen by that of `process`.

`process` is search/samplers/learning_curves.py. `last values` is a Gaussian process on the last F1, where a stopped
training counts with its last F1 and the median of what complete ones gained since (version 0.1); `warped` the same on
-log(1 - F1). `kronecker` is BoTorch's LatentKroneckerGP on the same with its defaults; it needs the package botorch.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import importlib.util
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import threadpool_limits

from benchmarks.curves import CURVES, SPACE, read_curves, read_space
from benchmarks.options import CurvesFile, Json, NoData, SpaceFile
from benchmarks.table import perform, publish, surroundings, tell
from search.samplers.cube import Cube
from search.samplers.learning_curves import CurveModel, Trainings, unwarp, warp
from search.terminal.table import Table

Array = NDArray[np.float64]
HALVED = (1, 2, 4)  # after these epochs


@dataclass(frozen=True)
class Problem:
    """What a model sees, and the points that it has not seen. Shape: seen [n, epochs], unseen [m, dimensions]."""

    seen: Trainings
    unseen: Array
    knob_of: NDArray[np.int64]
    seed: int


@dataclass(frozen=True)
class Answer:
    """Predictions of y = -log(1 - F1), of each training that was seen, and at the unseen points with deviations."""

    stopped: Array
    unseen: Array
    sd: Array


def process(problem: Problem) -> Answer:
    """This project's model."""
    model = CurveModel(problem.knob_of)
    model.fit(problem.seen, np.random.default_rng(problem.seed))
    posterior = model.condition(problem.seen)
    there = posterior.at(problem.unseen)
    sd = np.hypot(there.sd, model.seed_deviation)
    return Answer(posterior.of_trainings().mean, there.mean, sd)


def last_values(problem: Problem) -> Answer:
    """A process on last values of F1."""
    mean, sd, guessed = _on_last_values(problem, lambda f1: f1)
    y = warp(mean)
    return Answer(warp(guessed), y, sd / np.maximum(1 - mean, 1e-3))


def warped(problem: Problem) -> Answer:
    """A process on last values of y."""
    mean, sd, guessed = _on_last_values(problem, warp)
    return Answer(warp(guessed), mean, sd)


def kronecker(problem: Problem) -> Answer:
    """BoTorch's model."""
    from botorch.fit import fit_gpytorch_mll
    from botorch.models.latent_kronecker_gp import LatentKroneckerGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    points, count = torch.from_numpy(problem.seen.points), len(problem.seen)
    epochs = problem.seen.f1.shape[1]
    times = torch.linspace(1 / epochs, 1, epochs, dtype=torch.float64)[:, None]
    y = torch.from_numpy(np.where(np.isfinite(problem.seen.f1), warp(problem.seen.f1), np.nan))
    torch.manual_seed(problem.seed)
    model: Any = LatentKroneckerGP(points, times, y)
    with warnings.catch_warnings(), model.use_iterative_methods():
        warnings.simplefilter("ignore")
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        everywhere = torch.cat((points, torch.from_numpy(problem.unseen)))
        with torch.no_grad():
            samples = model.posterior(everywhere, times).rsample(torch.Size([256]))[..., -1]
    mean, sd = samples.mean(dim=0).numpy(), samples.std(dim=0).numpy()
    noise = float(model.likelihood.noise.detach().sqrt()) * float(model.outcome_transform.stdvs.flatten()[0])
    return Answer(mean[:count], mean[count:], np.hypot(sd[count:], noise))


MODELS: Final[dict[str, Callable[[Problem], Answer]]] = {
    "process": process,
    "last values": last_values,
    "warped": warped,
    "kronecker": kronecker,
}


def curve_models(
    space: SpaceFile = SPACE,
    curves: CurvesFile = CURVES,
    trainings: Annotated[int, typer.Option(metavar="N", min=8, help="Seen by the models.")] = 40,
    repeats: Annotated[int, typer.Option(metavar="N", min=1)] = 8,
    data: NoData = "",  # noqa: ARG001
    file: Json = None,
) -> None:
    """Print the table."""
    here = surroundings(workers=1, threads=1)
    spec = read_space(space)
    cube = Cube(spec.space.distributions())
    rows = {curve.point: curve for curve in read_curves(curves) if len(curve.curve) == spec.epochs}
    points = cube.points([curve.knobs for curve in rows.values()])
    f1 = np.array([curve.curve for curve in rows.values()])
    names = [name for name in MODELS if name != "kronecker" or importlib.util.find_spec("botorch")]
    if "kronecker" in names:
        importlib.import_module("botorch.models.latent_kronecker_gp")  # its import should not count as its time
        importlib.import_module("botorch.fit")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with threadpool_limits(1):
        torch.set_num_threads(1)
        for seed in range(repeats):
            order = np.random.default_rng(seed).permutation(len(rows))
            seen, unseen = order[:trainings], order[trainings : trainings + 200]
            problem = Problem(Trainings(points[seen], _halved(f1[seen])), points[unseen], cube.knob_of, seed)
            for name in names:
                start = time.process_time()
                answer = MODELS[name](problem)
                seconds = time.process_time() - start
                found[name].append(_judged(problem, answer, f1[seen, -1], f1[unseen, -1]) | {"CPU": seconds})
            tell(f"{seed + 1} of {repeats} repeats.")
    means = {name: {key: fmean(row[key] for row in rows) for key in rows[0]} for name, rows in found.items()}
    lines = [(name, *(f"{value:.2f}" for value in mean.values())) for name, mean in means.items()]
    caption = f"{trainings} trainings of {spec.epochs} epochs seen, halved after epochs 1, 2 and 4; {repeats} repeats."
    table = Table("Where trainings end", ("model", *next(iter(means.values()))), lines, caption)
    settings = {"space": space.name, "trainings": trainings, "repeats": repeats}
    ratio = means["warped"]["unseen"] / means["process"]["unseen"]
    figures = {"benchmark": "curve_models", **here, "settings": settings, "rows": found, "means": means, "ratio": ratio}
    publish(table, figures, file)


def _halved(f1: Array) -> Array:
    f1, running = f1.copy(), np.arange(len(f1))
    for epoch in HALVED:
        ordered = running[np.argsort(-f1[running, epoch - 1])]
        running, ended = ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]
        f1[ended, epoch:] = np.nan
    return f1


def _on_last_values(problem: Problem, scale: Callable[[Array], Array]) -> tuple[Array, Array, Array]:
    """Return mean and deviation at the unseen points, and the guessed last F1 of each training that was seen."""
    f1 = problem.seen.f1
    complete = f1[np.isfinite(f1[:, -1])]
    reached = np.isfinite(f1).sum(axis=1)
    gains = np.array([np.median(complete[:, -1] - complete[:, epochs - 1]) for epochs in reached])
    guessed = np.minimum(f1[np.arange(len(f1)), reached - 1] + gains, complete[:, -1].max())
    kernel = ConstantKernel() * Matern(np.ones(problem.unseen.shape[1]), nu=2.5) + WhiteKernel()
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=problem.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mean, sd = model.fit(problem.seen.points, scale(guessed)).predict(problem.unseen, return_std=True)
    return mean, sd, guessed


def _judged(problem: Problem, answer: Answer, seen: Array, unseen: Array) -> dict[str, float]:
    stopped = ~np.isfinite(problem.seen.f1[:, -1])
    stopped &= seen >= np.median(seen)
    better = unseen >= np.median(unseen)
    y, sd = warp(unseen[better]), np.maximum(answer.sd[better], 1e-3)
    surprise = 0.5 * np.square((y - answer.unseen[better]) / sd) + np.log(sd) + 0.5 * np.log(2 * np.pi)
    return {
        "stopped": _error(answer.stopped[stopped], seen[stopped]),
        "unseen": _error(answer.unseen[better], unseen[better]),
        "rank": float(spearmanr(answer.unseen[better], unseen[better]).statistic),
        "surprise": float(surprise.mean()),
    }


def _error(y: Array, f1: Array) -> float:
    return 100 * float(np.sqrt(np.mean(np.square(unwarp(y) - f1))))


if __name__ == "__main__":
    perform(curve_models, __doc__ or "")
