"""Coordinators: parallel runs of one study on a database server, which take over the trials of dead runs."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optuna.trial import TrialState

from search.errors import SearchError
from search.storage.foreign import SPEC
from search.storage.optuna_private import trial_id
from search.storage.own_trials import OwnTrials
from search.storage.sharing import OWNER, Share
from search.storage.trial_record import REFUSED
from search.study.holder import COORDINATOR, Holder, this_process
from search.study.lock import UNSEEN_SECONDS, describe_holders, is_alive, require_not_ending
from search.study.record import parse_record
from search.study.spec import StudySpec
from search.study.study import Study, load_study, storage_names
from search.terminal.wording import counted

SEEDS_APART = 1_000_003  # keeps coordinators that start together from proposing the same


def require_agreement(storage: OwnTrials, spec: StudySpec) -> None:
    """Require that this run asks for the same as the other runs of the study, if there are any.

    Raises: SearchError with the difference, or if the search is over and another run is ending the study.
    """
    if spec.name not in storage_names(storage):
        return
    study = load_study(storage, spec.name)
    require_not_ending(study)
    others = others_alive(study)
    if not others or SPEC not in study.attributes:
        return
    stored = study.spec
    for section in ("search", "confirm", "final", "limits", "prior", "cleaning"):
        theirs, ours = getattr(stored, section).model_dump(), getattr(spec, section).model_dump()
        for name in theirs:
            if theirs[name] != ours[name]:
                raise SearchError(
                    f"Runs that share a study must ask for the same; those at work on {spec.name!r} have "
                    f"{section}.{name} = {theirs[name]}, this one {ours[name]}. They are: "
                    f"{describe_holders(others.values())}. Use their value, or wait for them."
                )


def require_no_run(study: Study) -> None:
    """Require that no run is at work on the study, also on another machine.

    Raises: SearchError with the hosts and processes.
    """
    require_not_ending(study)
    if others := others_alive(study):
        raise SearchError(
            f"{counted(len(others), 'run')} at work on the study {study.name!r}: {describe_holders(others.values())}. "
            f"End or wait for them; the hold of one that was killed ends {UNSEEN_SECONDS:.0f} s after it."
        )


@contextmanager
def joined(study: Study, spec: StudySpec, announce: Callable[[str], None]) -> Iterator[None]:
    """Register this run as a coordinator of the study; each owns its trials, and all share the budget.

    Raises: SearchError if the search is over and another run is ending the study.
    """
    storage, coordinator, holder = study.storage, secrets.token_hex(8), this_process()
    with study.locked():  # so that of two runs that start together, the second sees the first
        require_not_ending(study)
        if study.spec.space != spec.space:
            raise SearchError(
                f"Another run has just extended the study {study.name!r}. To go on in its new space, run it with "
                "--extend."
            )
        others, before = others_alive(study), len(coordinators(study))
        study.write(holder, key=COORDINATOR + coordinator)
    if others:
        study.optuna.sampler = spec.make_sampler(seed=spec.seed + len(study.trials()) + SEEDS_APART * before)
        runs = f"{counted(len(others), 'other run')} at work on this study: {describe_holders(others.values())}"
        announce(f"{runs}. All runs share the budget.")
    storage.share = Share(coordinator, spec.trials, uncounted=None if spec.search.sampler == "grid" else REFUSED)
    try:
        yield
    finally:
        study.write(this_process(since=holder.since, is_over=True), key=COORDINATOR + coordinator)


def coordinators(study: Study) -> dict[str, Holder]:
    """Return all coordinators that ever worked on the study, by id."""
    attributes = study.attributes
    return {
        key.removeprefix(COORDINATOR): parse_record(attributes[key], key, Holder)
        for key in attributes
        if key.startswith(COORDINATOR)
    }


def others_alive(study: Study) -> dict[str, Holder]:
    """Return the other coordinators that are at work, by id."""
    return {key: holder for key, holder in coordinators(study).items() if is_alive(holder)}


def share_of(study: Study) -> Share | None:
    """Return this run's share of the study's trials, or None if it does not share them."""
    return study.storage.share if study.is_stored else None


def take_back(study: Study) -> None:
    """Set running trials of dead coordinators to waiting; the next coordinator trains them as configured."""
    storage = study.storage
    assert storage.share, "the run has joined"
    alive = {storage.share.owner, *others_alive(study)}
    for trial in study.trials((TrialState.RUNNING,)):
        owner = trial.system_attrs.get(OWNER)
        if owner not in alive:
            storage.release(trial_id(trial), owner)
