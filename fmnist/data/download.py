"""Download the four official files into the cache folder."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from fmnist.data.cache import cache_folder
from fmnist.data.official import OFFICIAL

TIMEOUT = 15.0  # seconds without a byte after which the download fails
FAILURES = (OSError, RuntimeError, HTTPException)  # what urllib and torchvision raise for a failed download


def download() -> None:
    """Download the four files, packed, into the cache folder, in torchvision's layout.

    Raises: one of FAILURES.
    """
    from torchvision.datasets import FashionMNIST  # seconds to import, and needed only here

    folder = cache_folder() / "FashionMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    # Torchvision does not write its files atomically: a partial file must not be taken for data.
    with TemporaryDirectory(dir=cache_folder(), prefix="download-") as scratch, _socket_timeout(TIMEOUT):
        dataset = FashionMNIST(scratch, download=True)
        for file in OFFICIAL:
            name = f"{file.name}.gz"
            (Path(dataset.raw_folder) / name).replace(folder / name)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set the default timeout of sockets inside the block; urllib otherwise waits forever."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
