"""What the final models said of the test split: read as it was scored, or refused, and never needed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.errors import SearchError
from search.study.paths import HOME
from search.study.predictions import Mistake, Predictions, predictions_path, read_predictions, surest_mistakes
from tests.search.report.lists.listed import LABELS, scored

PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(10), (2, len(LABELS))).astype(np.float32)
FINAL = scored(PROBABILITIES.argmax(axis=2)).model_copy(update={"exported_seed": 2001})


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    found = predictions_path(HOME / "quick")
    found.parent.mkdir(parents=True)
    return found


def test_they_are_those_of_every_seed_and_the_sure_ones_those_of_the_exported(path: Path) -> None:
    assert read_predictions(HOME / "quick", FINAL) is None
    np.savez_compressed(path, labels=LABELS, probabilities=PROBABILITIES)
    found = read_predictions(HOME / "quick", FINAL)
    assert found is not None
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_array_equal(found.predicted, PROBABILITIES.argmax(axis=2))
    np.testing.assert_array_equal(found.confidence, PROBABILITIES[1].max(axis=1))
    np.testing.assert_array_equal(found.is_right, PROBABILITIES[1].argmax(axis=1) == LABELS)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"labels": LABELS}, "it is damaged"),
        ({"labels": LABELS[:-1], "probabilities": PROBABILITIES}, "must hold labels"),
        ({"labels": LABELS, "probabilities": PROBABILITIES[:1]}, "must hold labels"),
        ({"labels": LABELS, "probabilities": PROBABILITIES[:, :, :9]}, "must hold labels"),
        ({"labels": LABELS, "probabilities": PROBABILITIES[0]}, "must hold labels"),
        ({"labels": LABELS + 1, "probabilities": PROBABILITIES}, "must hold labels"),
        ({"labels": LABELS - 1, "probabilities": PROBABILITIES}, "must hold labels"),
        ({"labels": LABELS.astype(float), "probabilities": PROBABILITIES}, "must hold labels"),
        ({"labels": LABELS, "probabilities": PROBABILITIES[::-1]}, "that the study was scored on: macro F1"),
        ({"labels": np.array([None] * len(LABELS), dtype=object), "probabilities": PROBABILITIES}, "it is damaged"),
    ],
    ids=[
        "no probabilities",
        "fewer",
        "one seed",
        "fewer classes",
        "flat",
        "too high",
        "negative",
        "no numbers",
        "other seeds",
        "pickled",
    ],
)
def test_those_of_something_else_are_refused(path: Path, arrays: dict[str, Any], says: str) -> None:
    np.savez(path, **arrays)
    with pytest.raises(SearchError, match=says) as caught:
        read_predictions(HOME / "quick", FINAL)
    assert str(path) in str(caught.value)
    assert "without the file: delete it" in str(caught.value)


def test_a_damaged_file_is_refused(path: Path) -> None:
    for content in (b"", b"PK\x03\x04junk", b"junk"):
        path.write_bytes(content)
        with pytest.raises(SearchError, match="it is damaged"):
            read_predictions(HOME / "quick", FINAL)


def test_mistakes_come_the_surest_first() -> None:
    sure = np.array([[0.4, 0.6], [0.01, 0.99], [0.9, 0.1], [0.3, 0.7]])
    made = Predictions(np.array([0, 1, 1, 0]), sure[None], exported=0)
    assert surest_mistakes(made, 2) == [Mistake(2, 1, 0, 0.9), Mistake(3, 0, 1, 0.7)]
