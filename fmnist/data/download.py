"""The four official files, fetched into the cache folder."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from fmnist.data.cache import cache_folder
from fmnist.data.official import OFFICIAL

TIMEOUT = 15.0  # seconds without a byte, then the download has failed
FAILURES = (OSError, RuntimeError, HTTPException)  # all that urllib and torchvision raise for a failed download


def download() -> None:
    """The cache folder holds the four files, packed, in torchvision's layout.

    Raises: one of FAILURES.
    """
    from torchvision.datasets import FashionMNIST  # seconds to import, and needed only here

    folder = cache_folder() / "FashionMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    # Torchvision does not write its files in one step: what an interrupted download leaves behind must not be found as
    # data.
    with TemporaryDirectory(dir=cache_folder(), prefix="download-") as scratch, _socket_timeout(TIMEOUT):
        fetched = FashionMNIST(scratch, download=True)
        for file in OFFICIAL:
            name = f"{file.name}.gz"
            (Path(fetched.raw_folder) / name).replace(folder / name)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Inside, a connection that says nothing for `seconds` fails; urllib's default is to wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
