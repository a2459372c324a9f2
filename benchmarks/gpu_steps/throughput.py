"""A search with this toolkit trains the same network many times as fast as the usual loop.

It runs benchmarks/throughput.py with settings for the device. The usual loop trains one trial of one epoch, because it
is measured as a rate. All processes warm up before the measurement, because the start of CUDA would weigh more in that
one epoch than in ours.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps import ROOT, Work, lines, require_success, started
from fmnist.machine import cores

TINY = "--warm --images 600 --trials 1 --epochs 1 --workers 1 --loaders 0"
FULL = "--warm --full --trials 8 --epochs 4 --usual-trials 1 --usual-epochs 1 --workers 8 --loaders"
FEW_LOADERS, MOST_LOADERS = 2, 8
ROW = re.compile(r"^(\S.*): ([\d,]+) images/s$")


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """Yield the rate of each row when it is measured, and at the end the ratios and macro F1."""
    file = Path(work.folder, "throughput.json")
    options = (TINY if work.tiny else f"{FULL} {loaders(cores())}").split()
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
    """Return the option --loaders for that number of cores: a few, and as many as the cores can feed."""
    return ",".join(map(str, sorted({FEW_LOADERS, min(MOST_LOADERS, max(FEW_LOADERS, count - 2))})))


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the benchmark's JSON by row."""
    rows = figures["rows"]
    return {
        "ratio": figures["ratio"],
        "ratio_pool_before": figures["ratio_pool_before"],
        "images_per_second": {row["loop"]: row["images_per_second"] for row in rows},
        "macro_f1": {row["loop"]: row["macro_f1_mean"] for row in rows},
        "start_up_seconds": {row["loop"]: row["start_up_seconds"] for row in rows},
        "settings": figures["settings"],
    }
