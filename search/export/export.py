"""Export of a checkpoint to files for other programs, each of which is read back and compared with PyTorch."""

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fmnist.atomic import folder_in_place
from fmnist.checkpoint import CPU, Checkpoint, copy_checkpoint, load_checkpoint
from fmnist.metrics import Ints
from fmnist.network import folded
from fmnist.predict import predict
from fmnist.scoring import as_input
from fmnist.size import Size
from search.errors import SearchError
from search.export.formats import CONFIG, ENSEMBLE, FORMATS, INT8, ONNX, PT2, WEIGHTS
from search.export.latency import Latency, latency_of
from search.export.model_card import CARD, ModelFacts, write_card
from search.export.onnx_export import about_model, to_int8, to_onnx
from search.export.parity import Parity, Quantised, compare, measure
from search.study.paths import METRICS
from search.study.records import FinalRun

LABELS = "labels.json"
FILES = {*FORMATS.values(), CONFIG, LABELS, METRICS, CARD}
PIXELS = 125 * 28 * 28  # of a batch, also of a network that scores six views of each image
Announce = Callable[[str], None]
Reader = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8 [N, side, side] -> probabilities [N, classes]


@dataclass(frozen=True)
class ExportReport:
    """The exported files, their difference from PyTorch, and their latency."""

    folder: Path
    parities: tuple[Parity, ...]
    int8: Quantised | None
    latencies: tuple[Latency, ...]
    seconds: float


class EndToEnd(nn.Module):
    """The network with its preprocessing and softmax, so that an exported file needs no other code."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = checkpoint.model

    def forward(self, images: Tensor) -> Tensor:
        """Shape: uint8 [N, side, side], or in colour [N, side, side, 3] -> probabilities [N, classes]."""
        return torch.softmax(self.model(as_input(images)), dim=1)


def export_model(
    checkpoint_folder: Path,
    to: Path,
    *,
    test_pixels: NDArray[np.uint8],
    test_labels: Ints | None = None,
    calibration: NDArray[np.uint8],
    facts: ModelFacts,
    announce: Announce,
    files: tuple[str, ...] = tuple(FORMATS.values()),
) -> ExportReport:
    """Export the model to `to` in the formats of `files`, with its card and metrics, replacing an earlier export.

    Shape: test_pixels [N, side, side], or in colour [N, side, side, 3], on which every file is compared with PyTorch;
    calibration, training images, the same with [M, ...].
    Raises: FmnistError if the checkpoint cannot be loaded; SearchError if `to` is not an export or cannot be written,
    the facts are of another model, or a file other than the int8 one differs from PyTorch. `to` is then unchanged.
    """
    start = time.perf_counter()
    require_free(to, FILES)
    checkpoint = load_final(checkpoint_folder, facts, facts.exported)
    expected = predicted_by(checkpoint, checkpoint_folder, test_pixels)
    with written(to) as fresh:
        _write_formats(fresh, checkpoint_folder, checkpoint, facts, calibration, files)
        parities, int8, latencies = measured(fresh, files, expected, test_pixels, test_labels, announce)
        write_card(fresh, facts, parities, int8, latencies)
    return ExportReport(to, tuple(parities), int8, tuple(latencies), time.perf_counter() - start)


def require_free(to: Path, files: set[str]) -> None:
    """Require that `to` does not exist, is empty, or holds an earlier export with no other files than `files`.

    Raises: SearchError.
    """
    if to.exists() and not to.is_dir():
        raise SearchError(f"An export is a folder; {to} is a file. Name another folder.")
    names = {path.name for path in to.iterdir()} if to.exists() else set()
    foreign = sorted(names - files) or sorted(names if CARD not in names else ())
    if foreign:
        raise SearchError(
            f"An export replaces only an export or an empty folder; {to} holds {foreign[0]!r}. Name another folder."
        )


@contextmanager
def written(to: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `to` at the end of the block.

    Raises: SearchError if it cannot be written; `to` is then unchanged.
    """
    try:
        with folder_in_place(to) as fresh:
            yield fresh
    except OSError as error:
        raise SearchError(
            f"{to} must be writable: {error.strerror or error}. Free space there, or name another folder."
        ) from error


def predicted_by(checkpoint: Checkpoint, folder: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return PyTorch's probabilities on the CPU, which the files are compared with. Shape: [N, ...] -> [N, classes].

    Raises: SearchError if they are not finite.
    """
    probabilities = predict(checkpoint, pixels, CPU)
    if not np.isfinite(probabilities).all():
        raise SearchError(f"A model must give finite probabilities; that in {folder} does not. Train it again.")
    return probabilities


def load_final(folder: Path, facts: ModelFacts, run: FinalRun) -> Checkpoint:
    """Return the checkpoint in `folder`, which must be that of the final training `run`.

    Raises: FmnistError if it cannot be loaded. SearchError if it is another model.
    """
    checkpoint = load_checkpoint(folder)
    if checkpoint.config != facts.final.config or checkpoint.class_names != facts.data.class_names:
        raise SearchError(
            f"The checkpoint must be of the final model of {facts.study!r}; its configuration or its classes differ. "
            f"Export the checkpoint of seed {run.seed}."
        )
    if run.checkpoint not in (None, checkpoint.seal):
        raise SearchError(
            f"The checkpoint must be the one that {facts.study!r} trained and tested; its checksum differs. Restore "
            "the study's folder from a copy, or start a new study with --name."
        )
    return checkpoint


def _write_formats(
    fresh: Path,
    checkpoint_folder: Path,
    checkpoint: Checkpoint,
    facts: ModelFacts,
    calibration: NDArray[np.uint8],
    files: tuple[str, ...],
) -> None:
    if WEIGHTS in files:
        identity = facts.identity and facts.identity.model_dump(exclude={"storage", "host"})  # private
        copy_checkpoint(checkpoint_folder, fresh, origin={"study": identity} if identity else {})
    (fresh / LABELS).write_text(json.dumps(checkpoint.class_names, indent=2) + "\n", encoding="utf-8")
    if files == (WEIGHTS,):
        return
    with exporters_quiet():
        program = captured(EndToEnd(checkpoint), checkpoint.config.size)
        if PT2 in files:
            torch.export.save(program, fresh / PT2)
        if {ONNX, INT8} & set(files):
            model = to_onnx(program, about_model(checkpoint, facts))
            if ONNX in files:
                (fresh / ONNX).write_bytes(model.SerializeToString())
            if INT8 in files:
                (fresh / INT8).write_bytes(to_int8(model, calibration).SerializeToString())


def captured(module: nn.Module, size: Size) -> ExportedProgram:
    """Return `module`, which takes images of that size as bytes, as a program for any number of images."""
    example = torch.zeros(2, *size.shape, dtype=torch.uint8)  # two, as a size of one is treated as a constant
    program = torch.export.export(module.eval(), (example,), dynamic_shapes={"images": {0: Dim("N")}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it contains paths of this machine
    return program


@contextmanager
def exporters_quiet() -> Iterator[None]:
    """Ignore the deprecation warnings of PyTorch's exporters about their own code."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=r"(torch|onnxscript|onnx_ir|copyreg)(\.|$)")
        yield


def measured(
    folder: Path,
    files: tuple[str, ...],
    expected: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    labels: Ints | None,
    announce: Announce,
) -> tuple[list[Parity], Quantised | None, list[Latency]]:
    """Read each file of `folder` back, compare it with `expected`, PyTorch's probabilities of `pixels`, and time it.

    Raises: SearchError if a file other than the int8 one differs.
    """
    # The scores of int8 use the labels stored when the study opened the test split, so they do not open it again.
    # Nothing is chosen by them: every file holds the same model.
    parities, int8, latencies = list[Parity](), None, list[Latency]()
    batch = max(1, PIXELS // (pixels.shape[1] * pixels.shape[2]))
    for name in files:
        read, size = _reader(folder / name), (folder / name).stat().st_size
        probabilities = np.concatenate([read(pixels[start : start + batch]) for start in range(0, len(pixels), batch)])
        if name == INT8:
            int8 = measure(name, size, expected, probabilities, labels)
            accuracy = _int8_accuracy(int8)
        else:
            parities.append(parity := compare(name, size, expected, probabilities))
            accuracy = (
                f"within {parity.largest_difference:.1e} of PyTorch's probabilities, {parity.disagreements} predicted "
                "differently"
            )
        latencies.append(latency := latency_of(name, read, pixels.shape[1:]))
        announce(
            f"{name}: {size:,} bytes; on {len(pixels):,} images {accuracy}; 1 image takes {latency.single:.3g} ms, 256 "
            f"images {latency.batch:.3g} ms{latency.warning}."
        )
    return parities, int8, latencies


def _int8_accuracy(int8: Quantised) -> str:
    disagreements = f"{int8.disagreements} predicted differently from PyTorch"
    if int8.macro_f1 is None:
        return disagreements
    return f"macro F1 {int8.macro_f1:.4f} ({int8.macro_f1_difference:+.4f}), {disagreements}"


def _reader(path: Path) -> Reader:
    readers = {
        WEIGHTS: _safetensors_reader,
        PT2: _pt2_reader,
        ONNX: _onnx_reader,
        INT8: _onnx_reader,
        ENSEMBLE: _onnx_reader,
    }
    return readers[path.name](path)


def _safetensors_reader(path: Path) -> Reader:
    network = folded(load_checkpoint(path.parent).model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def read(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(as_input(torch.tensor(pixels))).softmax(dim=1))

    return read


def _pt2_reader(path: Path) -> Reader:
    with exporters_quiet():
        module = torch.export.load(path).module()

    def read(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with exporters_quiet(), torch.inference_mode():
            return np.asarray(module(torch.tensor(pixels)))

    return read


def _onnx_reader(path: Path) -> Reader:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # for comparable times
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: np.asarray(session.run(["probabilities"], {"images": pixels})[0])
