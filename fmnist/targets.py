"""Targets: the distribution over the classes that a network learns for each image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from fmnist.network import Network, folded


def smooth_targets(classes: int, smoothing: float) -> Tensor:
    """Return one smoothed one-hot row per class, to be indexed by label. Shape: [classes, classes]."""
    return torch.eye(classes) * (1 - smoothing) + smoothing / classes


class Targets:
    """The targets of a training: smoothed labels, or with teachers the mean of their probabilities.

    Teachers see the very images that the network is trained on, augmented and resized. The labels and the knob
    `label_smoothing` then have no effect.

    Source: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", 2021, arXiv 2106.05237.
    """

    def __init__(
        self, config: TrialConfig, classes: int, device: torch.device, teachers: Sequence[Network], *, mixed: bool
    ) -> None:
        """Copy the teachers to `device`; they compute in bfloat16 if `mixed`.

        Raises: FmnistError if one has other classes.
        """
        for teacher in teachers:
            if (outputs := teacher.classifier[-1].out_features) != classes:
                raise FmnistError(f"A teacher must know the {classes} classes of the images, got one of {outputs}.")
        self._rows = smooth_targets(classes, config.label_smoothing).to(device)
        self._teachers: list[Network] = [
            folded(teacher).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for teacher in teachers
        ]
        self._mixed = mixed

    @property
    def are_taught(self) -> bool:
        """Whether they come from teachers."""
        return bool(self._teachers)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the targets of batches of images. Shape: float [B, N, 1, S, S], [B, N] -> float32 [B, N, classes]."""
        if not self._teachers:
            return self._rows[labels]
        # In batches, because on CUDA far more images are prepared at once than a training step has.
        return torch.stack([self._taught(batch) for batch in images])

    @torch.no_grad()
    def _taught(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self._mixed):
            answers = [teacher(images).float().softmax(dim=1) for teacher in self._teachers]
        return torch.stack(answers).mean(dim=0)
