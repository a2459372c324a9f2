"""Shell completion. Reads the SQLite file directly, because importing Optuna would be too slow."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import quote

from search.study.paths import STORAGE_FILE

SECONDS = 1.0  # maximum wait for a locked database
MOST = 1000


def study_names(incomplete: str) -> list[str]:
    """Return the studies in the default storage whose names begin with `incomplete`."""
    return _texts("SELECT study_name FROM studies WHERE substr(study_name, 1, ?) = ? ORDER BY study_name", incomplete)


def trial_numbers(incomplete: str) -> list[str]:
    """Return the trial numbers in the default storage, of all studies, that begin with `incomplete`."""
    return _texts("SELECT DISTINCT number FROM trials WHERE substr(number, 1, ?) = ? ORDER BY number", incomplete)


def studies_and_trials(incomplete: str) -> list[str]:
    """Return the studies and, once a digit is there, the trial numbers that begin with `incomplete`."""
    return study_names(incomplete) + (trial_numbers(incomplete) if incomplete else [])


def _texts(query: str, incomplete: str) -> list[str]:
    if not STORAGE_FILE.is_file():
        return []
    try:
        # rw does not create a missing file; a read-only connection would leave the files of the WAL mode behind.
        address = f"file:{quote(str(STORAGE_FILE))}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=SECONDS)) as connection:
            rows: Sequence[tuple[object]] = connection.execute(
                f"{query} LIMIT {MOST}", (len(incomplete), incomplete)
            ).fetchall()
    except sqlite3.Error:
        return []  # a shell cannot show a message here; the command itself will
    return [text for (value,) in rows if (text := str(value)).isprintable()]
