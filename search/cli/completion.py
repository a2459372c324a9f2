"""What a shell offers for TAB. It reads the SQLite file itself: whoever presses TAB does not wait for Optuna to be
imported.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

FILE = Path("studies/fmnist.db")  # of the default storage
SECONDS = 1.0  # that TAB waits for a database at most
MOST = 1000


def study_names(incomplete: str) -> list[str]:
    """The studies in the default storage whose names begin so."""
    return _texts("SELECT study_name FROM studies WHERE substr(study_name, 1, ?) = ? ORDER BY study_name", incomplete)


def trial_numbers(incomplete: str) -> list[str]:
    """The numbers that begin so of trials in the default storage, whichever study they are in."""
    return _texts("SELECT DISTINCT number FROM trials WHERE substr(number, 1, ?) = ? ORDER BY number", incomplete)


def _texts(query: str, incomplete: str) -> list[str]:
    if not FILE.is_file():
        return []
    try:
        # rw makes no file that is not there; a connection that may only read would leave those of the WAL mode behind.
        with closing(sqlite3.connect(f"file:{quote(str(FILE))}?mode=rw", uri=True, timeout=SECONDS)) as connection:
            found: Sequence[tuple[object]] = connection.execute(
                f"{query} LIMIT {MOST}", (len(incomplete), incomplete)
            ).fetchall()
    except sqlite3.Error:
        return []  # a shell has no place for a message; the command itself says what is wrong
    return [text for (value,) in found if (text := str(value)).isprintable()]
