"""Connect to a Ray cluster or start one on this machine, and count the trainings that fit its nodes."""

import faulthandler
import logging
import os
import secrets
import shutil
import socket
import tempfile
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any

from fmnist.machine import cores
from search.errors import SearchError
from search.executors.cluster import Cluster

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the future default, without which Ray warns

import ray
from ray.exceptions import RayError

logging.getLogger("ray").setLevel(logging.ERROR)  # otherwise it logs that authentication is on
CONNECT_SECONDS = 5.0
PACKAGES = Path(__file__).parents[2]  # holds the packages search and fmnist
LONGEST_FOLDER = 30  # characters
UNIT = 10_000  # of Ray's resources


def describe_nodes() -> str:
    """Return a description such as "3 nodes with 6 CPUs and 0 GPUs"."""
    alive = nodes()
    cpus, gpus = (sum(node["Resources"].get(kind, 0) for node in alive) for kind in ("CPU", "GPU"))
    return f"{len(alive)} {'node' if len(alive) == 1 else 'nodes'} with {cpus:g} CPUs and {gpus:g} GPUs"


def nodes() -> list[dict[str, Any]]:
    """Return Ray's descriptions of the nodes that are alive."""
    all_nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in all_nodes if node["Alive"]]


def fitting(node: dict[str, Any], cluster: Cluster) -> int:
    """Return how many trainings fit the node when it is empty."""
    resources = node["Resources"]
    asked = {"CPU": cluster.cpus_per_trial, "GPU": cluster.gpus_per_trial}
    # Ray counts in ten-thousandths: 1 // 0.2 is 4.
    fits = [round(resources.get(kind, 0) * UNIT) // round(each * UNIT) for kind, each in asked.items() if each]
    return int(min(10_000, *fits))


def connect(address: str | None, undo: ExitStack) -> None:
    """Connect to the cluster, or start one here; `undo` receives the cleanup.

    Raises: SearchError if no cluster answers.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address is None:
        # Short, because the paths of its sockets may have 107 bytes. Ray does not delete the folder.
        folder = tempfile.mkdtemp(prefix="ray-", dir=None if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp")
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # otherwise Ray writes one to the user's home
        _init(address="local", num_cpus=cores(), include_dashboard=False, _temp_dir=folder, **quiet)
        return
    if address != "auto":
        _require_listener(address)
    try:
        _init(address=address, **quiet)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise SearchError(
            f"--address {address}: no Ray cluster answers ({reason}). Start one with ray start --head. "
            "If it runs and asks for tokens, set RAY_AUTH_MODE=token."
        ) from None


def disconnect() -> None:
    """Disconnect from Ray, and keep faulthandler working."""
    ray.shutdown()
    if faulthandler.is_enabled():  # Ray enables it, and removes its signal handlers at shutdown
        faulthandler.disable()
        faulthandler.enable()


def _init(**options: Any) -> None:
    # Ray puts the current folder first on the workers' path, where the user may have a random.py.
    with chdir(PACKAGES):
        ray.init(**options)


def _require_listener(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SearchError(f"--address must be auto or HOST:PORT, got {address!r}.")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise SearchError(
            f"--address {address}: nothing listens there ({error.strerror or error}). Run `ray status` on the head "
            "node to see the address."
        ) from None
