import copy

import numpy as np
import pytest
import torch

from fmnist.config import TrialConfig
from fmnist.network import build
from fmnist.scoring import as_input, class_scores


@pytest.mark.parametrize("count", [1, 999, 1000, 2001])
def test_scores_do_not_depend_on_the_batch_size(count: int) -> None:
    model = build(TrialConfig(depth=1, filters=4, batch_norm=True, dropout=0.5), 10)
    pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    scores = class_scores(copy.deepcopy(model).train(), torch.from_numpy(pixels))
    with torch.inference_mode():
        expected = model.eval()(as_input(torch.from_numpy(pixels)))
    assert scores.shape == (count, 10)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_as_input_scales_pixels_without_changing_them() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 28, 28).contiguous()
    images = as_input(pixels)
    assert images.shape == (3, 1, 28, 28)
    torch.testing.assert_close(images[:, 0, 0, 0], torch.tensor([0.0, 0.2, 1.0]))
    assert pixels.max() == 255
