"""optuna-dashboard on a storage, for local use: it has no login, and anyone who reaches it can delete studies.

Each connection has its own thread: a browser opens several at once, which Optuna's own server answers one by one.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import RDBStorage

from search.dashboard.artifacts import StudyFolders
from search.study.paths import HOME
from search.terminal.serving import LOCAL_NAMES, on_port_or_free

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server(ThreadingMixIn, WSGIServer):
    """A server whose threads end with the process."""

    daemon_threads = True
    allow_reuse_address = True  # a dashboard can be restarted at once; a port in use is still refused


class Quiet(WSGIRequestHandler):
    """A handler that does not log requests, so that the address stays visible in the terminal."""

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def open_server(storage: RDBStorage, host: str, port: int, home: Path = HOME) -> WSGIServer:
    """Return a server that listens on `port`, or on a free port if it is taken; call `serve_forever` to serve.

    Raises: SearchError if `host` is not an address of this machine, or listening is not permitted.
    """
    import optuna_dashboard  # two seconds to import

    application = optuna_dashboard.wsgi(storage, artifact_store=StudyFolders(home))
    if host in LOCAL_NAMES:
        application = _for_local_names(application)
    return on_port_or_free(
        lambda free: make_server(host, free, application, server_class=Server, handler_class=Quiet), host, port
    )


def _for_local_names(application: Application) -> Application:
    """Refuse requests for other host names, with which another site could reach this server (DNS rebinding)."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if host in LOCAL_NAMES:
            return application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"This dashboard is for 127.0.0.1 and localhost only.\n"]

    return answer
