import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from fmnist.adam import EPSILON, FusedAdam

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 26 * 26, 3))


def pytorchs_own(model: nn.Module, *, learning_rate: float, beta2: float, decay: float, decoupled: bool) -> Optimizer:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = AdamW if decoupled else Adam
    return kind(groups, lr=learning_rate, betas=(0.9, beta2), eps=EPSILON)


@given(
    learning_rate=st.floats(1e-4, 1e-1),
    beta2=st.sampled_from([0.9, 0.98, 0.999]),
    decay=st.floats(0, 0.3),
    decoupled=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_it_steps_as_pytorchs_own_does(learning_rate: float, beta2: float, decay: float, decoupled: bool) -> None:
    ours, theirs = network(), network()
    optimizer = FusedAdam(
        ours, learning_rate=learning_rate, beta1=0.9, beta2=beta2, decay=decay, decoupled=decoupled, device=CPU
    )
    reference = pytorchs_own(theirs, learning_rate=learning_rate, beta2=beta2, decay=decay, decoupled=decoupled)
    for step in range(5):
        # The same gradients for both: where weights differ in their last digits, gradients near 0 would change sign.
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=torch.Generator().manual_seed(step))
            other.grad = mine.grad.clone()
        optimizer.set_rate(torch.tensor(learning_rate / (step + 1), dtype=torch.float64))
        for group in reference.param_groups:
            group["lr"] = learning_rate / (step + 1)
        optimizer.step()
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_what_it_remembers_can_be_carried_over() -> None:
    gradients = [torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) for p in network().parameters()]

    def made(model: nn.Module) -> FusedAdam:
        return FusedAdam(model, learning_rate=0.01, beta1=0.9, beta2=0.99, decay=0.1, decoupled=True, device=CPU)

    def step(model: nn.Module, optimizer: FusedAdam) -> None:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()

    one = network()
    first = made(one)
    step(one, first)
    other = network()
    other.load_state_dict(one.state_dict())
    second = made(other)
    for (name, tensor), (same, kept) in zip(second.state(), first.state(), strict=True):
        assert name == same
        tensor.copy_(kept)
    step(one, first)
    step(other, second)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_parameter_without_a_gradient_is_a_bug() -> None:
    model = network()
    optimizer = FusedAdam(model, learning_rate=0.01, beta1=0.9, beta2=0.99, decay=0.1, decoupled=True, device=CPU)
    with pytest.raises(AssertionError, match="every parameter"):
        optimizer.step()


def test_training_does_not_import_pytorchs_compiler() -> None:
    script = """
import sys
import numpy as np, torch
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.train import fit
images = Images(np.zeros((64, 28, 28), np.uint8), np.arange(64) % 2, ("a", "b"))
config = TrialConfig(
    depth=1, filters=8, batch_norm=True, augmentation=0.5, ema=0.9, dropout=0.1, hidden=8, epochs=2, batch_size=32
)
list(fit(config, images, images, seed=0, device=torch.device("cpu")))
print("torch._dynamo" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
