"""What profile.py measured, as the lines of its table: seconds, shares, rates, and the rates by the machine's
ceilings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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

GATHERED = (
    SIDE * SIDE * (1 + 1 + 1 + 4)
)  # bytes an image: a byte a pixel read, written, read again, and a float written


@dataclass(frozen=True)
class Row:
    """One line. A rate is in `unit`; `of_ceiling` is its share of what the machine can do."""

    name: str
    seconds: float | None = None
    share: float | None = None
    rate: float | None = None
    unit: str = ""
    of_ceiling: float | None = None


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of one image in training, two a multiply-add."""

    forward: int
    backward: int


def count_operations(config: TrialConfig, classes: int) -> Operations:
    """Those of convolutions and dense layers; backward is less than twice forward, as no gradient goes into the
    images.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build(config, classes)(torch.empty(1, 1, SIDE, SIDE)).sum().backward()
    forward = describe(config, classes).flops
    return Operations(forward, counter.get_total_flops() - forward)


def epoch_rows(epoch: EpochParts, images: int, operations: Operations, ceilings: Ceilings) -> list[Row]:
    """The mean epoch and its parts; `images` are those trained on, over all measured epochs."""

    def row(name: str, seconds: float) -> Row:
        return Row(f"  {name}", seconds / epoch.epochs, seconds / epoch.whole)

    def rated(name: str, part: Part, work: int, unit: str, ceiling: float) -> Row:
        plain, rate = row(name, epoch.parts[part]), images * work / epoch.parts[part]
        return Row(plain.name, plain.seconds, plain.share, rate / 1e9, unit, rate / ceiling)

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


def search_rows(found: SearchParts) -> list[Row]:
    """What the workers did, as shares of their time, and the coordinator, as shares of the wall clock."""
    capacity = found.wall * found.workers

    def row(name: str, seconds: float) -> Row:
        return Row(f"  {name}", seconds, seconds / capacity)

    return [
        Row(f"Search, {counted(found.workers, 'worker')}", capacity, 1.0, found.images / found.wall, "images/s"),
        row("training", found.training),
        row("wait for verdicts", found.verdicts),
        row("idle between trials", found.between),
        row("idle at the end", found.tail),
        Row("  coordinator", found.coordinator, found.coordinator / found.wall),
        Row("    in Optuna", found.optuna, found.optuna / found.wall),
    ]


def ceiling_rows(measured: Sequence[Ceilings]) -> list[Row]:
    """What the machine can do."""
    return [
        row
        for ceilings in measured
        for row in (
            Row(f"Product, {counted(ceilings.threads, 'thread')}", rate=ceilings.product / 1e9, unit="GFLOP/s"),
            Row(f"Copy, {counted(ceilings.threads, 'thread')}", rate=ceilings.copy / 1e9, unit="GB/s"),
        )
    ]


def cells(row: Row) -> Cells:
    """The row as a person reads it."""
    return (
        row.name,
        "" if row.seconds is None else f"{row.seconds:.3f}",
        "" if row.share is None else f"{row.share:.1%}",
        "" if row.rate is None else f"{row.rate:,.0f} {row.unit}",
        "" if row.of_ceiling is None else f"{row.of_ceiling:.0%}",
    )
