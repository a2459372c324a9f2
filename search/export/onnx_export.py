"""ONNX files that say themselves what they are: in float32, and quantised to int8."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch.export import ExportedProgram

from fmnist.checkpoint import Checkpoint
from fmnist.data.images import Images
from fmnist.network import MEAN, STD
from search.errors import SearchError
from search.export.model_card import ModelFacts

OPSET = 18  # what torch.onnx translates to; any other one is converted from it
CALIBRATION = 500  # images
CALIBRATION_SEED = 0
CALIBRATION_BATCH = 100
INPUT = (
    "images: uint8 [N, 28, 28], grey, 0 black to 255 white; scaling is inside. Output: probabilities of the "
    "labels, float32 [N, classes]"
)
SEEN = {"onnx.quant.pre_process": "onnxruntime.quant"}  # what its pre-processing leaves, without which it asks for it


def about_model(checkpoint: Checkpoint, facts: ModelFacts) -> dict[str, str]:
    """What an ONNX file says of its model, in texts."""
    return {
        "labels": json.dumps(checkpoint.class_names),
        "input": INPUT,
        "normalisation": json.dumps({"divisor": 255, "mean": MEAN, "std": STD}),
        "pictures": checkpoint.preparation.model_dump_json(),
        "config": checkpoint.config.model_dump_json(),
        "version": facts.version,
        "study": facts.study,
        "data": facts.data.name,
    }


def to_onnx(program: ExportedProgram, about: Mapping[str, str]) -> onnx.ModelProto:
    """The program in ONNX, checked, for any number N of images."""
    translated = torch.onnx.export(
        program, dynamo=True, input_names=["images"], output_names=["probabilities"], opset_version=OPSET, verbose=False
    )
    if translated is None:
        raise SearchError(
            f"PyTorch {torch.__version__} gave no ONNX program. Install the version that pyproject.toml asks for."
        )
    model: onnx.ModelProto = translated.model_proto
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # a name that torch.export made up
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for dim in (dim for value in values for dim in value.type.tensor_type.shape.dim):
        if dim.dim_param == batch:
            dim.dim_param = "N"
    for part in (*model.graph.node, *values):
        del part.metadata_props[:]  # PyTorch's names for everything, half of the file
    return _told(model, about)


def to_int8(model: onnx.ModelProto, images: NDArray[np.uint8]) -> onnx.ModelProto:
    """The same model with convolutions and dense layers in 8 bits, their ranges taken from what `images` lead to.

    How, was chosen on training images outside of the calibration, by the mean difference of the probabilities from
    those in float32 (the quick study's network, 5,000 images): 0.0012 as here. All operators, so also the scaling of
    the raw pixels and the pooling: 0.0020. One scale a layer and not one a channel: 0.0015. Weights have 7 of the 8
    bits: with all 8 it is 0.0010, but processors without VNNI add pairs of products in 16 bits, which overflow then,
    and the figures measured here would not be those of another machine.
    """
    about = {one.key: one.value for one in model.metadata_props}
    with tempfile.TemporaryDirectory() as folder:  # given a model in memory, it would change that one
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        raw = onnx.ModelProto()
        raw.CopyFrom(model)
        onnx.helper.set_model_props(raw, SEEN)
        source.write_bytes(raw.SerializeToString())
        quantize_static(
            source,
            target,
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,  # symmetric: its zero is exactly 0
        )
        return _told(onnx.load_model_from_string(target.read_bytes()), about)


def calibration_pixels(train: Images) -> NDArray[np.uint8]:
    """The same training images each time, as many of every class, or all that a small class has.

    Shape: [N, 28, 28].
    """
    random, classes = np.random.default_rng(CALIBRATION_SEED), len(train.class_names)
    of_class = [np.flatnonzero(train.labels == index) for index in range(classes)]
    rows = np.concatenate([random.permutation(rows)[: max(1, CALIBRATION // classes)] for rows in of_class])
    return np.asarray(train.pixels[np.sort(rows)])


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """The images in batches, the way ONNX Runtime asks for them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.batches: Iterator[NDArray[np.uint8]] = iter(
            [images[start : start + CALIBRATION_BATCH] for start in range(0, len(images), CALIBRATION_BATCH)]
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch, None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


def _told(model: onnx.ModelProto, about: Mapping[str, str]) -> onnx.ModelProto:
    onnx.helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model, full_check=True)
    return model
