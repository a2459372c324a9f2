"""The baseline of throughput.py: the loop of an Optuna user, as in the tutorials.

It imports nothing from this project. It uses torchvision's FashionMNIST with transforms image by image, Subset and
DataLoader, a plain nn.Module in PyTorch's default layout, torch.optim.Adam, and study.optimize with SQLite and a
MedianPruner, called after every epoch. The number of threads is PyTorch's default.

Choices favour the baseline: the images are loaded once and not in every trial, the convolutions have no biases that the
norm would cancel, half of the images are neither rotated nor scaled, and the interpolation is the cheapest.
"""

import json
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import optuna
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

WIDTHS = (1, 32, 64, 128)
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
MEAN, STD = 0.2860, 0.3530

PLAIN = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
# That of KNOBS in throughput_runs.py.
AUGMENTED = transforms.Compose(
    [
        transforms.RandomHorizontalFlip(),
        transforms.RandomCrop(28, padding=2),
        transforms.RandomApply([transforms.RandomAffine(degrees=7.5, scale=(0.925, 1.075))], p=0.5),
        transforms.ToTensor(),
        transforms.Normalize((MEAN,), (STD,)),
        transforms.RandomErasing(p=0.5, scale=(0.02, 0.25)),
    ]
)


@dataclass(frozen=True)
class Work:
    """The input from throughput.py."""

    root: str  # has FashionMNIST/raw with the training images first and the validation images after them
    train: int
    valid: int
    classes: int
    trials: int
    epochs: int
    data_workers: int
    device: str
    storage: str  # URL
    result: str  # file to write


class Objective:
    """Trains the network and returns the validation macro F1 of the last epoch."""

    def __init__(self, work: Work) -> None:
        self.work = work
        train = Subset(FashionMNIST(work.root, transform=AUGMENTED), range(work.train))
        valid = Subset(FashionMNIST(work.root, transform=PLAIN), range(work.train, work.train + work.valid))
        self.train = DataLoader(train, BATCH_SIZE, shuffle=True, num_workers=work.data_workers)
        self.valid = DataLoader(valid, BATCH_SIZE, num_workers=work.data_workers)

    def __call__(self, trial: optuna.Trial) -> float:
        """Return the validation macro F1 of the last epoch."""
        trial.set_user_attr("began", time.time())
        torch.manual_seed(trial.number)
        model = network(self.work.classes).to(self.work.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        value = 0.0
        for epoch in range(self.work.epochs):
            train_epoch(model, self.train, optimizer, self.work.device)
            value = validate(model, self.valid, self.work.device)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value


def network(classes: int) -> nn.Module:
    """Return three stages of convolution, norm, ReLU and pooling, followed by a dense layer."""
    layers: list[nn.Module] = []
    for inputs, width in pairwise(WIDTHS):
        convolution = nn.Conv2d(inputs, width, kernel_size=3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * 4 * 4, classes))


def train_epoch(model: nn.Module, loader: DataLoader[object], optimizer: torch.optim.Optimizer, device: str) -> None:
    """Train the model on every image once."""
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = cross_entropy(model(images.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()


def validate(model: nn.Module, loader: DataLoader[object], device: str) -> float:
    """Return the macro F1 on the loader's images."""
    model.eval()
    truth, predictions = [], []
    with torch.no_grad():
        for images, labels in loader:
            truth += labels.tolist()
            predictions += model(images.to(device)).argmax(dim=1).tolist()
    return float(f1_score(truth, predictions, average="macro"))


def main(work: Work) -> None:
    """Run the study and write its times and scores to `work.result`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # With this many start-up trials it never prunes, so that both loops do the same work.
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1_000_000)
    study = optuna.create_study(storage=work.storage, direction="maximize", pruner=pruner)
    study.optimize(Objective(work), n_trials=work.trials)
    result = {
        "began": study.trials[0].user_attrs["began"],
        "ended": time.time(),
        "images": work.trials * work.epochs * work.train,
        "macro_f1": [trial.value for trial in study.trials],
        "parameters": sum(parameter.numel() for parameter in network(work.classes).parameters()),
        "threads": torch.get_num_threads(),
    }
    Path(work.result).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Work(**json.loads(sys.argv[1])))
