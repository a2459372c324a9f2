"""The nearest training images: not the image itself, and far from what none of them resembles."""

import numpy as np

from fmnist.data import synthetic
from fmnist.data.images import Images
from fmnist.neighbours import by_features, by_pixels

IMAGES = synthetic.draw(300, seed=1)


def test_the_image_itself_is_not_its_neighbour() -> None:
    twice = Images(np.concatenate([IMAGES.pixels, IMAGES.pixels[:1]]), np.append(IMAGES.labels, 0), IMAGES.class_names)
    nearest, is_far = by_pixels(twice).nearest(IMAGES.pixels[0], 8)
    assert len(nearest) == 8
    assert not (nearest.pixels == IMAGES.pixels[0]).all(axis=(1, 2)).any()
    assert not is_far


def test_a_slightly_changed_image_finds_its_original_first() -> None:
    changed = IMAGES.pixels[5].copy()
    changed[14, 14] ^= 1
    for neighbours in (
        by_pixels(IMAGES),
        by_features(IMAGES, lambda pixels: pixels.reshape(-1, 784).astype(np.float32)),
    ):
        nearest, _ = neighbours.nearest(changed, 3)
        assert (nearest.pixels[0] == IMAGES.pixels[5]).all()
        assert len(nearest) == 3


def test_few_training_images_are_far_from_the_others_and_noise_is() -> None:
    neighbours = by_pixels(IMAGES)
    far = sum(neighbours.nearest(pixels, 1)[1] for pixels in IMAGES.pixels)
    assert 1 <= far <= 3
    corner = np.zeros((28, 28), np.uint8)
    corner[:2, :2] = 255
    assert neighbours.nearest(corner, 1)[1]


def test_an_image_that_is_the_only_one_has_no_neighbour() -> None:
    neighbours = by_pixels(IMAGES.take(np.array([0])))
    nearest, is_far = neighbours.nearest(IMAGES.pixels[0], 8)
    assert (len(nearest), is_far) == (0, False)
