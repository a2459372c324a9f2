"""Samplers see only the trials of the study's present space, which may have been changed."""

from collections.abc import Sequence
from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.storage.trial_record import TrialRecord


def inside(study: optuna.Study) -> optuna.Study:
    """Return a view of the study without the trials outside its space."""
    return cast("optuna.Study", _Inside(study))


class _Inside:
    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
        return _without_others(self._study.get_trials(deepcopy, None if states is None else tuple(states)))

    def _get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        return _without_others(self._study._get_trials(*arguments, **options))

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.get_trials()


def _without_others(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if TrialRecord(trial).outside is None]
