"""A real PostgreSQL server in a folder of its own, which a test can stop, kill and start again."""

import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

import psutil
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

if TYPE_CHECKING:
    import psycopg

USER = "searcher"
PASSWORD = "0pen-Sesame@9"  # with a character that URLs escape
SHOWN = "Sesame"  # the part of it that stands in every form of it
START_SECONDS = 60
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # a server that is killed loses nothing by it, only a machine would
    "shared_buffers": "16MB",
    "max_connections": "20",
    "lc_messages": "C",
}


@contextmanager
def connections_closed() -> Iterator[None]:
    """Those opened within are closed after it, those too that a command leaves to the end of its process, which here is
    pytest's.
    """
    opened: list[Any] = []

    def note(connection: Any, _record: Any) -> None:
        opened.append(connection)

    event.listen(Pool, "connect", note)
    yield
    event.remove(Pool, "connect", note)
    for connection in opened:
        if getattr(connection, "open", True):  # that of PyMySQL cannot be closed twice
            connection.close()


class Postgres:
    """A server on a free port of 127.0.0.1 that knows one user, by password. It runs after start()."""

    def __init__(self, folder: Path) -> None:
        self.port = unused_port()
        self._folder, self._data, self._log = folder, folder / "data", folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._alive = -1
        self._made = 0
        secret = folder / "password"
        secret.write_text(PASSWORD)
        self._as_user: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:  # as which PostgreSQL refuses to run
            user = ordinary_user("postgres", "nobody")
            self._as_user |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        options = [
            "--no-sync",
            "--locale=C",
            "--encoding=UTF8",
            "--auth=scram-sha-256",
            f"--username={USER}",
            f"--pwfile={secret}",
        ]
        made = subprocess.run(
            [_program("initdb"), *options, str(self._data)],
            capture_output=True,
            text=True,
            check=False,
            **self._as_user,
        )
        assert made.returncode == 0, made.stdout + made.stderr

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def url(self, database: str, *, password: str = PASSWORD, port: int | None = None) -> str:
        """As --storage takes it."""
        return f"postgresql+psycopg://{USER}:{quote(password)}@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection":
        """A connection whose every statement is a transaction."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )

    def new_database(self) -> str:
        """The name of a database that is there and empty."""
        self._made += 1
        name = f"db{self._made}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return name

    def cut_connections(self, database: str) -> int:
        """All connections to the database are ended by the server; how many there were."""
        with self.connect() as connection:
            cut = connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [database]
            ).fetchall()  # each waits until the backend is gone
        return len(cut)

    def start(self) -> None:
        """It answers, on the same port as ever and with what it had."""
        self._alive, held = os.pipe()  # all processes of the server hold the other end
        settings = [f"--{name}={value}" for name, value in (SETTINGS | {"port": str(self.port)}).items()]
        with self._log.open("ab") as log:
            command = [_program("postgres"), "-D", str(self._data), *settings]
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[held],
                preexec_fn=end_with_the_tests,  # noqa: PLW1509 - its one call takes no lock
                **self._as_user,
            )
        os.close(held)
        self._wait_until_it_answers(self._process)

    def stop(self) -> None:
        """It is gone as after `pg_ctl stop -m immediate`: it told every client, wrote no checkpoint, and recovers at
        the next start.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._wait_until_gone()

    def kill(self) -> None:
        """All its processes are gone as after kill -9."""
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._process.pid)
            for process in [server, *server.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._wait_until_gone()

    def _wait_until_gone(self) -> None:
        assert self._process is not None
        self._process.wait()
        os.read(self._alive, 1)  # returns when the last of its processes has ended
        os.close(self._alive)
        self._process = None

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        import psycopg

        for _ in range(START_SECONDS * 50):
            with suppress(psycopg.OperationalError):
                self.connect().close()
                return
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                break
        raise AssertionError(f"PostgreSQL does not start: {self._log.read_text()}")


class Server(Protocol):
    """What is started before the tests and is gone after them."""

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended since."""

    def start(self) -> None:
        """It answers."""

    def kill(self) -> None:
        """It is gone."""


S = TypeVar("S", bound=Server)


@contextmanager
def served(make: Callable[[Path], S]) -> Iterator[S]:
    """A server, made in a folder of its own, that runs while the block does; then nothing is left of it."""
    folder = Path(tempfile.mkdtemp(prefix="server-"))
    if os.geteuid() == 0:  # the user as which the server runs must get through to its folder
        folder.parent.chmod(folder.parent.stat().st_mode | 0o001)
    try:
        server = make(folder)
        try:
            server.start()
            yield server
        finally:
            if server.is_running:
                server.kill()
    finally:
        shutil.rmtree(folder)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server for the block. Skips the test where PostgreSQL or its driver is absent."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'psycopg[binary]'")
    with served(Postgres) as server:
        yield server


def unused_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    # Below those that the system gives to clients: one of them could take the port while the server is down.
    for port in random.sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("No port is free between 15,000 and 30,000.")


def end_with_the_tests() -> None:
    """In a server that is to be: it ends when the tests do, however they do."""
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG: the system stops the server where pytest is killed and cannot


def _program(name: str) -> str:
    if found := shutil.which(name):
        return found
    if debians := sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")):  # which are not on the PATH
        return str(debians[-1])
    pytest.skip(f"PostgreSQL is not installed: there is no program {name!r}")


def ordinary_user(*names: str) -> pwd.struct_passwd:
    """The first of those users that there is; skips the test where there is none of them."""
    for name in names:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip(f"the server does not run as root, and there is none of the users {', '.join(names)}")
