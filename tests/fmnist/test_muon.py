import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fmnist.config import TrialConfig
from fmnist.muon import Muon, orthogonal
from fmnist.network import build
from fmnist.optimizer import make_optimizer

CPU = torch.device("cpu")


@given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 100), st.floats(1e-4, 1e4))
@settings(max_examples=60, deadline=None)
def test_singular_values_come_near_one_whatever_the_scale(rows: int, columns: int, seed: int, scale: float) -> None:
    matrix = scale * torch.randn((rows, columns), generator=torch.Generator().manual_seed(seed))
    result = orthogonal(matrix)
    assert result.shape == matrix.shape
    _, values, _ = torch.linalg.svd(matrix / matrix.norm())
    received = torch.linalg.svdvals(result)[values > 0.02]  # smaller ones take more iterations
    assert received.min() > 0.3
    assert received.max() < 1.3


def test_a_matrix_of_zeros_stays_finite() -> None:
    assert orthogonal(torch.zeros(3, 5)).abs().max() == 0


def trained(config: TrialConfig, gradients: dict[str, Tensor], steps: int = 1) -> tuple[nn.Module, object]:
    torch.manual_seed(0)
    model = build(config, 3)
    optimizer = make_optimizer(config, model, CPU)
    for _ in range(steps):
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name].clone()
        optimizer.step()
    return model, optimizer


@pytest.fixture
def muon() -> TrialConfig:
    return TrialConfig(
        depth=2, filters=8, conv="separable", batch_norm=True, head="max", optimizer="muon", l2=0.1, learning_rate=0.01
    )


@pytest.fixture
def gradients(muon: TrialConfig) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {name: torch.randn(p.shape, generator=random) for name, p in build(muon, 3).named_parameters()}


def test_muon_takes_convolutions_of_several_channels_and_adamw_the_rest(
    muon: TrialConfig, gradients: dict[str, Tensor]
) -> None:
    changed, optimizer = trained(muon, gradients)
    adamw, _ = trained(muon.model_copy(update={"optimizer": "adamw"}), gradients)
    assert isinstance(optimizer, Muon)
    differing = {
        name
        for (name, mine), other in zip(changed.named_parameters(), adamw.parameters(), strict=True)
        if not torch.equal(mine, other)
    }
    assert differing == {"stages.1.conv.weight"}  # the pointwise one; the first sees one channel, depthwise ones too


def test_a_step_is_of_the_size_of_adamws_and_decays_the_weights(
    muon: TrialConfig, gradients: dict[str, Tensor]
) -> None:
    name = "stages.1.conv.weight"
    torch.manual_seed(0)
    before = dict(build(muon, 3).named_parameters())[name].detach()
    after = dict(trained(muon, gradients)[0].named_parameters())[name].detach()
    decayed = before * (1 - muon.learning_rate * muon.l2)
    step = (after - decayed) / muon.learning_rate
    assert step.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.3)
    assert (step * gradients[name]).sum() < 0


def test_its_state_can_be_copied(muon: TrialConfig, gradients: dict[str, Tensor]) -> None:
    model, optimizer = trained(muon, gradients, steps=2)
    copied_model, copied = trained(muon, gradients, steps=1)
    copied_model.load_state_dict(model.state_dict())
    assert isinstance(optimizer, Muon)
    assert isinstance(copied, Muon)
    for (name, tensor), (copied_name, copy) in zip(optimizer.state(), copied.state(), strict=True):
        assert name == copied_name
        copy.copy_(tensor)
    for either, parameters in ((optimizer, model), (copied, copied_model)):
        for name, parameter in parameters.named_parameters():
            parameter.grad = 2 * gradients[name]
        either.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copied_model.parameters(), strict=True))
