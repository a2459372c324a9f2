"""An exported ONNX file, read without PyTorch, and as if a stranger had written it.

Nothing in such a file is run but the operators that ONNX Runtime knows. Its size, what it says of itself, and what it
reads and gives are checked first; a file that points at other files is refused, for it could read any of this
machine's.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from fmnist.data.images import SIDE
from fmnist.data.labels import NAMES, are_class_names
from fmnist.data.preparation import Preparation
from fmnist.errors import FmnistError
from fmnist.files import read_file
from fmnist.refusals import shown

LARGEST = 2**28  # bytes; the largest network of the usual search space has a tenth of it
LARGEST_LABELS = 2**16  # characters
BATCH = 250  # images
_AGAIN = "Export the model again."
_REFUSED = (
    *(runtime.Fail, runtime.InvalidArgument, runtime.InvalidGraph, runtime.InvalidProtobuf, runtime.NotImplemented),
    *(runtime.RuntimeException, runtime.EPFail, RuntimeError, MemoryError, ValueError),
)


@dataclass(frozen=True)
class OnnxModel:
    """A checked file, with what it says of itself."""

    path: Path
    session: onnxruntime.InferenceSession
    class_names: tuple[str, ...]
    data: str | None  # what it was trained on
    preparation: Preparation  # of the pictures that it was trained on

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of each class for each image.

        Shape: uint8 [N, 28, 28] -> [N, classes], rows sum to 1.
        Raises: FmnistError where the file gives anything else.
        """
        (given,) = self.session.get_inputs()
        batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        try:
            found = np.concatenate([self.session.run(None, {given.name: batch})[0] for batch in batches])
        except _REFUSED as error:
            raise FmnistError(f"{self.path} must compute without an error: {_line(error)}. {_AGAIN}") from None
        if (
            found.shape != (len(pixels), len(self.class_names))
            or not np.allclose(found.sum(axis=1), 1, atol=1e-3)
            or found.min() < 0
        ):
            raise FmnistError(
                f"{self.path} must give probabilities of {len(self.class_names)} classes for each image; it does not. "
                f"{_AGAIN}"
            )
        return np.asarray(found, np.float32)


def load_onnx(path: Path) -> OnnxModel:
    """The model in the file, ready to compute on the CPU.

    Raises: FmnistError naming the rule that the file breaks.
    """
    try:
        content = read_file(path, LARGEST)
    except OSError as error:
        raise FmnistError(f"{path} must be readable: {error.strerror or error}. Check the path.") from None
    model = _parsed(content, path)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in _tensors(model)):
        raise FmnistError(
            f"{path} must hold its weights itself; it points at other files, which are not read. Save it as one file."
        )
    told = {one.key: one.value for one in model.metadata_props}
    class_names = _class_names(told, path)
    preparation = Preparation.told(told.get("pictures"), told.get("data"), f"{path}: metadata 'pictures'")
    session = _session(content, path)
    _require_form(session, len(class_names), path)
    return OnnxModel(path, session, class_names, told.get("data"), preparation)


def _parsed(content: bytes, path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(content)  # reads no other file
    except DecodeError:
        raise FmnistError(
            f"{path} must be an ONNX model; its {len(content):,} bytes are something else or damaged. {_AGAIN}"
        ) from None
    return model


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """All there are in it, however deep: in subgraphs, functions, attributes. The reader of protobuf allows a hundred
    levels.
    """
    for _, value in message.ListFields():
        for one in (
            (value,)
            if isinstance(value, Message)
            else value
            if not isinstance(value, str | bytes | int | float)
            else ()
        ):
            if not isinstance(one, Message):
                break  # a list of numbers
            if isinstance(one, onnx.TensorProto):
                yield one
            else:
                yield from _tensors(one)


def _class_names(told: dict[str, str], path: Path) -> tuple[str, ...]:
    text = told.get("labels")
    if text is None:
        raise FmnistError(
            f"{path} must have the names of its classes in its metadata, under 'labels'; it has none. {_AGAIN}"
        )
    try:
        labels = json.loads(text) if len(text) <= LARGEST_LABELS else None
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(one, str) for one in labels) or not are_class_names(labels):
        raise FmnistError(f"{path}: metadata 'labels' must be a JSON list of {NAMES}, got {shown(text)}. {_AGAIN}")
    return tuple(labels)


def _session(content: bytes, path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is in the exception, and said once
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _REFUSED as error:
        raise FmnistError(f"{path} must be a model that ONNX Runtime can load: {_line(error)}. {_AGAIN}") from None


def _require_form(session: onnxruntime.InferenceSession, classes: int, path: Path) -> None:
    for kind, values, dtype, shape in (
        ("read one input of", session.get_inputs(), "uint8", [SIDE, SIDE]),
        ("give one output of", session.get_outputs(), "float", [classes]),
    ):
        found = [(value.type, value.shape) for value in values]
        if (
            len(found) != 1
            or found[0][0] != f"tensor({dtype})"
            or found[0][1][1:] != shape
            or isinstance(found[0][1][0], int)
        ):
            rule = ", ".join(["N", *map(str, shape)])
            got = "; ".join(f"{kind} {said}" for kind, said in found) or "none"
            raise FmnistError(f"{path} must {kind} {dtype} [{rule}], got {shown(got)}. {_AGAIN}")


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return shown(text.rpartition(" : ")[2]).strip("'\"")
