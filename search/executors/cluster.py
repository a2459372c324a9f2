"""The Ray cluster of a run, and the resources of each training. Does not import Ray, which takes seconds."""

import math
from dataclasses import dataclass

from fmnist.suggestions import did_you_mean
from search.errors import SearchError


@dataclass(frozen=True)
class Cluster:
    """`address` is "auto" or HOST:PORT of a running cluster; None starts Ray on this machine."""

    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    max_workers: int | None = None

    def __post_init__(self) -> None:
        """Raises: SearchError."""
        for name, value in (("--cpus-per-trial", self.cpus_per_trial), ("--gpus-per-trial", self.gpus_per_trial)):
            if not math.isfinite(value) or (value > 1 and value != int(value)):
                raise SearchError(f"{name} must be at most 1 or a whole number, got {value:g}.")
        if not self.cpus_per_trial and not self.gpus_per_trial:
            raise SearchError(
                "A training must use CPUs or GPUs, got 0 of both: set --cpus-per-trial or --gpus-per-trial above 0."
            )

    @property
    def threads(self) -> int:
        """The CPU threads of each training."""
        return max(1, int(self.cpus_per_trial))

    @property
    def device(self) -> str:
        """The device that workers train on: Ray shows each worker only its assigned GPUs."""
        return "cuda" if self.gpus_per_trial else "cpu"

    def __str__(self) -> str:
        where = "on this machine" if self.address is None else f"at {self.address}"
        gpus = f", {self.gpus_per_trial:g} GPUs" if self.gpus_per_trial else ""
        most = (
            "as many trainings as fit"
            if self.max_workers is None
            else f"at most {self.max_workers} trainings side by side"
        )
        return (
            f"Ray {where}: {self.cpus_per_trial:g} CPU{'' if self.cpus_per_trial == 1 else 's'}{gpus} a training, "
            f"{most}"
        )


def choose_cluster(
    executor: str,
    address: str | None,
    cpus: float | None,
    gpus: float | None,
    max_workers: int | None,
    *,
    local_option: object,
) -> Cluster | None:
    """Return the cluster that the options describe, or None if trainings run in processes on this machine.

    Args:
        local_option: The value of --workers, --threads or --device, if any; none is an option of Ray.

    Raises: SearchError if options conflict, or Ray is not installed.
    """
    match executor:
        case "local":
            options = {
                "--address": address,
                "--cpus-per-trial": cpus,
                "--gpus-per-trial": gpus,
                "--max-workers": max_workers,
            }
            if named := [name for name, value in options.items() if value is not None]:
                raise SearchError(f"{', '.join(named)} can only be used with --executor ray, got --executor local.")
            return None
        case "ray":
            if local_option is not None:
                raise SearchError(
                    "With --executor ray, use --max-workers instead of --workers, --cpus-per-trial instead of "
                    "--threads, and --gpus-per-trial instead of --device."
                )
            import search.executors.ray  # noqa: F401  # raises if Ray is missing

            return Cluster(address, 1.0 if cpus is None else cpus, gpus or 0.0, max_workers)
        case _:
            raise SearchError(
                f"--executor must be local or ray, got {executor!r}. {did_you_mean(executor, ('local', 'ray'))}"
            )
