from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from fmnist.metrics import Difference, bootstrap_interval, macro_f1, paired_difference, score

CLASSES = 4


@st.composite
def outcomes(draw: st.DrawFn, models: int = 2) -> tuple[Any, Any]:
    """Arbitrary labels [N] and predictions [S, N]; classes may be absent."""
    images = draw(st.integers(1, 30))
    column = st.lists(st.integers(0, CLASSES - 1), min_size=images, max_size=images)
    return np.array(draw(column)), np.array([draw(column) for _ in range(models)])


def noisy(images: int, models: int, error: float, classes: int = 10) -> tuple[Any, Any]:
    random = np.random.default_rng(3)
    labels = np.arange(images) % classes
    wrong = random.random((models, images)) < error
    return labels, np.where(wrong, random.integers(classes, size=(models, images)), labels)


def test_macro_f1_includes_absent_classes() -> None:
    labels = np.array([0, 0, 1, 1])
    assert macro_f1(labels, labels, 2) == 1.0
    assert macro_f1(labels, labels, 4) == 0.5


def test_score_matches_a_calculation_by_hand() -> None:
    scores = score(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 2]), 4)
    assert scores.confusion.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert scores.support.tolist() == [3, 2, 1, 0]
    assert scores.precision == pytest.approx([2 / 3, 1 / 2, 1, 0])
    assert scores.recall == pytest.approx([2 / 3, 1 / 2, 1, 0])
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.macro_f1 == pytest.approx((2 / 3 + 1 / 2 + 1) / 4)


def test_precision_recall_and_f1_of_each_class_where_they_differ() -> None:
    scores = score(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 1, 1]), 3)
    assert scores.precision == pytest.approx([1, 2 / 5, 0])
    assert scores.recall == pytest.approx([1 / 3, 1, 0])
    assert scores.f1 == pytest.approx([1 / 2, 4 / 7, 0])


@given(outcomes())
@settings(max_examples=40, deadline=None)
def test_score_matches_macro_f1_and_scikit_learn(case: tuple[Any, Any]) -> None:
    labels, (predictions, _) = case
    scores = score(labels, predictions, CLASSES)
    assert scores.macro_f1 == pytest.approx(macro_f1(labels, predictions, CLASSES))
    assert scores.accuracy == pytest.approx(accuracy_score(labels, predictions))
    assert scores.confusion.sum() == scores.support.sum() == len(labels)


def mean_over_drawn(labels: Any, drawn: Any, row: Any) -> float:
    """The F1 of the classes that were drawn, by scikit-learn; classes without any image count as 0."""
    each = f1_score(labels[drawn], row[drawn], labels=range(CLASSES), average=None, zero_division=0)
    there = np.unique(labels[drawn])
    return float(each[there].sum() / (len(there) + CLASSES - len(np.unique(labels))))


@given(outcomes(), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_one_resample_matches_scikit_learn(case: tuple[Any, Any], seed: int) -> None:
    labels, predictions = case
    drawn = np.random.default_rng(seed).integers(len(labels), size=len(labels))
    expected = np.mean([mean_over_drawn(labels, drawn, row) for row in predictions])
    low, high = bootstrap_interval(labels, predictions, CLASSES, resamples=1, seed=seed)
    assert (low, high) == pytest.approx((expected, expected))


@given(st.floats(0.02, 0.5), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_interval_contains_the_mean(error: float, models: int, seed: int) -> None:
    labels, predictions = noisy(1000, models, error)
    mean = np.mean([macro_f1(labels, row, 10) for row in predictions])
    low, high = bootstrap_interval(labels, predictions, 10, resamples=100, seed=seed)
    assert 0 <= low < mean < high <= 1


def test_the_width_of_the_interval_matches_theory() -> None:
    labels, predictions = noisy(4000, 1, 0.1)
    low, high = bootstrap_interval(labels, predictions, 10, resamples=400)
    accuracy = accuracy_score(labels, predictions[0])
    normal = 2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / 4000)  # macro F1 of balanced classes is close to accuracy
    assert high - low == pytest.approx(normal, rel=0.2)


def test_a_higher_level_is_wider_and_the_seed_makes_it_reproducible() -> None:
    labels, predictions = noisy(500, 2, 0.2)
    narrow, wide, again = (
        bootstrap_interval(labels, predictions, 10, resamples=200, level=level) for level in (0.5, 0.99, 0.99)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert wide == again
    assert bootstrap_interval(labels, predictions, 10, resamples=200, level=0.99, seed=1) != wide


def test_the_defaults_are_95_percent_and_2000_resamples() -> None:
    labels, predictions = noisy(200, 3, 0.2)
    defaults: dict[str, Any] = {"resamples": 2000, "level": 0.95, "seed": 0}
    assert bootstrap_interval(labels, predictions, 10) == bootstrap_interval(labels, predictions, 10, **defaults)
    difference = paired_difference(labels, predictions[:1], predictions[1:], 10, **defaults)
    assert paired_difference(labels, predictions[:1], predictions[1:], 10) == difference


@pytest.mark.parametrize("images", [1, 2, 5])
def test_few_images_of_many_classes_do_not_lower_the_interval(images: int) -> None:
    labels = np.arange(100).repeat(images)
    assert bootstrap_interval(labels, labels[None], 100, resamples=50) == (1.0, 1.0)


def test_the_interval_of_perfect_predictions() -> None:
    labels = np.arange(300) % 3
    assert bootstrap_interval(labels, np.stack([labels, labels]), 3, resamples=50) == (1.0, 1.0)


def test_the_interval_of_wrong_predictions() -> None:
    labels = np.arange(300) % 3
    assert bootstrap_interval(labels, ((labels + 1) % 3)[None], 3, resamples=50) == (0.0, 0.0)


def split(case: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    labels, predictions = case
    return labels, predictions[:1], predictions[1:]


@given(outcomes(models=3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_model_does_not_differ_from_itself(case: tuple[Any, Any], seed: int) -> None:
    labels, predictions = case
    assert paired_difference(labels, predictions, predictions, CLASSES, resamples=20, seed=seed) == Difference(
        0.0, 0.0, 0.0
    )


@given(outcomes(models=3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_swapping_the_models_negates_the_difference(case: tuple[Any, Any], seed: int) -> None:
    labels, first, second = split(case)
    forward = paired_difference(labels, first, second, CLASSES, resamples=30, seed=seed)
    backward = paired_difference(labels, second, first, CLASSES, resamples=30, seed=seed)
    expected = (-forward.value, -forward.high, -forward.low)
    assert (backward.value, backward.low, backward.high) == pytest.approx(expected, abs=1e-12)


@given(outcomes(models=3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_one_resample_of_a_difference_matches_scikit_learn(case: tuple[Any, Any], seed: int) -> None:
    labels, first, second = split(case)
    drawn = np.random.default_rng(seed).integers(len(labels), size=len(labels))

    def mean(models: Any, images: Any) -> float:
        return float(np.mean([mean_over_drawn(labels, images, row) for row in models]))

    difference = paired_difference(labels, first, second, CLASSES, resamples=1, seed=seed)
    everything = np.arange(len(labels))
    assert difference.value == pytest.approx(mean(first, everything) - mean(second, everything), abs=1e-12)
    assert (difference.low, difference.high) == pytest.approx(
        (mean(first, drawn) - mean(second, drawn),) * 2, abs=1e-12
    )


def test_a_paired_interval_of_similar_models_is_narrower_than_separate_ones() -> None:
    labels, (worse,) = noisy(2000, 1, 0.2)
    better = np.where(np.random.default_rng(4).random(2000) < 0.02, labels, worse)  # corrects a few errors
    difference = paired_difference(labels, better[None], worse[None], 10, resamples=200)
    low, high = bootstrap_interval(labels, worse[None], 10, resamples=200)
    assert 0 < difference.low < difference.value < difference.high
    assert difference.high - difference.low < (high - low) / 3


def test_the_coverage_of_the_paired_interval_is_near_its_level() -> None:
    random = np.random.default_rng(5)
    # Models with error rates 0.10 and 0.13, uniform over balanced classes, have macro F1 0.90 and 0.87 in the limit.
    labels, covered, rounds = np.arange(600) % 4, 0, 150
    for seed in range(rounds):
        difficulty = random.random(600)  # of each image, the same for both models
        wrong = (labels + random.integers(1, 4, size=600)) % 4
        first, second = (np.where(difficulty < error, wrong, labels)[None] for error in (0.10, 0.13))
        difference = paired_difference(labels, first, second, 4, resamples=150, level=0.9, seed=seed)
        covered += difference.low <= 0.03 <= difference.high
    assert 0.82 <= covered / rounds <= 0.97
