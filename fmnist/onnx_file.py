"""Reading of exported ONNX files, which are untrusted, without PyTorch.

Only operators of ONNX Runtime are executed. Size, metadata, inputs and outputs are checked first. A file that refers to
other files is refused, because it could read any file of this machine.
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

from fmnist.data.labels import NAMES, are_class_names
from fmnist.data.preparation import Preparation
from fmnist.errors import FmnistError
from fmnist.files import read_file
from fmnist.refusals import shown
from fmnist.size import Size

LARGEST = 2**28  # bytes; ten times the largest network of the usual search space
LARGEST_LABELS = 2**16  # characters
PIXELS = 250 * 28 * 28  # of a batch: larger images come in smaller ones
_RETRY = "Export the model again."
_ERRORS = (
    *(runtime.Fail, runtime.InvalidArgument, runtime.InvalidGraph, runtime.InvalidProtobuf, runtime.NotImplemented),
    *(runtime.RuntimeException, runtime.EPFail, RuntimeError, MemoryError, ValueError),
)


@dataclass(frozen=True)
class OnnxModel:
    """A checked model with its metadata."""

    path: Path
    session: onnxruntime.InferenceSession
    class_names: tuple[str, ...]
    data: str | None  # the data it was trained on, if recorded
    preparation: Preparation  # of the training pictures

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability of each class for each image.

        Shape: uint8 [N, side, side], or in colour [N, side, side, 3] -> [N, classes], rows sum to 1.
        Raises: FmnistError if the model fails or its output is something else.
        """
        (images,) = self.session.get_inputs()
        size = max(1, PIXELS // (pixels.shape[1] * pixels.shape[2]))
        batches = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        try:
            output = np.concatenate([self.session.run(None, {images.name: batch})[0] for batch in batches])
        except _ERRORS as error:
            raise FmnistError(f"{self.path} must compute without an error: {_line(error)}. {_RETRY}") from None
        if (
            output.shape != (len(pixels), len(self.class_names))
            or not np.allclose(output.sum(axis=1), 1, atol=1e-3)
            or output.min() < 0
        ):
            raise FmnistError(
                f"{self.path} must give probabilities of {len(self.class_names)} classes for each image; it does not. "
                f"{_RETRY}"
            )
        return np.asarray(output, np.float32)


def load_onnx(path: Path) -> OnnxModel:
    """Load the model in the file, on the CPU.

    Raises: FmnistError naming the rule that the file breaks.
    """
    try:
        content = read_file(path, LARGEST)
    except OSError as error:
        raise FmnistError(f"{path} must be readable: {error.strerror or error}. Check the path.") from None
    model = _parsed(content, path)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in _tensors(model)):
        raise FmnistError(
            f"{path} must contain its weights; it points at other files, which are not read. Save it as one file."
        )
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    class_names = _class_names(metadata, path)
    preparation = Preparation.from_record(
        metadata.get("pictures"), metadata.get("data"), f"{path}: metadata 'pictures'"
    )
    session = _session(content, path)
    _require_form(session, preparation.size, len(class_names), path)
    return OnnxModel(path, session, class_names, metadata.get("data"), preparation)


def _parsed(content: bytes, path: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(content)  # reads no other file
    except DecodeError:
        raise FmnistError(
            f"{path} must be an ONNX model; its {len(content):,} bytes are something else or damaged. {_RETRY}"
        ) from None


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield all tensors, also those in subgraphs, functions and attributes. Protobuf limits the depth to 100."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in (value,) if isinstance(value, Message) else value:
            if isinstance(part, onnx.TensorProto):
                yield part
            else:
                yield from _tensors(part)


def _class_names(metadata: dict[str, str], path: Path) -> tuple[str, ...]:
    text = metadata.get("labels")
    if text is None:
        raise FmnistError(f"{path} must have its class names in its metadata, under 'labels'; it has none. {_RETRY}")
    try:
        labels = json.loads(text) if len(text) <= LARGEST_LABELS else None
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels) or not are_class_names(labels):
        raise FmnistError(f"{path}: metadata 'labels' must be a JSON list of {NAMES}, got {shown(text)}. {_RETRY}")
    return tuple(labels)


def _session(content: bytes, path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the exception has the message
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _ERRORS as error:
        raise FmnistError(f"{path} must be a model that ONNX Runtime can load: {_line(error)}. {_RETRY}") from None


def _require_form(session: onnxruntime.InferenceSession, size: Size, classes: int, path: Path) -> None:
    for rule, values, dtype, shape in (
        ("read one input of", session.get_inputs(), "uint8", [*size.shape]),
        ("give one output of", session.get_outputs(), "float", [classes]),
    ):
        forms = [(value.type, value.shape) for value in values]
        if (
            len(forms) != 1
            or forms[0][0] != f"tensor({dtype})"
            or forms[0][1][1:] != shape
            or isinstance(forms[0][1][0], int)
        ):
            expected = ", ".join(["N", *map(str, shape)])
            got = "; ".join(f"{kind} {sides}" for kind, sides in forms) or "none"
            raise FmnistError(f"{path} must {rule} {dtype} [{expected}], got {shown(got)}. {_RETRY}")


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return shown(text.rpartition(" : ")[2]).strip("'\"")
