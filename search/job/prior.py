"""What a search begins with: the trials of earlier studies in its storage, and configurations to try first."""

import math
from collections.abc import Callable

import numpy as np
from optuna.trial import FrozenTrial

from fmnist.config import TrialConfig
from fmnist.refusals import listed
from search.errors import SearchError
from search.job.objective import space_errors
from search.samplers.prior import Prior
from search.storage.trial_record import TrialRecord
from search.study.records import DataRecord
from search.study.spec import StudySpec
from search.study.study import Study, load_study
from search.terminal.wording import counted


def require_configs(spec: StudySpec) -> None:
    """Require that the configurations to try first are in the study's space.

    Raises: SearchError with all errors.
    """
    errors = [
        f"prior.configs entry {place}: {error}"
        for place, config in enumerate(spec.prior.configs, start=1)
        for error in space_errors(config, spec.space)
    ]
    if errors:
        raise SearchError(listed(errors))


def enqueue_configs(study: Study, spec: StudySpec) -> None:
    """Have the configurations of the prior tried first, if the study is new."""
    with study.locked():
        if not study.trials():
            for config in spec.prior.configs:
                study.optuna.enqueue_trial(dict(config))


def read_prior(study: Study, spec: StudySpec, announce: Callable[[str], None]) -> Prior:
    """Return what the earlier studies of the prior found.

    Raises: SearchError if there is no such study, or it has nothing that the search can use.
    """
    config = TrialConfig.model_validate(spec.space.pinned)
    prior = Prior(spec.space.distributions(), config.model_dump())
    for name in spec.prior.studies:
        if name == study.name:
            raise SearchError(f"A study cannot be its own prior, got {name!r} in prior.studies. Leave it out.")
        earlier = load_study(study.storage, name, study.home)
        trials = [trial for trial in earlier.trials() if _is_usable(trial, earlier)]
        if not trials:
            raise SearchError(
                f"The study {name!r} has no trial with an epoch that a search could begin with. Leave it out of "
                "prior.studies."
            )
        _add(prior, earlier, trials, spec.seed)
        announce(f"The search begins with {counted(len(trials), 'trial')} of {name!r}{_difference(study, earlier)}.")
    return prior


def _add(prior: Prior, earlier: Study, trials: list[FrozenTrial], seed: int) -> None:
    space = earlier.spec.space
    f1 = np.full((len(trials), earlier.spec.epochs), np.nan)
    for row, trial in enumerate(trials):
        for epoch, value in trial.intermediate_values.items():
            f1[row, epoch - 1] = value
    prior.add(space.distributions(), [trial.params for trial in trials], f1, np.random.default_rng(seed))


def _is_usable(trial: FrozenTrial, earlier: Study) -> bool:
    values = trial.intermediate_values
    return (
        TrialRecord(trial).began
        and any(math.isfinite(value) for value in values.values())
        and all(1 <= epoch <= earlier.spec.epochs for epoch in values)
        and earlier.spec.space.knobs.keys() <= trial.params.keys()
    )


def _difference(study: Study, earlier: Study) -> str:
    ours, theirs = study.read(DataRecord), earlier.read(DataRecord)
    if ours is None or theirs is None or ours.fingerprint == theirs.fingerprint:
        return ""
    return f", which was made on other images: {theirs.name}"
