"""The writes that a database did not accept, and the error message about them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from search.errors import StorageLostError
from search.storage.journal import Journal, Operation
from search.terminal.wording import counted


@dataclass
class Overflow:
    """Writes operations to the journal in order; without a journal they are discarded."""

    journal: Journal | None = None
    loss: str | None = None  # why the database was given up
    _overdue: list[Operation] = field(default_factory=list)  # not accepted by the journal either
    _fault: str | None = None

    def keep(self, operations: Iterable[Operation]) -> None:
        """Append the operations to the journal; failed ones are retried with the next call."""
        if self.journal is None:
            return
        self._overdue += operations
        try:
            while self._overdue:
                self.journal.append(self._overdue[0])
                del self._overdue[0]
        except OSError as error:
            self._fault = error.strerror or str(error)

    def empty(self) -> None:
        """Clear the journal, after the database has accepted all operations."""
        self._overdue.clear()
        try:
            if self.journal is not None:
                self.journal.clear()
        except OSError as error:
            # A later run would replay these old writes over newer ones, so all further writes must go to the journal.
            self.loss = f"the journal cannot be emptied, {error.strerror}"

    @property
    def error(self) -> StorageLostError:
        """The error with its cause, the place of the results, and the next step."""
        waiting = len(self.journal) if self.journal else 0
        text = f"The storage was lost: {self.loss}."
        if self.journal and waiting:
            text += (
                f" {counted(waiting, 'result')} that it did not accept {'wait' if waiting > 1 else 'waits'} in "
                f"{self.journal.path}."
            )
        if self._overdue:
            text += (
                f" {counted(len(self._overdue), 'result')} could not be written there ({self._fault}) and will be "
                "computed again."
            )
        return StorageLostError(f"{text} When it is back, run the same command to resume.")
