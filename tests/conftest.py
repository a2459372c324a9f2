import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any
from weakref import finalize

import pytest
import torch
from optuna.storages import RDBStorage

from tests.search.forked import Forked

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the processes that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)  # the images are small and the tests run side by side: more threads only wait for each other

ROOT = Path(__file__).parents[1]
CACHES = {".git", ".venv", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache", "__pycache__"}  # of tools


@pytest.fixture(autouse=True, scope="session")
def _nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the processes that they start, have a home, a cache and temporary files of their own; the tree stays
    as it was.

    So sessions side by side do not meet, and what a killed process leaves, such as its server's socket, goes with the
    session.
    """
    before, home = _files(ROOT), tmp_path_factory.mktemp("home")
    temporary = tempfile.mkdtemp(prefix="fm-")
    # After multiprocessing's own finalizer (-100), which still needs the folder.
    Finalize(None, shutil.rmtree, (temporary, True), exitpriority=-200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for kind in ("XDG_CACHE_HOME", "MPLCONFIGDIR", "CUDA_CACHE_PATH"):
            patch.setenv(kind, str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TMPDIR", temporary)  # short: a socket's path within it has at most some hundred characters
        patch.setattr(tempfile, "tempdir", None)  # where Python keeps what it was
        yield
    left = sorted([*(_files(ROOT) - before), *_files(home)])
    assert not left, (
        f"Tests write only to folders that pytest or tempfile give them; left behind: {', '.join(map(str, left))}"
    )


@pytest.fixture(autouse=True)
def _starts_processes_only_if_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make check` leaves out the tests that start processes, so each of them has a mark."""
    if any(
        request.node.get_closest_marker(mark) for mark in ("process", "slow", "gpu", "browser", "cluster", "real_data")
    ):
        return
    start = subprocess.Popen.__init__

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("This test starts a process: mark it with pytest.mark.process.")

    def only_git(process: Any, command: Any, *arguments: Any, **options: Any) -> None:
        (start if command[0] == "git" else refuse)(process, command, *arguments, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", only_git)
    monkeypatch.setattr(BaseProcess, "start", refuse)


@pytest.fixture(autouse=True)
def _commands_end_with_the_test_that_started_them() -> Iterator[None]:
    """A test that fails leaves no run at work beside the next ones."""
    before = set(Forked.alive)
    yield
    for process in set(Forked.alive) - before:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True, scope="session")
def _connections_are_closed() -> Iterator[None]:
    """What a test opens as any user of Optuna would is closed when the test has it no more; Python 3.13 warns of what
    stays open.
    """
    make = RDBStorage.__init__

    def closing(storage: RDBStorage, *arguments: Any, **options: Any) -> None:
        make(storage, *arguments, **options)
        finalize(storage, storage.engine.dispose)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RDBStorage, "__init__", closing)
        yield


def _files(folder: Path) -> set[Path]:
    found: set[Path] = set()
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in CACHES]
        found.update(Path(top, name) for name in (*folders, *names))
    return found
