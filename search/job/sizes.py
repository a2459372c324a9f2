"""Which size of network suits the minutes: the known one that promises most in the time of a final training."""

from collections.abc import Mapping
from typing import Any

from fmnist.config import TrialConfig
from search.job.estimate import Costs
from search.job.minutes import around, epochs_within, shares_of, with_values
from search.job.prior import uses_known
from search.study.records import DataRecord
from search.study.sizes import KnownSize, known_sizes
from search.study.spec import StudySpec

SECONDS = 0.3  # that the speed of each network is measured for


def with_best_size(spec: StudySpec, costs: Costs, data: DataRecord, images: int, stored: StudySpec | None) -> StudySpec:
    """Return the study that tries first the known network that promises most for its minutes on this device.

    Only for images that something is known of, and in place of a known network: another configuration that a study
    tries first is its own choice. `stored`: the same study in an earlier run, which has chosen.
    """
    if spec.budget.minutes is None or stored is not None or not uses_known(spec, data):
        return spec
    inside = [size for size in known_sizes() if not spec.space.errors(size.knobs)]
    if not spec.prior.configs or _config(spec, spec.prior.configs[0]) not in [
        _config(spec, size.knobs) for size in inside
    ]:
        return spec
    left = (spec.budget.minutes * 60 - around(spec, costs, data)) * (1 - sum(shares_of(spec, data)))

    def promise(size: KnownSize) -> float:
        own = costs.of_config(_config(spec, size.knobs), spec, data, images, seconds=SECONDS)
        return size.after(epochs_within(spec, own, left))

    best = max(inside, key=promise)
    config = _config(spec, best.knobs)
    first = {name: getattr(config, name) for name in spec.space.knobs}  # all: the search is to choose none of it
    others = tuple(config for config in spec.prior.configs[1:] if config != first)
    return with_values(spec, prior={"configs": (first, *others)})


def _config(spec: StudySpec, knobs: Mapping[str, Any]) -> TrialConfig:
    return TrialConfig.model_validate(spec.space.pinned | dict(knobs))
