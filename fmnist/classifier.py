"""A model, a folder or an ONNX file alone, ready to say what images show. Of an ONNX file it does so without
PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist.data.images import SIDE
from fmnist.data.preparation import Preparation, picture_reader
from fmnist.errors import FmnistError

ONNX_FILES = ("model.onnx", "model.int8.onnx")  # in an exported folder; the first one there is read
CHECKPOINT_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class Classifier:
    """What a model knows, and the two steps from a picture to an answer."""

    class_names: tuple[str, ...]
    data: str | None  # what it was trained on; None where nobody wrote it down
    preparation: Preparation  # of the pictures that it was trained on
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8 [N, 28, 28] -> [N, classes]
    features: (
        Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None
    )  # uint8 [N, 28, 28] -> [N, features]; an ONNX file does not give them

    def predict(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The likeliest class of each image, as its place in `class_names`, and the probabilities of all classes.

        Shape: images [N, 28, 28], as the training images were made; labels [N], probabilities [N, classes].
        Raises: FmnistError where the images have another shape or type.
        """
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
            received = f"{images.dtype} {list(images.shape)}"
            raise FmnistError(f"Images must be uint8 [N, {SIDE}, {SIDE}], got {received}. `read` makes one of a file.")
        probabilities = self.probabilities(images)
        return probabilities.argmax(axis=1), probabilities

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The picture's file as the training images were made. Shape: [28, 28]."""
        return picture_reader(self.preparation)(path)


def load_classifier(model: Path, device: str | None) -> Classifier:
    """The model at `model`: a file that ends in .onnx, an exported folder of whatever formats, or a checkpoint.

    Raises: FmnistError where it is not whole, not safe to read, or not to be had on that device.
    """
    if (file := _onnx_file(model)) is not None:
        return _of_onnx(file, device)
    if (model / "model.pt2").exists() and not any((model / name).exists() for name in CHECKPOINT_FILES):
        raise FmnistError(
            f"{model} has only model.pt2, a kind of pickle: reading it could run any code. Export again with --format "
            "onnx or safetensors."
        )
    return _of_checkpoint(model, device)


def top(probabilities: NDArray[np.float32], class_names: tuple[str, ...], k: int = 3) -> list[tuple[str, float]]:
    """The `k` likeliest classes of one image with their probabilities, likeliest first.

    Shape: probabilities [classes].
    """
    return [(class_names[i], float(probabilities[i])) for i in np.argsort(-probabilities, kind="stable")[:k]]


def _onnx_file(model: Path) -> Path | None:
    if model.suffix.lower() == ".onnx" and not model.is_dir():
        return model
    if any((model / name).exists() for name in CHECKPOINT_FILES):
        return None
    return next((model / name for name in ONNX_FILES if (model / name).exists()), None)


def _of_onnx(path: Path, device: str | None) -> Classifier:
    from fmnist.onnx_file import load_onnx

    if device not in (None, "cpu"):
        raise FmnistError(
            f"An ONNX file is computed on the CPU, got --device {device}. Leave --device out, or name a folder with "
            "weights."
        )
    found = load_onnx(path)
    return Classifier(found.class_names, found.data, found.preparation, found.probabilities, None)


def _of_checkpoint(folder: Path, device: str | None) -> Classifier:
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
