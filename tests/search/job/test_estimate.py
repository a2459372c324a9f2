"""The time of a study, from a measured speed that is fixed here."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fmnist.config import TrialConfig
from fmnist.network import describe
from search.job.estimate import Estimate, estimate, measure_costs
from search.job.minutes import AROUND
from search.job.place import Place
from search.job.ranges import JobRange, Span, range_of
from search.study.records import DataRecord
from search.study.spec import StudySpec
from tests.search.tiny import tiny_spec

DATA = DataRecord(name="synthetic", fingerprint="0", train=400, valid=100, class_names=("a", "b", "c"))
PLACE = Place(torch.device("cpu"), 1, 1, None, None)
SPEED = 1000.0  # images a second, of the median network of a study


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.job.estimate.measure_speed", lambda *_, **__: SPEED)


def pinned(**knobs: Any) -> StudySpec:
    return StudySpec.parse({"name": "pinned", "search": {"trials": 4}, "knobs": {"epochs": 3, **knobs}}, context="test")


def seconds(spec: StudySpec, **changes: Any) -> Estimate:
    return estimate(spec, replace(PLACE, **changes), data=DATA, images=500)


def test_a_trial_takes_its_training_and_half_as_long_for_each_view_of_a_validation_image() -> None:
    plain, mirrored, moved = (
        seconds(pinned(**knobs)) for knobs in ({}, {"mirror": True}, {"mirror": True, "translate": 1})
    )
    assert plain.search == pytest.approx(4 * 3 * (400 + 50) / SPEED)
    assert mirrored.search == pytest.approx(4 * 3 * (400 + 100) / SPEED)
    assert moved.search == pytest.approx(4 * 3 * (400 + 300) / SPEED)
    assert plain.final == mirrored.final == moved.final == pytest.approx(3 * 3 * 500 / SPEED)  # nothing is scored
    assert seconds(pinned(), workers=2).search == pytest.approx(plain.search / 2)


def test_trainings_take_turns_or_share_the_cores_so_that_no_worker_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.job.estimate.measure_speed", lambda *_, **__: SPEED * torch.get_num_threads())
    one, two = seconds(pinned()), seconds(pinned(), workers=2)
    assert two.final == pytest.approx(one.final / 2)  # three seeds, one and a half a worker
    assert two.search == pytest.approx(one.search / 2)
    single = pinned().overridden(trials=1)
    assert seconds(single, workers=2).search == pytest.approx(seconds(single).search / 2)


def test_a_study_without_a_confirm_stage_has_no_time_for_one() -> None:
    spec = pinned()
    without = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"seeds": 0})})
    assert seconds(without).confirm == 0
    assert seconds(without).total == pytest.approx(seconds(spec).total - seconds(spec).confirm)


def test_a_longer_confirm_stage_takes_longer() -> None:
    spec = pinned()
    longer = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"epochs": 12})})
    assert seconds(longer).confirm == pytest.approx(4 * seconds(spec).confirm)
    assert seconds(longer).final == seconds(spec).final


def test_only_networks_within_the_limits_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def measure(config: TrialConfig, classes: int, **_: Any) -> float:
        sizes.append(describe(config, classes).parameters)
        return 1e9 / describe(config, classes).pass_flops

    monkeypatch.setattr("search.job.estimate.measure_speed", measure)
    wide = {"filters": {"low": 8, "high": 256}, "depth": 2, "head": "max"}
    free = pinned(**wide)
    limited = free.overridden(max_params=20_000)
    assert seconds(limited).search < seconds(free).search / 4
    assert sizes[0] <= 20_000 < sizes[1]
    impossible = free.overridden(max_params=1)
    assert seconds(impossible).search > 0  # the search itself says that nothing is within the limit


def test_the_minutes_of_the_search_bound_its_time() -> None:
    spec = tiny_spec().overridden(trials=1000, search_minutes=1)
    assert seconds(spec).search == 60


def ranges(spec: StudySpec) -> JobRange:
    return range_of(spec, measure_costs(spec, PLACE, data=DATA, images=500), DATA)


def test_the_range_of_a_job_has_all_its_parts_and_one_figure_for_one_network() -> None:
    fixed = ranges(pinned())
    exact = seconds(pinned())
    assert fixed.search == Span(exact.search, exact.search)
    assert fixed.final == Span(exact.final, exact.final)
    assert fixed.rest.low >= AROUND
    assert fixed.total.low == pytest.approx(exact.total + fixed.rest.low)
    assert str(fixed.total).startswith("about ")


def test_the_range_is_wider_for_the_winner_than_for_the_search_and_the_mean_is_within_it() -> None:
    spec = pinned(filters={"low": 8, "high": 128}, depth={"low": 1, "high": 3})
    found, mean = ranges(spec), seconds(spec)
    for span, expected in ((found.search, mean.search), (found.confirm, mean.confirm), (found.final, mean.final)):
        assert span.low < expected < span.high
    assert found.final.high / found.final.low > found.search.high / found.search.low > 1.1
    assert found.total.low == pytest.approx(found.search.low + found.confirm.low + found.final.low + found.rest.low)
    minutes = ranges(spec.overridden(trials=100_000, search_minutes=1))
    assert minutes.search == Span(60, 60), "the search ends with its minutes"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (3900, 8400, "1 h 05 min to 2 h 20 min"),
        (100, 109, "about 1 min 44 s"),
        (0.6, 1.4, "about 1 s"),
        (100, 120, "1 min 40 s to 2 min 00 s"),
    ],
)
def test_a_narrow_range_is_one_figure(low: float, high: float, said: str) -> None:
    assert str(Span(low, high)) == said
