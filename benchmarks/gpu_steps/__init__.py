"""The steps of benchmarks/gpu.py: a module each, whose `measure` yields figures; what it had yielded stays when the
step is cut off.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURES = "figures.jsonl"  # in a step's folder: what it yielded, a line each
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
    """What a step is told."""

    device: str
    tiny: bool
    data: str | None
    folder: str  # a scratch folder of the step's own
    seconds: float  # its time box

    @property
    def data_option(self) -> tuple[str, ...]:
        """The data as the commands take it."""
        return () if self.data is None else ("--data", self.data)

    @property
    def tiny_study(self) -> str:
        """The file of a study small enough for two cores, which is there now."""
        file = Path(self.folder, "tiny.toml")
        file.write_text(TINY, encoding="utf-8")
        return file.name


def started(command: list[str], folder: str | Path) -> subprocess.Popen[str]:
    """The command is under way in that folder, in this step's process group; what it says comes through one pipe."""
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
    """Each line that the command says, with the seconds since the first was waited for; the step's log has them too."""
    assert process.stdout is not None
    start = time.monotonic()
    for line in process.stdout:
        seconds, text = time.monotonic() - start, line.rstrip()
        print(f"{seconds:7.2f} {text}", flush=True)
        yield seconds, text


def require_success(process: subprocess.Popen[str]) -> None:
    """The command has ended well. Raises: AssertionError."""
    code = process.wait()
    assert code == 0, (
        f"The command {' '.join(map(str, process.args if isinstance(process.args, list) else []))} ended with {code}."
    )


def search_command(*arguments: str) -> list[str]:
    """The command fmnist-search, from the source tree."""
    return [sys.executable, "-m", "search", *arguments]
