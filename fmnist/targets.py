"""Targets: the distribution over the classes that a network learns for each image."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmnist.augment import mixed_up
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.errors import FmnistError
from fmnist.network import Network, folded


def smooth_targets(classes: int, smoothing: float) -> Tensor:
    """Return one smoothed one-hot row per class, to be indexed by label. Shape: [classes, classes]."""
    return torch.eye(classes) * (1 - smoothing) + smoothing / classes


def class_weights(labels: NDArray[np.int64], classes: int, exponent: float) -> Tensor:
    """Return the weight of an image of each class: its class's images ** -exponent, the mean over all images being 1.

    The mean keeps the meaning of the learning rate. Shape: [N] -> float32 [classes].
    """
    counts = np.bincount(labels, minlength=classes).clip(min=1)  # measuring speed may leave a class out
    weights = counts ** -float(exponent)
    return torch.from_numpy(weights / weights[labels].mean()).float()


class Targets:
    """The targets of a training: smoothed labels, or with teachers the mean of their probabilities.

    Teachers see the very images that the network is trained on, augmented and resized. The labels and the knob
    `label_smoothing` then have no effect.

    With the knob `class_weights` an image's targets are multiplied by the weight of its class, and so is its
    cross-entropy: a step needs no weights of its own. Of two blended images each label's part has its own weight; the
    answer of teachers to them has the blend of both.

    Source: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", 2021, arXiv 2106.05237.
    """

    def __init__(
        self, config: TrialConfig, train: Images, device: torch.device, teachers: Sequence[Network], *, mixed: bool
    ) -> None:
        """Copy the teachers to `device`; they compute in bfloat16 if `mixed`.

        Raises: FmnistError if one has other classes than the training images.
        """
        classes = len(train.class_names)
        for teacher in teachers:
            if (outputs := teacher.classifier[-1].out_features) != classes:
                raise FmnistError(f"A teacher must know the {classes} classes of the images, got one of {outputs}.")
        rows = smooth_targets(classes, config.label_smoothing)
        self._weights: Tensor | None = None
        if config.class_weights:
            weights = class_weights(train.labels, classes, config.class_weights)
            rows, self._weights = rows * weights.unsqueeze(1), weights.to(device)
        self._rows = rows.to(device)
        self._teachers: list[Network] = [
            folded(teacher).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for teacher in teachers
        ]
        self._mixed = mixed

    def __call__(self, images: Tensor, labels: Tensor, shares: Tensor | None = None) -> Tensor:
        """Return the targets of batches of images.

        Args:
            shares: Of the image before each in its batch, if the images are blended with those. Shape: [B, N].

        Shape: float [B, N, C, S, S], [B, N] -> float32 [B, N, classes].
        """
        if not self._teachers:
            return _blended(self._rows[labels], shares)
        # In batches, because on CUDA far more images are prepared at once than a training step has.
        taught = torch.stack([self._taught(batch) for batch in images])
        if self._weights is None:
            return taught
        return taught * _blended(self._weights[labels], shares).unsqueeze(2)

    @torch.no_grad()
    def _taught(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self._mixed):
            answers = [teacher(images).float().softmax(dim=1) for teacher in self._teachers]
        return torch.stack(answers).mean(dim=0)


def _blended(values: Tensor, shares: Tensor | None) -> Tensor:
    return values if shares is None else mixed_up(values, shares)
