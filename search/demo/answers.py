"""Answers to pictures and examples: the prediction first, the nearest training images once they are read."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist.classifier import Classifier
from fmnist.data.images import Images
from fmnist.errors import FmnistError
from search.demo.answer import answer, class_names_of, empty, fault
from search.demo.neighbour_loader import NeighbourLoader

MOST_EXAMPLES = 10


class Answers:
    """Answers of one model. A visitor's answer is given up when the same visitor asks again."""

    def __init__(self, classifier: Classifier, loader: NeighbourLoader) -> None:
        self._classifier, self._loader = classifier, loader
        self._asked: Counter[str] = Counter()  # visitor -> questions so far
        # The first prediction of a process is slow.
        classifier.probabilities(np.zeros((1, *classifier.size.shape), np.uint8))

    @property
    def in_colour(self) -> bool:
        """Whether the model sees the colours of a picture."""
        return self._classifier.preparation.in_colour

    def examples(self) -> list[tuple[NDArray[np.uint8], str]] | str:
        """Wait for the training images; return one of each class, with its name, or why there are none."""
        images = self._examples()
        return images if isinstance(images, str) else list(zip(images.pixels, class_names_of(images), strict=True))

    def to_example(self, index: int, visitor: str) -> Iterator[str]:
        """Yield the answer to that example."""
        question = self._ask(visitor)
        images = self._examples()
        assert not isinstance(images, str), "the page shows no examples without images"
        yield from self._to_pixels(images.pixels[index], visitor, question)

    def to_picture(self, path: Path | None, visitor: str) -> Iterator[str]:
        """Yield the answer to the picture at `path`, or to none. A picture that cannot be read gives a message."""
        question = self._ask(visitor)
        if path is None:
            yield empty()
            return
        try:
            pixels = self._classifier.read(path)
        except FmnistError as error:
            yield fault(str(error).replace(str(path), "The picture"))
            return
        yield from self._to_pixels(pixels, visitor, question)

    def _ask(self, visitor: str) -> int:
        self._asked[visitor] += 1
        return self._asked[visitor]

    def _to_pixels(self, pixels: NDArray[np.uint8], visitor: str, question: int) -> Iterator[str]:
        if not self._loader.is_ready:
            yield answer(pixels, self._classifier, None)
        neighbours = self._loader.neighbours()
        if self._asked[visitor] == question:
            yield answer(pixels, self._classifier, neighbours)

    def _examples(self) -> Images | str:
        images = self._loader.images()
        if isinstance(images, str):
            return images
        _, first = np.unique(images.labels, return_index=True)
        return images.take(first[:MOST_EXAMPLES])
