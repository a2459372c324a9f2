"""The training images of a model, prepared in the background while the page is served."""

import threading
from collections.abc import Callable

from fmnist.data.images import Images
from fmnist.neighbours import Describe, Neighbours, by_features, by_pixels


class NeighbourLoader:
    """Reads the images in a thread; `neighbours` waits until they are ready."""

    def __init__(self, read: Callable[[], Images | str], features: Describe | None) -> None:
        self._read, self._features = read, features
        self._neighbours: Neighbours | str = "The training images could not be read; the terminal says why."
        # Not a daemon: the interpreter waits for it at its end, when PyTorch in a thread would crash it.
        self._thread = threading.Thread(target=self._prepare)
        self._thread.start()

    def neighbours(self) -> Neighbours | str:
        """Return the images, ready for comparison, or why there are none."""
        self._thread.join()
        return self._neighbours

    def _prepare(self) -> None:
        images = self._read()
        if isinstance(images, str):
            self._neighbours = images
        else:
            self._neighbours = by_features(images, self._features) if self._features else by_pixels(images)
