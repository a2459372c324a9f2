"""The training images of a model, read and prepared in the background while the page is served."""

import threading
from collections.abc import Callable

from fmnist.data.images import Images
from fmnist.neighbours import Describe, Neighbours, by_features, by_pixels

FAILED = "The training images could not be read; the terminal says why."


class NeighbourLoader:
    """Reads the images in a thread, and then prepares them for comparison, which takes longer."""

    def __init__(self, read: Callable[[], Images | str], features: Describe | None) -> None:
        self._read, self._features = read, features
        self._images: Images | str = FAILED
        self._neighbours: Neighbours | str = FAILED
        self._is_read = threading.Event()
        # Not a daemon: the interpreter waits for it at its end, when PyTorch in a thread would crash it.
        self._thread = threading.Thread(target=self._prepare)
        self._thread.start()

    def images(self) -> Images | str:
        """Wait for the images; return them, or why there are none."""
        self._is_read.wait()
        return self._images

    @property
    def is_ready(self) -> bool:
        """Whether `neighbours` returns at once."""
        return not self._thread.is_alive()

    def neighbours(self) -> Neighbours | str:
        """Wait for the comparison; return the images, ready for it, or why there are none."""
        self._thread.join()
        return self._neighbours

    def _prepare(self) -> None:
        try:
            self._images = self._read()
        finally:
            self._is_read.set()
        images = self._images
        if isinstance(images, str):
            self._neighbours = images
        else:
            self._neighbours = by_features(images, self._features) if self._features else by_pixels(images)
