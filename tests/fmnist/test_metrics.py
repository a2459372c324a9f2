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
    """Labels [N] and predictions [S, N], any of them, so also with classes that nobody has."""
    images = draw(st.integers(1, 30))
    column = st.lists(st.integers(0, CLASSES - 1), min_size=images, max_size=images)
    return np.array(draw(column)), np.array([draw(column) for _ in range(models)])


def noisy(images: int, models: int, error: float, classes: int = 10) -> tuple[Any, Any]:
    random = np.random.default_rng(3)
    labels = np.arange(images) % classes
    wrong = random.random((models, images)) < error
    return labels, np.where(wrong, random.integers(classes, size=(models, images)), labels)


def test_macro_f1_counts_classes_that_nobody_has() -> None:
    labels = np.array([0, 0, 1, 1])
    assert macro_f1(labels, labels, 2) == 1.0
    assert macro_f1(labels, labels, 4) == 0.5


def test_score_of_a_small_case_by_hand() -> None:
    scores = score(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 2]), 4)
    assert scores.confusion.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert scores.support.tolist() == [3, 2, 1, 0]
    assert scores.precision == pytest.approx([2 / 3, 1 / 2, 1, 0])
    assert scores.recall == pytest.approx([2 / 3, 1 / 2, 1, 0])
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.macro_f1 == pytest.approx((2 / 3 + 1 / 2 + 1) / 4)


def test_precision_recall_and_f1_of_each_class_are_what_their_names_say() -> None:
    scores = score(
        np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 1, 1]), 3
    )  # all differ here, where above all were equal
    assert scores.precision == pytest.approx([1, 2 / 5, 0])
    assert scores.recall == pytest.approx([1 / 3, 1, 0])
    assert scores.f1 == pytest.approx([1 / 2, 4 / 7, 0])


@given(outcomes())
@settings(max_examples=40, deadline=None)
def test_score_agrees_with_its_parts(case: tuple[Any, Any]) -> None:
    labels, (predictions, _) = case
    scores = score(labels, predictions, CLASSES)
    assert scores.macro_f1 == pytest.approx(macro_f1(labels, predictions, CLASSES))
    assert scores.accuracy == pytest.approx(accuracy_score(labels, predictions))
    assert scores.confusion.sum() == scores.support.sum() == len(labels)


@given(outcomes(), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_one_resample_is_what_scikit_learn_says_of_the_same_images_weighted(case: tuple[Any, Any], seed: int) -> None:
    labels, predictions = case
    drawn = np.random.default_rng(seed).integers(len(labels), size=len(labels))
    weights = np.bincount(drawn, minlength=len(labels))
    keep = weights > 0
    expected = np.mean(
        [
            f1_score(
                labels[keep],
                row[keep],
                labels=range(CLASSES),
                average="macro",
                zero_division=0,
                sample_weight=weights[keep],
            )
            for row in predictions
        ]
    )
    low, high = bootstrap_interval(labels, predictions, CLASSES, resamples=1, seed=seed)
    assert (low, high) == pytest.approx((expected, expected))


@given(st.floats(0.02, 0.5), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_interval_holds_the_figure_it_is_about(error: float, models: int, seed: int) -> None:
    labels, predictions = noisy(1000, models, error)
    mean = np.mean([macro_f1(labels, row, 10) for row in predictions])
    low, high = bootstrap_interval(labels, predictions, 10, resamples=100, seed=seed)
    assert 0 <= low < mean < high <= 1


def test_the_interval_has_the_width_that_theory_gives() -> None:
    labels, predictions = noisy(4000, 1, 0.1)
    low, high = bootstrap_interval(labels, predictions, 10, resamples=400)
    accuracy = accuracy_score(labels, predictions[0])
    normal = 2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / 4000)  # macro F1 of balanced classes is close to accuracy
    assert high - low == pytest.approx(normal, rel=0.2)


def test_a_higher_level_is_wider_and_a_seed_repeats_it() -> None:
    labels, predictions = noisy(500, 2, 0.2)
    narrow, wide, again = (
        bootstrap_interval(labels, predictions, 10, resamples=200, level=level) for level in (0.5, 0.99, 0.99)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert wide == again
    assert bootstrap_interval(labels, predictions, 10, resamples=200, level=0.99, seed=1) != wide


def test_an_interval_is_of_95_percent_and_2000_resamples_where_nothing_else_is_asked_for() -> None:
    labels, predictions = noisy(200, 3, 0.2)
    as_usual: dict[str, Any] = {"resamples": 2000, "level": 0.95, "seed": 0}
    assert bootstrap_interval(labels, predictions, 10) == bootstrap_interval(labels, predictions, 10, **as_usual)
    difference = paired_difference(labels, predictions[:1], predictions[1:], 10, **as_usual)
    assert paired_difference(labels, predictions[:1], predictions[1:], 10) == difference


def test_perfect_predictions_leave_no_doubt() -> None:
    labels = np.arange(300) % 3
    assert bootstrap_interval(labels, np.stack([labels, labels]), 3, resamples=50) == (1.0, 1.0)


def test_predictions_that_are_always_wrong_leave_none_either() -> None:
    labels = np.arange(300) % 3
    assert bootstrap_interval(labels, ((labels + 1) % 3)[None], 3, resamples=50) == (0.0, 0.0)


def halves(case: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    labels, predictions = case
    return labels, predictions[:1], predictions[1:]


@given(outcomes(models=3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_no_model_differs_from_itself(case: tuple[Any, Any], seed: int) -> None:
    labels, predictions = case
    assert paired_difference(labels, predictions, predictions, CLASSES, resamples=20, seed=seed) == Difference(
        0.0, 0.0, 0.0
    )


@given(outcomes(models=3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_difference_the_other_way_round_is_its_negative(case: tuple[Any, Any], seed: int) -> None:
    labels, first, second = halves(case)
    there = paired_difference(labels, first, second, CLASSES, resamples=30, seed=seed)
    back = paired_difference(labels, second, first, CLASSES, resamples=30, seed=seed)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-12)


@given(outcomes(models=3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_one_resample_of_a_difference_is_what_scikit_learn_says_of_the_images_drawn(
    case: tuple[Any, Any], seed: int
) -> None:
    labels, first, second = halves(case)
    drawn = np.random.default_rng(seed).integers(len(labels), size=len(labels))

    def mean(models: Any, images: Any) -> float:
        scores = [
            f1_score(labels[images], row[images], labels=range(CLASSES), average="macro", zero_division=0)
            for row in models
        ]
        return float(np.mean(scores))

    found = paired_difference(labels, first, second, CLASSES, resamples=1, seed=seed)
    everything = np.arange(len(labels))
    assert found.value == pytest.approx(mean(first, everything) - mean(second, everything), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((mean(first, drawn) - mean(second, drawn),) * 2, abs=1e-12)


def test_a_paired_interval_is_narrower_than_two_intervals_of_models_that_err_alike() -> None:
    labels, (one,) = noisy(2000, 1, 0.2)
    other = np.where(np.random.default_rng(4).random(2000) < 0.02, labels, one)  # a few of its errors mended
    found = paired_difference(labels, other[None], one[None], 10, resamples=200)
    low, high = bootstrap_interval(labels, one[None], 10, resamples=200)
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < (high - low) / 3


def test_the_paired_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    # Models that err with chances 0.10 and 0.13, evenly over balanced classes, have macro F1 0.90 and 0.87 on endlessly
    # many images.
    labels, held, rounds = np.arange(600) % 4, 0, 150
    for seed in range(rounds):
        luck = random.random(600)  # the same for both: what is hard for one is hard for the other
        wrong = (labels + random.integers(1, 4, size=600)) % 4
        first, second = (np.where(luck < error, wrong, labels)[None] for error in (0.10, 0.13))
        found = paired_difference(labels, first, second, 4, resamples=150, level=0.9, seed=seed)
        held += found.low <= 0.03 <= found.high
    assert 0.82 <= held / rounds <= 0.97
