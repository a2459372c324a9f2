"""Which network a job with minutes tries first."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmnist.network import describe
from search.job.estimate import measure_costs
from search.job.place import Place
from search.job.sizes import with_best_size
from search.study.records import DataRecord
from search.study.sizes import KnownSize, known_sizes
from search.study.spec import StudySpec, load_spec

NAMES = tuple(map(str, range(10)))
DATA = DataRecord(name="Fashion-MNIST", fingerprint="0", train=50_000, valid=10_000, class_names=NAMES, test=10_000)
IMAGES = 60_000


def size(name: str, filters: int, f1: tuple[float, ...]) -> KnownSize:
    knobs = load_spec("auto").prior.configs[0] | {"filters": filters}
    return KnownSize(name=name, knobs=knobs, epochs=(5, 20), f1=f1)


SIZES = (size("small", 16, (0.93, 0.935)), size("medium", 32, (0.8, 0.81)), size("large", 48, (0.91, 0.945)))


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine whose speed follows from the operations of a network."""
    monkeypatch.setattr(
        "search.job.estimate.measure_speed", lambda config, *_, **__: 4e10 / describe(config, 10).pass_flops
    )
    monkeypatch.setattr("search.job.sizes.known_sizes", lambda: SIZES)
    return Place(torch.device("cpu"), workers=2, threads=1, cluster=None, trial_timeout=None)


def first(place: Place, spec: StudySpec, data: DataRecord = DATA, stored: StudySpec | None = None) -> dict[str, Any]:
    costs = measure_costs(spec, place, data=data, images=IMAGES)
    return dict(with_best_size(spec, costs, data, IMAGES, stored).prior.configs[0])


def test_more_minutes_begin_with_a_larger_network(places: Place) -> None:
    auto = load_spec("auto")
    assert [first(places, auto.overridden(minutes=minutes))["filters"] for minutes in (3.0, 60.0)] == [16, 48]


def test_only_known_networks_of_the_space_are_tried(places: Place) -> None:
    narrow = load_spec("auto").overridden(minutes=60.0, settings=["filters=16,32"])
    assert first(places, narrow)["filters"] == 16
    none = load_spec("auto").overridden(minutes=60.0, settings=["filters=40,44"])
    assert first(places, none) == load_spec("auto").prior.configs[0]


def test_a_configuration_of_ones_own_stays_the_first(places: Place) -> None:
    auto = load_spec("auto").overridden(minutes=60.0)
    own = ({"filters": 32, "dropout": 0.2}, *auto.prior.configs)
    mine = auto.model_copy(update={"prior": auto.prior.model_copy(update={"configs": own})})
    assert first(places, mine) == own[0]


def test_other_images_and_studies_keep_what_they_name(places: Place) -> None:
    auto = load_spec("auto").overridden(minutes=60.0)
    named = auto.prior.configs[0]
    assert first(places, auto, DATA.model_copy(update={"name": "photos"})) == named
    assert first(places, auto, stored=auto) == named
    assert first(places, auto.overridden(known="never")) == named


def test_every_known_network_is_in_the_space_of_auto() -> None:
    space = load_spec("auto").space
    for known in known_sizes():
        assert space.errors(known.knobs) == []


@given(st.integers(1, 500), st.integers(1, 500))
def test_more_epochs_promise_more(some: int, more: int) -> None:
    known = KnownSize(name="one", knobs={}, epochs=(5, 20, 60), f1=(0.93, 0.938, 0.943))
    low, high = sorted((some, more))
    assert 0 < known.after(low) <= known.after(high) < 1
    assert [round(known.after(epochs), 6) for epochs in known.epochs] == list(known.f1)
