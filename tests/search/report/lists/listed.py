"""A storage of studies: trials in every state, odd names, a foreign study, finished studies with predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from fmnist.config import TrialConfig
from fmnist.metrics import macro_f1
from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials
from search.storage.trial_record import CONFIG, CURVE
from search.study.records import Final, FinalRun, Opening, Timing
from search.study.study import create_study
from tests.search.sample import CLASSES, SPACE, data, final, remember
from tests.search.tiny import tiny_spec

STORAGE = "sqlite:///studies/fmnist.db"
ODD_REASON = "=HYPERLINK(1), [red] \x1b[2J\u202eevil\nsecond line"
FOREIGN = "@SUM(1)[/x]\x1b[2J"
LABELS = np.arange(400) % 10


def listed_trial(
    state: TrialState, depth: int = 2, epochs: int = 0, reason: str | None = None, **more: Any
) -> FrozenTrial:
    """Return a trial after `epochs` epochs; `more` are user attributes."""
    constraints, value = more.pop("constraints", None), more.pop("value", None)
    params: dict[str, Any] = {"depth": depth, "learning_rate": 0.0012345, "head": "max"}
    curve = [
        {
            "number": i,
            "train_loss": 1 / i,
            "valid_loss": 1.5 / i,
            "macro_f1": round(0.8 + i / 100, 2),
            "accuracy": 0.81,
            "seconds": 20.5 * i,
        }
        for i in range(1, epochs + 1)
    ]
    config = TrialConfig(**params, filters=48).model_dump(mode="json")
    long: dict[str, Any] = {CONFIG: config}
    notes = {
        "seed": 7,
        "parameters": 105_674,
        "flops": 12_300_000,
        **({"reason": reason} if reason else {}),
        **more,
    }
    if state not in (TrialState.RUNNING, TrialState.WAITING):
        long[CURVE] = curve
        notes["seconds"] = curve[-1]["seconds"] if curve else None
    waiting = state == TrialState.WAITING
    return create_trial(
        state=state,
        value=value,
        params={} if waiting else params,
        distributions={} if waiting else SPACE,
        user_attrs={} if waiting else notes,
        system_attrs={} if waiting else long,
        intermediate_values={i: round(0.8 + i / 100, 2) for i in range(1, epochs + 1)},
        constraints=constraints,
    )


def all_states() -> list[FrozenTrial]:
    """Return trials 0 and 1 complete, 2 pruned, 3 failed, 4 refused, 5 running, 6 waiting."""
    return [
        listed_trial(TrialState.COMPLETE, 2, 3, value=0.91, constraints={"max_params": -0.25}),
        listed_trial(TrialState.COMPLETE, 4, 3, value=0.935),
        listed_trial(TrialState.PRUNED, 3, 1, "median after epoch 1", value=0.81),
        listed_trial(TrialState.FAIL, 3, 0, ODD_REASON),
        listed_trial(
            TrialState.PRUNED,
            4,
            0,
            "max_params 105,674, over 100,000",
            refused=True,
            constraints={"max_params": 0.05674},
        ),
        listed_trial(TrialState.RUNNING, 2, 2),
        listed_trial(TrialState.WAITING),
    ]


def fill(folder: Path) -> None:
    """Write studies/fmnist.db with five studies to `folder`, and the predictions of the finished ones."""
    storage = open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=True)
    optuna.create_study(study_name=FOREIGN, storage=storage, directions=["minimize", "maximize"]).add_trial(
        create_trial(
            values=[1.0, 2.0],
            params={"value": 3, "kind": "=odd"},
            distributions={"value": IntDistribution(1, 4), "kind": CategoricalDistribution(("=odd", "even"))},
        )
    )
    for name, seeds, error in (("first", 2, 0.1), ("second", 3, 0.3)):
        finish(folder, storage, name, seeds, error)
    finish(folder, storage, "shop", 2, 0.1, name_of_data="shop", test_fingerprint="other")
    study = create_study(storage, tiny_spec(trials=20).overridden(name="going"), data(test_fingerprint="7e57"))
    study.optuna.add_trials(all_states())
    remember(study, timing=Timing(search=3725.5))
    storage.engine.dispose()


def finish(
    folder: Path,
    storage: OwnTrials,
    name: str,
    seeds: int,
    error: float,
    name_of_data: str = "Fashion-MNIST",
    **more: Any,
) -> None:
    random = np.random.default_rng(len(name))
    wrong = random.random((seeds, len(LABELS))) < error
    predictions = np.where(wrong, random.integers(10, size=wrong.shape), LABELS)
    (folder / "studies" / name / "final").mkdir(parents=True)
    np.savez_compressed(
        folder / "studies" / name / "final" / "predictions.npz", labels=LABELS, probabilities=np.eye(10)[predictions]
    )
    study = create_study(
        storage, tiny_spec(trials=2).overridden(name=name), data(name_of_data, **{"test_fingerprint": "7e57", **more})
    )
    study.optuna.add_trials([listed_trial(TrialState.COMPLETE, 2, 2, value=0.9)] * 2)
    remember(study, final=scored(predictions), timing=Timing(search=60.0, confirm=20.0, final=15.25))
    remember(study, openings=[Opening(at="2025-01-01T13:00:00+00:00", by="final", trial=0)])


def scored(predictions: Any) -> Final:
    f1s = [macro_f1(LABELS, row, len(CLASSES)) for row in predictions]
    runs = tuple(
        FinalRun(seed=2000 + i, macro_f1=f1, accuracy=f1, seconds=5.5, folder=f"final/seed-{2000 + i}")
        for i, f1 in enumerate(f1s)
    )
    return final(*f1s).model_copy(
        update={"runs": runs, "low": min(f1s) - 0.01, "high": max(f1s) + 0.01, "test_images": len(LABELS)}
    )
