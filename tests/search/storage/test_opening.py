"""A storage that cannot be used is refused in one message, and what was on the disk is as it was."""

import gc
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage

from search.errors import SearchError
from search.storage.opening import open_storage
from tests.search.storage.faults import contents, fill, remount, small_disk
from tests.search.tiny import Say


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database that was closed: all of it is in one file."""
    path = tmp_path / "studies" / "fmnist.db"
    open_storage(f"sqlite:///{path}", create=True).engine.dispose()
    return path


def change(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def refusal(file: Path, *, within: Path, create: bool = True) -> str:
    """The message, after the folder `within` was found unchanged."""
    before = contents(within)
    with pytest.raises(SearchError) as caught:
        open_storage(f"sqlite:///{file}", create=create, lock_seconds=0)
    assert contents(within) == before
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"The storage 'sqlite:///{file}' cannot be opened: ")
    return str(caught.value)


@pytest.mark.process
def test_a_read_only_folder_is_refused_but_what_is_in_it_can_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        file = disk / "fmnist.db"
        storage = open_storage(f"sqlite:///{file}", create=True)
        storage.engine.dispose()
        remount(disk, "ro")
        assert "unable to open database file. The file and its folder must be writable" in refusal(
            disk / "new.db", within=disk
        )
        assert "Read-only file system. The file and its folder must be writable" in refusal(
            disk / "new" / "new.db", within=disk
        )
        assert "The file and its folder must be writable" in refusal(file, within=disk)


def test_a_folder_that_is_a_file_and_a_file_that_is_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("mine")
    assert f"{tmp_path}/studies" in (message := refusal(tmp_path / "studies" / "fmnist.db", within=tmp_path))
    assert "Name a file in a folder" in message
    (tmp_path / "folder").mkdir()
    assert "it is a directory. Name a file in a folder" in refusal(tmp_path / "folder", within=tmp_path)


@pytest.mark.process
def test_on_a_full_disk_nothing_is_begun(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        filling = fill(disk)
        says = refusal(disk / "studies" / "fmnist.db", within=disk)
        assert (
            "cannot be opened: database or disk is full. Free space there, or name another storage with --storage"
            in says
        )
        filling.unlink()
        open_storage(f"sqlite:///{disk}/studies/fmnist.db", create=True).engine.dispose()


def test_a_damaged_page_is_found_before_the_study_is_read(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\x55" * (4096 * 3)
    file.write_bytes(content)
    for create in (True, False):
        message = refusal(file, within=file.parent, create=create)
        assert "database disk image is malformed" in message
        assert "It is damaged: restore it from a copy, save what can be read with `sqlite3 FILE .recover`" in message


@pytest.mark.parametrize("content", [b"x", b"notes of mine\n" * 100, b"SQLite format 2\0" + bytes(4096)])
def test_a_file_that_is_no_database_is_never_written_over(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    for create in (True, False):
        message = refusal(tmp_path / "notes.txt", within=tmp_path, create=create)
        assert "file is not a database. Name a SQLite file or a new file" in message


def test_a_locked_database_is_refused_with_what_to_do(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            SearchError, match=r"database is locked\. Another process has locked it: wait for it or end it"
        ):
            open_storage(f"sqlite:///{file}", create=True, lock_seconds=0)
        open_storage(f"sqlite:///{file}", create=False, lock_seconds=0).engine.dispose()  # a reader is not blocked
        other.rollback()
    open_storage(f"sqlite:///{file}", create=True).engine.dispose()


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("v9.0.0.a", "its tables are of a newer Optuna than the installed one. To use them: pip install -U optuna"),
        (
            "v3.0.0.d",
            "its tables are of an older Optuna. To upgrade them: optuna storage upgrade --storage sqlite:///",
        ),
    ],
)
def test_tables_of_another_optuna_are_refused(version: str, says: str, file: Path) -> None:
    change(file, f"UPDATE alembic_version SET version_num = '{version}'")
    for create in (True, False):
        assert says in refusal(file, within=file.parent, create=create)


def test_every_command_says_it_in_one_message(file: Path, say: Say) -> None:
    content = bytearray(file.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\x55" * (4096 * 3)
    file.write_bytes(content)
    for arguments in (["status"], ["report"], ["best"], ["export"], ["run", "tiny.toml", "--data", "synthetic"]):
        code, _, errors = say(*arguments, "--storage", f"sqlite:///{file}")
        assert code == 2
        assert errors.startswith("Error: The storage")
        assert "malformed" in errors
        assert len(errors.splitlines()) == 1


def test_a_database_of_plain_optuna_is_opened_as_it_is(tmp_path: Path) -> None:
    RDBStorage(f"sqlite:///{tmp_path}/plain.db").engine.dispose()
    with closing(sqlite3.connect(tmp_path / "plain.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    open_storage(f"sqlite:///{tmp_path}/plain.db", create=False).engine.dispose()
    with closing(sqlite3.connect(tmp_path / "plain.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall() == tables


@pytest.mark.process
def test_opening_a_database_again_leaves_the_locks_of_its_connections_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    first = open_storage(f"sqlite:///{path}", create=True)
    # SQLite holds a lock on these bytes for as long as a connection reads, so that no other process takes the log away.
    attempt = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'rb+'), fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)"
    with first.engine.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM studies").fetchall()
        before = subprocess.run([sys.executable, "-c", attempt, str(path)], capture_output=True, text=True, check=False)
        open_storage(f"sqlite:///{path}", create=False).engine.dispose()
        after = subprocess.run([sys.executable, "-c", attempt, str(path)], capture_output=True, text=True, check=False)
    first.engine.dispose()
    assert "BlockingIOError" in before.stderr
    assert "BlockingIOError" in after.stderr


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("sqlite://", "is in memory and ends with the process"),
        ("sqlite:///:memory:", "is in memory and ends with the process"),
        ("sqlite:///q?z/s.db", "must have no '?'"),
        ("sqlite:///~/x.db", "Write sqlite:///"),
    ],
)
def test_a_place_that_nobody_means_is_refused_and_left_alone(
    url: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for create in (True, False):
        with pytest.raises(SearchError) as caught:
            open_storage(url, create=create)
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_connections_of_a_storage_end_with_it(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/fmnist.db", create=True)
    with storage.engine.connect() as used:
        connection = used.connection.dbapi_connection
    assert isinstance(connection, sqlite3.Connection)
    assert connection.execute("SELECT 1").fetchone() == (1,)  # it waits for the next one who asks
    del storage
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        connection.execute("SELECT 1")


@pytest.mark.parametrize("create", [True, False])
def test_another_programs_database_is_not_changed(create: bool, tmp_path: Path) -> None:
    file = tmp_path / "places.sqlite"
    with closing(sqlite3.connect(file)) as places:
        places.execute("CREATE TABLE moz_places (id INTEGER PRIMARY KEY, url TEXT)")
        places.commit()
    message = refusal(file, within=tmp_path, create=create)
    assert "it is another program's database, with the tables moz_places." in message


def test_several_may_create_a_database_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies/fmnist.db"
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: open_storage(url, create=True), range(6)))
    for number, storage in enumerate(opened):
        optuna.create_study(study_name=f"study {number}", storage=storage)
    assert len(opened[0].get_all_studies()) == 6
