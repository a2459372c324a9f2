import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fmnist.data import splits, synthetic
from fmnist.data.cleaning import CleaningRules
from fmnist.data.images import Images
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.errors import FmnistError
from tests.fmnist.data.prepared import prepared

SYNTHETIC = Source("synthetic", None)


@pytest.fixture(scope="module")
def fashion_mnist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """The official files that $FMNIST_DATA names, read into a temporary cache folder."""
    folder = os.environ.get("FMNIST_DATA", "synthetic")
    if folder == "synthetic":
        pytest.skip("$FMNIST_DATA names no folder with the official files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield find_source(folder, announce=lambda _: None)


def _source_with(labels: list[int], folder: Path) -> Source:
    return prepared(folder, Images(np.zeros((len(labels), 28, 28), np.uint8), np.array(labels), synthetic.CLASS_NAMES))


def _keys(images: Images) -> set[bytes]:
    return {image.tobytes() for image in images.pixels}


def test_search_splits_are_disjoint_stratified_and_together_the_training_file() -> None:
    train, valid = splits.search_splits(SYNTHETIC, seed=0)
    assert np.bincount(train.labels).tolist() == [500] * 10
    assert np.bincount(valid.labels).tolist() == [100] * 10
    assert _keys(train).isdisjoint(_keys(valid))
    assert _keys(train) | _keys(valid) == _keys(splits.full_split(SYNTHETIC))


def test_validation_has_no_pixel_that_was_filled_by_class(tmp_path: Path) -> None:
    images = synthetic.draw(60, seed=0)
    scoring_pixels = images.pixels.copy()
    scoring_pixels[:, 0, 0] = 77
    source = prepared(tmp_path, images, scoring_pixels=scoring_pixels)
    train, valid = splits.search_splits(source, seed=0)
    assert (valid.pixels[:, 0, 0] == 77).all()
    assert (train.pixels[:, 0, 0] != 77).all()


def test_the_seed_decides_which_images_validate() -> None:
    first, again, other = (splits.search_splits(SYNTHETIC, seed=seed).valid for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert _keys(first) != _keys(other)


def test_all_studies_have_the_split_of_one_seed() -> None:
    default, first = (splits.search_splits(SYNTHETIC, seed=seed).valid for seed in (splits.SPLIT_SEED, 0))
    np.testing.assert_array_equal(default.pixels, first.pixels)


def test_splits_are_cached_for_all_processes(tmp_path: Path) -> None:
    source = prepared(tmp_path / "data", synthetic.draw(60, seed=0))
    first = splits.search_splits(source, seed=0)
    (tmp_path / "data" / "train-pixels.npy").write_bytes(b"no image")  # must not be read again
    again = splits.search_splits(source, seed=0)
    np.testing.assert_array_equal(again.train.pixels, first.train.pixels)
    np.testing.assert_array_equal(again.valid.pixels, first.valid.pixels)
    with pytest.raises(FmnistError, match="train-pixels"):
        splits.search_splits(source, seed=1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_the_size_of_validation(share: float) -> None:
    assert len(splits.search_splits(SYNTHETIC, seed=0, share=share).valid) == round(6_000 * share)


def test_the_test_split_shares_no_image_with_the_training_file() -> None:
    test = splits.test_split(SYNTHETIC)
    assert len(test) == synthetic.TEST_IMAGES
    assert _keys(test).isdisjoint(_keys(splits.full_split(SYNTHETIC)))
    np.testing.assert_array_equal(splits.test_pixels(SYNTHETIC), test.pixels)
    assert splits.test_fingerprint(SYNTHETIC) == fingerprint(test) != fingerprint(splits.full_split(SYNTHETIC))


@pytest.mark.parametrize(
    ("labels", "share"), [([*range(10)] * 6, 0.01), ([*range(10)] * 6, 1.0), ([*range(9)] * 6, 1 / 6)]
)
def test_a_class_with_too_few_images_is_named(labels: list[int], share: float, tmp_path: Path) -> None:
    with pytest.raises(FmnistError, match=r"Every class must be in train and in validation; '.+' has \d of \d+ images"):
        splits.search_splits(_source_with(labels, tmp_path), seed=0, share=share)


def test_the_fewest_possible_images_are_split(tmp_path: Path) -> None:
    train, valid = splits.search_splits(_source_with([*range(10)] * 6, tmp_path), seed=0)
    assert (len(train), len(valid)) == (50, 10)
    assert sorted(valid.labels) == list(range(10))


@pytest.mark.real_data
def test_fashion_mnist_is_split_50_000_to_10_000(fashion_mnist: Source) -> None:
    train, valid = splits.search_splits(fashion_mnist, seed=0)
    assert np.bincount(train.labels).tolist() == [5_000] * 10
    assert np.bincount(valid.labels).tolist() == [1_000] * 10
    assert np.bincount(splits.test_split(fashion_mnist).labels).tolist() == [1_000] * 10


@pytest.mark.real_data
def test_cleaning_finds_nothing_in_fashion_mnist(fashion_mnist: Source) -> None:
    report = fashion_mnist.cleaning
    assert report
    assert (report.train_read, report.train_kept, report.test_read, report.test_kept) == (
        60_000,
        60_000,
        10_000,
        10_000,
    )
    assert [caught.rule for caught in report.caught] == [
        name for name in CleaningRules.model_fields if name not in ("white", "classes", "rename")
    ]
    assert report.is_clean


@pytest.mark.real_data
def test_the_official_files_have_the_known_statistics(fashion_mnist: Source) -> None:
    train = fashion_mnist.train()
    assert fashion_mnist.name == "Fashion-MNIST"
    assert train.pixels.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert train.pixels.std() / 255 == pytest.approx(0.3530, abs=1e-4)
    assert len(_keys(train)) == 60_000
    assert _keys(train).isdisjoint(_keys(splits.test_split(fashion_mnist)))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = find_source("synthetic", announce=lambda _: None)
    (tmp_path / "fmnist-search" / "split").write_text("a file where the folder should be")
    with pytest.raises(FmnistError, match=r"must be kept in the cache, .* cannot be written"):
        splits.search_splits(source, seed=0)
