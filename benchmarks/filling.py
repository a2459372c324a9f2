"""Studies filled with finished trials, whose curves were recorded from real trainings."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import optuna
from optuna.distributions import distribution_to_json
from optuna.storages._rdb.models import (
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import insert, select

from benchmarks.curves import CURVES, read_curves
from fmnist.network import describe
from search.storage.own_trials import OwnTrials
from search.storage.trial_record import CONFIG, CURVE
from search.study.records import DataRecord
from search.study.spec import StudySpec

CLASSES = 10
CHUNK = 1_000  # trials per transaction


class Merciful(optuna.pruners.BasePruner):
    """A pruner that pays the cost of another pruner but never prunes."""

    def __init__(self, inner: optuna.pruners.BasePruner) -> None:
        self.inner = inner

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Ask the other pruner, and return False."""
        self.inner.prune(study, trial)
        return False


def recorded_curve(epochs: int, seed: int) -> list[float]:
    """Return a recorded curve of validation F1, interpolated to that number of epochs."""
    curve = _complete_curves()[seed % len(_complete_curves())]
    at = np.linspace(1, len(curve), epochs)
    return [float(value) for value in np.interp(at, np.arange(1, len(curve) + 1), curve)]


def no_data() -> DataRecord:
    """Return the record of data that is never trained on."""
    return DataRecord(name="made up", fingerprint="0" * 64, train=50_000, valid=10_000, class_names=tuple("0123456789"))


def fill(study: optuna.Study, spec: StudySpec, size: int) -> None:
    """Add finished trials to the study in bulk, because Optuna takes 20 ms for each."""
    numbers = iter(range(size))
    while chunk := list(islice(numbers, CHUNK)):
        _write(study, [finished(spec, number) for number in chunk])


def finished(spec: StudySpec, number: int) -> FrozenTrial:
    """Return a finished trial like those of a search: one in three complete, the others pruned."""
    fixed = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number)).ask()
    config = spec.space.suggest(fixed)
    curve = recorded_curve(spec.epochs, number)[: spec.epochs if number % 3 == 0 else 2 + number % 7]
    network = describe(config, CLASSES)
    long = {
        CONFIG: config.model_dump(),
        CURVE: [
            {"number": epoch, "macro_f1": value, "seconds": float(epoch)} for epoch, value in enumerate(curve, start=1)
        ],
    }
    notes = {
        "seed": spec.seed,
        "parameters": network.parameters,
        "flops": network.flops,
        "seconds": float(len(curve)),
    }
    return create_trial(
        params=fixed.params,
        distributions=fixed.distributions,
        value=curve[-1],
        intermediate_values=dict(enumerate(curve, start=1)),
        state=TrialState.COMPLETE if number % 3 == 0 else TrialState.PRUNED,
        user_attrs=notes,
        system_attrs=long,
    )


@lru_cache
def _complete_curves() -> list[tuple[float, ...]]:
    curves = [curve.curve for curve in read_curves(CURVES)]
    longest = max(map(len, curves))
    return [curve for curve in curves if len(curve) == longest]


def _write(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    storage, study_id = study._storage, study._study_id
    assert isinstance(storage, OwnTrials), "create_study made the study"
    with storage._backend.engine.begin() as connection:
        first = len(connection.execute(select(TrialModel.number).where(TrialModel.study_id == study_id)).all())
        rows = [
            {
                "number": number,
                "study_id": study_id,
                "state": trial.state,
                "datetime_start": trial.datetime_start,
                "datetime_complete": trial.datetime_complete,
            }
            for number, trial in enumerate(trials, start=first)
        ]
        connection.execute(insert(TrialModel.__table__), rows)
        trial_ids = (
            select(TrialModel.trial_id)
            .where(TrialModel.study_id == study_id, TrialModel.number >= first)
            .order_by(TrialModel.number)
        )
        ids = connection.execute(trial_ids).scalars().all()
        for table, columns in _TABLES.items():
            connection.execute(
                insert(table.__table__),
                [
                    {"trial_id": trial_id} | row
                    for trial_id, trial in zip(ids, trials, strict=True)
                    for row in columns(trial)
                ],
            )


def _params(trial: FrozenTrial) -> list[dict[str, Any]]:
    return [
        {
            "param_name": name,
            "param_value": distribution.to_internal_repr(trial.params[name]),
            "distribution_json": distribution_to_json(distribution),
        }
        for name, distribution in trial.distributions.items()
    ]


def _values(trial: FrozenTrial) -> list[dict[str, Any]]:
    stored, kind = TrialValueModel.value_to_stored_repr(trial.values[0])
    return [{"objective": 0, "value": stored, "value_type": kind}]


def _steps(trial: FrozenTrial) -> list[dict[str, Any]]:
    stored = {
        step: TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        for step, value in trial.intermediate_values.items()
    }
    return [
        {"step": step, "intermediate_value": value, "intermediate_value_type": kind}
        for step, (value, kind) in stored.items()
    ]


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


_TABLES: dict[Any, Any] = {
    TrialParamModel: _params,
    TrialValueModel: _values,
    TrialIntermediateValueModel: _steps,
    TrialUserAttributeModel: lambda trial: _attributes(trial.user_attrs),
    TrialSystemAttributeModel: lambda trial: _attributes(trial.system_attrs),
}
