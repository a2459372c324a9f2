"""Ways of training that are no knobs, because they did not pay: levers.py measures them as changes of a training."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, unfold

from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.scoring import as_input
from fmnist.train import _Run


class Whitened(_Run):
    """Begin with a first layer whose filters whiten the patches of the training images.

    Source: KellerJordan/cifar10-airbench; there the layer is frozen, here it goes on learning.
    """

    def __init__(self, config: TrialConfig, train: Images, *more: Any) -> None:
        super().__init__(config, train, *more)
        conv = next(module for module in self.model.modules() if isinstance(module, nn.Conv2d))
        size = conv.kernel_size[0]
        images = (as_input(self.batches.pixels[:5000]) - self.model.mean) / self.model.std
        patches = unfold(images, size).transpose(1, 2).reshape(-1, size * size)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        whitening = (vectors / (values + 1e-2).sqrt()).T.flip(0).view(-1, 1, size, size)  # largest values first
        both = torch.cat((whitening, -whitening))[: conv.out_channels]
        scale = conv2d(images[:500], both).std() / conv2d(images[:500], conv.weight).std()
        with torch.no_grad():
            conv.weight[: len(both)] = both / scale


class Skipping(_Run):
    """After a quarter of the training, each epoch leaves out the quarter of the images that had the smallest losses.

    The steps in total are those of the configuration, so that the schedule ends with the training.
    """

    SHARE = 0.25

    def __init__(self, config: TrialConfig, train: Images, *more: Any) -> None:
        super().__init__(config, train, *more)
        self.losses = torch.full((len(train),), torch.inf)
        self.rows = torch.empty(0, dtype=torch.int64)
        self.kept = self.batches.count
        first = config.epochs // 4
        self.steps = self.batches.count * first + int(self.batches.count * (1 - self.SHARE)) * (config.epochs - first)
        self.first = first

    def epoch(self, side: int) -> float:
        """Train on the harder images."""
        if self.done < self.batches.count * self.first:
            return super().epoch(side)
        self.model.train()
        count = int(self.batches.count * (1 - self.SHARE))
        order = next(iter(self.batches.epoch(self.batches.count))).flatten()
        noisy = self.losses[order] * torch.rand(len(order), generator=self.batches.generator).mul_(0.5).add_(0.75)
        keep = order[noisy.argsort(descending=True)[: count * self.batches.size]]
        shuffled = keep[torch.randperm(len(keep), generator=self.batches.generator)]
        blocks = shuffled.view(-1, self.batches.size).split(self.ahead)
        return sum(self.block(block, side).item() for block in blocks) / count

    def block(self, rows: Tensor, side: int) -> Tensor:
        """Train on the batch, whose rows `step` needs."""
        self.rows = rows.flatten()
        return super().block(rows, side)

    def step(self, images: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        """Make one step and keep the loss of each image."""
        self.optimizer.set_rate(rate)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_mixed):
            losses = cross_entropy(self.model(images), targets, reduction="none")
        self.losses[self.rows] = losses.detach().float()
        self.optimizer.zero_grad()
        losses.mean().backward()
        self.optimizer.step()
        return losses.detach().mean()


class Lookahead(_Run):
    """Every five steps, slow weights go half of the way to the fast ones, which go on from there.

    Source: Zhang et al. 2019, arXiv 1907.08610.
    """

    STEPS, SHARE = 5, 0.5

    def step(self, images: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        """Make one step."""
        if not hasattr(self, "slow"):
            self.slow = [parameter.detach().clone() for parameter in self.model.parameters()]
        loss = super().step(images, targets, rate)
        if (self.done + 1) % self.STEPS == 0:
            with torch.no_grad():
                for slow, fast in zip(self.slow, self.model.parameters(), strict=True):
                    slow.lerp_(fast, self.SHARE)
                    fast.copy_(slow)
        return loss


class SharpnessAware(_Run):
    """Take the gradient at the worst point nearby, which costs a second pass. Source: Foret et al. 2021, 2010.01412."""

    RADIUS = 0.05

    def step(self, images: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        """Make one step."""
        self.optimizer.set_rate(rate)
        self.optimizer.zero_grad()
        loss = self._loss(images, targets)
        loss.backward()
        parameters = list(self.model.parameters())
        with torch.no_grad():
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            scale = self.RADIUS / (torch.stack([gradient.norm() for gradient in gradients]).norm() + 1e-12)
            moves = [gradient * scale for gradient in gradients]
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.add_(move)
        self.optimizer.zero_grad()
        self._loss(images, targets).backward()
        with torch.no_grad():
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.sub_(move)
        self.optimizer.step()
        return loss.detach()

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_mixed):
            return cross_entropy(self.model(images), targets)


TRAININGS: dict[str, type[_Run]] = {
    "usual": _Run,
    "whitened": Whitened,
    "skipping": Skipping,
    "lookahead": Lookahead,
    "sharpness-aware": SharpnessAware,
}
