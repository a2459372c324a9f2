"""Batches: the training images on the device, their order, and what a step sees of them."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from fmnist.augment import augment, mixed_up, mixup_weights
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.scoring import as_input
from fmnist.targets import Targets


class Batches:
    """All random numbers of order and augmentation come from `generator`, which a snapshot stores."""

    def __init__(self, config: TrialConfig, images: Images, targets: Targets, seed: int, device: torch.device) -> None:
        self.config, self.targets = config, targets
        self.pixels = torch.from_numpy(images.pixels).to(device)
        self.labels = torch.from_numpy(images.labels).to(device)
        self.generator = Generator(device).manual_seed(seed)
        self.size = min(config.batch_size, len(images))
        # Which images an odd pass mirrors, with alternate flips; drawn apart, so that a resumed training has the same.
        self.odd = torch.rand(len(images), generator=Generator().manual_seed(seed)).lt(0.5).to(device)

    @property
    def in_pass(self) -> int:
        """Batches in a pass over the images; a last partial one is dropped."""
        return len(self.labels) // self.size

    @property
    def count(self) -> int:
        """Batches in an epoch."""
        return self.in_pass * self.config.passes

    def epoch(self, ahead: int) -> Iterator[Tensor]:
        """Yield the rows of the next epoch's images, in blocks of at most `ahead` batches of a pass. Shape: [B, N]."""
        for _ in range(self.config.passes):
            order = torch.randperm(len(self.labels), generator=self.generator, device=self.labels.device)
            yield from order[: self.in_pass * self.size].view(-1, self.size).split(ahead)

    def prepared(self, rows: Tensor, side: int, number: int) -> tuple[Tensor, Tensor]:
        """Return augmented images and their targets; the first pass has the number 1.

        Shape: [B, N] -> [B, N, channels, side, side], [B, N, classes].
        """
        config, flat = self.config, rows.flatten()
        mirrored = self.odd[flat] ^ (number % 2 == 0) if config.flip == "alternate" else None
        images = augment(as_input(self.pixels[flat]), config, generator=self.generator, side=side, mirrored=mirrored)
        images, labels = images.view(*rows.shape, *images.shape[1:]), self.labels[rows]
        if not config.mixup:
            return images, self.targets(images, labels)
        shares = mixup_weights(len(rows), self.size, config.mixup, self.generator)
        images = mixed_up(images, shares)
        return images, self.targets(images, labels, shares)
