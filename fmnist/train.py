"""fit() trains a network as a generator: one epoch a step, its figures in hand, everything else up to the caller."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fmnist.adam import FusedAdam
from fmnist.augment import augment
from fmnist.config import TrialConfig
from fmnist.cuda import (
    SideStream,
    capture,
    is_cuda,
    multiplies_bfloat16,
    random_state,
    release_memory,
    set_random_state,
    upload,
)
from fmnist.data.images import SIDE, Images
from fmnist.errors import FmnistError
from fmnist.graphs import CapturedSteps
from fmnist.metrics import macro_f1
from fmnist.network import Network, build
from fmnist.scoring import as_input, class_scores
from fmnist.snapshot import Snapshot

EXPLODED = 3  # times the loss of guessing
BETA1 = 0.9  # of Adam
WARM_UP = 0.2  # share of the steps that the triangle rises
EAGER_STEPS = 3  # of a training on CUDA, before its step is captured: they allocate and choose kernels
AHEAD = 2**14  # images that are augmented at once on CUDA: a batch is so small there that launches take the time


class DivergedError(FmnistError):
    """Training left the road: the loss is not a number, or far worse than guessing."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave. The validation figures are None where there is no validation split.

    `model` is the network that was scored (the averaged weights where the configuration asks for them); it trains on.
    `logits` are what it says of the validation images. Shape: [N, classes], on the CPU.
    `snapshot` gives what the training can go on from, if it is called before the next epoch.
    """

    number: int  # from 1
    train_loss: float
    valid_loss: float | None
    macro_f1: float | None
    accuracy: float | None
    seconds: float
    images_per_second: float
    model: Network = field(repr=False)
    logits: Tensor | None = field(repr=False)
    snapshot: Callable[[], Snapshot] = field(repr=False)


def fit(
    config: TrialConfig,
    train: Images,
    valid: Images | None,
    *,
    seed: int,
    device: torch.device,
    after: Snapshot | None = None,
) -> Iterator[Epoch]:
    """Trains for `config.epochs` epochs and yields after each; closing the generator frees what it holds.

    With a snapshot that a training of the same arguments gave, only the epochs `after` it are trained, as that one
    would have. The same arguments on the same machine give the same epochs. PyTorch's global seed is set.
    Raises: DivergedError at the end of the epoch in which training diverged. FmnistError where the snapshot is of
    another training.
    """
    torch.manual_seed(seed)
    run = _Run(config, train, seed, device)
    valid_pixels = torch.from_numpy(valid.pixels).to(device) if valid else None
    if after:
        run.go_on(after)
    for number in range(after.epoch + 1 if after else 1, config.epochs + 1):
        start = time.perf_counter()
        side = SIDE if number > config.small_count else config.small_side
        train_loss = run.epoch(side)
        seconds = time.perf_counter() - start
        _check(train_loss, number, len(train.class_names))
        model = run.scored_model()
        # At the size that was just trained on: norms know no other, and a score at full size would say nothing of how
        # it goes.
        logits = None if valid_pixels is None else class_scores(model, valid_pixels, side)
        valid_loss, f1, accuracy = (None, None, None) if valid is None or logits is None else _scored(logits, valid)
        yield Epoch(
            number=number,
            train_loss=train_loss,
            valid_loss=valid_loss,
            macro_f1=f1,
            accuracy=accuracy,
            seconds=time.perf_counter() - start,
            images_per_second=len(train) / seconds,
            model=model,
            logits=logits,
            snapshot=partial(run.snapshot, number),
        )


def measure_speed(config: TrialConfig, classes: int, *, device: torch.device, seconds: float = 1.0) -> float:
    """Images a second that `config` trains at here, measured for about `seconds` on random images."""
    size = config.batch_size
    count = max(size, AHEAD // size * size) if is_cuda(device) else size  # as many as a training makes ready at once
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    images = Images(pixels, np.arange(count) % classes, tuple(str(index) for index in range(classes)))
    run = _Run(config, images, seed=0, device=device)
    rows = torch.arange(count, device=device).view(-1, size)
    with run.own_stream():
        for _ in range(2):
            run.block(rows, SIDE).item()  # the first steps allocate, choose kernels and are captured
        start, steps = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or steps == 0:
            run.block(rows, SIDE).item()  # waits for the device
            steps += len(rows)
    del run, rows
    release_memory(device)  # this process may train nothing itself, and others share the device
    return steps * size / elapsed


def is_mixed(device: torch.device) -> bool:
    """Whether training multiplies in bfloat16 on `device`: where the hardware does, which is then faster; weights stay
    float32.
    """
    match device.type:
        case "cuda":
            return multiplies_bfloat16(device)
        case "cpu":
            return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
        case _:
            return False


def smooth_targets(classes: int, smoothing: float) -> Tensor:
    """One smoothed one-hot row a class, to be gathered by label. Shape: [classes, classes]."""
    return torch.eye(classes) * (1 - smoothing) + smoothing / classes


class _Run:
    """What lives as long as one training: the images on the device, the network and its optimizer."""

    def __init__(self, config: TrialConfig, train: Images, seed: int, device: torch.device) -> None:
        torch.backends.cudnn.deterministic = True
        self.config, self.device, self.is_mixed = config, device, is_mixed(device)
        classes = len(train.class_names)
        self.pixels = torch.from_numpy(train.pixels).to(device)
        self.labels = torch.from_numpy(train.labels).to(device)
        self.targets = smooth_targets(classes, config.label_smoothing).to(device)
        self.generator = Generator(device).manual_seed(seed)
        self.model: Network = build(config, classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batch_size = min(config.batch_size, len(train))
        self.optimizer = FusedAdam(
            self.model,
            learning_rate=config.learning_rate,
            beta1=BETA1,
            beta2=config.beta2,
            decay=config.l2,
            decoupled=config.optimizer == "adamw",
            device=device,
        )
        self.steps = config.epochs * (len(train) // self.batch_size)
        self.done = 0  # steps
        self.eager = EAGER_STEPS if is_cuda(device) else sys.maxsize  # at each size of images before a step is captured
        self.ahead = (
            min(max(1, AHEAD // self.batch_size), len(train) // self.batch_size) if is_cuda(device) else 1
        )  # batches of a block
        self.averaged: Network | None = copy.deepcopy(self.model) if config.ema else None
        self.own_stream = SideStream(device)
        self.captured: CapturedSteps | None = None
        self.side, self.at_side = 0, 0  # of the images that the last step saw, and how many steps in a row saw such

    def epoch(self, side: int) -> float:
        """Trains on each image once (but for a last part-filled batch), brought to `side` pixels, and returns the mean
        loss.
        """
        self.model.train()
        with self.own_stream():
            order = torch.randperm(len(self.labels), generator=self.generator, device=self.device)
            rows = order[: len(order) // self.batch_size * self.batch_size].view(-1, self.batch_size)
            total = torch.zeros((), device=self.device)  # stays on the device: no synchronization within an epoch
            for block in rows.split(self.ahead):
                total += self.block(block, side)
            return total.item() / len(rows)

    def block(self, rows: Tensor, side: int) -> Tensor:
        """One optimizer step for each batch of images at `rows`; returns the sum of their losses, still on the device.

        Shape: [batches, batch size].
        """
        if side != self.side:  # the first steps of another size allocate and choose kernels as well
            self.captured, self.side, self.at_side = None, side, 0
        images, targets = self.prepared(rows, side)
        rates = self.rates(len(rows))
        total = torch.zeros((), device=self.device)
        eager = min(max(0, self.eager - self.at_side), len(rows))
        for place in range(eager):
            total += self.step(images[place], targets[place], rates[place])
            self.done += 1
        self.at_side += len(rows)
        if eager < len(rows):
            total += self._captured(images, targets)(images[eager:], targets[eager:], rates[eager:])
            self.done += len(rows) - eager
        return total

    def prepared(self, rows: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Augmented images and smoothed targets. Shape: [B, N] -> [B, N, 1, side, side], [B, N, classes]."""
        config, every = self.config, rows.flatten()
        images = augment(
            as_input(self.pixels[every]), config.augmentation, flip=config.flip, generator=self.generator, side=side
        )
        return images.view(*rows.shape, 1, side, side), self.targets[self.labels[every]].view(*rows.shape, -1)

    def scored_model(self) -> Network:
        """The network to score: the averaged one where there is one, with the present statistics of its norms."""
        if self.averaged is None:
            return self.model
        for mean, present in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            mean.copy_(present)
        return self.averaged

    def snapshot(self, epoch: int) -> Snapshot:
        """A copy of all that decides what comes after `epoch`, which is over."""
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in self._tensors()
        }
        return Snapshot(epoch, tensors | self._random_states())

    def go_on(self, after: Snapshot) -> None:
        """Everything is as it was when the snapshot was taken.

        Raises: FmnistError where it is of another network or device.
        """
        present = dict(self._tensors())
        wanted = {name: tensor.shape for name, tensor in (present | self._random_states()).items()}
        found = {name: tensor.shape for name, tensor in after.tensors.items()}
        if wanted != found or not 0 < after.epoch < self.config.epochs:
            raise FmnistError(
                "A training goes on only from a snapshot of its own. Delete the snapshot, to train from the start."
            )
        with torch.no_grad():
            for name, tensor in present.items():
                tensor.copy_(after.tensors[name])
        self.generator.set_state(after.tensors["random.order"])
        torch.set_rng_state(after.tensors["random.cpu"])
        set_random_state(self.device, after.tensors)
        self.done = after.epoch * (self.steps // self.config.epochs)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((f"model.{name}", tensor) for name, tensor in self.model.state_dict().items())
        if self.averaged:
            yield from ((f"averaged.{name}", tensor) for name, tensor in self.averaged.state_dict().items())
        yield from ((f"adam.{name}", tensor) for name, tensor in self.optimizer.state())

    def _random_states(self) -> dict[str, Tensor]:
        """Of the order of the images and their augmentation, and of dropout."""
        states = {"random.order": self.generator.get_state(), "random.cpu": torch.get_rng_state()}
        return states | random_state(self.device)

    def step(self, images: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        """One optimizer step; returns the loss, still on the device. Shape: images [N, 1, S, S], targets [N,
        classes].
        """
        # Nothing in here may wait for the device, or move data to it: it is captured.
        self.optimizer.set_rate(rate)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_mixed):
            loss = cross_entropy(self.model(images), targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.averaged:
            mean, present = list(self.averaged.parameters()), list(self.model.parameters())
            # The first step's weights are where the average begins.
            get_ema_multi_avg_fn(self.config.ema if self.done else 0.0)(mean, present, self.done)
        return loss.detach()

    def rates(self, count: int) -> Tensor:
        """The learning rates of the next steps, where the optimizer reads them. Shape: [count]."""
        peak = self.config.learning_rate
        rates = [
            peak * learning_rate_scale(self.config, step, self.steps) for step in range(self.done, self.done + count)
        ]
        return upload(rates, self.device) if is_cuda(self.device) else torch.tensor(rates, dtype=torch.float64)

    def _captured(self, images: Tensor, targets: Tensor) -> CapturedSteps:
        if self.captured is None:
            of_images, of_targets = (
                torch.empty((self.ahead, *each.shape[1:]), device=self.device) for each in (images, targets)
            )
            self.captured = CapturedSteps(self.step, of_images, of_targets, partial(capture, device=self.device))
        return self.captured


def learning_rate_scale(config: TrialConfig, step: int, steps: int) -> float:
    """Share of the peak learning rate at `step` of `steps`; cosine and triangle end at nearly nothing."""
    done = step / steps
    match config.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "triangle":
            return max(0.1, done / WARM_UP) if done < WARM_UP else max(0.001, (1 - done) / (1 - WARM_UP))


def _scored(logits: Tensor, valid: Images) -> tuple[float, float, float]:
    """Mean loss, macro F1 and accuracy."""
    labels, predictions = torch.from_numpy(valid.labels), logits.argmax(dim=1)
    f1 = macro_f1(valid.labels, predictions.numpy(), len(valid.class_names))
    return cross_entropy(logits, labels).item(), f1, (predictions == labels).float().mean().item()


def _check(loss: float, epoch: int, classes: int) -> None:
    limit = EXPLODED * math.log(classes)
    if not loss <= limit:  # written so that NaN does not pass
        raise DivergedError(
            f"diverged: mean training loss {loss:.3g} in epoch {epoch}, over {limit:.3g} (three times guessing)"
        )
