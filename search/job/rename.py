"""Rename a study: first all that the storage holds of its name, in one transaction, then its folder and what is in it.

Until the folder has the new name too, the storage remembers the old one. Then no other command uses either name, and
the same command finishes what a killed one has begun.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from search.dashboard.annotate import WRITTEN, annotate
from search.dashboard.artifacts import rename_files, renamed_records
from search.errors import SearchError
from search.job.prior import followers, unfinished_followers
from search.report.page.html import PAGE, write_page
from search.report.render import read_report, write_report
from search.storage.foreign import SPEC
from search.storage.own_trials import OwnTrials
from search.study.budget import is_searched
from search.study.coordinators import require_no_run
from search.study.lock import ABOUT, lock_beside, sole_change
from search.study.ownership import RENAMED, folder_of, is_ours, require_renamed, write_owner
from search.study.paths import HOME
from search.study.records import Final, PriorRecord
from search.study.spec import NAME, NAME_IN_WORDS
from search.study.study import Study, load_study, storage_names


def rename(storage: OwnTrials, name: str, new: str, home: Path = HOME) -> tuple[Study, list[str]]:
    """Rename the study and its folder; return it, and what a person then has to know.

    Raises: SearchError if there is no such study, the new name is none or is taken, a run is at work on the study, or
    its folder belongs to another study. StorageLostError.
    """
    study = _interrupted(storage, name, new, home)
    if study is None:
        study = load_study(storage, name, home)
        _require_free(storage, new, home)
        if not is_ours(study):
            storage.rename_study(study.id, new, {}, {})
            return load_study(storage, new, home), ["Another program made the study: it has no folder."]
        _require_independent(study)
        require_renamed(storage, name)
        with _held(storage, folder_of(study), name, new):
            with study.locked():
                require_no_run(study)
                storage.rename_study(study.id, new, _records(study, new), _system_records(study, new))
            return _finished(storage, name, new, home)
    folder = next((home / each for each in (new, name) if (home / each).is_dir()), None)
    with _held(storage, folder, name, new):
        return _finished(storage, name, new, home)


def _interrupted(storage: OwnTrials, name: str, new: str, home: Path) -> Study | None:
    """Return the study if a rename from `name` to `new` was interrupted."""
    if new not in storage_names(storage) or name == new:
        return None
    study = load_study(storage, new, home)
    return study if storage.get_study_system_attrs(study.id).get(RENAMED) == name else None


def _require_free(storage: OwnTrials, new: str, home: Path) -> None:
    if not re.fullmatch(NAME, new):
        raise SearchError(f"A study's name must be {NAME_IN_WORDS}, got {new!r}.")
    if new in storage_names(storage):
        raise SearchError(f"The storage has a study named {new!r} already. Give another name.")
    require_renamed(storage, new)
    if (home / new).exists() or (home / new).is_symlink():
        raise SearchError(f"There is a folder {home / new} already. Give another name, or move the folder away.")


def _require_independent(study: Study) -> None:
    if study.spec.search.pruner == "hyperband" and not is_searched(study, study.spec):
        raise SearchError(
            f"The search of {study.name!r} is not over, and its pruner, hyperband, divides the trials by the study's "
            "name. Rename it when the search is over."
        )


@contextmanager
def _held(storage: OwnTrials, folder: Path | None, name: str, new: str) -> Iterator[None]:
    with ExitStack() as locks:
        locks.enter_context(sole_change(folder, name, storage))
        locks.enter_context(sole_change(None, new, storage))
        for follower in unfinished_followers(storage, name):  # a run would write the old name back
            locks.enter_context(sole_change(None, follower, storage))
            require_no_run(load_study(storage, follower))
        yield


def _records(study: Study, new: str) -> dict[tuple[int, str], Any]:
    """Return with the new name the records that hold the old one, also those of studies that begin with it."""
    records: dict[tuple[int, str], Any] = {(study.id, SPEC): study.attributes[SPEC] | {"name": new}}
    for name in followers(study.storage, study.name):
        other = load_study(study.storage, name)
        spec = other.attributes[SPEC]
        names = [new if each == study.name else each for each in spec["prior"]["studies"]]
        records[other.id, SPEC] = spec | {"prior": spec["prior"] | {"studies": names}}
        if prior := other.read(PriorRecord):
            counts = (prior.trainings, prior.openings)
            trainings, openings = (
                {new if each == study.name else each: count for each, count in one.items()} for one in counts
            )
            renamed = PriorRecord(trainings=trainings, openings=openings)
            records[other.id, PriorRecord.KEY] = renamed.model_dump(mode="json")
    return records


def _system_records(study: Study, new: str) -> dict[str, str | None]:
    return {RENAMED: study.name} | renamed_records(study, new)


def _finished(storage: OwnTrials, name: str, new: str, home: Path) -> tuple[Study, list[str]]:
    """Give the folder the new name, and rewrite what shows the name in it."""
    study, told = load_study(storage, new, home), list[str]()
    _move(home / name, study.folder)
    if study.folder.is_dir():
        write_owner(study)
        rename_files(study, name)
        if (study.folder / "report.json").exists():
            write_report(read_report(study), study.folder)
        if (study.folder / PAGE).exists():
            write_page(study, study.folder / PAGE)
        if WRITTEN in storage.get_study_system_attrs(study.id):
            annotate(study, None, announce=told.append)
    storage.set_study_system_attr(study.id, RENAMED, None)
    if file := storage.database_file():
        Path(f"{lock_beside(file, name)}.lock").unlink(missing_ok=True)
    return study, [*told, *_notes(study, name)]


def _move(folder: Path, to: Path) -> None:
    if not folder.is_dir():
        return
    try:
        folder.rename(to)
    except OSError as error:
        raise SearchError(
            f"The folder {folder} cannot be renamed to {to}: {error.strerror}. The study has its new name in the "
            "storage; when the cause is removed, run the same command again to finish."
        ) from None
    (to / ABOUT).unlink(missing_ok=True)  # of this process's lock, which ends under the old name


def _notes(study: Study, before: str) -> Iterator[str]:
    move = f"mv {study.home / before} {study.folder}"
    if not study.folder.is_dir():
        yield f"It has no folder here. Where it has one, rename that too: {move}"
    elif study.storage.engine.name != "sqlite":
        yield f"Where other machines have a folder of it, rename that too: {move}"
    if Final.KEY not in study.attributes:
        yield f"To continue it, give --name {study.name} to the command that began it."
    if (export := study.folder / "export").is_dir():
        yield (
            f"The files in {export} are as they were made and sealed: config.json and MODEL_CARD.md have the old name. "
            f"To export them again, delete that folder and run the study with --name {study.name}."
        )
    for other in unfinished_followers(study.storage, study.name):
        yield f"The study {other!r} begins with its trials: continue it with --from {study.name}."
