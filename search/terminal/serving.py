"""Serving local pages at the requested port, or at a free port if it is taken."""

import errno
from collections.abc import Callable
from typing import TypeVar

from search.errors import SearchError

LOOPBACK = "127.0.0.1"
LOCAL_NAMES = (LOOPBACK, "localhost", "[::1]")

T = TypeVar("T")


def on_port_or_free(listen: Callable[[int], T], host: str, port: int) -> T:
    """Return the result of `listen` for `port`, or for a free port if another program listens there.

    Raises: SearchError if `host` is not an address of this machine, or listening is not permitted.
    """
    try:
        return listen(port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise SearchError(
                f"The page must be able to listen on {host}:{port}: {error.strerror or error}. Give another port or "
                "address."
            ) from None
    return listen(0)
