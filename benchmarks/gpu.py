"""Claim: on an NVIDIA GPU the tests pass, trainings and searches are fast, the whole job runs, and a killed search goes
on.

    python benchmarks/gpu.py [--json FILE] [--data PATH] [--minutes M]        all steps, 8 minutes at most
    python benchmarks/gpu.py --tiny --device cpu                              the same steps in small, without a GPU

The toolkit is taken from the source tree that this file stands in; docs/gpu.md has what a bare machine needs beside it.
Each step is a module of benchmarks/gpu_steps and runs in a process of its own for so many seconds at most. The moment
that it ends, its figures are in the JSON; of one that was cut off, those that it had. The next one runs whatever became
of it. The exit code is 1 if a step did not pass.

status        passed; failed; over time: cut off at the end of its time box; not begun: too little was left of --minutes
s             seconds from the start of the step's process to its end
box           seconds that the step may take; of the last one, what is left of --minutes
`ratio` in the JSON is the share of the steps that passed. With --json FILE, what a step says is beside it, in FILE's
name with .STEP.log.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where `profile` would stand before the standard library's.
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
from benchmarks.table import perform, publish, surroundings
from fmnist.atomic import write_in_place
from fmnist.data.synthetic import SYNTHETIC
from fmnist.device import choose_device
from fmnist.errors import FmnistError
from fmnist.machine import cores
from fmnist.suggestions import did_you_mean
from search.terminal.table import Table
from search.terminal.wording import counted

# Step -> its time box in seconds, in the order in which they run.
BOXES = {"tests": 75, "epoch": 40, "throughput": 70, "workers": 75, "speedrun": 80, "standard": 240, "resume": 45}
TINY_BOX = 240  # two idle cores need an eighth of it; where they are shared, imports alone take long
LEAST = 10.0  # seconds that a step needs to be begun
SHOWN = 20  # lines of what a step said last
IN_BRIEF = 20  # figures on a step's line, at most


@dataclass(frozen=True)
class Row:
    """What became of a step."""

    step: str
    proves: str  # in its own words
    status: str
    seconds: float
    box_seconds: float
    figures: dict[str, Any]
    last_lines: tuple[str, ...] = ()  # of one that did not pass

    @property
    def is_passed(self) -> bool:
        """Whether it proves what it is there for."""
        return self.status == "passed"

    def __str__(self) -> str:
        told = [f"{key} {_shown(value)}" for key, value in self.figures.items() if isinstance(value, int | float)][
            :IN_BRIEF
        ]
        last = [f"last said: {self.last_lines[-1].strip()}"] if self.last_lines else []
        return "; ".join(
            [f"{self.step}: {self.status} in {self.seconds:.1f} s of {self.box_seconds:.0f}", *told, *last]
        )


@dataclass(frozen=True)
class Bench:
    """What all steps share."""

    device: str
    tiny: bool
    data: str | None
    scratch: Path
    file: Path | None  # the JSON

    def log(self, name: str) -> Path:
        """Where what the step says is kept: beside the JSON, where there is one."""
        return self.file.absolute().with_suffix(f".{name}.log") if self.file else self.scratch / f"{name}.log"

    def performed(self, name: str, left: float) -> Row:
        """The step has run, within its box and the seconds that are left."""
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
        bool, typer.Option("--tiny", help="Each step in small, on drawn images unless --data names others.")
    ] = False,
    steps: Annotated[str, typer.Option(metavar="NAME,NAME", help="The steps to run, in that order.")] = ",".join(BOXES),
    data: Annotated[str | None, typer.Option(metavar="PATH", help="Fashion-MNIST's files, or 'synthetic'.")] = None,
    minutes: Annotated[float, typer.Option(metavar="M", min=0.1, help="For all steps together.")] = 8.0,
    file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything there too, after each step.")
    ] = None,
) -> None:
    """One line a step, and at the end a table."""
    names, on, end = chosen(steps), choose_device(device), time.monotonic() + 60 * minutes
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="gpu-", ignore_cleanup_errors=True) as scratch:
        _make_importable()
        bench = Bench(device, tiny, _whole(data) or (SYNTHETIC if tiny else None), Path(scratch), file)
        settings = {"device": device, "tiny": tiny, "steps": names, "data": bench.data, "minutes": minutes}
        here = surroundings(workers=1, threads=cores(), device=on)
        figures = {"benchmark": "gpu", **here, "gpu": _describe(on), "settings": settings}
        rows: list[Row] = []
        for name in names:
            rows.append(row := bench.performed(name, end - time.monotonic()))
            _write(figures, rows, file)
            print(row, flush=True)
    publish(_table(rows), figures, None)
    if not all(row.is_passed for row in rows):
        raise typer.Exit(1)


def chosen(text: str) -> list[str]:
    """The names of steps between the commas, each once. Raises: FmnistError where one is none."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in BOXES:
            raise FmnistError(
                f"--steps takes names of steps with commas between them, got {name!r}. {did_you_mean(name, BOXES)}"
            )
    return list(dict.fromkeys(names))


def proves(name: str) -> str:
    """The first line of the step's docstring; nothing of a module that is not there."""
    file = ROOT / "benchmarks" / "gpu_steps" / f"{name}.py"
    about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) if file.exists() else None
    return (about or "").partition("\n")[0]


def _run(name: str, work: Work, log: Path) -> int | None:
    """The step's exit code, None where it ran over its box; no process of it is left."""
    command = [sys.executable, "-m", "benchmarks.gpu_steps", name, json.dumps(asdict(work))]
    around = {**os.environ, "TMPDIR": work.folder, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    if work.tiny:
        around["OMP_NUM_THREADS"] = (
            "1"  # where the cores are shared, threads of such small work mostly wait for each other
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=around, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(work.seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill(process, work.folder)


def _kill(process: subprocess.Popen[bytes], folder: str) -> None:
    """The process, its group, and what it started in other groups have ended; daemons too, which have the step's folder
    for theirs.
    """
    others = [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get("TMPDIR") == folder]
    with suppress(psutil.NoSuchProcess):
        others += psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in others:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def _end(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)  # as an exception, so that the step under way is ended first


def _make_importable() -> None:
    """Steps find the source tree and the data from any folder."""
    paths = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *paths])
    if place := _whole(os.environ.get("FMNIST_DATA")):
        os.environ["FMNIST_DATA"] = place


def _whole(data: str | None) -> str | None:
    """The name of a file or folder that is there, from the root on; any other as it is."""
    return str(Path(data).absolute()) if data and data != SYNTHETIC and Path(data).exists() else data


def _describe(on: torch.device) -> dict[str, Any] | None:
    if on.type != "cuda":
        return None
    about = torch.cuda.get_device_properties(on)
    return {
        "name": about.name,
        "memory_bytes": about.total_memory,
        "capability": f"{about.major}.{about.minor}",
        "cuda": torch.version.cuda,
    }


def _figures(file: Path) -> dict[str, Any]:
    """What a step yielded, merged; of one that was cut off, its whole lines."""
    found: dict[str, Any] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with suppress(json.JSONDecodeError):
            found |= json.loads(line)
    return found


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
