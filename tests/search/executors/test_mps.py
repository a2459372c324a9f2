"""The life of CUDA's Multi-Process Service around a run. A script stands in for the service's command where there is no
GPU.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest
import torch

from fmnist.data.sources import Source
from search.executors.local import LocalExecutor
from search.executors.mps import CONTROL, PIPES, can_share, shared_gpu
from search.executors.training import Setup
from tests.search.tiny import DEADLINE

CUDA = torch.device("cuda")
MARK = "MPS_TEST"  # in the environment of all that a test starts
# Notes how it was called and where its pipes are, as the real command would need them.
SCRIPT = """\
#!/bin/sh
if [ "$1" = -d ]; then {start}; test -d "$CUDA_MPS_PIPE_DIRECTORY" && echo "started" >>"{log}"; exit {code}; fi
read -r word
if [ "$word" = get_server_list ]; then {answer}; fi
{end}; echo "$word" >>"{log}"
"""
PROGRAM = """\
import torch
from search.executors.mps import shared_gpu
print("begins", flush=True)
with shared_gpu(torch.device("cuda"), 2) as sharing:
    print(sharing.environ["CUDA_MPS_PIPE_DIRECTORY"], flush=True)
    input()
"""


def service(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int = 0,
    start: str = ":",
    answer: str = "exit 1",
    end: str = ":",
) -> Path:
    """What the command was told, line by line. It does `start`, `answer` or `end` first, when it is to start, to answer
    or to end.
    """
    log, script = folder / "log", folder / "bin" / CONTROL
    script.parent.mkdir()
    script.write_text(SCRIPT.format(log=log, code=code, start=start, answer=answer, end=end))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(MARK, str(folder))
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.setattr(
        "search.executors.mps.DEFAULT_PIPE", folder / "control"
    )  # this machine may have a service of its own
    return log


def forever(folder: Path) -> str:
    """What a script does to hang."""
    os.mkfifo(folder / "never")
    return f'read -r _ <"{folder / "never"}"'


def said(fifo: Path) -> str:
    """The first line that another process writes into it, which waits for this one to read."""
    with os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)) as pipe:
        assert wait([pipe.fileno()], DEADLINE), f"Nobody wrote into {fifo}."
        return pipe.readline()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def nothing_runs(folder: Path) -> bool:
    """Of the service and its shell."""
    return not [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get(MARK) == str(folder)]


@pytest.mark.process
def test_the_service_runs_as_long_as_the_workers_and_each_is_told_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = service(tmp_path, monkeypatch)
    assert can_share()
    with shared_gpu(CUDA, 4) as sharing:
        pipes = Path(sharing.environ[PIPES])
        assert pipes.is_dir()
        assert log.read_text().split() == ["started"]
    assert log.read_text().split() == ["started", "quit"]
    assert not pipes.exists()
    assert sharing.note is None


@pytest.mark.process
def test_the_service_and_its_folder_go_also_when_the_run_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(quitted := tmp_path / "quitted")
    log = service(tmp_path, monkeypatch, end=f'echo quit >"{quitted}"')
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "begins\n"
        pipes = Path(run.stdout.readline().strip())
        assert pipes.is_dir()
        run.send_signal(signal.SIGKILL)
    assert said(quitted) == "quit\n"
    until(lambda: not pipes.parent.exists())
    assert log.read_text().split() == ["started", "quit"]


@pytest.mark.process
def test_a_run_that_is_killed_while_the_service_starts_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("starting", "quitted", "go"):
        os.mkfifo(tmp_path / name)
    start = f'echo starting >"{tmp_path / "starting"}"; read -r _ <"{tmp_path / "go"}"'
    log = service(tmp_path, monkeypatch, start=start, end=f'echo quit >"{tmp_path / "quitted"}"')
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert said(tmp_path / "starting") == "starting\n"
        run.send_signal(signal.SIGKILL)
    (tmp_path / "go").write_text("go\n")
    assert said(tmp_path / "quitted") == "quit\n"
    until(lambda: nothing_runs(tmp_path))
    assert log.read_text().split() == ["started", "quit"]


@pytest.mark.process
def test_a_service_that_does_not_start_in_time_is_ended_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service(tmp_path, monkeypatch, start=forever(tmp_path))
    monkeypatch.setattr("search.executors.mps.PATIENCE", 0.2)
    with shared_gpu(CUDA, 4) as sharing:
        until(lambda: nothing_runs(tmp_path))
    assert not sharing.by_mps
    assert sharing.note is not None
    assert f"{CONTROL} does not start" in sharing.note


@pytest.mark.process
def test_a_service_that_does_not_end_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As the real one it goes into a session of its own, where it waits for its clients to end.
    service(
        tmp_path, monkeypatch, start=f"setsid sh -c '{forever(tmp_path)}' & :", end=f'read -r _ <"{tmp_path / "never"}"'
    )
    with shared_gpu(CUDA, 4) as sharing:
        assert sharing.by_mps
        assert not nothing_runs(tmp_path)
        monkeypatch.setattr("search.executors.mps.PATIENCE", 0.2)
    until(lambda: nothing_runs(tmp_path))


@pytest.mark.process
def test_an_executor_that_cannot_start_its_workers_ends_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = service(tmp_path, monkeypatch)
    setup = Setup(Source("lost", tmp_path, lambda: None), 0, "cuda", 1)  # type: ignore[arg-type]  # no process can be told of it
    executor = LocalExecutor(setup, workers=2)  # kept, or Python would end the service when it takes it away
    with pytest.raises((AttributeError, TypeError, ValueError), match="lambda"), executor:
        pass
    assert log.read_text().split() == ["started", "quit"]


@pytest.mark.process
def test_workers_that_take_turns_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service(tmp_path, monkeypatch, code=1)
    with shared_gpu(CUDA, 4) as sharing:
        assert not sharing.environ
    assert sharing.note is not None
    assert f"{CONTROL} does not start" in sharing.note


@pytest.mark.parametrize(("device", "processes"), [("cpu", 4), ("cuda", 1)])
def test_nothing_is_started_where_nothing_is_shared(
    device: str, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = service(tmp_path, monkeypatch)
    with shared_gpu(torch.device(device), processes) as sharing:
        assert not sharing.environ
        assert sharing.note is None
    assert not log.exists()


@pytest.mark.process
def test_a_service_at_the_usual_place_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service(tmp_path, monkeypatch, answer="exit 0")
    (tmp_path / "control").touch()
    with shared_gpu(CUDA, 4) as sharing:
        assert PIPES not in sharing.environ
        assert sharing.by_mps
    assert not log.exists()


@pytest.mark.process
@pytest.mark.parametrize("answer", ["exit 1", "hangs"])
@pytest.mark.parametrize("is_named", [True, False])
def test_one_that_does_not_answer_is_not_believed_and_another_is_started(
    answer: str, is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = service(tmp_path, monkeypatch, answer=forever(tmp_path) if answer == "hangs" else answer)
    (tmp_path / "control").touch()
    if is_named:
        monkeypatch.setenv(PIPES, str(tmp_path))
    monkeypatch.setattr("search.executors.mps.ANSWER", 0.2 if answer == "hangs" else DEADLINE)
    with shared_gpu(CUDA, 4) as sharing:
        assert sharing.by_mps
        assert sharing.environ.get(PIPES) != str(tmp_path)
    assert log.read_text().split() == ["started", "quit"]


@pytest.mark.process
def test_a_service_that_somebody_has_started_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service(tmp_path, monkeypatch, answer="exit 0")
    monkeypatch.setenv(PIPES, str(tmp_path))
    assert can_share()
    with shared_gpu(CUDA, 4) as sharing:
        assert PIPES not in sharing.environ  # workers inherit it
        assert sharing.by_mps
    assert not log.exists()
