"""A real PostgreSQL server for a test: in a temporary folder, on the loopback interface, stopped and started at will."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from socket import create_server

PASSWORD = "h0rse-b4ttery"
DEADLINE = 60.0  # seconds that a loaded machine may take
FAST = "fsync=off\n"  # a commit outlives the server, if not the machine


def _program(name: str) -> str | None:
    return shutil.which(name) or next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)


def missing() -> str | None:
    """Why there can be no server here; None where there can."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed"
    return None if _program("initdb") and _program("pg_ctl") else "PostgreSQL is not installed"


class Server:
    """Use it as a context manager: leaving it ends the server and removes its folder."""

    def __enter__(self) -> "Server":
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.folder / "data"
        with closing(create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        # PostgreSQL refuses to run as root.
        self.user = next((name for name in ("postgres", "nobody") if _exists(name)), None) if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
            self.folder.parent.chmod(self.folder.parent.stat().st_mode | 0o011)  # the session's own folder: to be passed through
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", self.data, "-U", "tester", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{FAST}listen_addresses='127.0.0.1'\nport={self.port}\nunix_socket_directories='{self.folder}'\n")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """The server answers."""
        self._run("pg_ctl", "-D", self.data, "-w", "-t", int(DEADLINE), "-l", self.folder / "log", "start")

    def stop(self) -> None:
        """The server is gone at once, and with it every connection, as when its machine is."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self.data, "-w", "-t", int(DEADLINE), "-m", "immediate", "stop")

    def database(self, name: str) -> str:
        """The URL of a new database."""
        self.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def url(self, name: str, password: str = PASSWORD) -> str:
        """The URL of a database."""
        return f"postgresql+psycopg://tester:{password}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """The statement is carried out."""
        import psycopg

        place = f"host=127.0.0.1 port={self.port} user=tester password={PASSWORD} dbname={database}"
        with closing(psycopg.connect(place, autocommit=True)) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: object) -> None:
        found = _program(program)
        assert found
        # To a file: the server inherits the output, and a pipe would stay open for as long as it runs.
        with (self.folder / f"{program}.out").open("w") as output:
            command = [found, *map(str, arguments)]
            done = subprocess.run(command, user=self.user, cwd=self.folder, stdout=output, stderr=output, check=False)
        assert done.returncode == 0, (self.folder / f"{program}.out").read_text()


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
