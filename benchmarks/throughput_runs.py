"""The runs of throughput.py: each loop is a process, with its speed, start-up time and memory."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import psutil

from benchmarks.table import tell
from fmnist.data.sources import Source
from search.terminal.wording import counted

ROOT = Path(__file__).resolve().parents[1]
# The same configuration as in the usual loop.
KNOBS = {
    "depth": 3,
    "filters": 32,
    "growth": 2.0,
    "batch_norm": True,
    "augmentation": 0.5,
    "flip": True,
    "shift": 2.0,
    "erase": 0.5,
    "learning_rate": 1e-3,
    "batch_size": 128,
}
INTERVAL = 0.2  # seconds between two readings of the memory


@dataclass(frozen=True)
class Loop:
    """A row of the table: a module that runs as a process, and its input."""

    name: str
    module: str
    work: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """The figures of one process."""

    images_per_second: float
    start_up: float  # seconds
    trials_per_hour: float
    memory: int  # bytes
    macro_f1: list[float]  # of each trial
    parameters: int
    threads: int  # of each process that trains


@dataclass(frozen=True)
class Bench:
    """The images of the loops, and the amount of training."""

    folder: Path
    source: Source
    trials: int
    epochs: int
    usual_trials: int
    usual_epochs: int
    train: int
    valid: int
    classes: int
    device: str
    is_warm: bool

    @property
    def settings(self) -> dict[str, Any]:
        """The amount of training, for the JSON."""
        counts = ("trials", "epochs", "usual_trials", "usual_epochs", "train", "valid", "is_warm")
        return {"data": self.source.name, **{name: getattr(self, name) for name in counts}}

    def usual(self, data_workers: int) -> Loop:
        """Return the usual loop with that number of loader workers."""
        work = {
            "root": str(self.folder / "torchvision"),
            "train": self.train,
            "valid": self.valid,
            "classes": self.classes,
            "trials": self.usual_trials,
            "epochs": self.usual_epochs,
            "data_workers": data_workers,
            "device": self.device,
        }
        return Loop(f"usual, {counted(data_workers, 'loader')}", "benchmarks.usual_loop", work)

    def ours(self, workers: int, pool: str) -> Loop:
        """Return the toolkit's loop with that number of workers."""
        work = {
            "root": str(self.source.root),
            "knobs": KNOBS | {"pool": pool, "epochs": self.epochs},
            "trials": self.trials,
            "workers": workers,
            "device": self.device,
        }
        name = counted(workers, "worker") if pool == "after" else f"pool {pool}"
        return Loop(f"ours, {name}", "benchmarks.our_loop", work)

    def run(self, loop: Loop) -> Run:
        """Run the loop once with an empty storage."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder, "result.json")
            work = loop.work | {"storage": f"sqlite:///{folder}/trials.db", "result": str(file)}
            start = time.time()
            modules = ["benchmarks.warm", loop.module] if self.is_warm else [loop.module]
            memory = _peak_memory([sys.executable, "-m", *modules, json.dumps(work)])
            result = json.loads(file.read_text(encoding="utf-8"))
        return Run(
            images_per_second=result["images"] / (result["ended"] - result["began"]),
            start_up=result["began"] - start,
            trials_per_hour=loop.work["trials"] / (result["ended"] - start) * 3600,
            memory=memory,
            **{key: result[key] for key in ("macro_f1", "parameters", "threads")},
        )


class Measurements:
    """The runs of each loop."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.runs: dict[str, list[Run]] = {}

    def add_all(self, loops: Sequence[Loop], times: int) -> None:
        """Run each of the loops `times` times, in turn."""
        for _ in range(times):
            for loop in loops:
                self.runs.setdefault(loop.name, []).append(run := self.bench.run(loop))
                tell(f"{loop.name}: {run.images_per_second:,.0f} images/s")

    def speed(self, loop: Loop) -> float:
        """Return the images per second, the median of the loop's runs."""
        return median(run.images_per_second for run in self.runs[loop.name])

    def fastest(self, loops: Sequence[Loop]) -> Loop:
        """Return the fastest of the loops."""
        return max(loops, key=self.speed)

    def rows(self, baseline: float) -> Iterator[dict[str, Any]]:
        """Yield the medians and the runs of each loop."""
        for name, runs in self.runs.items():
            speed = median(run.images_per_second for run in runs)
            scores = [score for run in runs for score in run.macro_f1]
            yield {
                "loop": name,
                "images_per_second": speed,
                "ratio": speed / baseline,
                "start_up_seconds": median(run.start_up for run in runs),
                "trials_per_hour": median(run.trials_per_hour for run in runs),
                "memory_bytes": median(run.memory for run in runs),
                "macro_f1_mean": fmean(scores),
                "macro_f1_sd": stdev(scores) if len(scores) > 1 else None,
                "runs": [asdict(run) for run in runs],
            }


def _peak_memory(command: list[str]) -> int:
    """Run the command and return the peak of its resident memory in bytes."""
    peak = 0
    with subprocess.Popen(command, cwd=ROOT) as process:
        while process.poll() is None:
            peak = max(peak, _resident_memory(process.pid))
            time.sleep(INTERVAL)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def _resident_memory(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True)))
    except psutil.NoSuchProcess:  # a process has ended since it was listed; the next reading counts
        return 0
