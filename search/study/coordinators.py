"""Several runs of one study on a database server: each is a coordinator that shows itself, and takes over what dead
ones left running.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.errors import SearchError
from search.storage.foreign import SPEC
from search.storage.optuna_private import trial_id
from search.storage.sharing import OWNER, Share
from search.storage.trial_record import REFUSED
from search.study.holder import COORDINATOR, mine
from search.study.lock import at_work, is_alive, require_nobody_ends
from search.study.records import Holder, parse_record
from search.study.spec import StudySpec
from search.study.study import Study, load_study, storage_names
from search.terminal.wording import counted

SEEDS_APART = 1_000_003  # so that coordinators which begin together do not propose the same


def require_agreement(storage: RDBStorage, spec: StudySpec) -> None:
    """The runs at work on the study of that name, if there are any, search for the same as this one would.

    Raises: SearchError with what differs, or where the search is over and a run brings the study to its end.
    """
    if spec.name not in storage_names(storage):
        return
    study = load_study(storage, spec.name)
    require_nobody_ends(study)
    others = living(study)
    if not others or SPEC not in study.attributes:
        return
    there, asked = study.spec, spec
    for section in ("search", "confirm", "final", "limits", "cleaning"):
        kept, wanted = getattr(there, section).model_dump(), getattr(asked, section).model_dump()
        for name in kept:
            if kept[name] != wanted[name]:
                raise SearchError(
                    f"Runs that share a study must ask for the same; those at work on {spec.name!r} have "
                    f"{section}.{name} = {kept[name]}, "
                    f"this one {wanted[name]}. They are: {at_work(others.values())}. Give the same, or wait for them."
                )


@contextmanager
def joined(study: Study, spec: StudySpec, announce: Callable[[str], None]) -> Iterator[None]:
    """Within, this run is one of the coordinators that search the study; its trials are its own, and the budget is that
    of all.

    Raises: SearchError where the search is over, and a run brings the study to its end.
    """
    own, me, this = study.storage, secrets.token_hex(8), mine()
    with study.alone():  # of two that begin together, the second sees the first
        require_nobody_ends(study)
        others, before = living(study), len(coordinators(study))
        study.write(this, key=COORDINATOR + me)
    if others:
        study.optuna.sampler = spec.make_sampler(seed=spec.seed + len(study.trials()) + SEEDS_APART * before)
        runs = f"{counted(len(others), 'other run')} at work on this study: {at_work(others.values())}"
        announce(f"{runs}. The budget is that of all together.")
    own.share = Share(me, spec.budget, uncounted=None if spec.search.sampler == "grid" else REFUSED)
    try:
        yield
    finally:
        study.write(mine(since=this.since, is_over=True), key=COORDINATOR + me)


def coordinators(study: Study) -> dict[str, Holder]:
    """All that ever worked on the study, by their ids."""
    attributes = study.attributes
    return {
        key.removeprefix(COORDINATOR): parse_record(attributes[key], key, Holder)
        for key in attributes
        if key.startswith(COORDINATOR)
    }


def living(study: Study) -> dict[str, Holder]:
    """The other runs at work."""
    return {key: holder for key, holder in coordinators(study).items() if is_alive(holder)}


def share_of(study: Study) -> Share | None:
    """What this run may do with the trials of the study; None where they are all its own."""
    return study.storage.share if study.is_stored else None


def take_back(study: Study) -> None:
    """Trials that dead coordinators left running wait for the next one, who trains them with their configuration."""
    own = study.storage
    assert own.share, "the run has joined"
    alive = {own.share.owner, *living(study)}
    for trial in study.trials((TrialState.RUNNING,)):
        owner = trial.system_attrs.get(OWNER)
        if owner not in alive:
            own.release(trial_id(trial), owner)
