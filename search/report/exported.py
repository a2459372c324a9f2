"""What a study's export says of its ONNX file: bytes and latency, which nothing else records. No torch."""

import json
from pathlib import Path

from pydantic import ValidationError

from fmnist.classifier import ONNX_FILES
from search.study.paths import METRICS
from search.study.record import Record
from search.study.records import DataRecord, Final

ONNX = ONNX_FILES[0]
FOLDER = "export"  # in the study's folder


class ExportedFile(Record):
    """The exported ONNX file, timed on the CPU of the machine that exported it."""

    bytes: int
    milliseconds: float | None  # from raw pixels to probabilities, of one image; None if it was not timed
    is_steady: bool  # if not, the machine did other work
    processor: str | None
    threads: int | None

    @property
    def timed_on(self) -> tuple[str | None, int | None]:
        """Return what latencies must have in common to be comparable."""
        return self.processor, self.threads


class _Parity(Record):
    file: str
    bytes: int


class _Latency(Record):
    processor: str
    threads: int
    milliseconds: dict[str, dict[str, float]]  # file -> images in a batch -> milliseconds
    unsteady: tuple[str, ...]


class _Metrics(Record):
    test_fingerprint: str | None
    mean: float
    parity: tuple[_Parity, ...]
    latency: _Latency | None


def read_exported(folder: Path, final: Final, data: DataRecord) -> ExportedFile | None:
    """Return the ONNX file in the export of the study in `folder`; None without one, or if it is of another result."""
    try:
        content = json.loads((folder / FOLDER / METRICS).read_text(encoding="utf-8"))
        metrics = _Metrics.model_validate(content)
    except (OSError, ValueError, ValidationError):  # as good as none: a copy of a study may lack its export
        return None
    size = next((parity.bytes for parity in metrics.parity if parity.file == ONNX), None)
    if size is None or (metrics.test_fingerprint, metrics.mean) != (data.test_fingerprint, final.mean):
        return None
    latency = metrics.latency
    return ExportedFile(
        bytes=size,
        milliseconds=latency.milliseconds.get(ONNX, {}).get("1") if latency else None,
        is_steady=latency is None or ONNX not in latency.unsteady,
        processor=latency.processor if latency else None,
        threads=latency.threads if latency else None,
    )
