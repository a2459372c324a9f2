"""`fmnist-search dashboard`: the studies in optuna-dashboard."""

from contextlib import suppress
from typing import Annotated

import typer

from search.cli.arguments import InBrowser, Port, Storage, StudyName, quiet_optuna, say_address
from search.study.paths import DEFAULT_STORAGE
from search.terminal.console import Console

Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Anyone who reaches the dashboard can delete studies: it has no login.")
]


def dashboard(
    study: StudyName = None,
    storage: Storage = DEFAULT_STORAGE,
    port: Port = 8080,
    host: Host = "127.0.0.1",
    in_browser: InBrowser = False,
) -> None:
    """Serve optuna-dashboard on this machine, also while a run is at work; with STUDY, open its page.

    Example: fmnist-search dashboard auto --open
    """
    quiet_optuna()
    from search.dashboard.server import open_server
    from search.storage.opening import open_storage
    from search.study.study import load_study
    from search.terminal.serving import LOCAL_NAMES

    console, opened = Console(), open_storage(storage, create=False)
    page = "" if study is None else f"dashboard/studies/{load_study(opened, study).id}"
    with suppress(KeyboardInterrupt), open_server(opened.backend, host, port) as server:
        if host not in LOCAL_NAMES:
            console.print(
                f"Anyone who reaches {host} can delete studies: there is no login.", style="red", highlight=False
            )
        actual = server.server_port
        say_address(console, f"http://{host}:{actual}/{page}", is_moved=actual != port, in_browser=in_browser)
        server.serve_forever()
    console.print("Ended.")
