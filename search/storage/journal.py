"""The journal beside a study: the writes that its database did not accept yet, one JSON line per operation.

    {"journal": 1, "study": "quick", "id": "5c0e..."}
    {"name": "set_trial_user_attr", "arguments": [7, "seed", 3]}

Its space is reserved as blanks when it is created, because a full disk may be the reason why it is needed.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from search.errors import SearchError

FORMAT = 1
ROOM = 1 << 20  # bytes reserved; a journal may grow beyond them if the disk has space


@dataclass(frozen=True)
class Operation:
    """One write to a storage: the name of the storage's method and its arguments, all JSON values."""

    name: str
    arguments: tuple[Any, ...]
    owner: str | None = None  # if runs share the study: the run that writes; void once another run owns the trial


class Journal:
    """A new file, flushed to the disk at every operation, and deleted if it is empty when the block ends.

    Raises: SearchError if there is no space for it. FileExistsError if an earlier journal was not replayed.
    """

    def __init__(self, path: Path, *, study: str, identity: str) -> None:
        self.path = path
        self._count = 0
        header = _line({"journal": FORMAT, "study": study, "id": identity})
        self._start = self._end = len(header)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb", buffering=0)
            try:
                self._put(0, header + b" " * (ROOM - len(header)))
            except OSError:
                self._file.close()
                path.unlink()
                raise
        except FileExistsError:
            raise
        except OSError as error:
            reason = (
                f"The study's journal {str(path)!r} needs {ROOM >> 20} MiB and cannot be created: {error.strerror}."
            )
            raise SearchError(f"{reason} Free space there, or run in another folder.") from None

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._count:
            self.path.unlink(missing_ok=True)

    def append(self, operation: Operation) -> None:
        """Write the operation to the disk. Raises: OSError; then the journal is unchanged."""
        line = _line({name: value for name, value in asdict(operation).items() if value is not None})
        self._put(self._end, line)  # if this fails half-way, the next line overwrites it
        self._end += len(line)
        self._count += 1

    def clear(self) -> None:
        """Empty the journal. Raises: OSError."""
        if self._count:
            self._put(self._start, b" ")  # one byte voids all that follows, so a kill leaves the journal full or empty
            self._put(self._start, b" " * (self._end - self._start))
            self._end, self._count = self._start, 0

    def _put(self, position: int, data: bytes) -> None:
        self._file.seek(position)
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())


@dataclass(frozen=True)
class JournalContent:
    """The operations in a journal, and the study that they belong to."""

    study: str
    identity: str
    operations: tuple[Operation, ...]


def read_journal(path: Path) -> JournalContent | None:
    """Return the content of the journal at `path`; None if there is no journal, or its first line is incomplete.

    An incomplete last line was never acknowledged and is ignored.

    Raises: SearchError if the journal is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SearchError(
            f"The journal {str(path)!r} cannot be read: {error.strerror}. Its results are needed to resume."
        ) from None
    if not lines:
        return None
    number = 1
    try:
        header = json.loads(lines[0])
        if header["journal"] != FORMAT:
            raise SearchError(
                f"The journal {str(path)!r} has format {header['journal']!r}, this version reads {FORMAT}. Update "
                "fmnist-search."
            )
        operations = []
        for number, line in enumerate(lines[1:], start=2):  # noqa: B007
            if line.startswith(b" "):
                break  # cleared
            entry = json.loads(line)
            operations.append(Operation(str(entry["name"]), tuple(entry["arguments"]), entry.get("owner")))
        return JournalContent(header["study"], header["id"], tuple(operations))
    except (ValueError, KeyError, TypeError):
        reason = f"The journal {str(path)!r} is damaged at line {number}: it must be an operation in JSON."
        raise SearchError(f"{reason} Correct the line, or delete the file to give up its results.") from None


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"
