"""The minutes of a whole job before its search: what each stage gets of them, and how long its trainings are.

It rests on the measured speed of a typical network; search/job/replanning.py divides the rest again later.
"""

from typing import Any

import numpy as np

from fmnist.config import TrialConfig
from fmnist.network import describe
from fmnist.size import DEFAULT_SIZE
from search.errors import SearchError
from search.job.estimate import Costs
from search.job.prior import uses_known
from search.samplers.cube import Cube
from search.study.expected import SIZES, Expected, expected
from search.study.records import DataRecord
from search.study.spec import StudySpec
from search.terminal.wording import duration

SHARES = (0.30, 0.12)  # of the time for trainings: the search and the confirm stage
KNOWN = (0.15, 0.06)  # the same, where the search begins with what is known of the images
OF_FINAL = 1 / 3  # epochs of a trial, relative to the final ones
LEAST_EPOCHS, MOST_EPOCHS = 2, 16  # of a trial
LEAST_TRIALS = 4  # whole trials that a search must have time for
FEWEST_FINAL = 10  # epochs of the largest network that is tried
AROUND = 60.0  # seconds of a job that are neither training nor scoring: its start, report, latencies and dashboard
EXPORTED = 16  # times that the export scores the test images, some of them more slowly: every format, and its reference
EXPORTED_POINT = 4  # the same, of a point of a front beside the best: two formats
RANGE, STEPS = (1.0, 10_080.0), 150  # minutes that a target may take, and the lengths that are considered
MOST_FINAL = 200  # epochs; what is left of hours is for the search


def adopted(spec: StudySpec, stored: StudySpec | None) -> StudySpec:
    """Return the study with what an earlier run of it decided; a run without minutes keeps those of the earlier one."""
    if stored is None or (stored.budget.minutes is None and spec.budget.minutes is None):
        return spec
    if spec.budget.minutes is None:
        spec = with_values(spec, budget={"minutes": stored.budget.minutes})
    # All trials must be comparable, so their epochs stay.
    if "epochs" in stored.knobs:
        spec = with_values(spec, knobs=spec.knobs | {"epochs": stored.knobs["epochs"]})
    if spec.budget.minutes != stored.budget.minutes:
        return spec
    return with_values(
        spec,
        search={"trials": stored.search.trials, "minutes": stored.search.minutes},
        limits={"max_flops": stored.limits.max_flops},
        prior={"configs": stored.prior.configs},
        confirm=stored.confirm.model_dump(),
        final={"epochs": stored.final.epochs},
    )


def limited(spec: StudySpec, costs: Costs, data: DataRecord, stored: StudySpec | None) -> StudySpec:
    """Return the study with a limit on operations: the largest network has time for FEWEST_FINAL final epochs."""
    if spec.budget.minutes is None or spec.trials == 1 or spec.limits.max_flops is not None or stored is not None:
        return spec
    if spec.search.against:  # its points are of all sizes, so the largest takes a small share of the time
        return spec
    classes = len(data.class_names)
    time = (spec.budget.minutes * 60 - around(spec, costs, data)) * (1 - sum(shares_of(spec, data)))
    flops = costs.flops * time / costs.of_final(spec, FEWEST_FINAL)
    # What the study itself names is always tried.
    named = [
        describe(spec.final.deployed(TrialConfig.model_validate(spec.space.pinned | config)), classes).flops
        for config in spec.prior.configs
    ]
    return with_values(spec, limits={"max_flops": int(max([flops, costs.least_flops, *named]))})


def shares_of(spec: StudySpec, data: DataRecord) -> tuple[float, float]:
    """Return the shares of the search and the confirm stage."""
    return KNOWN if uses_known(spec, data) else SHARES


def divided(spec: StudySpec, costs: Costs, data: DataRecord, stored: StudySpec | None) -> StudySpec:
    """Return the study with its parts chosen for its minutes; `stored` is the same study in an earlier run."""
    if spec.budget.minutes is None or (stored is not None and stored.budget.minutes == spec.budget.minutes):
        return spec
    left = spec.budget.minutes * 60 - around(spec, costs, data)
    if spec.trials > 1 and (searched := _with_search(spec, costs, left, shares_of(spec, data), stored)):
        return searched
    return _without_search(spec, costs, left)


def around(spec: StudySpec, costs: Costs, data: DataRecord) -> float:
    """Return the seconds of a job besides its trainings."""
    seeds = spec.final.seeds * (2 if spec.final.distil else 1) * spec.points
    return AROUND + costs.of_scoring(seeds + EXPORTED + EXPORTED_POINT * (spec.points - 1), data.test or 0)


def with_minutes_for_target(spec: StudySpec, costs: Costs, data: DataRecord) -> StudySpec:
    """Return the study with the minutes that its target is expected to take here, if it names none.

    Raises: SearchError if nothing is known of the images, or the target is out of reach.
    """
    target = spec.budget.target
    if target is None or spec.budget.minutes is not None:
        return spec
    if not data.is_fashion_mnist or expected_of(spec, costs) is None:
        raise SearchError(
            f"How long a macro F1 of {target} takes is known for Fashion-MNIST at 28 x 28 pixels and networks of "
            f"{SIZES[0]:,} to {SIZES[1]:,} parameters only. Give --minutes as well."
        )
    for minutes in np.geomspace(*RANGE, STEPS):
        timed = with_values(spec, budget={"minutes": float(minutes)})
        found = expected_of(divided(timed, costs, data, None), costs)
        if found is not None and found.f1 >= target:
            return timed
    raise SearchError(
        f"A macro F1 of {target} is not to be expected in {RANGE[1] / 1440:.0f} days here. Ask for less, or give "
        "--minutes."
    )


def expected_of(spec: StudySpec, costs: Costs) -> Expected | None:
    """Return what to expect of the study's final network on Fashion-MNIST, None if nothing is known of such.

    A front has no typical network: its points are meant to differ.
    """
    if spec.search.against or spec.data.size != DEFAULT_SIZE:
        return None
    return expected(costs.operations * spec.final_epochs, costs.parameters)


def in_words(spec: StudySpec, costs: Costs, data: DataRecord) -> str:
    """Return how the minutes of the study are divided, such as "10 min 00 s for the whole job: search ..."."""
    assert spec.budget.minutes is not None
    cost = costs.estimate(spec)
    search = f"search {duration(cost.search)}" if spec.trials > 1 else "no search"
    rest = around(spec, costs, data)
    left = max(0.0, spec.budget.minutes * 60 - rest - cost.search - cost.final)
    confirm = f", confirm {duration(left)}" if spec.confirm.seeds else ""
    return (
        f"{duration(spec.budget.minutes * 60)} for the whole job: {search}{confirm}, final about "
        f"{duration(cost.final)}, start, test and export about {duration(rest)}"
    )


def _with_search(
    spec: StudySpec, costs: Costs, left: float, shares: tuple[float, float], stored: StudySpec | None
) -> StudySpec | None:
    """Return the study with a search, of at most the minutes that the study names; None if there is no time."""
    most = (spec.search.minutes or float("inf")) * 60
    trained = left * (1 - shares[1])
    final = epochs_within(spec, costs, trained - min(left * shares[0], most))
    search = min(trained - costs.of_final(spec, final), most)  # at least its share
    fitting = int(search / (costs.rounds.usual(LEAST_TRIALS) * costs.trial))
    epochs = spec.epochs if stored else min(MOST_EPOCHS, max(LEAST_EPOCHS, round(final * OF_FINAL)), fitting)
    if epochs < LEAST_EPOCHS and stored is None:
        return None
    return with_values(
        spec,
        knobs=spec.knobs | {"epochs": epochs},
        search={"minutes": search / 60},
        # What was confirmed already had these epochs, and means of other lengths could not be compared.
        confirm={"epochs": stored.confirm.epochs if stored else None},
        final={"epochs": final},
    )


def _without_search(spec: StudySpec, costs: Costs, left: float) -> StudySpec:
    """Return the study with one short trial, of its first configuration or the middle of its space."""
    configs = spec.prior.configs[:1] or ((_middle(spec),) if spec.space.knobs else ())
    single = with_values(
        spec,
        knobs=spec.knobs | {"epochs": 1},
        search={"trials": 1, "minutes": None},
        prior={"configs": configs},
        confirm={"seeds": 0, "epochs": None},
    )
    return with_values(single, final={"epochs": epochs_within(single, costs, left - costs.estimate(single).search)})


def epochs_within(spec: StudySpec, costs: Costs, seconds: float) -> int:
    """Return as many final epochs as fit into the seconds, at least one."""
    return int(min(MOST_FINAL, max(1, seconds / costs.of_final(spec, 1))))


def _middle(spec: StudySpec) -> dict[str, Any]:
    cube = Cube(spec.space.distributions())
    return cube.knobs(cube.rounded(np.full((1, len(cube.knob_of)), 0.5))[0])


def with_values(spec: StudySpec, *, knobs: dict[str, Any] | None = None, **sections: dict[str, Any]) -> StudySpec:
    """Return the study with other values in these sections."""
    values = spec.model_dump()
    for name, changes in sections.items():
        values[name] |= changes
    return StudySpec.model_validate(values | ({"knobs": knobs} if knobs else {}))
