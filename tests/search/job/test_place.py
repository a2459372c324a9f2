"""How the cores of a machine are divided, as the options ask for it."""

import pytest

from search.errors import SearchError
from search.job.options import PlaceOptions
from search.job.place import choose_place


@pytest.mark.parametrize(
    ("options", "workers", "threads"),
    [
        ({}, 8, 1),
        ({"workers": 2}, 2, 4),
        ({"workers": 3}, 3, 2),
        ({"threads": 4}, 2, 4),
        ({"threads": 3}, 2, 3),
        ({"threads": 8}, 1, 8),
        ({"workers": 1, "threads": 2}, 1, 2),
        ({"workers": 16, "threads": 1}, 16, 1),
    ],
)
def test_what_is_not_asked_for_follows_from_the_cores(
    options: PlaceOptions, workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("search.job.place", "search.executors.capacity"):
        monkeypatch.setattr(f"{module}.cores", lambda: 8)
    place = choose_place({"device": "cpu", **options})
    assert (place.workers, place.threads) == (workers, threads)


def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.job.place.cores", lambda: 2)
    with pytest.raises(SearchError, match="--threads must be at most the 2 cores of this machine, got 3"):
        choose_place({"threads": 3})


def test_ray_has_its_own_option() -> None:
    with pytest.raises(SearchError, match="--cpus-per-trial instead of --threads"):
        choose_place({"executor": "ray", "threads": 1})
