"""Claim: on an NVIDIA GPU the tests pass, trainings and searches are fast, and a killed search resumes.

    python benchmarks/gpu.py [--json FILE] [--data PATH] [--minutes M]        all steps, 8 minutes at most
    python benchmarks/gpu.py --tiny --device cpu                              small steps without a GPU

The toolkit runs from the source tree of this file. docs/gpu.md lists what else a bare machine needs. Each step is a
module of benchmarks/gpu_steps and runs as a process with a time limit. When it ends, its figures are written to the
JSON; a step that was stopped keeps the figures it had. The next step then runs in any case. The exit code is 1 if a
step did not pass.

status        passed; failed; over time: stopped at its time limit; not begun: too little was left of --minutes
s             seconds from the start to the end of the step's process
box           time limit in seconds; for the last step, what is left of --minutes

`ratio` in the JSON is the share of steps that passed. With --json FILE, the output of a step is in FILE's name with
.STEP.log.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import ast
import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Any, NoReturn

import psutil
import torch
import typer

from benchmarks.gpu_steps import FIGURES, ROOT, Work
from benchmarks.options import Data, Json
from benchmarks.table import perform, publish, surroundings
from fmnist.atomic import write_in_place
from fmnist.data.synthetic import SYNTHETIC
from fmnist.device import choose_device
from fmnist.errors import FmnistError
from fmnist.machine import cores
from fmnist.suggestions import did_you_mean
from search.terminal.table import Table
from search.terminal.wording import counted

# The time limit of each step in seconds, in the order of execution.
BOXES = {"tests": 75, "epoch": 40, "throughput": 70, "workers": 75, "speedrun": 80, "standard": 240, "resume": 45}
TINY_BOX = 240  # eight times as long as on two idle cores; on shared cores imports alone take long
LEAST = 10.0  # seconds left to start a step
SHOWN = 20  # last lines of a step's output
MOST_FIGURES = 20  # on the line of a step


@dataclass(frozen=True)
class Row:
    """The result of a step."""

    step: str
    proves: str  # first line of its docstring
    status: str
    seconds: float
    box_seconds: float
    figures: dict[str, Any]
    last_lines: tuple[str, ...] = ()  # if it did not pass

    @property
    def is_passed(self) -> bool:
        """Whether the step passed."""
        return self.status == "passed"

    def __str__(self) -> str:
        outcome = f"{self.step}: {self.status} in {self.seconds:.1f} s of {self.box_seconds:.0f}"
        figures = [f"{key} {_shown(value)}" for key, value in self.figures.items() if isinstance(value, int | float)]
        last = [f"last line: {self.last_lines[-1].strip()}"] if self.last_lines else []
        return "; ".join([outcome, *figures[:MOST_FIGURES], *last])


@dataclass(frozen=True)
class Bench:
    """The arguments of all steps."""

    device: str
    tiny: bool
    data: str | None
    scratch: Path
    file: Path | None  # the JSON

    def log(self, name: str) -> Path:
        """Return the log file of the step, beside the JSON if there is one."""
        return self.file.absolute().with_suffix(f".{name}.log") if self.file else self.scratch / f"{name}.log"

    def run(self, name: str, left: float) -> Row:
        """Run the step within its time limit and the seconds that are left."""
        box = min(float(TINY_BOX if self.tiny else BOXES[name]), left)
        if left < LEAST:
            return Row(name, proves(name), "not begun", 0.0, max(0.0, left), {})
        folder, start = self.scratch / name, time.monotonic()
        folder.mkdir()
        code = _run(name, Work(self.device, self.tiny, self.data, str(folder), box), self.log(name))
        status = "over time" if code is None else "failed" if code else "passed"
        last = _last_lines(self.log(name)) if code != 0 else ()
        return Row(name, proves(name), status, time.monotonic() - start, box, _figures(folder / FIGURES), last)


def gpu(
    device: Annotated[str, typer.Option(metavar="D", help="cuda, cuda:N or cpu.")] = "cuda",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Small steps, on synthetic images unless there is --data.")
    ] = False,
    steps: Annotated[str, typer.Option(metavar="NAME,NAME", help="The steps to run, in this order.")] = ",".join(BOXES),
    data: Data = None,
    minutes: Annotated[float, typer.Option(metavar="M", min=0.1, help="Limit for all steps together.")] = 8.0,
    file: Json = None,
) -> None:
    """Print a line for each step, and a table at the end."""
    names, torch_device, end = chosen(steps), choose_device(device), time.monotonic() + 60 * minutes
    signal.signal(signal.SIGTERM, _terminate)
    with tempfile.TemporaryDirectory(prefix="gpu-", ignore_cleanup_errors=True) as scratch:
        _make_importable()
        bench = Bench(device, tiny, _absolute(data) or (SYNTHETIC if tiny else None), Path(scratch), file)
        settings = {"device": device, "tiny": tiny, "steps": names, "data": bench.data, "minutes": minutes}
        here = surroundings(workers=1, threads=cores(), device=torch_device)
        figures = {"benchmark": "gpu", **here, "gpu": _describe(torch_device), "settings": settings}
        rows: list[Row] = []
        for name in names:
            rows.append(row := bench.run(name, end - time.monotonic()))
            _write(figures, rows, file)
            print(row, flush=True)
    publish(_table(rows), figures, None)
    if not all(row.is_passed for row in rows):
        raise typer.Exit(1)


def chosen(text: str) -> list[str]:
    """Return the named steps, each once.

    Raises: FmnistError if a name is unknown.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in BOXES:
            raise FmnistError(
                f"--steps must be names of steps, separated by commas, got {name!r}. {did_you_mean(name, BOXES)}"
            )
    return list(dict.fromkeys(names))


def proves(name: str) -> str:
    """Return the first line of the step's docstring, or "" without a module."""
    file = ROOT / "benchmarks" / "gpu_steps" / f"{name}.py"
    about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) if file.exists() else None
    return (about or "").partition("\n")[0]


def _run(name: str, work: Work, log: Path) -> int | None:
    """Run the step, kill all its processes, and return its exit code, or None if it exceeded its time limit."""
    command = [sys.executable, "-m", "benchmarks.gpu_steps", name, json.dumps(asdict(work))]
    environment = {**os.environ, "TMPDIR": work.folder, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    if work.tiny:
        environment["OMP_NUM_THREADS"] = "1"  # on shared cores, threads of small tasks mostly wait for each other
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(work.seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill(process, work.folder)


def _kill(process: subprocess.Popen[bytes], folder: str) -> None:
    """Kill the process, its group, and its children and daemons in other groups, which have the folder as TMPDIR."""
    others = [
        other for other in psutil.process_iter(["environ"]) if (other.info["environ"] or {}).get("TMPDIR") == folder
    ]
    with suppress(psutil.NoSuchProcess):
        others += psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for other in others:
        with suppress(psutil.NoSuchProcess):
            other.kill()
    process.wait()


def _terminate(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)  # an exception, so that the running step is killed


def _make_importable() -> None:
    """Let steps find the source tree and the data from any folder."""
    paths = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *paths])
    if data := _absolute(os.environ.get("FMNIST_DATA")):
        os.environ["FMNIST_DATA"] = data


def _absolute(data: str | None) -> str | None:
    """Return the absolute path of an existing file or folder, and other names unchanged."""
    return str(Path(data).absolute()) if data and data != SYNTHETIC and Path(data).exists() else data


def _describe(device: torch.device) -> dict[str, Any] | None:
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
    }


def _figures(file: Path) -> dict[str, Any]:
    """Merge the figures of a step; a last line that is incomplete is skipped."""
    figures: dict[str, Any] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with suppress(json.JSONDecodeError):
            figures |= json.loads(line)
    return figures


def _last_lines(log: Path) -> tuple[str, ...]:
    return tuple(log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:])


def _write(figures: dict[str, Any], rows: list[Row], file: Path | None) -> None:
    figures |= {"rows": [asdict(row) for row in rows], "ratio": sum(row.is_passed for row in rows) / len(rows)}
    if file is not None:
        write_in_place(file, (json.dumps(figures, indent=2) + "\n").encode())


def _shown(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.4g}"


def _table(rows: list[Row]) -> Table:
    cells = [(row.step, row.status, f"{row.seconds:.1f}", f"{row.box_seconds:.0f}", row.proves) for row in rows]
    passed = sum(row.is_passed for row in rows)
    caption = f"{passed} of {counted(len(rows), 'step')} passed, in {sum(row.seconds for row in rows):.0f} s."
    return Table(
        "What the GPU proves",
        ("step", "status", "s", "box", "proves"),
        cells,
        caption,
        text_columns=frozenset({0, 1, 4}),
    )


if __name__ == "__main__":
    perform(gpu, __doc__ or "")
