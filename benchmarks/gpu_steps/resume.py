"""A search whose coordinator is killed with -9 resumes from its snapshots and ends with every trial once.

Run as a command, this module is fmnist-search with snapshots as often as their cost allows instead of every 15 seconds,
because trials of a few epochs on a GPU are shorter.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps import ROOT, Work, lines, started

TRIALS, TRIALS_TINY = 6, 4
EPOCHS, WORKERS = 6, 2
LEAVING = 20.0  # seconds for worker processes to end after the coordinator
SHORT_END = """\
[confirm]
top = 1
seeds = 1

[final]
seeds = 1
epochs = 2
"""
STORAGE = "sqlite:///resume.db"
UNDER_WAY = re.compile(r"^\S+ (?:trial \d+, epoch 2/|[2-9]/\d+ trial \d+ (?:complete|pruned))")
RESUMES = re.compile(r"^\S+ trial \d+ resumes after epoch \d+\.")


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """Yield when it was killed, whether a trial resumed from its snapshot, and the final content of the storage."""
    start = time.monotonic()
    killed = started(job(work), work.folder)
    line = _until_under_way(killed)
    killed.kill()
    codes = [killed.wait()]
    yield {"killed_after_seconds": time.monotonic() - start, "killed_at": line, "exit_codes": codes}
    yield {"workers_gone_after_seconds": _gone("the coordinator was killed")}
    second = started(job(work), work.folder)
    resumed = [text for _, text in lines(second) if RESUMES.match(text)]
    codes.append(second.wait())
    yield {"exit_codes": codes, "resumed": bool(resumed), "seconds": time.monotonic() - start}
    assert codes == [-9, 0], f"The exit codes must be -9 and 0 of the killed and the next run, got {codes}."
    _gone("the run ended")
    yield from _checked(Path(work.folder), budget(work))
    assert resumed, "No trial resumed from its snapshot."


def job(work: Work) -> list[str]:
    """Return the command that is killed and run again."""
    amount = ("--trials", str(budget(work)), "--workers", str(WORKERS), "--set", f"epochs={EPOCHS}")
    options = ("--device", work.device, "--storage", STORAGE, *work.data_option)
    return [sys.executable, "-m", "benchmarks.gpu_steps.resume", "run", study(work), *amount, *options]


def study(work: Work) -> str:
    """Write a study and return its file name: the search of `quick` with short further stages, or a tiny study."""
    if work.tiny:
        return work.tiny_study
    search, _, _ = (ROOT / "studies" / "quick.toml").read_text(encoding="utf-8").partition("[confirm]")
    file = Path(work.folder, "quick.toml")
    file.write_text(search + SHORT_END, encoding="utf-8")
    return file.name


def budget(work: Work) -> int:
    """Return the trials of the study over both runs."""
    return TRIALS_TINY if work.tiny else TRIALS


def _until_under_way(process: subprocess.Popen[str]) -> str:
    """Wait until a trial has trained two epochs or two trials have ended, and return that output line."""
    for _, text in lines(process):
        if UNDER_WAY.match(text):
            return text
    raise AssertionError(f"The run ended with {process.wait()} before any trial had trained two epochs.")


def _gone(when: str) -> float:
    """Wait until this process is alone in its group, and return the seconds. Raises: AssertionError."""
    import psutil

    start = time.monotonic()
    while others := list(_others()):
        assert time.monotonic() < start + LEAVING, f"{LEAVING:.0f} s after {when} there are still: {others}"
        psutil.wait_procs(others, timeout=0.1)
    return time.monotonic() - start


def _others() -> Iterator[Any]:
    import psutil

    for process in psutil.process_iter(["status"]):
        # Zombies have ended, but stay in the list if the init process does not reap them.
        if process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) == os.getpgrp():
                    yield process


def _checked(folder: Path, expected: int) -> Iterator[dict[str, Any]]:
    """Yield the content of the storage. Raises: AssertionError if it differs from that of an undisturbed run."""
    import optuna

    url = f"sqlite:///{folder}/resume.db"
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    trials, openings = study.get_trials(), study.user_attrs["openings"]
    states = Counter(trial.state.name.lower() for trial in trials)
    yield {"trials": len(trials), "states": dict(states), "openings": len(openings)}
    assert len(trials) == expected, f"There must be {expected} trials, got {len(trials)}."
    assert not {"running", "waiting"} & states.keys(), f"Some trials have not ended: {dict(states)}."
    assert [trial.number for trial in trials] == list(range(expected)), "The trials' numbers have gaps."
    for trial in trials:
        epochs = list(trial.intermediate_values)
        assert epochs == list(range(1, len(epochs) + 1)), f"Trial {trial.number} has the epochs {epochs}."
        assert trial.state.name != "COMPLETE" or len(epochs) == EPOCHS, (
            f"Trial {trial.number} is complete after {len(epochs)} epochs."
        )
    assert len(openings) == 1, f"The test split was opened {len(openings)} times."


def _run_with_frequent_snapshots() -> None:
    """Run the command fmnist-search."""
    from functools import partial
    from unittest.mock import patch

    from search.executors.processes import warm_up

    warm_up()  # before the following imports, which take seconds
    import search.job.place
    from search.cli.main import main
    from search.executors.training import Setup

    with patch.object(search.job.place, "Setup", partial(Setup, snapshot_seconds=0.0)):
        main()


if __name__ == "__main__":
    _run_with_frequent_snapshots()
