"""What writers that were killed left beside their targets."""

from contextlib import suppress
from pathlib import Path

import pytest

from fmnist.atomic import folder_in_place, remove_unfinished, write_in_place
from fmnist.data.cache import cached_folder


class Killed(BaseException):
    """As SIGKILL: nothing that would clean up runs after it."""


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def left_by_a_kill(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    """A new folder that never got its name."""
    monkeypatch.setattr("fmnist.atomic.shutil.rmtree", lambda *_, **__: None)
    with suppress(Killed), folder_in_place(target) as fresh:
        (fresh / "half").write_text("of it")
        raise Killed
    monkeypatch.undo()


def test_what_is_unfinished_is_removed_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_in_place(tmp_path / "kept", b"content")
    (tmp_path / ".hidden").write_text("of another program")
    left_by_a_kill(monkeypatch, tmp_path / "model")
    left_by_a_kill(monkeypatch, tmp_path / "other")
    (tmp_path / ".trial-3.safetensors.0a1b2c3d.new").write_text("half")
    assert len(contents(tmp_path)) == 7
    remove_unfinished(tmp_path, "other")
    assert len(contents(tmp_path)) == 5
    remove_unfinished(tmp_path)
    assert contents(tmp_path) == [".hidden", "kept"]


def test_a_folder_whose_replacement_was_interrupted_has_its_name_again(tmp_path: Path) -> None:
    for name, there in (("model", False), ("other", True)):
        old = tmp_path / f".{name}.0a1b2c3d.old"
        old.mkdir()
        (old / "before").write_text("")
        if there:
            (tmp_path / name).mkdir()
    remove_unfinished(tmp_path)
    assert contents(tmp_path) == ["model", "model/before", "other"]


def make(folder: Path) -> None:
    (folder / "whole").write_text("")


def test_the_cache_removes_what_was_left_of_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cached_folder("kind", "key", make)
    (folder / "whole").unlink()
    folder.rmdir()
    left = folder.with_name(f".{folder.name}.0a1b2c3d.new")
    left.mkdir()
    assert cached_folder("kind", "key", make) == folder
    assert not left.exists()
    assert contents(folder) == ["whole"]
