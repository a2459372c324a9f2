"""optuna-dashboard on a storage, for one person on this machine: it has no login, and who reaches it can delete.

Served with a thread a connection: a browser opens several at once, and with Optuna's own server the second waits for
the first.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import RDBStorage

from search.dashboard.artifacts import StudyFolders
from search.study.paths import HOME
from search.terminal.serving import LOOPBACK, on_port_or_free

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server(ThreadingMixIn, WSGIServer):
    """Its threads end with the process."""

    daemon_threads = True
    allow_reuse_address = (
        True  # so that a dashboard that was just ended can be started again; a port in use stays refused
    )


class Quiet(WSGIRequestHandler):
    """Says nothing of each request: a terminal full of them hides the address."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is said."""


def open_server(storage: RDBStorage, host: str, port: int, home: Path = HOME) -> WSGIServer:
    """A server that listens, on `port` or, where that is taken, on a free one; `serve_forever` answers.

    Raises: SearchError where `host` is no address of this machine, or nothing may listen there.
    """
    import optuna_dashboard  # two seconds to import

    application = optuna_dashboard.wsgi(storage, artifact_store=StudyFolders(home))
    if host == LOOPBACK:
        application = _for_local_names(application)
    return on_port_or_free(
        lambda at: make_server(host, at, application, server_class=Server, handler_class=Quiet), host, port
    )


def _for_local_names(application: Application) -> Application:
    """Only for who asks for this machine by its own name: a page of a stranger's could else lead its name here, and
    delete studies.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if host in LOCAL_NAMES:
            return application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"This dashboard is for 127.0.0.1 and localhost only.\n"]

    return answer
