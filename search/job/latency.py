"""The latency of the networks of a search against it, measured before anything else is at work on the device."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from fmnist.config import TrialConfig
from fmnist.cuda import release_memory
from fmnist.device import device_name, torch_threads
from fmnist.machine import processor
from fmnist.network import build, describe
from fmnist.predict import latency_ms
from search.job.place import Place
from search.samplers.cube import Cube
from search.study.costs import latency_parts
from search.study.front import LatencyModel
from search.study.limits import constraints_of, violations
from search.study.spec import StudySpec
from search.study.study import Study
from search.terminal.wording import counted, duration

NETWORKS = 32  # that are measured, spread over the space
TRIES = 40 * NETWORKS  # for networks within the limits
SEED = 0
SECONDS = 0.3  # at most, of a median of passes

Floats = NDArray[np.float64]


def learn_latency(study: Study, spec: StudySpec, classes: int, place: Place, announce: Callable[[str], None]) -> None:
    """The study of a search against latency has the model that its costs come from."""
    if "latency_ms" not in spec.search.against:
        return
    where = processor() if place.device.type == "cpu" else device_name(place.device)
    if known := study.read(LatencyModel):
        if (known.device, known.threads) != (where, place.threads):
            announce(f"Latency stays that of {known.place}, where the search began.")
        return
    begin, configs = time.monotonic(), _some_networks(spec, classes)
    announce(f"Latency: measuring {counted(len(configs), 'network')} of the space.")
    with torch_threads(place.threads):
        measured = [
            latency_ms(build(config, classes), config.size, place.device, seconds=SECONDS) for config in configs
        ]
    release_memory(place.device)
    parts = np.array([latency_parts(describe(config, classes)) for config in configs])
    model = LatencyModel(
        milliseconds=tuple(fitted(parts, np.array(measured)).tolist()),
        error=error_of_unseen(parts, np.array(measured)),
        networks=len(configs),
        device=where,
        threads=place.threads,
    )
    with study.locked():  # another run of the study may have measured meanwhile: all count by one model
        if study.read(LatencyModel) is None:
            study.write(model)
    announce(
        f"Latency: {min(measured):.3g} to {max(measured):.3g} ms an image on {model.place}, measured in "
        f"{duration(time.monotonic() - begin)}. That of others is predicted from their layers"
        f"{'' if model.error is None else f', with a median error of {100 * model.error:.0f} %'}."
    )


def fitted(parts: Floats, measured: Floats) -> Floats:
    """Return the milliseconds of each part, none below 0, with the least relative errors.

    Shape: parts [networks, parts], measured [networks].
    """
    scale = np.abs(parts).max(axis=0)
    return np.asarray(nnls(parts / scale / measured[:, None], np.ones(len(measured)))[0] / scale)


def error_of_unseen(parts: Floats, measured: Floats) -> float | None:
    """Return the median relative error for a network by the model of the others; None of a single one."""
    if len(measured) == 1:
        return None
    others = [np.arange(len(measured)) != left_out for left_out in range(len(measured))]
    predicted = [parts[i] @ fitted(parts[kept], measured[kept]) for i, kept in enumerate(others)]
    return float(np.median(np.abs(np.array(predicted) / measured - 1)))


def _some_networks(spec: StudySpec, classes: int) -> list[TrialConfig]:
    """Return up to NETWORKS deployed networks of the space, all different, those over a limit only if there are none
    within.
    """
    space, found, over = spec.space, dict[tuple[float, ...], TrialConfig](), list[TrialConfig]()
    cube = Cube(space.distributions())
    for point in cube.random(TRIES, np.random.default_rng(SEED)):
        config = spec.final.deployed(TrialConfig.model_validate(space.pinned | cube.knobs(point)))
        if violations(constraints_of(spec.limits, config, classes), spec.limits):
            over.append(config)
        elif (parts := latency_parts(describe(config, classes))) not in found:
            found[parts] = config
        if len(found) == NETWORKS:
            break
    return list(found.values()) or over[:NETWORKS]
