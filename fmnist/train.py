"""Training: `fit` is a generator that trains one epoch per step and leaves everything else to the caller."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fmnist.batches import Batches
from fmnist.config import TrialConfig
from fmnist.cuda import (
    SideStream,
    capture,
    is_cuda,
    random_state,
    release_memory,
    set_random_state,
    upload,
)
from fmnist.data.images import Images, require_images
from fmnist.errors import FmnistError
from fmnist.graphs import CapturedSteps
from fmnist.network import Network, build
from fmnist.optimizer import make_optimizer
from fmnist.precision import is_mixed
from fmnist.schedule import learning_rates
from fmnist.scoring import class_scores, figures
from fmnist.snapshot import Snapshot
from fmnist.targets import Targets

EXPLODED = 3  # times the loss of guessing
EAGER_STEPS = 3  # on CUDA, before the step is captured: they allocate memory and choose kernels
AHEAD = 2**14  # images that are augmented at once on CUDA, where launches dominate the time of a single batch


class DivergedError(FmnistError):
    """Training diverged: the loss is NaN, or far worse than guessing."""


@dataclass(frozen=True)
class Epoch:
    """The result of one pass over the training images. Without a validation split its figures are None.

    `model` is the network that was scored, with averaged weights if the configuration has them. Training continues in
    place. `logits` are its scores of the validation images. Shape: [N, classes], on the CPU.
    `snapshot` returns the state to resume from. Call it before the next epoch.
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
    mixed: bool | None = None,
    teachers: Sequence[Network] = (),
) -> Iterator[Epoch]:
    """Train for `config.epochs` epochs and yield after each; closing the generator frees its memory.

    If `after` is a snapshot of a training with the same arguments, training resumes there and gives the same remaining
    epochs. The same arguments on the same machine give the same epochs. Sets PyTorch's global seed.
    `mixed` is whether to multiply in bfloat16; by default `is_mixed` decides for the device.
    With `teachers`, trained networks, the targets are the mean of their probabilities instead of the labels.
    Raises: DivergedError at the end of the epoch in which training diverged. FmnistError if the images have
    another size than the configuration, the snapshot is from another training, or a teacher has other classes.
    """
    for images in (train, valid):
        if images is not None:
            require_images(images.pixels, config.size, "Read the data at the size of the configuration.")
    torch.manual_seed(seed)
    run = _Run(config, train, seed, device, mixed, teachers)
    valid_pixels = torch.from_numpy(valid.pixels).to(device) if valid else None
    if after:
        run.resume(after)
    for number in range(after.epoch + 1 if after else 1, config.epochs + 1):
        start = time.perf_counter()
        side = config.side if number > config.small_count else config.first_side
        train_loss = run.epoch(side)
        seconds = time.perf_counter() - start
        _require_convergence(train_loss, number, len(train.class_names))
        model = run.scored_model()
        # Scored at the size of the epoch: the statistics of batch norm do not hold at another size.
        logits = None if valid_pixels is None else class_scores(model, valid_pixels, side)
        valid_loss, f1, accuracy = (None, None, None) if valid is None or logits is None else figures(logits, valid)
        yield Epoch(
            number=number,
            train_loss=train_loss,
            valid_loss=valid_loss,
            macro_f1=f1,
            accuracy=accuracy,
            seconds=time.perf_counter() - start,
            images_per_second=len(train) * config.passes / seconds,
            model=model,
            logits=logits,
            snapshot=partial(run.snapshot, number),
        )


def measure_speed(config: TrialConfig, classes: int, *, device: torch.device, seconds: float = 1.0) -> float:
    """Return how many images a second `config` trains on, measured on random images for about `seconds`."""
    size = config.batch_size
    count = max(size, AHEAD // size * size) if is_cuda(device) else size  # one block
    pixels = np.random.default_rng(0).integers(0, 256, (count, *config.size.shape), dtype=np.uint8)
    images = Images(pixels, np.arange(count) % classes, tuple(str(index) for index in range(classes)))
    run = _Run(config, images, seed=0, device=device)
    rows = torch.arange(count, device=device).view(-1, size)
    with run.own_stream():
        for _ in range(2):
            run.block(rows, config.side).item()  # warm-up: allocates memory, chooses kernels and captures the step
        start, steps = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or steps == 0:
            run.block(rows, config.side).item()  # waits for the device
            steps += len(rows)
    del run, rows
    release_memory(device)  # for other processes: this one may not train
    return steps * size / elapsed


class _Run:
    """The state of one training: the images on the device, the network and its optimizer. Weights are float32."""

    def __init__(
        self,
        config: TrialConfig,
        train: Images,
        seed: int,
        device: torch.device,
        mixed: bool | None = None,
        teachers: Sequence[Network] = (),
    ) -> None:
        torch.backends.cudnn.deterministic = True
        self.config, self.device, self.is_mixed = config, device, is_mixed(device) if mixed is None else mixed
        targets = Targets(config, train, device, teachers, mixed=self.is_mixed)
        self.batches = Batches(config, train, targets, seed, device)
        self.model: Network = build(config, len(train.class_names)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(config, self.model, device)
        self.steps = config.epochs * self.batches.count
        self.done = 0  # steps
        self.eager = EAGER_STEPS if is_cuda(device) else sys.maxsize  # steps at each image size before one is captured
        block = min(max(1, AHEAD // self.batches.size), self.batches.in_pass)
        self.ahead = block if is_cuda(device) else 1  # batches in a block
        self.averaged: Network | None = copy.deepcopy(self.model) if config.ema else None
        self.own_stream = SideStream(device)
        self.captured: CapturedSteps | None = None
        self.side, self.at_side = 0, 0  # image size of the last step, and the number of steps in a row at that size

    def epoch(self, side: int) -> float:
        """Train on each image once in each pass, resized to `side` pixels, and return the mean loss.

        Drops the last partial batch of a pass.
        """
        self.model.train()
        with self.own_stream():
            total = torch.zeros((), device=self.device)  # on the device: no synchronization within an epoch
            for block in self.batches.epoch(self.ahead):
                total += self.block(block, side)
            return total.item() / self.batches.count

    def block(self, rows: Tensor, side: int) -> Tensor:
        """Train on each batch of images at `rows` and return the sum of losses, on the device. Shape: [B, N] -> []."""
        if side != self.side:  # the first steps at another size allocate memory and choose kernels, too
            self.captured, self.side, self.at_side = None, side, 0
        images, targets = self.batches.prepared(rows, side, 1 + self.done // self.batches.in_pass)
        rates = self.rates(len(rows))
        total = torch.zeros((), device=self.device)
        eager = min(max(0, self.eager - self.at_side), len(rows))
        for batch in range(eager):
            total += self.step(images[batch], targets[batch], rates[batch])
            self.done += 1
        self.at_side += len(rows)
        if eager < len(rows):
            total += self._captured(images, targets)(images[eager:], targets[eager:], rates[eager:])
            self.done += len(rows) - eager
        return total

    def scored_model(self) -> Network:
        """Return the network to score: with averaged weights if there are any, and the current batch statistics."""
        if self.averaged is None:
            return self.model
        for averaged, current in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            averaged.copy_(current)
        return self.averaged

    def snapshot(self, epoch: int) -> Snapshot:
        """Return a copy of the state at the end of `epoch`."""
        tensors = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in self._tensors()
        }
        return Snapshot(epoch, tensors | self._random_states())

    def resume(self, after: Snapshot) -> None:
        """Restore the state of the snapshot.

        Raises: FmnistError if it is from another network or device.
        """
        tensors = dict(self._tensors())
        expected = {name: tensor.shape for name, tensor in (tensors | self._random_states()).items()}
        received = {name: tensor.shape for name, tensor in after.tensors.items()}
        if expected != received or not 0 < after.epoch < self.config.epochs:
            raise FmnistError(
                "A training resumes only from its own snapshot. Delete the snapshot to train from the start."
            )
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(after.tensors[name])
        self.batches.generator.set_state(after.tensors["random.order"])
        torch.set_rng_state(after.tensors["random.cpu"])
        set_random_state(self.device, after.tensors)
        self.done = after.epoch * (self.steps // self.config.epochs)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((f"model.{name}", tensor) for name, tensor in self.model.state_dict().items())
        if self.averaged:
            yield from ((f"averaged.{name}", tensor) for name, tensor in self.averaged.state_dict().items())
        yield from ((f"adam.{name}", tensor) for name, tensor in self.optimizer.state())

    def _random_states(self) -> dict[str, Tensor]:
        """Return the random states of the order and augmentation of the images, and of dropout."""
        states = {"random.order": self.batches.generator.get_state(), "random.cpu": torch.get_rng_state()}
        return states | random_state(self.device)

    def step(self, images: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        """Make one step and return the loss, on the device. Shape: images [N, C, S, S], targets [N, classes]."""
        # This is captured, so nothing here may wait for the device or move data to it.
        self.optimizer.set_rate(rate)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_mixed):
            loss = cross_entropy(self.model(images), targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.averaged:
            averaged, current = list(self.averaged.parameters()), list(self.model.parameters())
            # The average starts at the weights after the first step.
            get_ema_multi_avg_fn(self.config.ema if self.done else 0.0)(averaged, current, self.done)
        return loss.detach()

    def rates(self, count: int) -> Tensor:
        """Return the learning rates of the next steps, on the device that the optimizer reads. Shape: [count]."""
        rates = learning_rates(self.config, range(self.done, self.done + count), self.steps)
        return upload(rates, self.device) if is_cuda(self.device) else torch.tensor(rates, dtype=torch.float64)

    def _captured(self, images: Tensor, targets: Tensor) -> CapturedSteps:
        if self.captured is None:
            block_images, block_targets = (
                torch.empty((self.ahead, *tensor.shape[1:]), device=self.device) for tensor in (images, targets)
            )
            self.captured = CapturedSteps(self.step, block_images, block_targets, partial(capture, device=self.device))
        return self.captured


def _require_convergence(loss: float, epoch: int, classes: int) -> None:
    limit = EXPLODED * math.log(classes)
    if not loss <= limit:  # negated, so that NaN fails
        raise DivergedError(
            f"diverged: mean training loss {loss:.3g} in epoch {epoch}, over {limit:.3g} (three times guessing)"
        )
