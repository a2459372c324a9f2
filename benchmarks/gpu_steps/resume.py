"""A search whose coordinator is killed with -9 goes on from its snapshots, and ends with every trial once.

Run as a command of its own, this module is fmnist-search with a snapshot as often as its cost allows, and not only
every 15 seconds, which trials of a few epochs on a GPU do not last.
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
LEAVING = 20.0  # seconds that worker processes have to end in once the coordinator is gone
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
GOES_ON = re.compile(r"^\S+ trial \d+ goes on after epoch \d+\.")


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """When it was killed, whether a trial went on from its snapshot, and what stands in the storage at the end."""
    start = time.monotonic()
    killed = started(job(work), work.folder)
    line = _until_under_way(killed)
    killed.kill()
    codes = [killed.wait()]
    yield {"killed_after_seconds": time.monotonic() - start, "killed_at": line, "exit_codes": codes}
    yield {"workers_gone_after_seconds": _gone("the coordinator was killed")}
    again = started(job(work), work.folder)
    gone_on = [text for _, text in lines(again) if GOES_ON.match(text)]
    codes.append(again.wait())
    yield {"exit_codes": codes, "resumed": bool(gone_on), "seconds": time.monotonic() - start}
    assert codes == [-9, 0], f"The exit codes are {codes}; wanted are -9 of the killed run and 0 of the one after it."
    _gone("the run ended")
    yield from _checked(Path(work.folder), budget(work))
    assert gone_on, "No trial went on from its snapshot."


def job(work: Work) -> list[str]:
    """The command that is killed, and given again."""
    amount = ("--trials", str(budget(work)), "--workers", str(WORKERS), "--set", f"epochs={EPOCHS}")
    options = ("--device", work.device, "--storage", STORAGE, *work.data_option)
    return [sys.executable, "-m", "benchmarks.gpu_steps.resume", "run", study(work), *amount, *options]


def study(work: Work) -> str:
    """The file of a study that is there now: on a GPU the search of `quick`, with little after it."""
    if work.tiny:
        return work.tiny_study
    search, _, _ = (ROOT / "studies" / "quick.toml").read_text(encoding="utf-8").partition("[confirm]")
    file = Path(work.folder, "quick.toml")
    file.write_text(search + SHORT_END, encoding="utf-8")
    return file.name


def budget(work: Work) -> int:
    """Trials of the study, over both runs."""
    return TRIALS_TINY if work.tiny else TRIALS


def _until_under_way(process: subprocess.Popen[str]) -> str:
    """The first line that says that a trial has two epochs behind it, or that two trials have ended."""
    for _, text in lines(process):
        if UNDER_WAY.match(text):
            return text
    raise AssertionError(f"The run ended with {process.wait()} before any trial had two epochs behind it.")


def _gone(when: str) -> float:
    """After so many seconds nothing of the step's process group is left but this process. Raises: AssertionError."""
    import psutil

    start = time.monotonic()
    while left := list(_others()):
        assert time.monotonic() < start + LEAVING, f"{LEAVING:.0f} s after {when} there are still: {left}"
        psutil.wait_procs(left, timeout=0.1)
    return time.monotonic() - start


def _others() -> Iterator[Any]:
    import psutil

    for process in psutil.process_iter(["status"]):
        # A zombie has ended; where the machine's first process collects none, it stays in the list.
        if process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) == os.getpgrp():
                    yield process


def _checked(folder: Path, wanted: int) -> Iterator[dict[str, Any]]:
    """What the storage holds. Raises: AssertionError where it is not what an undisturbed run leaves."""
    import optuna

    url = f"sqlite:///{folder}/resume.db"
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    trials, openings = study.get_trials(), study.user_attrs["openings"]
    states = Counter(trial.state.name.lower() for trial in trials)
    yield {"trials": len(trials), "states": dict(states), "openings": len(openings)}
    assert len(trials) == wanted, f"{wanted} trials were asked for, and there are {len(trials)}."
    assert not {"running", "waiting"} & states.keys(), f"Some trials have not ended: {dict(states)}."
    assert [trial.number for trial in trials] == list(range(wanted)), "The trials' numbers have gaps."
    for trial in trials:
        epochs = list(trial.intermediate_values)
        assert epochs == list(range(1, len(epochs) + 1)), f"Trial {trial.number} has the epochs {epochs}."
        assert trial.state.name != "COMPLETE" or len(epochs) == EPOCHS, (
            f"Trial {trial.number} is complete after {len(epochs)} epochs."
        )
    assert len(openings) == 1, f"The test split was opened {len(openings)} times."


def _run_with_frequent_snapshots() -> None:
    """The command fmnist-search."""
    from functools import partial
    from unittest.mock import patch

    from search.executors.processes import warm_up

    warm_up()  # before the imports that follow, which take seconds
    import search.job.plan
    from search.cli.main import main
    from search.executors.training import Setup

    with patch.object(search.job.plan, "Setup", partial(Setup, snapshot_seconds=0.0)):
        main()


if __name__ == "__main__":
    _run_with_frequent_snapshots()
