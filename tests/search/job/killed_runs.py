"""Runs the command line again and again, each time in a process forked from this one, and kills each with -9 at a
random moment.

    python killed_runs.py KILLS SEED ARGUMENTS...      ARGUMENTS with {} for the number of the study

Forked, because the imports would take most of the time and make many kills slow. When a study ends before it is
killed, the next one begins; after so many kills the last one is left to end. Prints the exit code of each study's last
run.
"""

import os
import random
import signal
import sys
import traceback
from functools import partial
from multiprocessing import forkserver
from time import monotonic, sleep
from unittest.mock import patch

import search.job.place
from search.cli.main import main
from search.executors.processes import warm_up
from search.executors.training import Setup

LONGEST = 2.0  # seconds


def start(arguments: list[str]) -> int:
    """The process in which the command runs; its output goes nowhere."""
    pid = os.fork()
    if pid:
        return pid
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    sys.argv = ["fmnist-search", *arguments]
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    else:
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def exit_code(pid: int, seconds: float) -> int | None:
    """None where the process was still at work after so many seconds, and was killed."""
    end = monotonic() + seconds
    while monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def kill_often(kills: int, moments: random.Random, arguments: list[str]) -> list[int]:
    """The exit codes of the studies' last runs."""
    codes: list[int] = []
    while True:
        named = [argument.format(len(codes)) for argument in arguments]
        code = exit_code(start(named), moments.uniform(0, LONGEST) if kills else float("inf"))
        if code is None:
            kills -= 1
        else:
            codes.append(code)
            if not kills or code:
                return codes


if __name__ == "__main__":
    warm_up()
    with (
        patch.object(search.job.place, "Setup", partial(Setup, snapshot_seconds=0.0)),
        # One server of workers for all runs: a forked process may use it, but cannot ask whether a child of its parent
        # is alive.
        patch.object(forkserver, "ensure_running", lambda: None),
        patch.object(forkserver._forkserver, "ensure_running", lambda: None),
    ):
        print(*kill_often(int(sys.argv[1]), random.Random(int(sys.argv[2])), sys.argv[3:]))  # noqa: T201
