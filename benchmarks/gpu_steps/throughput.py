"""A search with this toolkit trains the same network many times as fast as the usual loop.

It is benchmarks/throughput.py with settings for the device. The usual loop is given one trial of one epoch, for it is
measured as a rate; all processes have trained before the clock runs, for the start of CUDA would weigh more in that one
epoch than in ours.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps import ROOT, Work, lines, require_success, started
from fmnist.machine import cores

TINY = ("--images", "600", "--trials", "1", "--epochs", "1", "--workers", "1", "--loaders", "0", "--warm")
FULL = (
    "--full",
    "--trials",
    "8",
    "--epochs",
    "4",
    "--usual-trials",
    "1",
    "--usual-epochs",
    "1",
    "--workers",
    "8",
    "--warm",
)
FEW_LOADERS, MOST_LOADERS = 2, 8
ROW = re.compile(r"^(\S.*): ([\d,]+) images/s$")


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """The rate of each row as it is measured; at the end the ratios and each row's macro F1."""
    file = Path(work.folder, "throughput.json")
    options = TINY if work.tiny else (*FULL, "--loaders", loaders(cores()))
    script = str(ROOT / "benchmarks" / "throughput.py")
    process = started(
        [sys.executable, script, "--device", work.device, "--json", str(file), *work.data_option, *options], work.folder
    )
    rates: dict[str, float] = {}
    for _, line in lines(process):
        if row := ROW.match(line):
            rates[row[1]] = float(row[2].replace(",", ""))
            yield {"images_per_second": rates}
    require_success(process)
    yield summary(json.loads(file.read_text(encoding="utf-8")))


def loaders(count: int) -> str:
    """For the usual loop: a few loader workers, and as many as so many cores feed; as the option takes them."""
    return ",".join(str(one) for one in sorted({FEW_LOADERS, min(MOST_LOADERS, max(FEW_LOADERS, count - 2))}))


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """What the benchmark's JSON says, row by row."""
    rows = figures["rows"]
    return {
        "ratio": figures["ratio"],
        "ratio_pool_before": figures["ratio_pool_before"],
        "images_per_second": {row["loop"]: row["images_per_second"] for row in rows},
        "macro_f1": {row["loop"]: row["macro_f1_mean"] for row in rows},
        "start_up_seconds": {row["loop"]: row["start_up_seconds"] for row in rows},
        "settings": figures["settings"],
    }
