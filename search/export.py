"""A checkpoint -> files for other programs, each read back and compared with PyTorch before anyone gets it."""

import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fmnist.atomic import folder_in_place
from fmnist.checkpoint import CONFIG, CPU, WEIGHTS, Checkpoint, load_checkpoint
from fmnist.data.images import SIDE
from fmnist.predict import predict
from fmnist.train import as_input
from search.errors import SearchError
from search.model_card import CARD, METRICS, ModelFacts, write_card
from search.parity import Parity, compare

__all__ = ["ExportReport", "ModelFacts", "Parity", "compare", "export_model"]

ONNX, PT2, LABELS = "model.onnx", "model.pt2", "labels.json"
FILES = {WEIGHTS, CONFIG, ONNX, PT2, LABELS, METRICS, CARD}
OPSET = 18  # what torch.onnx translates to; any other one is converted from it
BATCH = 1000


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and how near each file is to PyTorch."""

    folder: Path
    parities: tuple[Parity, ...]
    seconds: float


class Classifier(nn.Module):
    """The network with all that surrounds it, so that a file needs no code beside it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = checkpoint.model

    def forward(self, images: Tensor) -> Tensor:
        """Shape: uint8 [N, 28, 28] -> probabilities [N, classes]."""
        return torch.softmax(self.model(as_input(images)), dim=1)


def export_model(
    checkpoint_folder: Path, to: Path, *, test_pixels: NDArray[np.uint8], facts: ModelFacts, announce: Callable[[str], None]
) -> ExportReport:
    """`to` holds the model as safetensors, ONNX and torch.export, with its card and metrics; an earlier export there is replaced.

    Shape: test_pixels [N, 28, 28]; every file is compared with PyTorch on all of them.
    Raises: FmnistError where the checkpoint cannot be loaded; SearchError where `to` holds something else, cannot be written, the
    facts are of another model, or a file does not say what PyTorch says. `to` is as it was then.
    """
    start = time.perf_counter()
    _require_free(to)
    checkpoint = load_checkpoint(checkpoint_folder)
    _require_same_model(checkpoint, facts)
    try:
        with folder_in_place(to) as fresh:
            _write_formats(fresh, checkpoint_folder, checkpoint, facts)
            parities = tuple(_compared(fresh, checkpoint, test_pixels, announce))
            write_card(fresh, facts, parities)
    except OSError as error:
        raise SearchError(f"{to} must be writable: {error.strerror or error}. Free space there, or name another folder.") from error
    return ExportReport(to, parities, time.perf_counter() - start)


def _require_free(to: Path) -> None:
    if to.exists() and not to.is_dir():
        raise SearchError(f"An export is a folder; {to} is a file. Name another folder.")
    present = {path.name for path in to.iterdir()} if to.exists() else set()
    foreign = sorted(present - FILES) or sorted(present if CARD not in present else ())
    if foreign:
        raise SearchError(f"An export replaces only an export or an empty folder; {to} holds {foreign[0]!r}. Name another folder.")


def _require_same_model(checkpoint: Checkpoint, facts: ModelFacts) -> None:
    if checkpoint.config != facts.final.config or checkpoint.class_names != facts.data.class_names:
        raise SearchError(
            f"The checkpoint must be of the final model of {facts.study!r}; it has another configuration or other classes. "
            f"Export the checkpoint of seed {facts.final.exported_seed}."
        )


def _write_formats(fresh: Path, checkpoint_folder: Path, checkpoint: Checkpoint, facts: ModelFacts) -> None:
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(checkpoint_folder / name, fresh / name)
    with _exporters_quiet():
        program = _captured(checkpoint)
        torch.export.save(program, fresh / PT2)
        _write_onnx(program, fresh / ONNX, checkpoint.class_names, facts)
    (fresh / LABELS).write_text(json.dumps(checkpoint.class_names, indent=2) + "\n", encoding="utf-8")


def _captured(checkpoint: Checkpoint) -> ExportedProgram:
    example = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)  # of two: a size of one would be taken for a constant
    program = torch.export.export(Classifier(checkpoint).eval(), (example,), dynamic_shapes={"images": {0: Dim("N")}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the folders of this machine
    return program


def _write_onnx(program: ExportedProgram, path: Path, class_names: tuple[str, ...], facts: ModelFacts) -> None:
    translated = torch.onnx.export(
        program, dynamo=True, input_names=["images"], output_names=["probabilities"], opset_version=OPSET, verbose=False
    )
    if translated is None:
        raise SearchError(f"PyTorch {torch.__version__} gave no ONNX program. Install the version that pyproject.toml asks for.")
    model = translated.model_proto
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # a name that torch.export made up
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for dim in (dim for value in values for dim in value.type.tensor_type.shape.dim):
        if dim.dim_param == batch:
            dim.dim_param = "N"
    for part in (*model.graph.node, *values):
        del part.metadata_props[:]  # PyTorch's names for everything, half of the file
    about = {"labels": json.dumps(class_names), "version": facts.version, "study": facts.study, "data": facts.data.name}
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


@contextmanager
def _exporters_quiet() -> Iterator[None]:
    """PyTorch's exporters warn of what they use of PyTorch and Python themselves: nothing that a caller could change."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=r"(torch|onnxscript|onnx_ir|copyreg)(\.|$)")
        yield


def _compared(folder: Path, checkpoint: Checkpoint, pixels: NDArray[np.uint8], announce: Callable[[str], None]) -> Iterator[Parity]:
    expected = predict(checkpoint, pixels, CPU)
    for name, read in ((WEIGHTS, _from_safetensors), (PT2, _from_pt2), (ONNX, _from_onnx)):
        size = (folder / name).stat().st_size
        parity = compare(name, size, expected, read(folder / name, pixels))
        announce(
            f"{name}: {size:,} bytes; on {parity.images:,} images within {parity.largest_difference:.1e} of PyTorch's probabilities, "
            f"{parity.disagreements} classed otherwise."
        )
        yield parity


def _from_safetensors(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return predict(load_checkpoint(path.parent), pixels, CPU)


def _from_pt2(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with _exporters_quiet(), torch.inference_mode():
        module = torch.export.load(path).module()
        return np.concatenate([module(torch.tensor(batch)).numpy() for batch in _batches(pixels)])


def _from_onnx(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["probabilities"], {"images": batch})[0] for batch in _batches(pixels)])


def _batches(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
