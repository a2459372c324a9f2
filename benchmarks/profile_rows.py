"""The rows of profile.py: seconds, shares, rates, and the rates by the ceilings of the machine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.ceilings import Ceilings
from benchmarks.epoch_parts import EpochParts, Part
from benchmarks.search_parts import SearchParts
from fmnist.config import TrialConfig
from fmnist.data.images import SIDE
from fmnist.network import build, describe
from search.terminal.table import Row as Cells
from search.terminal.wording import counted

GATHERED = SIDE * SIDE * (1 + 1 + 1 + 4)  # bytes per image: each pixel as a byte read, written, read; a float written


@dataclass(frozen=True)
class Row:
    """A row of the table. The rate is in `unit`; `of_ceiling` is its share of the machine's ceiling."""

    name: str
    seconds: float | None = None
    share: float | None = None
    rate: float | None = None
    unit: str = ""
    of_ceiling: float | None = None


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of one image in training, two per multiply-add."""

    forward: int
    backward: int


def count_operations(config: TrialConfig, classes: int) -> Operations:
    """Count those of convolutions and dense layers. Backward is less than twice forward: images need no gradient."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build(config, classes)(torch.empty(1, 1, SIDE, SIDE)).sum().backward()
    forward = describe(config, classes).pass_flops
    return Operations(forward, counter.get_total_flops() - forward)


def epoch_rows(epoch: EpochParts, images: int, operations: Operations, ceilings: Ceilings) -> list[Row]:
    """Return the mean epoch and its parts; `images` counts those of all measured epochs."""

    def row(name: str, seconds: float) -> Row:
        return Row(f"  {name}", seconds / epoch.epochs, seconds / epoch.whole)

    def rated(name: str, part: Part, work: int, unit: str, ceiling: float) -> Row:
        rate = images * work / epoch.parts[part]
        return replace(row(name, epoch.parts[part]), rate=rate / 1e9, unit=unit, of_ceiling=rate / ceiling)

    threads = counted(ceilings.threads, "thread")
    return [
        Row(
            f"Epoch, {threads}",
            epoch.whole / epoch.epochs,
            1.0,
            images / (epoch.whole - epoch.parts["evaluate"]),
            "images/s",
        ),
        rated("gathering the batch", "gather", GATHERED, "GB/s", ceilings.copy),
        row("augmentation", epoch.parts["augment"]),
        rated("forward, loss", "forward", operations.forward, "GFLOP/s", ceilings.product),
        rated("backward", "backward", operations.backward, "GFLOP/s", ceilings.product),
        row("optimizer, schedule", epoch.parts["optimizer"]),
        row("evaluation", epoch.parts["evaluate"]),
        row("other", epoch.other),
    ]


def search_rows(search: SearchParts) -> list[Row]:
    """Return the parts of the workers' time, and those of the coordinator as shares of the wall clock."""
    capacity = search.wall * search.workers

    def row(name: str, seconds: float) -> Row:
        return Row(f"  {name}", seconds, seconds / capacity)

    return [
        Row(f"Search, {counted(search.workers, 'worker')}", capacity, 1.0, search.images / search.wall, "images/s"),
        row("training", search.training),
        row("waiting for verdicts", search.verdicts),
        row("idle between trials", search.between),
        row("idle at the end", search.tail),
        Row("  coordinator", search.coordinator, search.coordinator / search.wall),
        Row("    in Optuna", search.optuna, search.optuna / search.wall),
    ]


def ceiling_rows(measured: Sequence[Ceilings]) -> list[Row]:
    """Return the ceilings of the machine."""
    return [
        row
        for ceilings in measured
        for row in (
            Row(f"Product, {counted(ceilings.threads, 'thread')}", rate=ceilings.product / 1e9, unit="GFLOP/s"),
            Row(f"Copy, {counted(ceilings.threads, 'thread')}", rate=ceilings.copy / 1e9, unit="GB/s"),
        )
    ]


def cells(row: Row) -> Cells:
    """Return the row as text."""
    return (
        row.name,
        "" if row.seconds is None else f"{row.seconds:.3f}",
        "" if row.share is None else f"{row.share:.1%}",
        "" if row.rate is None else f"{row.rate:,.0f} {row.unit}",
        "" if row.of_ceiling is None else f"{row.of_ceiling:.0%}",
    )
