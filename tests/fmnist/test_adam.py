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


def torch_optimizer(
    model: nn.Module, *, learning_rate: float, beta2: float, decay: float, decoupled: bool
) -> Optimizer:
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
def test_it_matches_pytorchs_optimizers(learning_rate: float, beta2: float, decay: float, decoupled: bool) -> None:
    ours, theirs = network(), network()
    optimizer = FusedAdam(
        ours.parameters(),
        learning_rate=learning_rate,
        beta1=0.9,
        beta2=beta2,
        decay=decay,
        decoupled=decoupled,
        device=CPU,
    )
    reference = torch_optimizer(theirs, learning_rate=learning_rate, beta2=beta2, decay=decay, decoupled=decoupled)
    for step in range(5):
        # Gradients are drawn, because rounding errors of the weights could change the sign of gradients near 0.
        for our_weight, their_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
            our_weight.grad = torch.randn(our_weight.shape, generator=torch.Generator().manual_seed(step))
            their_weight.grad = our_weight.grad.clone()
        optimizer.set_rate(torch.tensor(learning_rate / (step + 1), dtype=torch.float64))
        for group in reference.param_groups:
            group["lr"] = learning_rate / (step + 1)
        optimizer.step()
        reference.step()
    for our_weight, their_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our_weight, their_weight, rtol=1e-4, atol=1e-6)


def test_its_state_can_be_copied() -> None:
    gradients = [torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) for p in network().parameters()]

    def optimizer_of(model: nn.Module) -> FusedAdam:
        return FusedAdam(
            model.parameters(), learning_rate=0.01, beta1=0.9, beta2=0.99, decay=0.1, decoupled=True, device=CPU
        )

    def step(model: nn.Module, optimizer: FusedAdam) -> None:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()

    model = network()
    optimizer = optimizer_of(model)
    step(model, optimizer)
    copied_model = network()
    copied_model.load_state_dict(model.state_dict())
    copied_optimizer = optimizer_of(copied_model)
    for (name, tensor), (copied_name, copied_tensor) in zip(optimizer.state(), copied_optimizer.state(), strict=True):
        assert copied_name == name
        copied_tensor.copy_(tensor)
    step(model, optimizer)
    step(copied_model, copied_optimizer)
    for weight, copied_weight in zip(model.parameters(), copied_model.parameters(), strict=True):
        assert torch.equal(weight, copied_weight)


def test_a_parameter_without_a_gradient_is_a_bug() -> None:
    model = network()
    optimizer = FusedAdam(
        model.parameters(), learning_rate=0.01, beta1=0.9, beta2=0.99, decay=0.1, decoupled=True, device=CPU
    )
    with pytest.raises(AssertionError, match="every parameter"):
        optimizer.step()


@pytest.mark.process
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
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
