"""A study with every kind of training, made without training, and what TensorBoard and MLflow hold of it."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from socket import create_server
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmnist.curve import CurvePoint
from search.storage.sharing import OWNER
from search.study.curves import note_curve
from search.study.ownership import claim_folder, identity_of
from search.study.records import Confirmation
from search.study.study import Study
from search.tracking.facts import Facts, read_facts
from tests.search.sample import candidate, final, remember, trial
from tests.search.tiny import in_database, tiny_spec

BEGAN = datetime(2026, 1, 1, 12)
CURVE = [CurvePoint(1, 0.9, 0.8, 0.7, 0.71, 10.0), CurvePoint(2, 0.6, 0.5, 0.8, 0.81, 20.0)]
STORED = [asdict(point) for point in CURVE]
ALL = {
    *(f"trial-00{number}" for number in range(4)),
    *(f"confirm-trial-000-seed-{seed}" for seed in (1000, 1001)),
    *(f"final-seed-{seed}" for seed in (2000, 2001)),
}


def ended(state: TrialState, value: float | None = None, owner: str | None = None, **attributes: Any) -> FrozenTrial:
    """A trial of ours; `owner` is the run that had it in a study that several share."""
    made = trial(value, state, **attributes)
    made.system_attrs |= {OWNER: owner} if owner else {}
    made.datetime_start, made.datetime_complete = BEGAN, BEGAN + timedelta(seconds=20)
    return made


def study_in(folder: Path) -> Study:
    """A finished study, with the files of its report, in the current folder `folder`."""
    study = in_database(folder, tiny_spec())
    study.optuna.add_trials(
        [
            ended(TrialState.COMPLETE, 0.8, curve=STORED),
            ended(TrialState.PRUNED, curve=STORED[:1], reason="below the median"),
            ended(TrialState.FAIL, reason="the worker died"),
            ended(TrialState.PRUNED, refused=True, reason="max_params"),
        ]
    )
    claim_folder(study)
    remember(study, confirmation=Confirmation(candidates=(candidate(0, 0.8, 0.79, 0.81),), winner=0))
    note_curve(study, "final", "seed 2000", [replace(point, macro_f1=None) for point in CURVE])
    note_curve(study, "confirm", "trial 0, seed 1000", CURVE)
    remember(study, final=final(0.94, 0.95))
    (study.folder / "export").mkdir()
    (study.folder / "export" / "model.onnx").write_bytes(b"model")
    (study.folder / "report.html").write_text("the report")
    return study


def facts_of(study: Study, *, is_over: bool = True, is_shared: bool = False) -> Facts:
    return read_facts(study, identity_of(study).id or "", is_over=is_over, is_shared=is_shared)


def free_port() -> int:
    """A port on which nothing listens."""
    with create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
