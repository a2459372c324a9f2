"""The journal beside a study: what its database could not take, one JSON line an operation, until it can.

    {"journal": 1, "study": "quick", "id": "5c0e..."}
    {"name": "set_trial_user_attr", "arguments": [7, "seed", 3]}

Its room is reserved as blanks when it is made, because a full disk may be the very reason why it is needed.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from search.errors import SearchError

FORMAT = 1
ROOM = 1 << 20  # bytes; a journal that outgrows them goes on where the disk lets it


@dataclass(frozen=True)
class Operation:
    """One write to a storage: the name of the storage's method and its arguments, all of them JSON."""

    name: str
    arguments: tuple[Any, ...]
    owner: str | None = (
        None  # where several runs share the study: whose write to a trial it is, void once the trial has changed hands
    )


class Journal:
    """A new file, flushed to the disk with every operation, and gone if it is empty when the block ends.

    Raises: SearchError where there is no room for it. FileExistsError where an earlier one was not taken up.
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
            reason = f"The study's journal {str(path)!r} needs {ROOM >> 20} MiB and cannot be made: {error.strerror}."
            raise SearchError(f"{reason} Make room there, or run in another folder.") from None

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
        """The operation is on the disk. Raises: OSError, and then the journal is as it was."""
        line = _line({name: value for name, value in asdict(operation).items() if value is not None})
        self._put(self._end, line)  # where this fails half-way, the next one overwrites it
        self._end += len(line)
        self._count += 1

    def clear(self) -> None:
        """The journal is empty. Raises: OSError."""
        if self._count:
            self._put(self._start, b" ")  # one byte voids all that follows, so that a kill leaves it whole or empty
            self._put(self._start, b" " * (self._end - self._start))
            self._end, self._count = self._start, 0

    def _put(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())


@dataclass(frozen=True)
class Kept:
    """What a journal holds, and the study whose it is."""

    study: str
    identity: str
    operations: tuple[Operation, ...]


def read_journal(path: Path) -> Kept | None:
    """What the journal at `path` holds; None where there is none, or its writer was killed before its first line was
    whole.

    Raises: SearchError where it is damaged. A last line that is half written was never acknowledged and does not count.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SearchError(
            f"The journal {str(path)!r} cannot be read: {error.strerror}. The results in it are needed to go on."
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
                break  # emptied
            entry = json.loads(line)
            operations.append(Operation(str(entry["name"]), tuple(entry["arguments"]), entry.get("owner")))
        return Kept(header["study"], header["id"], tuple(operations))
    except (ValueError, KeyError, TypeError):
        reason = f"The journal {str(path)!r} is damaged at line {number}: it must be an operation in JSON."
        raise SearchError(f"{reason} Mend the line, or delete the file to give up the results in it.") from None


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"
