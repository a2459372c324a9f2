"""Write rows of Optuna's tables without the queries that Optuna makes before each write."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from search.storage.optuna_private import TrialParamModel


def put_row(session: Session, table: Any, row: dict[str, Any], replaces: Sequence[str]) -> None:
    """Insert the row; first delete the row with the same values in the columns `replaces`, if any are named."""
    if replaces:
        session.execute(delete(table).where(*(getattr(table, name) == row[name] for name in replaces)))
    session.execute(insert(table), [row])


def put_parameters(session: Session, trial_id: int, parameters: Mapping[str, tuple[float, BaseDistribution]]) -> None:
    """Insert the trial's parameters. Optuna's check against another program's trial in the study could fail."""
    for name, (value, distribution) in parameters.items():
        distribution_json = distribution_to_json(distribution)
        row = {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": value,
            "distribution_json": distribution_json,
        }
        session.execute(insert(TrialParamModel), [row])
