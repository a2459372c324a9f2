import numpy as np

from fmnist.data.images import Images
from fmnist.data.preparation import CENTRED, Preparation
from fmnist.data.sources import Source, find_source, fingerprint


def test_synthetic_images_are_not_cleaned() -> None:
    source = find_source("synthetic", announce=lambda _: None)
    assert (source.cleaning, source.caught) == (None, {})
    assert source.preparation == Preparation(form=CENTRED)
    assert fingerprint(source.train_for_scoring()) == fingerprint(source.train())


def test_the_fingerprint_does_not_depend_on_the_byte_order() -> None:
    images = Source("synthetic", None).test()
    other = Images(images.pixels, images.labels.astype(">i8"), images.class_names)
    assert fingerprint(other) == fingerprint(images)


def test_the_fingerprint_depends_on_pixels_labels_and_names() -> None:
    images = Source("synthetic", None).train()
    rows = np.arange(100)
    few, swapped = images.take(rows), images.take(rows[::-1].copy())
    relabelled = Images(few.pixels, few.labels[::-1], few.class_names)
    renamed = Images(few.pixels, few.labels, (*few.class_names[:-1], "Boot"))
    again = Images(few.pixels.copy(), few.labels.astype(np.int64), few.class_names)
    assert fingerprint(few) == fingerprint(again)
    assert len({fingerprint(other) for other in (few, swapped, relabelled, renamed)}) == 4
