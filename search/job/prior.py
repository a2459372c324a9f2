"""What a search begins with: the trials of earlier studies in its storage, and configurations to try first."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from fmnist.config import TrialConfig
from fmnist.refusals import listed
from fmnist.size import DEFAULT_SIZE
from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.samplers.prior import Prior
from search.storage.foreign import SPEC
from search.storage.own_trials import OwnTrials
from search.storage.trial_record import TrialRecord
from search.study.known import known
from search.study.records import DataRecord, Final, Opening, PriorRecord
from search.study.space import Space
from search.study.spec import StudySpec
from search.study.study import Study, load_study, storage_names
from search.terminal.wording import counted


def require_configs(spec: StudySpec) -> None:
    """Require that the configurations to try first are in the study's space.

    Raises: SearchError with all errors.
    """
    errors = [
        f"prior.configs entry {place}: {error}"
        for place, config in enumerate(spec.prior.configs, start=1)
        for error in spec.space.errors(config)
    ]
    if errors:
        raise SearchError(listed(errors))


def enqueue_configs(study: Study, spec: StudySpec) -> None:
    """Have the configurations of the prior tried first, if the study is new."""
    with study.locked():
        if not study.trials():
            for config in spec.prior.configs:
                study.optuna.enqueue_trial(dict(config))


def uses_known(spec: StudySpec, data: DataRecord) -> bool:
    """Whether the search begins with the shipped searches, which are of Fashion-MNIST at its own size."""
    where, is_theirs = spec.prior.known, data.is_fashion_mnist and spec.data.size == DEFAULT_SIZE
    is_wanted = where == "always" or (where == "fashion-mnist" and is_theirs)
    return is_wanted and spec.search.pruner == "freeze-thaw"


def require_earlier(spec: StudySpec, storage: OwnTrials | None, home: Path) -> None:
    """Require that the studies of the prior are there and have something that a search can use.

    `storage`: None if there is no database yet.

    Raises: SearchError.
    """
    for name in spec.prior.studies:
        _earlier(spec, name, storage, home)


def take_prior(study: Study, spec: StudySpec, announce: Callable[[str], None]) -> Prior | None:
    """Return what earlier searches found, and record it at the first time; None if the study begins with nothing.

    Raises: SearchError if there is no such study, or it has nothing that the search can use.
    """
    data = study.read(DataRecord)
    is_known = data is not None and uses_known(spec, data)
    if not (spec.prior.studies or is_known):
        return None
    config = TrialConfig.model_validate(spec.space.pinned)
    prior = Prior(spec.space.distributions(), config.model_dump())
    counts, openings = dict[str, int](), dict[str, int]()
    if is_known:
        for search in known().searches:
            counts[f"{search.name} (shipped)"] = len(search.trainings)
            shipped = [(training.knobs, training.f1) for training in search.trainings]
            _add(prior, search.space, search.epochs, shipped, spec)
        announce(f"The search begins with {counted(known().trainings, 'training')} that ship with the package.")
    for name in spec.prior.studies:
        earlier, trained = _earlier(spec, name, study.storage, study.home)
        counts[name] = len(trained)
        if data is not None and (opened := _openings(earlier, data)):
            openings[name] = opened
        stored = [(trial.params, curve) for trial, curve in trained]
        _add(prior, earlier.spec.space, earlier.spec.epochs, stored, spec)
        announce(f"The search begins with {counted(len(trained), 'trial')} of {name!r}{_difference(study, earlier)}.")
    if study.read(PriorRecord) is None:
        study.write(PriorRecord(trainings=counts, openings=openings))
    return prior


def unfinished_followers(storage: OwnTrials, name: str) -> list[str]:
    """Return the unfinished studies of the storage that begin with the trials of the study of that name."""
    studies = storage.get_all_studies()
    finished = {study.study_name for study in studies if Final.KEY in study.user_attrs}
    return [other for other in followers(storage, name) if other not in finished]


def followers(storage: OwnTrials, name: str) -> list[str]:
    """Return the studies of the storage that begin with the trials of the study of that name."""
    studies = storage.get_all_studies()
    return [study.study_name for study in studies if name in _named_prior(study.user_attrs)]


def _named_prior(attributes: Mapping[str, Any]) -> Sequence[str]:
    # Read as JSON: the record may be of a version that this one cannot read.
    spec = attributes.get(SPEC)
    prior = spec.get("prior") if isinstance(spec, dict) else None
    names = prior.get("studies") if isinstance(prior, dict) else None
    return names if isinstance(names, list) else []


def usable_curves(study: Study) -> list[tuple[FrozenTrial, list[float]]]:
    """Return the trials from which another search can learn, each with the F1 of its epochs, NaN where it is lost."""
    return [(trial, _curve(trial)) for trial in study.trials() if _is_usable(trial, study)]


def _earlier(
    spec: StudySpec, name: str, storage: OwnTrials | None, home: Path
) -> tuple[Study, list[tuple[FrozenTrial, list[float]]]]:
    if name == spec.name:
        raise SearchError(f"A study cannot be its own prior, got {name!r} in prior.studies. Leave it out.")
    names = storage_names(storage) if storage else []
    if storage is None or name not in names:
        hint = f" {did_you_mean(name, names)}" if names else ""
        raise SearchError(
            f"prior.studies must name earlier studies in the same storage, got {name!r}.{hint} Name the storage with "
            "--storage, or leave the study out."
        )
    earlier = load_study(storage, name, home)
    trained = usable_curves(earlier)
    if not trained:
        raise SearchError(
            f"The study {name!r} has no trial with an epoch that a search could begin with. Leave it out of "
            "prior.studies."
        )
    return earlier, trained


def _add(
    prior: Prior,
    space: Space,
    epochs: int,
    trained: Sequence[tuple[Mapping[str, Any], Sequence[float]]],
    spec: StudySpec,
) -> None:
    f1 = np.full((len(trained), epochs), np.nan)
    for row, (_, curve) in enumerate(trained):
        f1[row, : len(curve)] = curve
    prior.add(space.distributions(), [knobs for knobs, _ in trained], f1, np.random.default_rng(spec.seed))


def _curve(trial: FrozenTrial) -> list[float]:
    values = trial.intermediate_values
    return [values.get(epoch, math.nan) for epoch in range(1, max(values) + 1)]


def _is_usable(trial: FrozenTrial, earlier: Study) -> bool:
    values = trial.intermediate_values
    return (
        TrialRecord(trial).began
        and TrialRecord(trial).outside is None
        and any(math.isfinite(value) for value in values.values())
        and all(1 <= epoch <= earlier.spec.epochs for epoch in values)
        and earlier.spec.space.knobs.keys() <= trial.params.keys()
    )


def _openings(earlier: Study, data: DataRecord) -> int:
    """Return how often these test images were opened in the earlier study and in those that it began with."""
    theirs = earlier.read(DataRecord)
    if theirs is None or theirs.test_fingerprint != data.test_fingerprint:
        return 0
    prior = earlier.read(PriorRecord)
    return len(earlier.read_all(Opening)) + (prior.all_openings if prior else 0)


def _difference(study: Study, earlier: Study) -> str:
    ours, theirs = study.read(DataRecord), earlier.read(DataRecord)
    if ours is None or theirs is None or ours.fingerprint == theirs.fingerprint:
        return ""
    return f", which was made on other images: {theirs.name}"
