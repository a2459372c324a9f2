"""Networks for images of other sizes and in colour: built, trained, saved and read again."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from fmnist.checkpoint import CONFIG, load_checkpoint, save_checkpoint
from fmnist.classifier import load_classifier
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.errors import FmnistError
from fmnist.network import build, describe
from fmnist.size import DEFAULT_SIZE, Size
from fmnist.train import fit, measure_speed

CPU = torch.device("cpu")
ALL = {
    "batch_norm": True, "augmentation": 0.3, "flip": "alternate", "shift": 1.0, "erase": 0.4, "mixup": 0.2,
    "mirror": True, "translate": 1, "ema": 0.9, "small_epochs": 0.5, "epochs": 2, "batch_size": 16, "filters": 8,
    "learning_rate": 0.0003,
}  # fmt: skip


def colours(size: Size, count: int = 32) -> Images:
    """Even images of two classes, which differ in their colour and not in their grey."""
    labels = np.arange(count) % 2
    greys = np.random.default_rng(0).integers(60, 120, (count, size.side, size.side, 3))
    pixels = greys + np.array([[90, -46, 0], [-90, 46, 0]])[labels][:, None, None]
    grey = (pixels @ np.array([0.299, 0.587, 0.114])).round()
    chosen = pixels if size.channels == 3 else grey
    return Images(chosen.clip(0, 255).astype(np.uint8), labels, ("a", "b"))


@pytest.mark.parametrize("conv", ["full", "grouped", "separable", "inverted"])
@pytest.mark.parametrize(("side", "channels"), list(product((28, 32, 48, 64), (1, 3))))
def test_a_network_is_as_it_is_described(side: int, channels: int, conv: str) -> None:
    config = TrialConfig.parse(
        {"side": side, "channels": channels, "conv": conv, "depth": 4, "filters": 16, "init": "dirac"}, context="test"
    )
    network = build(config, 5).eval()
    assert sum(one.numel() for one in network.parameters()) == describe(config, 5).parameters
    assert network(torch.rand(2, channels, side, side)).shape == (2, 5)
    first = network.stages[0].conv
    assert isinstance(first, torch.nn.Conv2d)
    assert (first.in_channels, first.groups, first.kernel_size) == (channels, 1, (3, 3)), "the image's own is full"


def test_small_images_are_the_same_share_of_larger_ones() -> None:
    assert [TrialConfig(small_side=small).first_side for small in (14, 20)] == [14, 20]
    sides = {side: [TrialConfig(side=side, small_side=small).first_side for small in (14, 20)] for side in (32, 48, 64)}  # type: ignore[arg-type]
    assert sides == {32: [16, 23], 48: [24, 34], 64: [32, 46]}


@pytest.mark.parametrize("size", [Size(32, 3), Size(48, 1), Size(64, 3)], ids=str)
@pytest.mark.parametrize("head", ["flatten", "max"])
def test_a_training_with_all_that_changes_images(size: Size, head: str) -> None:
    config = TrialConfig.model_validate(ALL | size._asdict() | {"head": head})
    images = colours(size)
    first, last = fit(config, images, images, seed=0, device=CPU)
    assert last.logits is not None
    assert (first.number, last.logits.shape) == (1, (32, 2))
    teachers = [last.model]
    taught, *_ = fit(config, images, images, seed=0, device=CPU, teachers=teachers)
    assert np.isfinite(taught.train_loss)
    assert measure_speed(config, 2, device=CPU, seconds=0.01) > 0


def test_colours_that_grey_does_not_show_are_learnt_in_three_channels_only() -> None:
    best = {}
    for channels in (1, 3):
        config = TrialConfig(
            side=32, channels=channels, depth=2, filters=8, batch_norm=True, head="max", epochs=4, batch_size=16
        )  # type: ignore[arg-type]
        images = colours(config.size, 128)
        halves = images.take(np.arange(64)), images.take(np.arange(64, 128))
        *_, last = fit(config, *halves, seed=0, device=CPU)
        best[channels] = last.macro_f1
    assert best[3] == 1
    assert best[1] is not None
    assert best[1] < 0.8


def test_images_of_another_size_are_refused_before_training() -> None:
    images = colours(Size(32, 3))
    with pytest.raises(FmnistError, match=r"uint8 \[N, 48, 48\], got uint8 \[32, 32, 32, 3\]"):
        next(fit(TrialConfig(side=48), images, None, seed=0, device=CPU))


@pytest.mark.parametrize(("given", "rule"), [({"side": 30}, "28, 32, 48 or 64"), ({"channels": 2}, "1 or 3")])
def test_other_sizes_are_refused(given: dict[str, int], rule: str) -> None:
    with pytest.raises(FmnistError, match=f"must be {rule}, got"):
        TrialConfig.parse(given, context="test")


def test_a_checkpoint_says_its_size_and_an_older_one_has_the_usual_one(tmp_path: Path) -> None:
    config = TrialConfig(side=48, channels=3, filters=8)
    save_checkpoint(tmp_path / "model", build(config, 2), config, ("a", "b"), origin={})
    loaded = load_classifier(tmp_path / "model", "cpu")
    assert (load_checkpoint(tmp_path / "model").preparation.size, loaded.size) == (Size(48, 3), Size(48, 3))
    labels, probabilities = loaded.predict(np.zeros((3, 48, 48, 3), np.uint8))
    assert (labels.shape, probabilities.shape) == ((3,), (3, 2))
    with pytest.raises(FmnistError, match=r"Images must be uint8 \[N, 48, 48, 3\], got uint8 \[3, 48, 48\]"):
        loaded.predict(np.zeros((3, 48, 48), np.uint8))
    save_checkpoint(tmp_path / "older", build(TrialConfig(filters=8), 2), TrialConfig(filters=8), ("a", "b"), origin={})
    about = json.loads((tmp_path / "older" / CONFIG).read_text())
    about.pop("checksum")
    about["config"] = {name: value for name, value in about["config"].items() if name not in ("side", "channels")}
    (tmp_path / "older" / CONFIG).write_text(json.dumps(about))
    assert load_checkpoint(tmp_path / "older").config.size == DEFAULT_SIZE
    assert load_classifier(tmp_path / "older", "cpu").size == DEFAULT_SIZE
