"""The teachers of a final stage that distils, and what happens if a student cannot learn from them."""

from pathlib import Path

from search.errors import SearchError
from search.study.study import Study

FOLDER = "teachers"  # in the folder of the final models


class DivergedStudentError(SearchError):
    """A student diverged, and would diverge again under the same teachers."""

    def __init__(self, study: str, reason: str) -> None:
        super().__init__(
            f"The student diverged: {reason}. The winner and its teachers are kept, and the test split was not opened. "
            f"Save the winner with `fmnist-search best {study} > mine.toml`, set a lower learning_rate under "
            "[final.student] there, and run mine.toml: it trains the teachers again, without a search."
        )


def teacher_folder(study: Study, seed: int) -> Path:
    """Return the folder of that teacher's checkpoint."""
    return study.folder / "final" / FOLDER / f"seed-{seed}"
