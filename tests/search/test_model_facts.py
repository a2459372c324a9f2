"""The answers that a study kept: read as they are, or refused, and never needed."""

from pathlib import Path

import numpy as np
import optuna
import pytest

from search.errors import SearchError
from search.model_facts import read_tested
from search.study import study_folder
from tests.search.sample import final, finished_study

FINAL = final(0.943, 0.944).model_copy(update={"test_images": 50, "exported_seed": 2001})
LABELS = np.arange(50) % 10
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(10), (2, 50)).astype(np.float32)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    monkeypatch.chdir(tmp_path)
    (study_folder("quick") / "final").mkdir(parents=True)
    return finished_study()


def kept(study: optuna.Study) -> Path:
    return study_folder(study.study_name) / "final" / "predictions.npz"


def test_the_answers_are_those_of_the_exported_seed(study: optuna.Study) -> None:
    assert read_tested(study, FINAL) is None
    np.savez_compressed(kept(study), labels=LABELS, probabilities=PROBABILITIES)
    found = read_tested(study, FINAL)
    assert found is not None
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_array_equal(found.probabilities, PROBABILITIES[1])


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": LABELS},
        {"labels": LABELS[:49], "probabilities": PROBABILITIES},
        {"labels": LABELS, "probabilities": PROBABILITIES[:1]},
        {"labels": LABELS + 1, "probabilities": PROBABILITIES},
        {"labels": np.array([print] * 50, dtype=object), "probabilities": PROBABILITIES},
    ],
    ids=["none", "fewer", "one seed", "no such class", "pickled"],
)
def test_answers_of_something_else_are_refused(study: optuna.Study, arrays: dict[str, np.ndarray]) -> None:
    np.savez(kept(study), **arrays)  # type: ignore[arg-type]
    with pytest.raises(SearchError, match=r"predictions.npz must hold .* Delete it, to export without them\."):
        read_tested(study, FINAL)


def test_a_damaged_file_is_refused(study: optuna.Study) -> None:
    for content in (b"", b"PK\x03\x04junk", b"junk"):
        kept(study).write_bytes(content)
        with pytest.raises(SearchError, match="it cannot be read"):
            read_tested(study, FINAL)
