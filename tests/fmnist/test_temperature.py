"""A temperature: found again where it is known, contained in a network's last layer, and no change to a prediction."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from fmnist.network import build
from fmnist.temperature import FEWEST_IMAGES, HIGHEST, LOWEST, fit_temperature, scale_scores, with_temperature

Floats = NDArray[np.floating]
FAMILIES = (
    TrialConfig(depth=1, filters=4, head="max"),
    TrialConfig(depth=1, filters=4, head="flatten", hidden=8),
    TrialConfig(depth=2, filters=4, batch_norm=True, mirror=True, head="avg", activation="gelu"),
)


def answers(temperature: float, *, images: int, classes: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Probabilities that are right only with that temperature: labels are drawn from the probabilities it gives."""
    random = np.random.default_rng(seed)
    scores = 3 * random.standard_normal((images, classes))
    true = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = (random.random((images, 1)) > true.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    logits = torch.tensor(scores * temperature, dtype=torch.float32)
    return logits.softmax(dim=1).numpy(), labels


def likelihood(probabilities: Floats, labels: NDArray[np.int64], temperature: float) -> float:
    """The mean log-likelihood, by PyTorch."""
    logits = torch.tensor(probabilities, dtype=torch.float64).log() / temperature
    return -float(torch.nn.functional.cross_entropy(logits, torch.tensor(labels)))


@given(st.floats(0.55, 3.5), st.integers(2, 20), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
@example(0.6, 10, 0)  # underconfident
@example(3.0, 10, 0)  # overconfident
def test_a_known_temperature_is_found_again(temperature: float, classes: int, seed: int) -> None:
    found = fit_temperature(*answers(temperature, images=20_000, classes=classes, seed=seed))
    assert found == pytest.approx(temperature, rel=0.08)
    assert found == round(found, 3)


def test_no_other_temperature_has_a_higher_likelihood() -> None:
    probabilities, labels = answers(1.7, images=500, classes=10, seed=1)
    found = fit_temperature(probabilities, labels)
    best = likelihood(probabilities, labels, found)
    for other in np.geomspace(LOWEST, HIGHEST, 50):
        assert likelihood(probabilities, labels, float(other)) <= best + 1e-6


def test_a_temperature_stays_within_its_bounds() -> None:
    probabilities, labels = answers(1.0, images=200, classes=4, seed=2)
    assert fit_temperature(probabilities, probabilities.argmax(axis=1)) == LOWEST  # never wrong
    assert fit_temperature(probabilities, probabilities.argmin(axis=1)) == HIGHEST  # always wrong
    certain = np.eye(4, dtype=np.float32)[labels]
    assert fit_temperature(certain, (labels + (np.arange(200) % 10 == 0)) % 4) == HIGHEST  # sure of a wrong class


@pytest.mark.parametrize(
    ("shape", "labels"), [((99, 10), (99,)), ((200, 10), (199,)), ((200,), (200,)), ((1, 200, 10), (200,))]
)
def test_too_few_images_and_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...], labels: tuple[int]) -> None:
    assert FEWEST_IMAGES == 100
    with pytest.raises(FmnistError, match=r"labels \[N\] of at least 100 images, got \[.*\] and \[.*\]\. Fit it on"):
        fit_temperature(np.full(shape, 0.1, np.float32), np.zeros(labels, np.int64))


@given(st.floats(0.25, 4), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_temperature_is_softmax_of_divided_scores_and_can_be_undone(temperature: float, seed: int) -> None:
    logits = 5 * torch.randn(3, 50, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plain = logits.softmax(dim=-1).numpy()
    scaled = with_temperature(plain, temperature)
    np.testing.assert_allclose(scaled, (logits / temperature).softmax(dim=-1), rtol=1e-9)
    np.testing.assert_allclose(with_temperature(scaled, 1 / temperature), plain, rtol=1e-9)
    np.testing.assert_array_equal(scaled.argmax(axis=-1), plain.argmax(axis=-1))


@pytest.mark.parametrize("temperature", [0.01, LOWEST, HIGHEST])
def test_a_probability_of_zero_stays_zero(temperature: float) -> None:
    probabilities = np.array([[0, 1, 0], [0, 0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(with_temperature(probabilities, temperature), probabilities)


@pytest.mark.parametrize("config", FAMILIES)
def test_a_scaled_network_divides_its_scores_and_nothing_else(config: TrialConfig) -> None:
    torch.manual_seed(0)
    network = build(config, 10).eval()
    scaled = copy.deepcopy(network)
    scale_scores(scaled, 1.6)
    images = torch.rand(20, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(scaled(images), network(images) / 1.6)
        assert bool((scaled(images).argmax(dim=1) == network(images).argmax(dim=1)).all())
    before, after = network.state_dict(), scaled.state_dict()
    assert list(before) == list(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith(f"classifier.{len(network.classifier) - 1}.")}
    assert all(parameter.requires_grad for parameter in scaled.parameters())


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_temperature_is_refused(wrong: float) -> None:
    with pytest.raises(FmnistError, match=r"A temperature must be a positive number, got "):
        with_temperature(np.array([[0.5, 0.5]]), wrong)
    with pytest.raises(FmnistError, match=r"A temperature must be a positive number, got "):
        scale_scores(build(FAMILIES[0], 10), wrong)
