"""A real MariaDB server, which speaks MySQL's protocol, in a folder of its own."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.search.storage.postgres import (
    PASSWORD,
    START_SECONDS,
    USER,
    end_with_the_tests,
    ordinary_user,
    served,
    unused_port,
)


class MariaDB:
    """A server on a free port of 127.0.0.1 that knows one user, by password. It runs after start()."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._data, self._log = folder, folder / "data", folder / "log"
        self._port, self._made = unused_port(), 0
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:  # as which it refuses to run
            user = ordinary_user("mysql", "nobody")
            self._as_user |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)
        options = [
            "--no-defaults",
            f"--datadir={self._data}",
            f"--tmpdir={folder}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        made = subprocess.run(
            [_program("mariadb-install-db"), *options], capture_output=True, text=True, check=False, **self._as_user
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def new_database(self) -> str:
        """The URL of a database that is there and empty, as --storage takes it."""
        self._made += 1
        self._execute(f"CREATE DATABASE db{self._made}")
        return f"mysql+pymysql://{USER}:{quote(PASSWORD)}@127.0.0.1:{self._port}/db{self._made}"

    def start(self) -> None:
        """It answers, on the same port as ever and with what it had."""
        places = [f"--datadir={self._data}", f"--tmpdir={self._folder}", f"--socket={self._folder}/socket"]
        settings = [*places, "--bind-address=127.0.0.1", f"--port={self._port}", "--innodb-flush-log-at-trx-commit=0"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_program("mariadbd"), "--no-defaults", *settings],
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_the_tests,  # noqa: PLW1509 - its one call takes no lock
                **self._as_user,
            )
        self._wait_until_it_answers(self._process)
        if not self._made:
            self._execute(f"CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            self._execute(f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1'")

    def kill(self) -> None:
        """It is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def _execute(self, statement: str) -> None:
        import pymysql

        with (
            pymysql.connect(host="127.0.0.1", port=self._port, user="root") as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        import pymysql

        for _ in range(START_SECONDS * 50):
            with suppress(pymysql.OperationalError):
                self._execute("SELECT 1")
                return
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                break
        raise AssertionError(f"MariaDB does not start: {self._log.read_text()}")


@contextmanager
def mariadb() -> Iterator[MariaDB]:
    """A server for the block. Skips the test where MariaDB or its driver is absent."""
    pytest.importorskip("pymysql", reason="PyMySQL is not installed: pip install 'pymysql[rsa]'")
    with served(MariaDB) as server:
        yield server


def _program(name: str) -> str:
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found
    pytest.skip(f"MariaDB is not installed: there is no program {name!r}")
