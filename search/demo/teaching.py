"""The training images behind a model, made ready while the page is already there."""

import threading
from collections.abc import Callable

from fmnist.data.images import Images
from fmnist.neighbours import Describe, Neighbours, by_features, by_pixels


class Teaching:
    """Reads the images in a thread of its own; who asks before that is done waits for it."""

    def __init__(self, read: Callable[[], Images | str], features: Describe | None) -> None:
        self._read, self._features = read, features
        self._found: Neighbours | str = "The training images could not be read; the terminal says why."
        self._thread = threading.Thread(target=self._prepare, daemon=True)
        self._thread.start()

    def neighbours(self) -> Neighbours | str:
        """The images, ready to be compared with; or why there are none."""
        self._thread.join()
        return self._found

    def _prepare(self) -> None:
        images = self._read()
        if isinstance(images, str):
            self._found = images
        else:
            self._found = by_features(images, self._features) if self._features else by_pixels(images)
