"""`fmnist-search dashboard`: the studies in optuna-dashboard."""

import webbrowser
from contextlib import suppress
from typing import Annotated

import typer

from search.arguments import DEFAULT_STORAGE, Storage, StudyName, quiet_optuna
from search.terminal import Console

Port = Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Another free one is taken where it is in use.")]
Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Whoever reaches the dashboard can delete studies: it has no login.")]
InBrowser = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]


def dashboard(
    study: StudyName = None, storage: Storage = DEFAULT_STORAGE, port: Port = 8080, host: Host = "127.0.0.1", in_browser: InBrowser = False
) -> None:
    """Serve optuna-dashboard on the studies, on this machine only, also while a run is at work; with STUDY, begin at its page.

    Example: fmnist-search dashboard quick --open
    """
    quiet_optuna()
    from search.dashboard.server import LOOPBACK, open_server
    from search.storage.opening import open_storage
    from search.study import load_study

    console, opened = Console(), open_storage(storage, create=False)
    page = "" if study is None else f"dashboard/studies/{load_study(opened, study)._study_id}"
    with suppress(KeyboardInterrupt), open_server(opened, host, port) as server:
        if server.server_port != port:
            console.print(f"Port {port} is taken, so it is another one.", highlight=False)
        if host != LOOPBACK:
            console.print(f"Whoever reaches {host} can delete studies here: there is no login.", style="red", highlight=False)
        address = f"http://{host}:{server.server_port}/{page}"
        console.print(f"{address}  (Ctrl-C ends it)", highlight=False, soft_wrap=True)
        if in_browser and not webbrowser.open(address):
            console.print("No browser could be opened here; open that address in one.", highlight=False)
        server.serve_forever()
    console.print("Ended.")
