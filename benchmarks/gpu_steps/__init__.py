"""The steps of benchmarks/gpu.py: modules whose `measure` yields figures, which are kept if the step is stopped."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURES = "figures.jsonl"  # in a step's folder: its figures, one line per yield
TINY = """\
[search]
trials = 2
sampler = "random"
pruner = "none"

[knobs]
epochs = 1
depth = 1
filters = [4, 8]
batch_norm = true
pool = "before"
batch_size = 64
learning_rate = { low = 0.003, high = 0.01, log = true }

[confirm]
top = 1
seeds = 1

[final]
seeds = 2
epochs = 1
"""


@dataclass(frozen=True)
class Work:
    """The input of a step."""

    device: str
    tiny: bool
    data: str | None
    folder: str  # a scratch folder
    seconds: float  # time limit

    @property
    def data_option(self) -> tuple[str, ...]:
        """The option --data of the commands."""
        return () if self.data is None else ("--data", self.data)

    @property
    def tiny_study(self) -> str:
        """Write a study that is small enough for two cores, and return its file name."""
        file = Path(self.folder, "tiny.toml")
        file.write_text(TINY, encoding="utf-8")
        return file.name


def started(command: list[str], folder: str | Path) -> subprocess.Popen[str]:
    """Start the command in the folder and in this process group, with its output and errors in one pipe."""
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def lines(process: subprocess.Popen[str]) -> Iterator[tuple[float, str]]:
    """Yield each output line with the seconds since the first call, and print it to the step's log."""
    assert process.stdout is not None
    start = time.monotonic()
    for line in process.stdout:
        seconds, text = time.monotonic() - start, line.rstrip()
        print(f"{seconds:7.2f} {text}", flush=True)
        yield seconds, text


def require_success(process: subprocess.Popen[str]) -> None:
    """Wait for the end of the command. Raises: AssertionError if it failed."""
    code = process.wait()
    command = " ".join(map(str, process.args if isinstance(process.args, list) else []))
    assert code == 0, f"The command {command} ended with {code}."


def search_command(*arguments: str) -> list[str]:
    """Return the command fmnist-search of the source tree."""
    return [sys.executable, "-m", "search", *arguments]
