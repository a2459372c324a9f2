from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fmnist.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fmnist.classifier import top
from fmnist.config import TrialConfig
from fmnist.data import synthetic
from fmnist.errors import FmnistError
from fmnist.network import build
from fmnist.predict import predict

CPU = torch.device("cpu")
NAMES = synthetic.CLASS_NAMES


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    config = TrialConfig(filters=8, batch_norm=True, head="max")
    save_checkpoint(tmp_path / "model", build(config, len(NAMES)), config, NAMES, origin={})
    return load_checkpoint(tmp_path / "model")


def test_probabilities_do_not_depend_on_the_batch(checkpoint: Checkpoint) -> None:
    pixels = synthetic.test().pixels[:5]
    together = predict(checkpoint, pixels, CPU)
    alone = np.concatenate([predict(checkpoint, pixels[i : i + 1], CPU) for i in range(5)])
    assert together.shape == (5, 10)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_read_only_and_transposed_arrays_are_predicted(checkpoint: Checkpoint) -> None:
    pixels = synthetic.test().pixels[:2].copy()
    pixels.flags.writeable = False
    transposed = pixels.transpose(0, 2, 1)
    expected = predict(checkpoint, np.ascontiguousarray(transposed), CPU)
    np.testing.assert_allclose(predict(checkpoint, transposed, CPU), expected, atol=1e-6)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 28, 28), np.float32), np.zeros((28, 28), np.uint8), np.zeros((1, 28, 27), np.uint8)]
)
def test_arrays_of_another_type_or_shape_are_refused(checkpoint: Checkpoint, pixels: NDArray[Any]) -> None:
    with pytest.raises(FmnistError, match=r"must be uint8 \[N, 28, 28\], got"):
        predict(checkpoint, pixels, CPU)


def test_top_returns_the_most_likely_first() -> None:
    probabilities = np.array([0.1, 0.6, 0.3], np.float32)
    (first, highest), (second, _) = top(probabilities, ("a", "b", "c"), k=2)
    assert (first, second) == ("b", "c")
    assert highest == pytest.approx(0.6)
    assert [label for label, _ in top(probabilities, ("a", "b", "c"), k=9)] == ["b", "c", "a"]
