"""A checkpoint -> files for other programs, each read back and compared with PyTorch before anyone gets it."""

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
from fmnist.data.images import SIDE
from fmnist.metrics import Ints
from fmnist.network import folded
from fmnist.predict import predict
from fmnist.scoring import as_input
from search.errors import SearchError
from search.export.formats import CONFIG, FORMATS, INT8, ONNX, PT2, WEIGHTS
from search.export.latency import Latency, latency_of
from search.export.model_card import CARD, METRICS, ModelFacts, write_card
from search.export.onnx_export import about_model, to_int8, to_onnx
from search.export.parity import Parity, Quantised, compare, measure

LABELS = "labels.json"
FILES = {*FORMATS.values(), CONFIG, LABELS, METRICS, CARD}
BATCH = 1000
Announce = Callable[[str], None]
Reader = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8 [N, 28, 28] -> probabilities [N, classes]


@dataclass(frozen=True)
class ExportReport:
    """What was exported, how near each file is to PyTorch, and how long it takes to answer."""

    folder: Path
    parities: tuple[Parity, ...]
    int8: Quantised | None
    latencies: tuple[Latency, ...]
    seconds: float


class EndToEnd(nn.Module):
    """The network with all that surrounds it, so that a file needs no code beside it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = checkpoint.model

    def forward(self, images: Tensor) -> Tensor:
        """Shape: uint8 [N, 28, 28] -> probabilities [N, classes]."""
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
    """`to` holds the model in the formats of `files`, with its card and metrics; an earlier export there is replaced.

    Shape: test_pixels [N, 28, 28], on all of which every file is compared with PyTorch; calibration [M, 28, 28],
    training images.
    Raises: FmnistError where the checkpoint cannot be loaded; SearchError where `to` holds something else, cannot be
    written, the facts are of another model, or a file but the int8 one does not say what PyTorch says. `to` is as it
    was then.
    """
    start = time.perf_counter()
    _require_free(to)
    checkpoint = load_checkpoint(checkpoint_folder)
    _require_same_model(checkpoint, facts)
    expected = predict(checkpoint, test_pixels, CPU)
    if not np.isfinite(expected).all():
        raise SearchError(
            f"A model must give finite probabilities; that in {checkpoint_folder} does not. Train it again."
        )
    try:
        with folder_in_place(to) as fresh:
            _write_formats(fresh, checkpoint_folder, checkpoint, facts, calibration, files)
            parities, int8, latencies = _measured(fresh, files, expected, test_pixels, test_labels, announce)
            write_card(fresh, facts, parities, int8, latencies)
    except OSError as error:
        raise SearchError(
            f"{to} must be writable: {error.strerror or error}. Free space there, or name another folder."
        ) from error
    return ExportReport(to, tuple(parities), int8, tuple(latencies), time.perf_counter() - start)


def _require_free(to: Path) -> None:
    if to.exists() and not to.is_dir():
        raise SearchError(f"An export is a folder; {to} is a file. Name another folder.")
    present = {path.name for path in to.iterdir()} if to.exists() else set()
    foreign = sorted(present - FILES) or sorted(present if CARD not in present else ())
    if foreign:
        raise SearchError(
            f"An export replaces only an export or an empty folder; {to} holds {foreign[0]!r}. Name another folder."
        )


def _require_same_model(checkpoint: Checkpoint, facts: ModelFacts) -> None:
    if checkpoint.config != facts.final.config or checkpoint.class_names != facts.data.class_names:
        raise SearchError(
            f"The checkpoint must be of the final model of {facts.study!r}; it has another configuration or other "
            "classes. "
            f"Export the checkpoint of seed {facts.final.exported_seed}."
        )
    if facts.exported.checkpoint not in (None, checkpoint.seal):
        raise SearchError(
            f"The checkpoint must be the one that {facts.study!r} trained and tested; its checksum is another one. "
            "Restore the study's "
            "folder from a copy, or begin a new study with --name."
        )


def _write_formats(
    fresh: Path,
    checkpoint_folder: Path,
    checkpoint: Checkpoint,
    facts: ModelFacts,
    calibration: NDArray[np.uint8],
    files: tuple[str, ...],
) -> None:
    if WEIGHTS in files:
        about = facts.identity and facts.identity.model_dump(exclude={"storage", "host"})  # the model is for others too
        copy_checkpoint(checkpoint_folder, fresh, origin={"study": about} if about else {})
    (fresh / LABELS).write_text(json.dumps(checkpoint.class_names, indent=2) + "\n", encoding="utf-8")
    if files == (WEIGHTS,):
        return
    with _exporters_quiet():
        program = _captured(checkpoint)
        if PT2 in files:
            torch.export.save(program, fresh / PT2)
        if {ONNX, INT8} & set(files):
            model = to_onnx(program, about_model(checkpoint, facts))
            if ONNX in files:
                (fresh / ONNX).write_bytes(model.SerializeToString())
            if INT8 in files:
                (fresh / INT8).write_bytes(to_int8(model, calibration).SerializeToString())


def _captured(checkpoint: Checkpoint) -> ExportedProgram:
    example = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)  # of two: a size of one would be taken for a constant
    program = torch.export.export(EndToEnd(checkpoint).eval(), (example,), dynamic_shapes={"images": {0: Dim("N")}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the folders of this machine
    return program


@contextmanager
def _exporters_quiet() -> Iterator[None]:
    """PyTorch's exporters warn of what they use of PyTorch and Python themselves: nothing that a caller could
    change.
    """
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=r"(torch|onnxscript|onnx_ir|copyreg)(\.|$)")
        yield


def _measured(
    folder: Path,
    files: tuple[str, ...],
    expected: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    labels: Ints | None,
    announce: Announce,
) -> tuple[list[Parity], Quantised | None, list[Latency]]:
    # The study opened the test split once, before, and kept its answers and labels: what int8 costs is told from those
    # and opens nothing. Nor is anything chosen by it: the model is the same in every file.
    parities, int8, latencies = list[Parity](), None, list[Latency]()
    for name in files:
        read, size = _reader(folder / name), (folder / name).stat().st_size
        found = np.concatenate([read(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])
        if name == INT8:
            int8 = measure(name, size, expected, found, labels)
            said = _said_of_int8(int8)
        else:
            parities.append(parity := compare(name, size, expected, found))
            said = (
                f"within {parity.largest_difference:.1e} of PyTorch's probabilities, {parity.disagreements} classed "
                "otherwise"
            )
        latencies.append(latency := latency_of(name, read))
        announce(
            f"{name}: {size:,} bytes; on {len(pixels):,} images {said}; "
            f"1 image takes {latency.one:.3g} ms, 256 images {latency.many:.3g} ms{latency.warning}."
        )
    return parities, int8, latencies


def _said_of_int8(int8: Quantised) -> str:
    said = f"{int8.disagreements} classed otherwise than by PyTorch"
    if int8.macro_f1 is None:
        return said
    return f"macro F1 {int8.macro_f1:.4f} ({int8.macro_f1_difference:+.4f}), {said}"


def _reader(path: Path) -> Reader:
    readers = {WEIGHTS: _of_safetensors, PT2: _of_pt2, ONNX: _of_onnx, INT8: _of_onnx}
    return readers[path.name](path)


def _of_safetensors(path: Path) -> Reader:
    network = folded(load_checkpoint(path.parent).model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def read(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(as_input(torch.tensor(pixels))).softmax(dim=1))

    return read


def _of_pt2(path: Path) -> Reader:
    with _exporters_quiet():
        module = torch.export.load(path).module()

    def read(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with _exporters_quiet(), torch.inference_mode():
            return np.asarray(module(torch.tensor(pixels)))

    return read


def _of_onnx(path: Path) -> Reader:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # so that the times of all files can be compared
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: np.asarray(session.run(["probabilities"], {"images": pixels})[0])
