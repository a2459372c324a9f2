"""The command in hints works as it is typed."""

import os
from pathlib import Path

import pytest

from search.terminal.program import program


@pytest.mark.parametrize(
    ("path", "called", "hint"),
    [
        ("one/bin", "one/bin/fmnist-search", "fmnist-search"),
        ("nowhere", "one/bin/fmnist-search", "one/bin/fmnist-search"),
        ("other/bin", "one/bin/fmnist-search", "one/bin/fmnist-search"),
        ("nowhere", "search/__main__.py", "fmnist-search"),
    ],
)
def test_the_name_is_enough_where_it_is_on_the_path(
    path: str, called: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for environment in ("one", "other"):
        command = tmp_path / environment / "bin" / "fmnist-search"
        command.parent.mkdir(parents=True)
        command.write_text("#!/bin/sh\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([path, "/bin"]))
    monkeypatch.setattr("sys.argv", [called, "run"])
    assert program() == hint
