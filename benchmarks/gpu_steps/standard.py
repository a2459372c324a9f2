"""The study `standard` runs from its first trial to the exported model, with the result in its report.

With --tiny it is a study of two trials on synthetic images, with all stages.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps import Work, lines, require_success, search_command, started

STAGES = {"Search": "search", "Confirm": "confirm", "Final training": "final"}
BEGINS = re.compile(rf"^\S+ ({'|'.join(STAGES)}): [\d,]+ (?:trial|training)s?(?:, .*)?\.$")
ENDS = re.compile(rf"^\S+ (({'|'.join(STAGES)}): [\d,]+ of [\d,]+ .*)$")
TRIAL = re.compile(r"^\S+ (\d+)/\d+ trial \d+ (?:complete|pruned|failed)")


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """Yield the seconds of each stage when it ends, and the result from the report."""
    process = started(job(work), work.folder)
    job_seconds = 0.0
    for figures in parsed(lines(process)):
        job_seconds = figures["job_seconds"]
        yield figures
    require_success(process)
    report = json.loads(next(Path(work.folder, "studies").glob("*/report.json")).read_text(encoding="utf-8"))
    yield {"job_seconds": job_seconds, **summary(report), "report": report}
    assert len(report["openings"]) == 1, f"The test split was opened {len(report['openings'])} times."


def job(work: Work) -> list[str]:
    """Return the command of the whole job."""
    study = ("standard",) if not work.tiny else (work.tiny_study, "--workers", "2")
    return search_command(
        "run", *study, "--device", work.device, "--storage", "sqlite:///standard.db", *work.data_option
    )


def parsed(output: Iterator[tuple[float, str]]) -> Iterator[dict[str, Any]]:
    """Yield figures from the output of a run: its progress, and the seconds and last line of each stage."""
    began: dict[str, float] = {}
    for at, line in output:
        figures: dict[str, Any] = {"job_seconds": at}
        if begin := BEGINS.match(line):
            began[begin[1]] = at
            figures |= {"start_seconds": at} if begin[1] == "Search" else {}
        elif (end := ENDS.match(line)) and end[2] in began:
            stage = STAGES[end[2]]
            figures |= {f"{stage}_seconds": at - began[end[2]], f"{stage}_told": end[1]}
        elif trial := TRIAL.match(line):
            figures["trials_done"] = int(trial[1])
        yield figures


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a finished study."""
    final, timing, states = report["final"], report["timing"], report["states"]
    return {
        "search_seconds": timing["search"],
        "confirm_seconds": timing["confirm"],
        "final_seconds": timing["final"],
        **{state: states[state] for state in ("complete", "pruned", "failed", "refused")},
        "search_best": report["best"][0]["value"],
        "search_best_trial": report["best"][0]["number"],
        "confirmed": report["confirmed"],
        "final_mean": final["mean"],
        "final_sd": final["sd"],
        "final_low": final["low"],
        "final_high": final["high"],
        "final_by_seed": {str(run["seed"]): run["macro_f1"] for run in final["runs"]},
        "parameters": final["parameters"],
        "winner_trial": final["trial"],
        "winner": final["config"],
        "workers": report["environments"][-1]["workers"],
    }
