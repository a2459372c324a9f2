"""Classifiers loaded from a checkpoint, an exported folder or an ONNX file, which needs no PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist.data.images import require_images
from fmnist.data.preparation import Preparation, picture_reader
from fmnist.errors import FmnistError
from fmnist.size import Size

# In an exported folder; the first that exists is read.
ONNX_FILES = ("model.onnx", "model.int8.onnx", "ensemble.onnx")
CHECKPOINT_FILES = ("config.json", "model.safetensors")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Classifier:
    """A loaded model: `read` prepares a picture, and `predict` classifies images."""

    class_names: tuple[str, ...]
    data: str | None  # the data it was trained on, if recorded
    preparation: Preparation  # of the training pictures
    probabilities: Callable[[NDArray[np.uint8]], Floats]  # uint8 [N, side, side] or [N, side, side, 3] -> [N, classes]
    features: Callable[[NDArray[np.uint8]], Floats] | None  # of the same -> [N, features]; None for ONNX files

    @property
    def size(self) -> Size:
        """The size of the images that it classifies."""
        return self.preparation.size

    def predict(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], Floats]:
        """Return the most likely class of each image, as an index into `class_names`, and all probabilities.

        Shape: images [N, side, side] or in colour [N, side, side, 3], prepared like the training images; labels [N],
        probabilities [N, classes].
        Raises: FmnistError if the images have another shape or type.
        """
        require_images(images, self.size, "`read` prepares a picture.")
        probabilities = self.probabilities(images)
        return probabilities.argmax(axis=1), probabilities

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Read a picture and prepare it like the training images. Shape: `size.shape`."""
        return picture_reader(self.preparation)(path)


def load_classifier(model: Path, device: str | None) -> Classifier:
    """Load the model at `model`: a file that ends in .onnx, an exported folder, or a checkpoint.

    Raises: FmnistError if it is incomplete, unsafe to read, or does not support that device.
    """
    if (file := _onnx_file(model)) is not None:
        return _from_onnx(file, device)
    if (model / "model.pt2").exists() and not any((model / name).exists() for name in CHECKPOINT_FILES):
        raise FmnistError(
            f"{model} has only model.pt2, a kind of pickle: reading it could run any code. Export again with --format "
            "onnx or safetensors."
        )
    return _from_checkpoint(model, device)


def top(probabilities: Floats, class_names: tuple[str, ...], k: int = 3) -> list[tuple[str, float]]:
    """Return the `k` most likely classes of an image with their probabilities, in descending order.

    Shape: probabilities [classes].
    """
    return [(class_names[i], float(probabilities[i])) for i in np.argsort(-probabilities, kind="stable")[:k]]


def _onnx_file(model: Path) -> Path | None:
    if model.suffix.lower() == ".onnx" and not model.is_dir():
        return model
    if any((model / name).exists() for name in CHECKPOINT_FILES):
        return None
    return next((model / name for name in ONNX_FILES if (model / name).exists()), None)


def _from_onnx(path: Path, device: str | None) -> Classifier:
    from fmnist.onnx_file import load_onnx

    if device not in (None, "cpu"):
        raise FmnistError(
            f"An ONNX file is computed on the CPU, got --device {device}. Leave --device out, or name a folder with "
            "weights."
        )
    model = load_onnx(path)
    return Classifier(model.class_names, model.data, model.preparation, model.probabilities, None)


def _from_checkpoint(folder: Path, device: str | None) -> Classifier:
    from fmnist.checkpoint import load_checkpoint
    from fmnist.device import choose_device
    from fmnist.predict import features, predict

    checkpoint = load_checkpoint(folder)
    origin, chosen = checkpoint.origin, choose_device(device)
    data = origin.get("data")
    return Classifier(
        checkpoint.class_names,
        None if data is None else str(data),
        checkpoint.preparation,
        lambda pixels: predict(checkpoint, pixels, chosen),
        lambda pixels: features(checkpoint, pixels, chosen),
    )
