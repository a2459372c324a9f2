"""The life of CUDA's Multi-Process Service around a run. A script stands in for the service's command where there is no GPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search.executors.mps import CONTROL, PIPES, can_share, shared_gpu

CUDA = torch.device("cuda")
# Notes how it was called and where its pipes are, as the real command would need them.
SCRIPT = """\
#!/bin/sh
if [ "$1" = -d ]; then test -d "$CUDA_MPS_PIPE_DIRECTORY" && echo "started" >>"{log}"; exit {code}; fi
read -r word && echo "$word" >>"{log}"
"""


def service(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> Path:
    """What the command was told, line by line."""
    log, script = folder / "log", folder / "bin" / CONTROL
    script.parent.mkdir()
    script.write_text(SCRIPT.format(log=log, code=code))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.setattr("search.executors.mps.DEFAULT_PIPE", folder / "control")  # this machine may have a service of its own
    return log


def test_the_service_runs_as_long_as_the_workers_and_each_is_told_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service(tmp_path, monkeypatch)
    assert can_share()
    with shared_gpu(CUDA, 4) as sharing:
        pipes = Path(sharing.environ[PIPES])
        assert pipes.is_dir()
        assert log.read_text().split() == ["started"]
    assert log.read_text().split() == ["started", "quit"]
    assert not pipes.exists()
    assert sharing.note is None


def test_the_service_ends_also_when_the_run_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service(tmp_path, monkeypatch)
    os.mkfifo(quitted := tmp_path / "quitted")
    script = tmp_path / "bin" / CONTROL
    script.write_text(script.read_text() + f'\necho quit >"{quitted}"\n')
    program = (
        "import torch\nfrom search.executors.mps import shared_gpu\n"
        "with shared_gpu(torch.device('cuda'), 2):\n    print('within', flush=True)\n    input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "within\n"
        run.send_signal(signal.SIGKILL)
        assert quitted.read_text() == "quit\n"  # waits until the service was told to end
    assert log.read_text().split() == ["started", "quit"]


def test_workers_that_take_turns_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service(tmp_path, monkeypatch, code=1)
    with shared_gpu(CUDA, 4) as sharing:
        assert not sharing.environ
    assert sharing.note is not None
    assert f"{CONTROL} does not start" in sharing.note


@pytest.mark.parametrize(("device", "processes"), [("cpu", 4), ("cuda", 1)])
def test_nothing_is_started_where_nothing_is_shared(device: str, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service(tmp_path, monkeypatch)
    with shared_gpu(torch.device(device), processes) as sharing:
        assert not sharing.environ
        assert sharing.note is None
    assert not log.exists()


def test_a_service_at_the_usual_place_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service(tmp_path, monkeypatch)
    (tmp_path / "control").touch()
    with shared_gpu(CUDA, 4) as sharing:
        assert PIPES not in sharing.environ
        assert sharing.by_mps
    assert not log.exists()


def test_a_service_that_somebody_has_started_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = service(tmp_path, monkeypatch)
    monkeypatch.setenv(PIPES, str(tmp_path))
    assert can_share()
    with shared_gpu(CUDA, 4) as sharing:
        assert PIPES not in sharing.environ  # workers inherit it
        assert sharing.by_mps
    assert not log.exists()
