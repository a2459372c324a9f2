"""A storage is opened: it is sound, of this Optuna's schema, and a SQLite file is in WAL mode; or it is refused and
left as it was.
"""

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
from search.storage.optuna_private import VersionManager
from search.storage.patience import fault_of
from search.storage.sharing import held

DEFAULT_STORAGE = "sqlite:///studies/fmnist.db"
LOCK_SECONDS = 10.0  # that SQLite waits for another process by itself; a run in progress then asks again
BACKENDS = ("sqlite", "postgresql", "mysql", "mariadb")
SMALLEST_DATABASE = 4096  # bytes: one page, as SQLite makes them
SQLITE_HEADER = b"SQLite format 3\0"
_EXAMPLE = f"It must be a SQLAlchemy URL, such as {DEFAULT_STORAGE}."
_ELSEWHERE = f"name another place with --storage, such as {DEFAULT_STORAGE}"
_WRITABLE = f"The file and its folder must be writable: make them so, or {_ELSEWHERE}."
# of libpq: a host that drops packets is away after seconds; the system itself would wait for a quarter of an hour and
# more
NETWORK = {
    "connect_timeout": 10,  # seconds, and so are the next two
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds that what was sent may stay unacknowledged
}
_NEXT_STEPS = {  # part of the reason -> what a person can do
    "Connection refused": "Start the server, or mend host and port in --storage.",
    "resolve host": "Mend the host in --storage.",
    "timeout expired": "--storage must name the host and port of a server that this machine reaches.",
    "password": "Mend the user or the password in --storage.",
    "Can't connect": "Start the server, or mend host and port in --storage.",
    "Access denied": "Mend the user or the password in --storage, or give the user the rights to the database.",
    "Unknown database": "Make it, with `CREATE DATABASE` for instance, or mend its name in --storage.",
    "does not exist": "Make it, with `createdb` for instance, or mend its name in --storage.",
    "starting up": "Give the same command again in a moment.",
    "shutting down": "Give the same command again once the server is back.",
    "too many clients": "Wait until others leave the server, or let it take more: max_connections.",
    "No module named 'pymysql": "MySQL needs a driver: pip install 'pymysql[rsa]', and a URL that begins with mysql+pymysql://.",
    "No module named 'MySQLdb": "MySQL needs a driver: pip install 'pymysql[rsa]', and a URL that begins with mysql+pymysql://.",
    "No module named 'psycopg": "PostgreSQL needs a driver: pip install 'psycopg[binary]', and a URL that begins with postgresql+psycopg://.",
    "locked": "Another process holds it: wait for it or end it, then give the same command again.",
    "full": f"Make room there, or {_ELSEWHERE}.",
    "No space": f"Make room there, or {_ELSEWHERE}.",
    "I/O": f"The disk may be full or broken: mend it, or {_ELSEWHERE}.",
    "malformed": "It is damaged: restore it from a copy, save what can be read with `sqlite3 FILE .recover`, "
    f"or {_ELSEWHERE}.",
    "not a database": f"Name a SQLite file or one that is not there yet, such as {DEFAULT_STORAGE}.",
    "directory": f"Name a file in a folder, or one that is not there yet, such as {DEFAULT_STORAGE}.",
    "readonly": _WRITABLE,
    "Read-only": _WRITABLE,
    "Permission": _WRITABLE,
    "unable to open": _WRITABLE,
}


class _ClosedStorage(RDBStorage):
    """Optuna's, whose connections are closed where it cannot be opened, and where nobody has it any more."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise
        finalize(self, self.engine.dispose)


def open_storage(url: str, *, create: bool, lock_seconds: float = LOCK_SECONDS) -> RDBStorage:
    """The storage at that URL; a SQLite file is put into WAL mode, in which readers never block the writer.

    Raises: SearchError where it does not exist and `create` is false, or cannot be opened; then nothing was changed.
    """
    parsed = storage_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    path = Path(parsed.database) if is_sqlite and parsed.database else None
    if path and not create and not path.exists():
        raise SearchError(
            f"There is no database at {str(path)!r}. `fmnist-search run` makes one, --storage names another."
        )
    try:
        options = {"connect_args": {"timeout": lock_seconds}} if is_sqlite else _server_options(parsed)
        with _left_as_it_was(path), _alone_at_the_tables(url, options):
            if path:
                _require_database(path)
            is_optunas = _is_sound_and_optunas(url, options, is_file=path is not None)
            # Optuna fills in {SCHEMA_VERSION} and would trip over a brace in a password.
            url_in_braces = url.replace("{", "{{").replace("}", "}}")
            storage = _ClosedStorage(
                url_in_braces, options, skip_compatibility_check=is_optunas, skip_table_creation=is_optunas
            )
            if is_sqlite:
                _use_wal(storage.engine, to_write=create)
                _on_each_connection(storage.engine)
            return storage
    except (ImportError, SQLAlchemyError, StorageInternalError, sqlite3.Error, RuntimeError, OSError) as error:
        raise _refusal(error, url) from None


def storage_url(url: str) -> URL:
    """The storage's URL in its parts.

    Raises: SearchError where it is none; the text itself is not shown, for it may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter where a port is no number
        raise SearchError(f"The storage given cannot be opened: it is not a URL. {_EXAMPLE}") from None
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
    """The URL of a SQLite database names one file, and the one that a person means."""
    place = parsed.database or ""
    if place in ("", ":memory:"):
        raise SearchError(
            f"A study must be kept in a file; sqlite://{f'/{place}' if place else ''} is memory, which ends with the "
            f"process. {_EXAMPLE}"
        )
    if "?" in url:  # what follows it is no part of the file's name
        raise SearchError(f"The file's name in --storage must have no '?', got {masked(url)!r}. {_EXAMPLE}")
    if place.startswith("~"):
        whole = Path(place).expanduser()
        raise SearchError(f"A '~' means nothing within a URL, got {place!r} in --storage. Write sqlite:///{whole}.")


def database_file(storage: RDBStorage) -> Path | None:
    """The storage's SQLite file, however its URL names it; None where it has none: it is in memory, or on a server."""
    if storage.engine.name != "sqlite":
        return None
    with closing(storage.engine.raw_connection()) as connection:
        found = {name: file for _, name, file in connection.cursor().execute("PRAGMA database_list")}
    return Path(found["main"]).resolve() if found["main"] else None


@contextmanager
def _alone_at_the_tables(url: str, options: dict[str, Any]) -> Iterator[None]:
    """Within, no other run makes Optuna's tables on that server: two that did would be in each other's way."""
    engine = create_engine(url, **options)
    try:
        with held(engine, "tables"):
            yield
    finally:
        engine.dispose()


def _server_options(url: URL) -> dict[str, Any]:
    is_libpq = url.get_backend_name() == "postgresql" and url.get_driver_name() in ("psycopg", "psycopg2")
    network = {name: value for name, value in NETWORK.items() if is_libpq and name not in url.query}
    # Without the ping, a connection that a server dropped meanwhile would fail at its next use.
    options = {"pool_pre_ping": True, "connect_args": network}
    # MySQL's own level locks the gaps between rows too, where runs that share a study get into each other's way.
    return (
        options | {"isolation_level": "READ COMMITTED"} if url.get_backend_name() in ("mysql", "mariadb") else options
    )


def _is_sound_and_optunas(url: str, options: dict[str, Any], *, is_file: bool) -> bool:
    """Whether Optuna's tables are there already; nothing was written."""
    engine = create_engine(url, **options)
    try:
        if is_file:
            _require_soundness(engine)
        is_optunas = inspect(engine).has_table("alembic_version")
        if is_optunas:  # here, because an RDBStorage that refuses leaves its connections open
            VersionManager(url, engine, scoped_session(sessionmaker(bind=engine))).check_table_schema_compatibility()
        return is_optunas
    finally:
        engine.dispose()


def _require_soundness(engine: Engine) -> None:
    # Optuna would notice a damaged page when it comes to read it, which may be in the morning.
    with closing(engine.raw_connection()) as connection:
        (found,) = connection.cursor().execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"database disk image is malformed ({' '.join(str(found).split())})")


def _require_database(path: Path) -> None:
    # SQLite takes a file of a few bytes, whatever they say, for an empty database, and writes over it.
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    # A larger one is not opened here: closing a file drops every lock that this process has on it, those of SQLite's
    # connections too, and another process may then take away the log from under them. Source:
    # sqlite.org/howtocorrupt.html, section 2.2.
    if path.exists() and 0 < path.stat().st_size < SMALLEST_DATABASE:
        with path.open("rb") as file:
            if file.read(len(SQLITE_HEADER)) != SQLITE_HEADER:
                raise sqlite3.DatabaseError("file is not a database")


def _use_wal(engine: Engine, *, to_write: bool) -> None:
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        if to_write:  # a file that can only be read opens like any other, and even begins a transaction
            cursor.execute("UPDATE alembic_version SET version_num = version_num")
            connection.rollback()


def _on_each_connection(engine: Engine) -> None:
    """A SQLite file in WAL mode is no longer flushed to the disk at every write, and takes no row of a trial that was
    deleted.

    A process that is killed loses nothing by it; a power cut may lose the last moments, never the file.
    Source: sqlite.org/pragma.html#pragma_synchronous.
    """

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    engine.dispose()  # connections that were opened before


@contextmanager
def _left_as_it_was(path: Path | None) -> Iterator[None]:
    """The file's folder is there; if the block fails, whatever was not there before is gone again."""
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
        reason = fault.reason if fault else _told(error)
        step = next((step for part, step in _NEXT_STEPS.items() if part in reason), _EXAMPLE)
    return SearchError(f"The storage {masked(url)!r} cannot be opened: {masked(reason, url)}. {step}")


def _told(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"No module named {error.name!r}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).splitlines()[0].rstrip(".")


def _schema(message: str, url: str) -> tuple[str, str]:
    if "storage upgrade" in message:
        return (
            "an older Optuna made its tables",
            f"To bring them up to date: optuna storage upgrade --storage {masked(url)}",
        )
    return "a newer Optuna made its tables than the one installed", "To use them: pip install -U optuna"
