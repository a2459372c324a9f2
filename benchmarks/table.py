"""The command of a benchmark, its table, and its figures as JSON with the machine and the versions."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
import typer
from rich.console import Console

from fmnist.device import device_name
from fmnist.errors import FmnistError
from search.report.render import print_table
from search.study.environment import capture_environment
from search.terminal.table import Table
from search.terminal.wording import counted

CPU = torch.device("cpu")


def perform(benchmark: Callable[..., None], about: str) -> None:
    """Run the benchmark as a command with the help text `about`. A user's error exits with 2 and one message."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)
    # Typer joins the lines of a paragraph unless it starts with \b, as those with columns do.
    parts = (f"\b\n{part}" if "   " in part else part for part in about.split("\n\n"))
    app.command(help="\n\n".join(parts))(benchmark)
    try:
        app()
    except FmnistError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def tell(text: str) -> None:
    """Print progress on standard error; standard output is for the table."""
    Console(stderr=True).print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def surroundings(*, workers: int, threads: int, device: torch.device = CPU) -> dict[str, Any]:
    """Return machine, versions and commit. Call it before measuring, so that the load is that of other work."""
    here = capture_environment(device=device_name(device), workers=workers, threads_per_worker=threads)
    machine = {
        "processor": here.processor,
        "device": here.device,
        "cores": here.cores,
        "memory_bytes": int(psutil.virtual_memory().total),
        "platform": here.platform,
        "load_before": round(os.getloadavg()[0], 2),  # runnable processes, mean of the last minute
    }
    return {
        "at": here.at,
        "command": here.command,
        "commit": here.commit,
        "machine": machine,
        "versions": here.versions,
    }


def publish(table: Table, figures: Mapping[str, Any], file: Path | None) -> None:
    """Print the table and the machine, and write everything to `file` as JSON."""
    console = Console()
    print_table(table, console)
    console.print(_measured_on(figures), style="dim", markup=False, highlight=False)
    if file is not None:
        shown = {"title": table.title, "columns": table.columns, "rows": table.rows, "caption": table.caption}
        file.write_text(json.dumps({**figures, "shown": shown}, indent=2) + "\n", encoding="utf-8")


def _measured_on(figures: Mapping[str, Any]) -> str:
    machine, versions = figures["machine"], figures["versions"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "torchvision", "optuna"))
    device = "" if machine["device"] == "cpu" else f"{machine['device']}, "
    return (
        f"Measured on {device}{machine['processor']}, {counted(machine['cores'], 'core')}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, load before {machine['load_before']:.1f}; "
        f"{libraries}; commit {figures['commit'] or 'unknown'}."
    )
