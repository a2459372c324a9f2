"""Delete a study: first its trials, in one transaction, then its folder.

A process that is killed in between leaves the whole folder, which tells whose it is until its last file is deleted. So
the same command finds it and deletes the rest.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.errors import SearchError
from search.job.prior import unfinished_followers
from search.storage.masking import masked
from search.storage.own_trials import OwnTrials
from search.study.coordinators import require_no_run
from search.study.lock import ABOUT, RUN, lock_beside, sole_change
from search.study.ownership import OWNER, claim_folder, folder_of, is_ours, left_folder, require_renamed
from search.study.paths import HOME
from search.study.records import Final
from search.study.study import Study, load_study, storage_names
from search.study.trials import FINISHED
from search.terminal.wording import counted

LAST = (ABOUT, f"{RUN}.lock", OWNER)  # deleted in this order, after all other files


@dataclass(frozen=True)
class Deletion:
    """What is to be deleted: a study, its folder here, or the folder that a deleted study left."""

    name: str
    storage: OwnTrials
    study: Study | None
    folder: Path | None
    is_ours: bool  # made by fmnist-search

    def contents(self) -> list[str]:
        """Return what is lost, in sentences."""
        return [
            *([_of_study(self.study)] if self.study else []),
            *self._of_folder(),
            *_of_followers(self.storage, self.name),
        ]

    def carry_out(self) -> None:
        """Delete the study from its storage, and then its folder.

        Raises: SearchError if a run has begun to work on it, or a file cannot be deleted. StorageLostError.
        """
        if self.study:
            if self.folder:
                claim_folder(self.study)  # a folder of version 0.1 does not tell whose it is
            with self.study.locked():
                require_no_run(self.study)
                self.storage.delete_study(self.study.id)
        if self.folder:
            _delete_folder(self.folder)
        if self.is_ours and (file := self.storage.database_file()):
            Path(f"{lock_beside(file, self.name)}.lock").unlink(missing_ok=True)

    def _of_folder(self) -> Iterator[str]:
        if self.folder:
            files = [path for path in self.folder.rglob("*") if path.is_file() and path.name not in LAST]
            size = sum(path.lstat().st_size for path in files) / 1e6
            left = "" if self.study else f" The study {self.name!r} is no longer in the storage."
            yield f"Folder {self.folder}: {counted(len(files), 'file')}, {size:,.1f} MB.{left}"
        elif self.is_ours:
            yield "It has no folder here."
        if self.is_ours and self.storage.engine.name != "sqlite":
            yield "Folders on other machines that ran it stay."


@contextmanager
def prepared_deletion(storage: OwnTrials, name: str, home: Path = HOME) -> Iterator[Deletion]:
    """Yield what is to be deleted, while no run can begin to work on it.

    Raises: SearchError if there is no such study, a run is at work on it, or the folder belongs to another study.
    StorageLostError.
    """
    require_renamed(storage, name)
    if name not in storage_names(storage) and (left := left_folder(storage, name, home)):
        with sole_change(left, name, storage):
            yield Deletion(name, storage, None, left, is_ours=True)
        return
    study = load_study(storage, name, home)
    deletion = Deletion(name, storage, study, folder_of(study), is_ours=is_ours(study))
    if not deletion.is_ours:
        yield deletion
        return
    require_no_run(study)
    with sole_change(deletion.folder, name, storage):
        yield deletion


def _of_study(study: Study) -> str:
    trials, finished = study.trials(), len(study.trials(FINISHED))
    where = f"in {masked(study.storage.engine.url.render_as_string())}"
    count = f"{counted(len(trials), 'trial')}, {finished:,} of them finished"
    if not is_ours(study):
        return (
            f"Study {study.name!r} {where}, made by another program: {count}. Whether a program is at work on it "
            "cannot be told. It has no folder."
        )
    result = "finished, its test split was opened" if Final.KEY in study.attributes else "not finished"
    return f"Study {study.name!r} {where}: {result}; {count}."


def _of_followers(storage: OwnTrials, name: str) -> Iterator[str]:
    for other in unfinished_followers(storage, name):
        yield f"The study {other!r} begins with its trials, and cannot be continued without them."


def _delete_folder(folder: Path) -> None:
    target = folder.resolve()  # rmtree refuses a link
    try:
        for path in target.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in LAST:
                path.unlink()
        for name in LAST:
            (target / name).unlink(missing_ok=True)
        target.rmdir()
        if folder.is_symlink():
            folder.unlink()
    except OSError as error:
        raise SearchError(
            f"{error.filename or folder} cannot be deleted: {error.strerror}. The study is no longer in the storage; "
            "when the cause is removed, run the same command again to delete the rest of its folder."
        ) from None
