"""What a container may use of its machine."""

import os
from pathlib import Path

import psutil
import pytest

from fmnist.machine import cores
from fmnist.memory import available_memory

GIB = 2**30


def test_the_files_in_a_containers_memory_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmnist.memory.CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100 * GIB}))
    (tmp_path / "memory.max").write_text(f"{8 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{8 * GIB}\n")
    cache = f"anon {GIB}\nfile {7 * GIB}\ninactive_file {6 * GIB}\nactive_file {GIB}\n"
    (tmp_path / "memory.stat").write_text(cache)
    assert available_memory() == 7 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == 100 * GIB


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("400000 100000", 4), ("50000 100000", 1), ("max 100000", 64), ("99900000 100000", 64)],
)
def test_a_quota_of_a_container_limits_the_cores(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr("fmnist.machine.QUOTA", tmp_path / "cpu.max")
    assert cores() == 64
    (tmp_path / "cpu.max").write_text(quota)
    assert cores() == expected
