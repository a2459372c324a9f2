"""Open a storage after checking that it is sound and has this Optuna's schema; a refused storage is not changed."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from weakref import finalize

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import URL, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import scoped_session, sessionmaker

from search.errors import SearchError
from search.storage.masking import masked
from search.storage.optuna_private import OPTUNA_TABLES, VersionManager
from search.storage.own_trials import OwnTrials
from search.storage.patience import fault_of
from search.storage.sharing import end_idle_transactions, locked, opening_alone

EXAMPLE = "sqlite:///studies/fmnist.db"
LOCK_SECONDS = 10.0  # that SQLite waits for another process; a run then retries
BACKENDS = ("sqlite", "postgresql", "mysql", "mariadb")
SMALLEST_DATABASE = 4096  # bytes: one page, as SQLite makes them
SQLITE_HEADER = b"SQLite format 3\0"
_EXAMPLE = f"It must be a SQLAlchemy URL, such as {EXAMPLE}."
_ELSEWHERE = f"name another storage with --storage, such as {EXAMPLE}"
_WRITABLE = f"The file and its folder must be writable: make them so, or {_ELSEWHERE}."
# Options of libpq: detect a host that drops packets after seconds; the system would wait for at least 15 minutes.
NETWORK = {
    "connect_timeout": 10,  # seconds, like the next two
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds that sent data may stay unacknowledged
}
_NEXT_STEPS = {  # part of the reason -> the next step
    "Connection refused": "Start the server, or correct host and port in --storage.",
    "resolve host": "Correct the host in --storage.",
    "timeout expired": "--storage must name the host and port of a server that this machine can reach.",
    "password": "Correct the user or the password in --storage.",
    "Can't connect": "Start the server, or correct host and port in --storage.",
    "Access denied": "Correct the user or the password in --storage, or grant the user rights to the database.",
    "Unknown database": "Create it, for instance with `CREATE DATABASE`, or correct its name in --storage.",
    "does not exist": "Create it, for instance with `createdb`, or correct its name in --storage.",
    "starting up": "Run the same command again in a moment.",
    "shutting down": "Run the same command again when the server is back.",
    "too many clients": "Wait until other clients disconnect, or raise the server's max_connections.",
    "No module named 'pymysql": "MySQL needs a driver: pip install 'pymysql[rsa]', and a URL that begins with mysql+pymysql://.",
    "No module named 'MySQLdb": "MySQL needs a driver: pip install 'pymysql[rsa]', and a URL that begins with mysql+pymysql://.",
    "No module named 'psycopg": "PostgreSQL needs a driver: pip install 'psycopg[binary]', and a URL that begins with postgresql+psycopg://.",
    "locked": "Another process has locked it: wait for it or end it, then run the same command again.",
    "full": f"Free space there, or {_ELSEWHERE}.",
    "No space": f"Free space there, or {_ELSEWHERE}.",
    "I/O": f"The disk may be full or broken: repair it, or {_ELSEWHERE}.",
    "malformed": "It is damaged: restore it from a copy, save what can be read with `sqlite3 FILE .recover`, "
    f"or {_ELSEWHERE}.",
    "not a database": f"Name a SQLite file or a new file, such as {EXAMPLE}.",
    "directory": f"Name a file in a folder, such as {EXAMPLE}.",
    "readonly": _WRITABLE,
    "Read-only": _WRITABLE,
    "Permission": _WRITABLE,
    "unable to open": _WRITABLE,
}


class _ClosedStorage(RDBStorage):
    """Optuna's storage, which closes its connections if opening fails and when it is garbage collected."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise
        finalize(self, self.engine.dispose)


def open_storage(url: str, *, create: bool, lock_seconds: float = LOCK_SECONDS) -> OwnTrials:
    """Open the storage at that URL; a SQLite file is set to WAL mode, in which readers never block the writer.

    Raises: SearchError if it does not exist and `create` is false, or cannot be opened; then nothing was changed.
    """
    parsed = storage_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    path = Path(parsed.database) if is_sqlite and parsed.database else None
    if path and not create and not path.exists():
        raise SearchError(
            f"There is no database at {str(path)!r}. Create one with `fmnist-search run`, or name another with "
            "--storage."
        )
    try:
        options = {"connect_args": {"timeout": lock_seconds}} if is_sqlite else _server_options(parsed)
        with opening_alone(path), _restored_on_error(path), _table_lock(url, options):
            if path:
                _require_database(path)
            has_tables = _has_tables(url, options, is_file=path is not None)
            # Optuna formats the URL to fill in {SCHEMA_VERSION}, which would fail with a brace in a password.
            escaped_url = url.replace("{", "{{").replace("}", "}}")
            storage = _ClosedStorage(
                escaped_url, options, skip_compatibility_check=has_tables, skip_table_creation=has_tables
            )
            if is_sqlite:
                _use_wal(storage.engine, to_write=create)
                _on_each_connection(storage.engine)
            end_idle_transactions(storage.engine)
            return OwnTrials(storage)
    except (ImportError, SQLAlchemyError, StorageInternalError, sqlite3.Error, RuntimeError, OSError) as error:
        raise _refusal(error, url) from None


def storage_url(url: str) -> URL:
    """Return the storage's URL, parsed.

    Raises: SearchError if it is not a URL; the message does not show it, because it may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError if the port is not a number
        raise SearchError(f"The storage cannot be opened: it is not a URL. {_EXAMPLE}") from None
    try:
        backend = parsed.get_dialect().name
    except NoSuchModuleError:
        backend = parsed.drivername
    if backend not in BACKENDS:
        raise SearchError(f"The storage must be one of {', '.join(BACKENDS)}, got {backend!r}. {_EXAMPLE}")
    if backend == "sqlite":
        _require_file(parsed, url)
    return parsed


def _require_file(parsed: URL, url: str) -> None:
    """Raise SearchError if the URL of a SQLite database does not plainly name a file."""
    place = parsed.database or ""
    if place in ("", ":memory:"):
        raise SearchError(
            f"A study must be kept in a file; sqlite://{f'/{place}' if place else ''} is in memory and ends with the "
            f"process. {_EXAMPLE}"
        )
    if "?" in url:  # what follows it is no part of the file's name
        raise SearchError(f"The file's name in --storage must have no '?', got {masked(url)!r}. {_EXAMPLE}")
    if place.startswith("~"):
        whole = Path(place).expanduser()
        raise SearchError(f"A '~' means nothing within a URL, got {place!r} in --storage. Write sqlite:///{whole}.")


@contextmanager
def _table_lock(url: str, options: dict[str, Any]) -> Iterator[None]:
    """Keep other runs from creating Optuna's tables on the server at the same time, which would fail."""
    engine = create_engine(url, **options)
    try:
        with locked(engine, "tables"):
            yield
    finally:
        engine.dispose()


def _server_options(url: URL) -> dict[str, Any]:
    is_libpq = url.get_backend_name() == "postgresql" and url.get_driver_name() in ("psycopg", "psycopg2")
    network = {name: value for name, value in NETWORK.items() if is_libpq and name not in url.query}
    # Without the ping, a connection that the server dropped in the meantime would fail at its next use.
    options = {"pool_pre_ping": True, "connect_args": network}
    # MySQL's default level also locks gaps between rows, so that runs sharing a study would block each other.
    return (
        options | {"isolation_level": "READ COMMITTED"} if url.get_backend_name() in ("mysql", "mariadb") else options
    )


def _has_tables(url: str, options: dict[str, Any], *, is_file: bool) -> bool:
    """Check the storage without writing, and return whether it has Optuna's tables."""
    engine = create_engine(url, **options)
    try:
        if is_file:
            _require_soundness(engine)
        tables = set(inspect(engine).get_table_names())
        if "studies" not in tables and (others := sorted(tables - OPTUNA_TABLES)):
            named = ", ".join(others[:3]) + (", ..." if others[3:] else "")
            raise SearchError(
                f"The storage {masked(url)!r} cannot be opened: it is another program's database, with the tables "
                f"{named}. Name a database of its own, such as {EXAMPLE}."
            )
        has_tables = "alembic_version" in tables
        if has_tables:  # checked here, because a failing RDBStorage leaves its connections open
            VersionManager(url, engine, scoped_session(sessionmaker(bind=engine))).check_table_schema_compatibility()
        return has_tables
    finally:
        engine.dispose()


def _require_soundness(engine: Engine) -> None:
    # Optuna would detect a damaged page only on reading it, which may be hours later.
    with closing(engine.raw_connection()) as connection:
        (result,) = connection.cursor().execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise sqlite3.DatabaseError(f"database disk image is malformed ({' '.join(str(result).split())})")


def _require_database(path: Path) -> None:
    # SQLite treats any file of a few bytes as an empty database, and overwrites it.
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    # A larger file is not opened here: closing it would drop all locks of this process on it, including those of
    # SQLite's connections, and another process could then delete the log that they use. Source:
    # sqlite.org/howtocorrupt.html, section 2.2.
    if path.exists() and 0 < path.stat().st_size < SMALLEST_DATABASE:
        with path.open("rb") as file:
            if file.read(len(SQLITE_HEADER)) != SQLITE_HEADER:
                raise sqlite3.DatabaseError("file is not a database")


def _use_wal(engine: Engine, *, to_write: bool) -> None:
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        if to_write:  # a read-only file can be opened, and even begins a transaction
            cursor.execute("UPDATE alembic_version SET version_num = version_num")
            connection.rollback()


def _on_each_connection(engine: Engine) -> None:
    """Do not flush a SQLite file in WAL mode at every write, and reject rows of deleted trials.

    A killed process loses nothing; a power cut may lose the last moments, but never the file.
    Source: sqlite.org/pragma.html#pragma_synchronous.
    """

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    engine.dispose()  # closes the connections opened before


@contextmanager
def _restored_on_error(path: Path | None) -> Iterator[None]:
    """Create the file's folder; if the block fails, delete the files and folders that did not exist before."""
    if path is None:
        yield
        return
    files = [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))]
    new = [file for file in files if not file.exists()] if not path.exists() else []
    folders = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for file in new:
            file.unlink(missing_ok=True)
        for folder in folders:
            if folder.exists():
                folder.rmdir()
        raise


def _refusal(error: Exception, url: str) -> SearchError:
    fault = fault_of(error)
    if isinstance(error, RuntimeError) and "schema" in str(error):
        reason, step = _schema(str(error), url)
    else:
        reason = fault.reason if fault else _reason(error)
        step = next((step for part, step in _NEXT_STEPS.items() if part in reason), _EXAMPLE)
    return SearchError(f"The storage {masked(url)!r} cannot be opened: {masked(reason, url)}. {step}")


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"No module named {error.name!r}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).splitlines()[0].rstrip(".")


def _schema(message: str, url: str) -> tuple[str, str]:
    if "storage upgrade" in message:
        return (
            "its tables are of an older Optuna",
            f"To upgrade them: optuna storage upgrade --storage {masked(url)}",
        )
    return "its tables are of a newer Optuna than the installed one", "To use them: pip install -U optuna"
