"""Where pages for a person on this machine are served: on the port that was asked for or, where that is taken, on a
free one.
"""

import errno
from collections.abc import Callable
from typing import TypeVar

from search.errors import SearchError

LOOPBACK = "127.0.0.1"

T = TypeVar("T")


def on_port_or_free(listen: Callable[[int], T], host: str, port: int) -> T:
    """What `listen` gives for `port`, or for a free one where another program listens there.

    Raises: SearchError where `host` is no address of this machine, or nothing may listen there.
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
