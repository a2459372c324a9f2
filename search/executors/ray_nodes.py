"""A Ray cluster: connected to, or started on this machine; its nodes, and how many trainings fit them."""

import faulthandler
import logging
import math
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
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the behaviour to come, of which Ray else warns

import ray
from ray.exceptions import RayError

logging.getLogger("ray").setLevel(logging.ERROR)  # else it tells, each time, that it asks for tokens
CONNECT_SECONDS = 5.0
PACKAGES = Path(__file__).parents[2]  # this one and fmnist lie there
LONGEST_FOLDER = 30  # characters


def describe_nodes() -> str:
    """ "3 nodes with 6 CPUs and 0 GPUs"."""
    there = nodes()
    cpus, gpus = (sum(node["Resources"].get(kind, 0) for node in there) for kind in ("CPU", "GPU"))
    return f"{len(there)} {'node' if len(there) == 1 else 'nodes'} with {cpus:g} CPUs and {gpus:g} GPUs"


def nodes() -> list[dict[str, Any]]:
    """Those that are alive, with their resources, as Ray tells them."""
    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in every if node["Alive"]]


def fitting(node: dict[str, Any], cluster: Cluster) -> int:
    """How many trainings the node has room for, were it empty."""
    resources = node["Resources"]
    by_cpu = resources.get("CPU", 0) // cluster.cpus_per_trial if cluster.cpus_per_trial else math.inf
    by_gpu = resources.get("GPU", 0) // cluster.gpus_per_trial if cluster.gpus_per_trial else math.inf
    return int(min(by_cpu, by_gpu, 10_000))


def connect(address: str | None, undo: ExitStack) -> None:
    """Ray is connected to the cluster, or started here; what then has to be done at the end stands in `undo`.

    Raises: SearchError where no cluster answers.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address is None:
        # Short: the paths of its sockets within may have 107 bytes. Ray leaves it behind.
        folder = tempfile.mkdtemp(prefix="ray-", dir=None if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp")
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray writes one into the user's home
        _init(address="local", num_cpus=cores(), include_dashboard=False, _temp_dir=folder, **quiet)
        return
    if address != "auto":
        _require_listener(address)
    try:
        _init(address=address, **quiet)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        raise SearchError(
            f"--address {address}: no Ray cluster answers ({first}). Start one with ray start --head. "
            "If it runs and asks for tokens, set RAY_AUTH_MODE=token."
        ) from None


def disconnect() -> None:
    """Ray is left; a crash after it names its place, as before."""
    ray.shutdown()
    if faulthandler.is_enabled():  # by Ray, which takes the handler of the signal away at its end
        faulthandler.disable()
        faulthandler.enable()


def _init(**options: Any) -> None:
    # Ray puts the current folder first on the workers' path, and a random.py of the user may lie there.
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
            f"--address {address}: nothing listens there ({error.strerror or error}). `ray status` on the head node "
            "tells the address."
        ) from None
