"""The baseline of minutes.py: a whole job as an Optuna user writes it, ended by the clock.

It imports nothing from this project but the parts of usual_loop.py: torchvision's FashionMNIST with transforms image by
image, DataLoader, torch.optim.Adam, and study.optimize with TPE, MedianPruner and a timeout of half of the minutes. A
trial has five epochs, as in Optuna's examples. The best configuration is then trained on all training images with three
seeds, for as many epochs as the rest of the time allows at the speed of the search, and tested once.

Choices favour the baseline: the images are loaded once, the training split is the whole files' first five sixths, and
the time of the final trainings is foreseen from the best trial's own.
"""

import json
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import optuna
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import FashionMNIST

from benchmarks.usual_loop import AUGMENTED, BATCH_SIZE, PLAIN, train_epoch, validate

SEARCH = 0.5  # of the time
EPOCHS = 5  # of a trial


@dataclass(frozen=True)
class Work:
    """The input from minutes.py."""

    root: str  # has the files of Fashion-MNIST in FashionMNIST/raw
    seconds: float
    seeds: int
    loaders: int  # num_workers of the DataLoader
    images: int | None  # of each file at most
    result: str  # file to write


def main(work: Work, began: float) -> None:
    """Search, train the best and test it; write the scores to `work.result`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    images = _first(FashionMNIST(work.root, transform=AUGMENTED), work.images)
    cut = len(images) * 5 // 6
    train = _loader(Subset(images, range(cut)), work, shuffle=True)
    plain = _first(FashionMNIST(work.root, transform=PLAIN), work.images)
    valid = _loader(Subset(plain, range(cut, len(images))), work)
    epoch_seconds: dict[int, float] = {}

    def objective(trial: optuna.Trial) -> float:
        torch.manual_seed(trial.number)
        settings = _suggest(trial)
        model, value = _network(settings), 0.0
        optimizer = _optimizer(model, settings)
        for epoch in range(EPOCHS):
            start = time.monotonic()
            train_epoch(model, train, optimizer, "cpu")
            epoch_seconds[trial.number] = time.monotonic() - start
            value = validate(model, valid, "cpu")
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
    study.optimize(objective, timeout=max(1.0, work.seconds * SEARCH - (time.monotonic() - began)))
    best = study.best_trial
    everything = _loader(images, work, shuffle=True)
    each = epoch_seconds[best.number] * len(images) / cut * work.seeds
    epochs = max(1, int((work.seconds - (time.monotonic() - began)) / each))
    test = _loader(_first(FashionMNIST(work.root, train=False, transform=PLAIN), work.images), work)
    scores = []
    for seed in range(work.seeds):
        torch.manual_seed(1000 + seed)
        model = _network(best.params)
        optimizer = _optimizer(model, best.params)
        for _ in range(epochs):
            train_epoch(model, everything, optimizer, "cpu")
        scores.append(validate(model, test, "cpu"))
    result = {
        "macro_f1": scores,
        "trials": len(study.trials),
        "epochs": epochs,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    Path(work.result).write_text(json.dumps(result), encoding="utf-8")


def _first(images: FashionMNIST, count: int | None) -> Subset[object]:
    return Subset(images, range(min(count or len(images), len(images))))


def _loader(images: Dataset[object], work: Work, *, shuffle: bool = False) -> DataLoader[object]:
    return DataLoader(images, BATCH_SIZE, shuffle=shuffle, num_workers=work.loaders)


def _suggest(trial: optuna.Trial) -> dict[str, float]:
    return {
        "filters": trial.suggest_int("filters", 16, 48, step=16),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
        "learning_rate": trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
        "l2": trial.suggest_float("l2", 1e-6, 1e-3, log=True),
    }


def _network(settings: dict[str, float]) -> nn.Module:
    """Return three stages of convolution, norm, ReLU and pooling, followed by a dense layer."""
    filters = int(settings["filters"])
    layers: list[nn.Module] = []
    for inputs, width in pairwise((1, filters, 2 * filters, 4 * filters)):
        convolution = nn.Conv2d(inputs, width, kernel_size=3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(settings["dropout"]), nn.Linear(4 * filters * 4 * 4, 10))


def _optimizer(model: nn.Module, settings: dict[str, float]) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=settings["learning_rate"], weight_decay=settings["l2"])


if __name__ == "__main__":
    main(Work(**json.loads(sys.argv[1])), time.monotonic())
