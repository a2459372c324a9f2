"""Where the writes go that a database does not take, and what is said of it at the end."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from search.errors import StorageLostError
from search.storage.journal import Journal, Operation
from search.terminal.wording import counted


@dataclass
class Overflow:
    """Writes to the journal, in their order; without a journal nothing is kept."""

    journal: Journal | None = None
    loss: str | None = None  # why the database is given up
    _overdue: list[Operation] = field(default_factory=list)  # that the journal could not take either
    _fault: str | None = None

    def keep(self, operations: Iterable[Operation]) -> None:
        """The operations are in the journal, or are tried again with the next ones."""
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
        """The journal holds nothing: the database has it all."""
        self._overdue.clear()
        try:
            if self.journal is not None:
                self.journal.clear()
        except OSError as error:
            # Later writes would be undone by these, if a next run found them: from here on all of them go there.
            self.loss = f"the journal cannot be emptied, {error.strerror}"

    @property
    def error(self) -> StorageLostError:
        """What happened, where the results are, and what goes on."""
        waiting = len(self.journal) if self.journal else 0
        text = f"The storage was lost: {self.loss}."
        if self.journal and waiting:
            text += (
                f" {counted(waiting, 'result')} that it did not take {'wait' if waiting > 1 else 'waits'} in "
                f"{self.journal.path}."
            )
        if self._overdue:
            text += (
                f" {counted(len(self._overdue), 'result')} could not be kept there ({self._fault}) and will be "
                "computed again."
            )
        return StorageLostError(f"{text} When it is back, the same command goes on.")
