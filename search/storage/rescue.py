"""A SQLite file that is deleted while a run has it open: SQLite goes on writing to it, without a name, and it is gone
when the run ends.
"""

import os
import secrets
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Literal


class HeldFile:
    """A SQLite file, held open, so that all that is in it can be written anew.

    Source: sqlite.org/howtocorrupt.html, section 2.4; a log under the name of a file that was deleted is never taken
    for the new one's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hold()

    @property
    def state(self) -> Literal["there", "deleted", "replaced"]:
        """Whether the file still has its name. An empty one in its place is made by whoever asks SQLite for a file that
        is not there.
        """
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "deleted"
        except OSError:  # whoever reads or writes it is told
            return "there"
        if os.path.samestat(found, self._stat):
            return "there"
        return "replaced" if found.st_size else "deleted"

    def write_anew(self) -> None:
        """The file has its name again. No other connection of this process may be open. Raises: OSError,
        sqlite3.Error.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._copied_to(f".{self.path.name}.{secrets.token_hex(4)}.new")
        try:
            for log in ("-wal", "-shm"):
                self.path.with_name(self.path.name + log).unlink(missing_ok=True)
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
        self.let_go()
        self._hold()

    def save_beside(self) -> Path:
        """All that is in the held file is in a new one beside its former name. Raises: OSError, sqlite3.Error."""
        return self._copied_to(f"{self.path.name}.{secrets.token_hex(4)}.saved")

    def let_go(self) -> None:
        """The file is not held any more."""
        self._connection.close()

    def _copied_to(self, name: str) -> Path:
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
