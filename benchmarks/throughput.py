"""Claim: on two CPU cores a search with this toolkit trains the same network on the same images several times as fast
as the usual loop.

    python benchmarks/throughput.py [--data PATH] [--json FILE]        about 7 minutes on two cores; --repeat 3 for
    medians of three

The usual loop is benchmarks/usual_loop.py: torchvision's transforms image by image, DataLoader, NCHW, Adam, one
study.optimize with SQLite and a MedianPruner. Ours is benchmarks/our_loop.py: the search that `fmnist-search run` does,
with its coordinator, workers and storage. Both train 4 trials of 2 epochs of one configuration: three stages of conv
3x3, batch norm, ReLU and max pooling with 32, 64 and 128 channels, one dense layer, batch 128, Adam at 0.001,
augmentation of strength 0.5, on 10,000 images (ours leaves out an epoch's last, part-filled batch), scored on 2,000
others after each epoch; nothing is pruned. Each row is a process of its own, one after the other. With --warm
(benchmarks/warm.py) every process that trains has trained an epoch's steps before the clock runs: the start of a GPU is
then in the columns start and trials/h alone. Where the usual loop is much the slower one, --usual-trials and
--usual-epochs give it less to do: it is measured as a rate. Then the columns trials/h and macro F1 of the two are of
different work, and do not compare. Ours multiplies in bfloat16 where the processor does (`bfloat16` among the settings
in the JSON), the usual loop in PyTorch's own float32.

images/s     images trained, over all trials, by the seconds from the first trial's start to the last one's end, with
scoring and storage ratio        by the images/s of the usual loop with the number of loader workers that suits it best
start, s     from the start of the process until the first trial trains: imports, images, for ours also the workers' own
start trials/h     with the start-up in it GiB          the highest sum of the resident memory of all processes, looked
at five times a second; what they share counts for each macro F1     validation, mean and standard deviation over
trials: the same within noise, or the two do not do the same work

`ratio` in the JSON is that of the very same network with the number of workers that suits it best. `ratio_pool_before`
is that of a changed network, which pools before the norm: max pooling commutes with ReLU, but not with a norm where its
scale is negative.

Augmentation at strength 0.5, theirs and ours: half of the images mirrored; shifts of up to 2 pixels (RandomCrop with
padding 2); turned by up to 7.5 degrees and scaled by up to 7.5 % in half of them (theirs without interpolation, ours
bilinear, computed for all); a rectangle of 1 to 25 % painted over in a quarter (RandomErasing, 1 to 20 %).
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where `profile` would stand before the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev
from typing import Annotated, Any

import psutil
import typer

from benchmarks.options import whole_numbers
from benchmarks.subset import part_of, write_for_torchvision
from benchmarks.table import perform, surroundings, tell
from benchmarks.table import publish as publish_table
from fmnist.data.sources import Source, find_source
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.device import choose_device
from fmnist.machine import cores
from fmnist.train import is_mixed
from search.terminal.table import Table
from search.terminal.wording import counted, f1

ROOT = Path(__file__).resolve().parents[1]
# The usual loop has the same written out.
KNOBS = {
    "depth": 3,
    "filters": 32,
    "growth": 2.0,
    "batch_norm": True,
    "augmentation": 0.5,
    "learning_rate": 1e-3,
    "batch_size": 128,
}
PAUSE = 0.2  # seconds between two looks at the memory


@dataclass(frozen=True)
class Loop:
    """One row: a module to run as a process of its own, and what it is told."""

    name: str
    module: str
    work: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One measured process."""

    images_per_second: float
    start_up: float  # seconds
    trials_per_hour: float
    memory: int  # bytes
    macro_f1: list[float]  # of each trial
    parameters: int
    threads: int  # of each process that trains


@dataclass(frozen=True)
class Bench:
    """Where the loops find their images, and how much they do with them."""

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
        """How much there is to do, as the JSON has it."""
        counts = ("trials", "epochs", "usual_trials", "usual_epochs", "train", "valid", "is_warm")
        return {"data": self.source.name, **{name: getattr(self, name) for name in counts}}

    def usual(self, data_workers: int) -> Loop:
        """The usual loop with so many loader workers."""
        work = {
            "root": str(self.folder / "torchvision"),
            "train": self.train,
            "valid": self.valid,
            "classes": self.classes,
        }
        counts = {
            "trials": self.usual_trials,
            "epochs": self.usual_epochs,
            "data_workers": data_workers,
            "device": self.device,
        }
        return Loop(f"usual, {counted(data_workers, 'loader')}", "benchmarks.usual_loop", work | counts)

    def ours(self, workers: int, pool: str) -> Loop:
        """The toolkit's loop with so many workers."""
        knobs = KNOBS | {"pool": pool, "epochs": self.epochs}
        work = {
            "root": str(self.source.root),
            "knobs": knobs,
            "trials": self.trials,
            "workers": workers,
            "device": self.device,
        }
        name = counted(workers, "worker") if pool == "after" else f"pool {pool}"
        return Loop(f"ours, {name}", "benchmarks.our_loop", work)

    def measured(self, loop: Loop) -> Run:
        """The loop has run once, from an empty storage."""
        with tempfile.TemporaryDirectory(dir=self.folder) as fresh:
            result = Path(fresh, "result.json")
            work = loop.work | {"storage": f"sqlite:///{fresh}/trials.db", "result": str(result)}
            start = time.time()
            modules = ["benchmarks.warm", loop.module] if self.is_warm else [loop.module]
            memory = _peak_memory([sys.executable, "-m", *modules, json.dumps(work)])
            told = json.loads(result.read_text(encoding="utf-8"))
        return Run(
            images_per_second=told["images"] / (told["ended"] - told["began"]),
            start_up=told["began"] - start,
            trials_per_hour=loop.work["trials"] / (told["ended"] - start) * 3600,
            memory=memory,
            **{key: told[key] for key in ("macro_f1", "parameters", "threads")},
        )


class Measurements:
    """The runs so far, by loop."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.runs: dict[str, list[Run]] = {}

    def add(self, loop: Loop) -> None:
        """One more run of the loop is measured."""
        self.runs.setdefault(loop.name, []).append(run := self.bench.measured(loop))
        tell(f"{loop.name}: {run.images_per_second:,.0f} images/s")

    def add_all(self, loops: Sequence[Loop], times: int) -> None:
        """So many more runs of each, in turn."""
        for _ in range(times):
            for loop in loops:
                self.add(loop)

    def speed(self, loop: Loop) -> float:
        """Images a second, the median of the loop's runs."""
        return median(run.images_per_second for run in self.runs[loop.name])

    def best(self, loops: Sequence[Loop]) -> Loop:
        """The fastest of the loops."""
        return max(loops, key=self.speed)

    def rows(self, baseline: float) -> Iterator[dict[str, Any]]:
        """One a loop: medians, and each run."""
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


def throughput(
    data: Annotated[str | None, typer.Option(metavar="PATH", help="Fashion-MNIST's files, or 'synthetic'.")] = None,
    images: Annotated[
        int, typer.Option(metavar="N", min=60, help="Of the training images, a sixth of them for validation.")
    ] = 12_000,
    full: Annotated[bool, typer.Option("--full", help="Take all training images.")] = False,
    trials: Annotated[int, typer.Option(metavar="N", min=1)] = 4,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Of each trial.")] = 2,
    usual_trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of the usual loop; without it --trials.")
    ] = None,
    usual_epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of each of those; without it --epochs.")
    ] = None,
    workers: Annotated[str, typer.Option(metavar="N,N", help="Workers of this toolkit, one row each.")] = "1,2",
    loaders: Annotated[
        str, typer.Option(metavar="N,N", help="num_workers of the usual loop's DataLoader, one row each.")
    ] = "0,2",
    device: Annotated[str, typer.Option(metavar="D", help="Of both loops: cpu, cuda or cuda:N.")] = "cpu",
    warm: Annotated[bool, typer.Option("--warm", help="All processes train once before the clock runs.")] = False,
    repeat: Annotated[int, typer.Option(metavar="N", min=1, help="Runs of each row; the figures are medians.")] = 1,
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything there too.")] = None,
) -> None:
    """The table is on the screen."""
    of_workers, of_loaders = whole_numbers("--workers", workers, least=1), whole_numbers("--loaders", loaders, least=0)
    here = surroundings(
        workers=max(of_workers), threads=max(1, cores() // max(of_workers)), device=(on := choose_device(device))
    )
    with part_of(find_source(data, announce=tell), None if full else images) as (folder, source):
        bench = _bench(folder, source, device, warm, (trials, epochs), (usual_trials or trials, usual_epochs or epochs))
        found = Measurements(bench)
        usual, ours = [bench.usual(count) for count in of_loaders], [bench.ours(count, "after") for count in of_workers]
        found.add_all((*usual, *ours), repeat)
        fastest = found.best(ours)
        found.add_all([before := bench.ours(fastest.work["workers"], "before")], repeat)
    baseline = found.speed(found.best(usual))
    settings = bench.settings | {
        "repeat": repeat,
        "bfloat16": is_mixed(on),
        "workers": of_workers,
        "loaders": of_loaders,
    }
    figures = {
        "benchmark": "throughput",
        **here,
        "settings": {**settings, "fastest": fastest.work["workers"], "knobs": KNOBS},
        "rows": list(found.rows(baseline)),
        "ratio": found.speed(fastest) / baseline,
        "ratio_pool_before": found.speed(before) / baseline,
    }
    publish_table(_table(figures), figures, file)


def _bench(
    folder: Path, source: Source, device: str, warm: bool, ours: tuple[int, int], usual: tuple[int, int]
) -> Bench:
    """With so many trials of so many epochs each; torchvision finds the images in `folder` too."""
    splits = search_splits(source, seed=SPLIT_SEED)
    write_for_torchvision(splits, folder / "torchvision")
    return Bench(
        folder, source, *ours, *usual, len(splits.train), len(splits.valid), len(splits.train.class_names), device, warm
    )


def _table(figures: dict[str, Any]) -> Table:
    settings = figures["settings"]
    columns = (
        "",
        "images/s",
        "ratio",
        "start, s",
        "trials/h",
        "GiB",
        "macro F1",
    )  # with their figures, 80 characters wide
    ours, usual = ((settings[f"{of}trials"], settings[f"{of}epochs"]) for of in ("", "usual_"))
    less = "" if usual == ours else f" (the usual loop: {_amount(*usual)}, so that only the images/s compare)"
    work = f"{_amount(*ours)}{less} on {counted(settings['train'], 'image')}"
    of = f"Medians of {settings['repeat']} runs" if settings["repeat"] > 1 else "One run"
    caption = (
        f"{of} of {work} of {settings['data']}, scored on {settings['valid']:,} others. "
        f"The very same network: {figures['ratio']:.2f} times the usual loop; with the pooling before the norm, which "
        "changes the "
        f"network: {figures['ratio_pool_before']:.2f} times ({counted(settings['fastest'], 'worker')}). "
        f"Ours multiplies in {'bfloat16' if settings['bfloat16'] else 'float32'}, the usual loop in float32."
    )
    caption += " Before the clock ran, all had trained once." if settings["is_warm"] else ""
    return Table("Throughput of a search", columns, [_cells(row) for row in figures["rows"]], caption)


def _amount(trials: int, epochs: int) -> str:
    return f"{counted(trials, 'trial')} of {counted(epochs, 'epoch')}"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    sd = row["macro_f1_sd"]
    return (
        row["loop"],
        f"{row['images_per_second']:,.0f}",
        f"{row['ratio']:.2f}",
        f"{row['start_up_seconds']:.1f}",
        f"{row['trials_per_hour']:,.0f}",
        f"{row['memory_bytes'] / 2**30:.2f}",
        f1(row["macro_f1_mean"]) + ("" if sd is None else f" ± {f1(sd)}"),
    )


def _peak_memory(command: list[str]) -> int:
    """The command has run to its end; bytes."""
    peak = 0
    with subprocess.Popen(command, cwd=ROOT) as process:
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(PAUSE)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def _resident(pid: int) -> int:
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:  # one has ended since it was listed: the next look will do
        return 0
    return total


if __name__ == "__main__":
    perform(throughput, __doc__ or "")
