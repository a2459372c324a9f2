"""Rescue a SQLite file that is deleted while a run uses it: SQLite would keep writing to it until the run ends."""

import os
import secrets
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Literal


class HeldFile:
    """A SQLite file, held open so that its content can be restored.

    Source: sqlite.org/howtocorrupt.html, section 2.4; the log of a deleted file is never used for the new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hold()

    @property
    def state(self) -> Literal["there", "deleted", "replaced"]:
        """Whether the file still exists. An empty one counts as deleted: SQLite creates it for a missing file."""
        try:
            current = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "deleted"
        except OSError:  # the next read or write reports it
            return "there"
        if os.path.samestat(current, self._stat):
            return "there"
        return "replaced" if current.st_size else "deleted"

    def restore(self) -> None:
        """Write the file again. No other connection of this process may be open. Raises: OSError, sqlite3.Error."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        copy = self._copy_to(f".{self.path.name}.{secrets.token_hex(4)}.new")
        try:
            for log in ("-wal", "-shm"):
                self.path.with_name(self.path.name + log).unlink(missing_ok=True)
            copy.replace(self.path)
        finally:
            copy.unlink(missing_ok=True)
        self.close()
        self._hold()

    def save_beside(self) -> Path:
        """Copy the held file to a new file in its folder and return the path. Raises: OSError, sqlite3.Error."""
        return self._copy_to(f"{self.path.name}.{secrets.token_hex(4)}.saved")

    def close(self) -> None:
        """Stop holding the file open."""
        self._connection.close()

    def _copy_to(self, name: str) -> Path:
        copy = self.path.with_name(name)
        try:
            with closing(sqlite3.connect(copy)) as connection:
                self._connection.backup(connection)
            copy.chmod(stat.S_IMODE(self._stat.st_mode))
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        return copy

    def _hold(self) -> None:
        self._connection = sqlite3.connect(self.path, check_same_thread=False)
        try:
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the file and its log
            self._stat = self.path.stat()
        except BaseException:
            self._connection.close()
            raise
