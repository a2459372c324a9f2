"""fit() trains a network as a generator: one epoch a step, its figures in hand, everything else up to the caller."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fmnist.adam import FusedAdam
from fmnist.augment import augment, resized
from fmnist.config import TrialConfig
from fmnist.data.images import SIDE, Images
from fmnist.errors import FmnistError
from fmnist.graphs import CapturedStep
from fmnist.metrics import macro_f1
from fmnist.model import ConvNet, folded
from fmnist.snapshot import Snapshot

CPU_EVALUATION_BATCH = 125  # images; a third faster than 1000, because they fit the caches
EVALUATION_BATCH = 5000  # of any other device
EXPLODED = 3  # times the loss of guessing
BETA1 = 0.9  # of Adam
WARM_UP = 0.2  # share of the steps that the triangle rises
EAGER_STEPS = 3  # of a training on CUDA, before its step is captured: they allocate, choose kernels and make the optimizer's state


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
    model: ConvNet = field(repr=False)
    logits: Tensor | None = field(repr=False)
    snapshot: Callable[[], Snapshot] = field(repr=False)


def fit(
    config: TrialConfig, train: Images, valid: Images | None, *, seed: int, device: torch.device, after: Snapshot | None = None
) -> Iterator[Epoch]:
    """Trains for `config.epochs` epochs and yields after each; closing the generator frees what it holds.

    With a snapshot that a training of the same arguments gave, only the epochs `after` it are trained, as that one would have.
    The same arguments on the same machine give the same epochs. PyTorch's global seed is set.
    Raises: DivergedError at the end of the epoch in which training diverged. FmnistError where the snapshot is of another training.
    """
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    run = _Run(config, train, seed, device)
    if after:
        run.go_on(after)
    for number in range(after.epoch + 1 if after else 1, config.epochs + 1):
        start = time.perf_counter()
        side = SIDE if number > config.small_count else config.small_side
        train_loss = run.epoch(side)
        seconds = time.perf_counter() - start
        _check(train_loss, number, len(train.class_names))
        model = run.scored_model()
        # At the size that was just trained on: norms know no other, and a score at full size would say nothing of how it goes.
        logits = class_scores(model, valid.pixels, device, side) if valid else None
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


def class_scores(model: ConvNet, pixels: np.ndarray, device: torch.device, side: int = SIDE) -> Tensor:
    """Logits of the images, brought to `side` pixels, computed in evaluation mode and in batches; on the CPU.

    Shape: uint8 [N, 28, 28] -> float [N, classes].
    """
    with torch.inference_mode():
        quick = folded(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches = torch.from_numpy(pixels).split(CPU_EVALUATION_BATCH if device.type == "cpu" else EVALUATION_BATCH)
        return torch.cat([quick(resized(as_input(batch.to(device)), side)).float().cpu() for batch in batches])


def measure_speed(config: TrialConfig, classes: int, *, device: torch.device, seconds: float = 1.0) -> float:
    """Images a second that `config` trains at here, measured for about `seconds` on random images."""
    size = config.batch_size
    pixels = np.random.default_rng(0).integers(0, 256, (size, SIDE, SIDE), dtype=np.uint8)
    images = Images(pixels, np.arange(size) % classes, tuple(str(index) for index in range(classes)))
    run = _Run(config, images, seed=0, device=device)
    with run.own_stream():
        batch = torch.arange(size, device=device)
        for _ in range(EAGER_STEPS + 1 if device.type == "cuda" else 1):
            run.step(batch).item()  # the first ones allocate and choose kernels
        start, steps = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or steps == 0:
            run.step(batch).item()  # waits for the device
            steps += 1
    return steps * size / elapsed


def is_mixed(device: torch.device) -> bool:
    """Whether training multiplies in bfloat16 on `device`: where the hardware does, which is then faster; weights stay float32."""
    match device.type:
        case "cuda":
            return True
        case "cpu":
            return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
        case _:
            return False


def as_input(pixels: Tensor) -> Tensor:
    """What a ConvNet reads. Shape: uint8 [N, 28, 28] -> float [N, 1, 28, 28] in 0..1."""
    return pixels.unsqueeze(1).float().div_(255)


def smooth_targets(classes: int, smoothing: float) -> Tensor:
    """One smoothed one-hot row a class, to be gathered by label. Shape: [classes, classes]."""
    return torch.eye(classes) * (1 - smoothing) + smoothing / classes


class _Run:
    """What lives as long as one training: the images on the device, the network and its optimizer."""

    def __init__(self, config: TrialConfig, train: Images, seed: int, device: torch.device) -> None:
        self.config, self.device, self.is_mixed = config, device, is_mixed(device)
        classes = len(train.class_names)
        self.pixels = torch.from_numpy(train.pixels).to(device)
        self.labels = torch.from_numpy(train.labels).to(device)
        self.targets = smooth_targets(classes, config.label_smoothing).to(device)
        self.generator = Generator(device).manual_seed(seed)
        self.model: ConvNet = ConvNet(config, classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
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
        self.eager = EAGER_STEPS  # still to come before the first capture, in a training that goes on, too
        self.averaged: ConvNet | None = copy.deepcopy(self.model) if config.ema else None
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.captured: dict[int, CapturedStep] = {}  # by the side of the images

    @contextmanager
    def own_stream(self) -> Iterator[None]:
        """Within, CUDA works on this training's stream: a graph cannot be captured on the default one."""
        if self.stream is None:
            yield
            return
        around = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(around)
        with torch.cuda.stream(self.stream):
            yield
        around.wait_stream(self.stream)

    def epoch(self, side: int) -> float:
        """Trains on each image once (but for a last part-filled batch), brought to `side` pixels, and returns the mean loss."""
        self.model.train()
        with self.own_stream():
            order = torch.randperm(len(self.labels), generator=self.generator, device=self.device)
            batches = [batch for batch in order.split(self.batch_size) if len(batch) == self.batch_size]
            total = torch.zeros((), device=self.device)  # stays on the device: no synchronisation a step
            for batch in batches:
                total += self.step(batch, side)
            return total.item() / len(batches)

    def scored_model(self) -> ConvNet:
        """The network to score: the averaged one where there is one, with the present statistics of its norms."""
        if self.averaged is None:
            return self.model
        for mean, present in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            mean.copy_(present)
        return self.averaged

    def snapshot(self, epoch: int) -> Snapshot:
        """A copy of all that decides what comes after `epoch`, which is over."""
        tensors = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in self._tensors()}
        return Snapshot(epoch, tensors | self._random_states())

    def go_on(self, after: Snapshot) -> None:
        """Everything is as it was when the snapshot was taken.

        Raises: FmnistError where it is of another network or device.
        """
        present = dict(self._tensors())
        wanted = {name: tensor.shape for name, tensor in (present | self._random_states()).items()}
        found = {name: tensor.shape for name, tensor in after.tensors.items()}
        if wanted != found or not 0 < after.epoch < self.config.epochs:
            raise FmnistError("A training goes on only from a snapshot of its own. Delete the snapshot, to train from the start.")
        with torch.no_grad():
            for name, tensor in present.items():
                tensor.copy_(after.tensors[name])
        self.generator.set_state(after.tensors["random.order"])
        torch.set_rng_state(after.tensors["random.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(after.tensors["random.cuda"], self.device)
        self.done = after.epoch * (self.steps // self.config.epochs)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((f"model.{name}", tensor) for name, tensor in self.model.state_dict().items())
        if self.averaged:
            yield from ((f"averaged.{name}", tensor) for name, tensor in self.averaged.state_dict().items())
        yield from ((f"adam.{name}", tensor) for name, tensor in self.optimizer.state())

    def _random_states(self) -> dict[str, Tensor]:
        """Of the order of the images and their augmentation, and of dropout."""
        states = {"random.order": self.generator.get_state(), "random.cpu": torch.get_rng_state()}
        return states | ({"random.cuda": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {})

    def step(self, batch: Tensor, side: int = SIDE) -> Tensor:
        """One optimizer step on the images at the rows `batch`; returns the loss, still on the device."""
        self.optimizer.set_rate(self.config.learning_rate * learning_rate_scale(self.config, self.done, self.steps))
        loss = self._way(batch, side)(batch)
        self.done += 1
        self.eager -= 1
        return loss

    def _way(self, batch: Tensor, side: int) -> Callable[[Tensor], Tensor]:
        eager = partial(self._train, side=side)
        if self.stream is None or self.eager > 0:
            return eager
        if side not in self.captured:
            self.captured[side] = CapturedStep(eager, batch, self.generator)
        return self.captured[side]

    def _train(self, batch: Tensor, side: int) -> Tensor:
        # Nothing in here may wait for the device, or move data to it: it is captured.
        config = self.config
        images = augment(as_input(self.pixels[batch]), config.augmentation, flip=config.flip, generator=self.generator, side=side)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_mixed):
            loss = cross_entropy(self.model(images), self.targets[self.labels[batch]])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.averaged:
            mean, present = list(self.averaged.parameters()), list(self.model.parameters())
            # The first step's weights are where the average begins.
            get_ema_multi_avg_fn(config.ema if self.done else 0.0)(mean, present, self.done)
        return loss.detach()


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
        raise DivergedError(f"diverged: mean training loss {loss:.3g} in epoch {epoch}, over {limit:.3g} (three times guessing)")
