"""Claim: on two CPU cores a search with this toolkit trains a network several times as fast as the usual loop.

    python benchmarks/throughput.py [--data PATH] [--json FILE]        about 7 minutes on two cores

The usual loop is benchmarks/usual_loop.py: torchvision's transforms image by image, DataLoader, NCHW, Adam, one
study.optimize with SQLite and a MedianPruner. Ours is benchmarks/our_loop.py: the search of `fmnist-search run` with
its coordinator, workers and storage. Both train 4 trials of 2 epochs of one configuration: three stages of conv 3x3,
batch norm, ReLU and max pooling with 32, 64 and 128 channels, one dense layer, batch 128, Adam at 0.001, the same
augmentation, on 10,000 images (ours drops the last partial batch of an epoch). After each epoch they score 2,000
other images. Nothing is pruned. Each row is a process, one after the other; --repeat 3 gives medians of three.

With --warm (benchmarks/warm.py) every process that trains has trained the steps of one epoch before the measurement, so
that only the columns start and trials/h include the start of a GPU. If the usual loop is much slower, --usual-trials
and --usual-epochs give it less work, because it is measured as a rate. The columns trials/h and macro F1 then do not
compare. Ours multiplies in bfloat16 where that is fast (`bfloat16` in the JSON), the usual loop in float32.

images/s     images trained in all trials, by the seconds from the start of the first trial to the end of the last one,
             with scoring and storage
ratio        to the images/s of the usual loop with the best number of loader workers
start, s     from the start of the process to the start of the first trial: imports, images, and for ours the workers
trials/h     including the start
GiB          peak of the summed resident memory of all processes, read five times a second; each counts shared memory
macro F1     validation, mean and standard deviation over trials; equal within noise if both loops do the same work

`ratio` in the JSON is that of the same network with the best number of workers. `ratio_pool_before` is that of another
network, which pools before the norm: max pooling commutes with ReLU, but not with a norm of negative scale.

Augmentation in both loops: half of the images mirrored; shifts of up to 2 pixels (RandomCrop with padding 2); rotation
by up to 7.5 degrees and scaling by up to 7.5 % in half of the images (theirs without interpolation, ours bilinear and
computed for all); a rectangle of 2 to 25 % erased in half of them.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from typing import Annotated, Any

import typer

from benchmarks.options import Data, Images, Json, whole_numbers
from benchmarks.subset import part_of, write_for_torchvision
from benchmarks.table import perform, publish, surroundings, tell
from benchmarks.throughput_runs import KNOBS, Bench, Measurements
from fmnist.data.sources import Source, find_source
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.device import choose_device
from fmnist.machine import cores
from fmnist.precision import is_mixed
from search.terminal.table import Table
from search.terminal.wording import counted, f1

COLUMNS = ("", "images/s", "ratio", "start, s", "trials/h", "GiB", "macro F1")  # 80 characters wide with their figures


def throughput(
    data: Data = None,
    images: Images = 12_000,
    full: Annotated[bool, typer.Option("--full", help="Use all training images.")] = False,
    trials: Annotated[int, typer.Option(metavar="N", min=1)] = 4,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Epochs of a trial.")] = 2,
    usual_trials: Annotated[int | None, typer.Option(metavar="N", min=1, help="Trials of the usual loop.")] = None,
    usual_epochs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Epochs of the usual loop.")] = None,
    workers: Annotated[str, typer.Option(metavar="N,N", help="Workers of this toolkit, one row each.")] = "1,2",
    loaders: Annotated[str, typer.Option(metavar="N,N", help="num_workers of the DataLoader, one row each.")] = "0,2",
    device: Annotated[str, typer.Option(metavar="D", help="Device of both loops: cpu, cuda or cuda:N.")] = "cpu",
    warm: Annotated[bool, typer.Option("--warm", help="Train once in each process before the measurement.")] = False,
    repeat: Annotated[int, typer.Option(metavar="N", min=1, help="Runs of each row; the figures are medians.")] = 1,
    file: Json = None,
) -> None:
    """Print the table."""
    worker_counts = whole_numbers("--workers", workers, least=1)
    loader_counts = whole_numbers("--loaders", loaders, least=0)
    torch_device, most = choose_device(device), max(worker_counts)
    here = surroundings(workers=most, threads=max(1, cores() // most), device=torch_device)
    with part_of(find_source(data, announce=tell), None if full else images) as (folder, source):
        bench = _bench(folder, source, device, warm, (trials, epochs), (usual_trials or trials, usual_epochs or epochs))
        measured = _measured(bench, worker_counts, loader_counts, repeat)
    settings = bench.settings | {
        "repeat": repeat,
        "bfloat16": is_mixed(torch_device),
        "workers": worker_counts,
        "loaders": loader_counts,
        "fastest": measured.pop("fastest"),
        "knobs": KNOBS,
    }
    figures = {"benchmark": "throughput", **here, "settings": settings, **measured}
    publish(_table(figures), figures, file)


def _bench(
    folder: Path, source: Source, device: str, warm: bool, ours: tuple[int, int], usual: tuple[int, int]
) -> Bench:
    """Return the bench with the trials and epochs of each loop, and write the images for torchvision."""
    splits = search_splits(source, seed=SPLIT_SEED)
    write_for_torchvision(splits, folder / "torchvision")
    return Bench(
        folder, source, *ours, *usual, len(splits.train), len(splits.valid), len(splits.train.class_names), device, warm
    )


def _measured(bench: Bench, worker_counts: list[int], loader_counts: list[int], repeat: int) -> dict[str, Any]:
    usual = [bench.usual(count) for count in loader_counts]
    ours = [bench.ours(count, "after") for count in worker_counts]
    measurements = Measurements(bench)
    measurements.add_all((*usual, *ours), repeat)
    fastest = measurements.fastest(ours)
    pool_before = bench.ours(fastest.work["workers"], "before")
    measurements.add_all([pool_before], repeat)
    baseline = measurements.speed(measurements.fastest(usual))
    return {
        "fastest": fastest.work["workers"],
        "rows": list(measurements.rows(baseline)),
        "ratio": measurements.speed(fastest) / baseline,
        "ratio_pool_before": measurements.speed(pool_before) / baseline,
    }


def _table(figures: dict[str, Any]) -> Table:
    settings = figures["settings"]
    ours, usual = ((settings[f"{loop}trials"], settings[f"{loop}epochs"]) for loop in ("", "usual_"))
    less = "" if usual == ours else f" (the usual loop: {_amount(*usual)}, so only the images/s compare)"
    work = f"{_amount(*ours)}{less} on {counted(settings['train'], 'image')}"
    runs = f"Medians of {settings['repeat']} runs" if settings["repeat"] > 1 else "One run"
    caption = (
        f"{runs} of {work} of {settings['data']}, scored on {settings['valid']:,} others. "
        f"The same network: {figures['ratio']:.2f} times the usual loop; with pooling before the norm, which changes "
        f"the network: {figures['ratio_pool_before']:.2f} times ({counted(settings['fastest'], 'worker')}). "
        f"Ours multiplies in {'bfloat16' if settings['bfloat16'] else 'float32'}, the usual loop in float32."
    )
    caption += " All processes had trained once before the measurement." if settings["is_warm"] else ""
    return Table("Throughput of a search", COLUMNS, [_cells(row) for row in figures["rows"]], caption)


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


if __name__ == "__main__":
    perform(throughput, __doc__ or "")
