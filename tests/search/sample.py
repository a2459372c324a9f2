"""Studies and records to report on."""

import io
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from fmnist.config import TrialConfig
from fmnist.data.cleaning import Caught, CleaningReport
from search.report.render import print_report, read_report
from search.report.tables import tables
from search.storage.trial_record import CONFIG
from search.study.records import (
    Ablation,
    Ablations,
    Candidate,
    ClassScore,
    Confirmation,
    DataRecord,
    Environment,
    Final,
    FinalRun,
    Opening,
    SeedRun,
    Timing,
    Variant,
)
from search.study.study import Study
from search.terminal.table import Row

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SPACE: dict[str, BaseDistribution] = {
    "depth": IntDistribution(2, 4),
    "learning_rate": FloatDistribution(3e-4, 3e-2, log=True),
    "head": CategoricalDistribution(("flatten", "max", "avg")),
}


def trial(
    value: float | None = None,
    state: TrialState = TrialState.COMPLETE,
    depth: int = 2,
    over: Mapping[str, float] | None = None,
    **attributes: Any,
) -> FrozenTrial:
    params: dict[str, Any] = {"depth": depth, "learning_rate": 0.0012345, "head": "max"}
    config = TrialConfig(**params).model_dump(mode="json")
    config = attributes.pop("config", config)
    every = {"seconds": 61.5, "parameters": 105_674, "flops": 12_300_000, "seed": 7, **attributes}
    waiting = state == TrialState.WAITING
    return create_trial(
        state=state,
        value=value,
        params={} if waiting else params,
        distributions={} if waiting else SPACE,
        user_attrs={} if waiting else every,
        system_attrs={} if waiting else {CONFIG: config},
        constraints=dict(over or {}),
    )


def environment(**changes: Any) -> Environment:
    given: dict[str, Any] = {
        "at": "2025-01-01T12:00:00+00:00",
        "command": "fmnist-search run quick",
        "commit": "0123abc",
        "versions": {"python": "3.11.9", "torch": "2.11.0"},
        "platform": "Linux",
        "processor": "x86-64",
        "cores": 2,
        "device": "cpu",
        "workers": 2,
        "threads_per_worker": 1,
    }
    return Environment(**{**given, **changes})


def data(name: str = "Fashion-MNIST", **changes: Any) -> DataRecord:
    given: dict[str, Any] = {
        "name": name,
        "fingerprint": "5e0a",
        "train": 50_000,
        "valid": 10_000,
        "class_names": CLASSES,
    }
    return DataRecord(**{**given, **changes})


def caught(rule: str, train: int = 0, test: int = 0, *examples: str, action: str = "dropped") -> Caught:
    return Caught(rule=rule, action=action, train=train, test=test, examples=examples)


def cleaned(*found: Caught, **changes: Any) -> CleaningReport:
    """Of 60,000 training and 10,000 test images, all but those found are kept."""
    kept = {
        "train_kept": 60_000 - sum(one.train for one in found),
        "test_kept": 10_000 - sum(one.test for one in found),
    }
    return CleaningReport.model_validate(
        {"train_read": 60_000, "test_read": 10_000, **kept, "held_out": 0, "caught": found, **changes}
    )


def candidate(number: int, search_value: float, *seeds: float) -> Candidate:
    runs = tuple(SeedRun(seed=1000 + i, macro_f1=f1, seconds=70.0) for i, f1 in enumerate(seeds))
    return Candidate(trial=number, config=TrialConfig(), search_value=search_value, runs=runs)


def final(*seeds: float) -> Final:
    confusion = [[950 if i == j else 0 for j in range(10)] for i in range(10)]
    confusion[6][0], confusion[4][2], confusion[0][6], confusion[9][7] = 102, 61, 58, 3
    return Final(
        trial=2,
        config=TrialConfig(depth=3),
        runs=tuple(
            FinalRun(seed=2000 + i, macro_f1=f1, accuracy=f1 + 0.0001, seconds=83.0, folder=f"final/{2000 + i}")
            for i, f1 in enumerate(seeds)
        ),
        mean=sum(seeds) / len(seeds),
        sd=0.0008 if len(seeds) > 1 else None,
        low=0.9391,
        high=0.947,
        level=0.95,
        resamples=2000,
        classes=tuple(
            ClassScore(name=name, precision=0.94, recall=0.95, f1=0.8 + i / 100, images=1000)
            for i, name in enumerate(CLASSES)
        ),
        confusion=tuple(tuple(row) for row in confusion),
        exported_seed=2000,
        parameters=105_674,
        flops=12_300_000,
        test_images=10_000,
    )


def remember(study: Study, **records: Any) -> None:
    for key, record in records.items():
        many = isinstance(record, list)
        study.optuna.set_user_attr(
            key, [one.model_dump(mode="json") for one in record] if many else record.model_dump(mode="json")
        )


def finished_study() -> Study:
    """A study that went all the way, in memory."""
    study = Study(optuna.create_study(study_name="quick", direction="maximize"))
    values = (0.91, 0.935, 0.93, 0.90, 0.92, 0.915)
    study.optuna.add_trials([trial(value, depth=2 + i % 3) for i, value in enumerate(values)])
    study.optuna.add_trials([trial(0.6, TrialState.PRUNED, reason="below the median | epoch 4")] * 2)
    study.optuna.add_trials(
        [trial(0.5, TrialState.PRUNED, reason="diverged"), trial(None, TrialState.FAIL, reason="out of memory")]
    )
    study.optuna.set_user_attr(
        "spec", {"name": "quick", "search": {"trials": 10, "minutes": None, "sampler": "tpe"}, "confirm": {"top": 2}}
    )
    confirmation = Confirmation(
        candidates=(candidate(1, 0.935, 0.925, 0.927), candidate(2, 0.93, 0.929, 0.931)), winner=2
    )
    opening = Opening(at="2025-01-01T13:00:00+00:00", by="final", trial=2)
    remember(
        study,
        data=data(),
        environments=[environment()],
        confirmation=confirmation,
        final=final(0.943, 0.944, 0.942),
        openings=[opening],
        timing=Timing(search=3725, confirm=140, final=250),
    )
    return study


def whole_study() -> Study:
    """The same on data of one's own, cleaned, and with its winner ablated: its report has every table there is."""
    study = finished_study()
    variants = (Variant(without=None, runs=candidate(2, 0.93, 0.929, 0.931).runs), Variant(without="dropout"))
    ablation = Ablation(trial=2, config=TrialConfig(dropout=0.2), variants=variants)
    remember(
        study, ablations=Ablations(found=(ablation,)), data=data("shop.csv", cleaning=cleaned(caught("duplicates", 3)))
    )
    return study


def terminal(study: Study, width: int = 80) -> str:
    screen = io.StringIO()
    print_report(read_report(study), Console(file=screen, width=width))
    return screen.getvalue()


def cells(study: Study, id: str) -> Mapping[str, Row]:
    """Of the table of that id: first cell of each row -> the others."""
    return {str(row[0]): row[1:] for table in tables(read_report(study)) if table.id == id for row in table.rows}
