"""The options of a run, each declared once, for the command line and for `search.run`.

Those that replace a value of the study have its name there (`WISHES` in search/study/spec.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, get_args, get_type_hints

from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.samplers.names import Pruner, Sampler


@dataclass(frozen=True)
class Option:
    """How the command line shows an option. An option without one belongs to Python alone.

    Args:
        help: One line of `--help`.
        metavar: Stands for the value; without it the values of a Literal.
        low: The smallest value.
        flag: Its name on the command line, where that is not the option's own.
    """

    help: str
    metavar: str | None = None
    low: float | None = None
    flag: str | None = None


class PlaceOptions(TypedDict, total=False):
    """Where trainings run."""

    workers: Annotated[int, Option("Trainings side by side; default one per core.", "W", low=1)]
    threads: Annotated[int, Option("CPU threads of each training; default the cores divided by workers.", "T", low=1)]
    device: Annotated[str, Option("cpu, cuda, cuda:N or mps; default the fastest present.", "D")]
    trial_timeout: Annotated[float, Option("Seconds without an epoch after which a worker is replaced.", "S", low=1)]
    executor: Annotated[Literal["local", "ray"], Option("Worker processes on this machine, or a Ray cluster.")]
    address: Annotated[str, Option("The Ray cluster; by default Ray is started here.", "auto|HOST:PORT")]
    cpus_per_trial: Annotated[float, Option("CPUs that a training on Ray takes; default 1.", "C", low=0)]
    gpus_per_trial: Annotated[float, Option("GPUs, or a share of one, such as 0.25; default 0.", "G", low=0)]
    max_workers: Annotated[int, Option("Trainings on Ray side by side at most.", "N", low=1)]


class Options(PlaceOptions, total=False):
    """What a run may ask for besides the study and the data. What is left out, the study or the machine decides."""

    trials: Annotated[int, Option("Trials in all, over all runs of the study.", "N", low=1)]
    minutes: Annotated[float | str, Option("Time of the whole job, over all its runs: 10, 90s, 1h.", "M")]
    target: Annotated[float, Option("Macro F1 on validation at which the job ends early.", "F1", low=0)]
    search_minutes: Annotated[float, Option("Minutes of the search alone, over all runs.", "M", low=0.01)]
    sampler: Annotated[Sampler, Option("What proposes configurations; default the study's.")]
    pruner: Annotated[Pruner, Option("What ends trials early; default the study's.")]
    against: Annotated[
        list[str], Option("Search the front of F1 over parameters, flops, size, latency_ms.", "COST,...")
    ]
    floor: Annotated[list[str], Option("Costs below which networks count as if they cost so much.", "COST,...")]
    prior: Annotated[
        list[str], Option("Earlier studies whose trials the model begins with.", "STUDY,...", flag="--from")
    ]
    known: Annotated[
        Literal["never", "fashion-mnist", "always"],
        Option("On which images the model begins with shipped trainings; default the study's."),
    ]
    extend: Annotated[bool, Option("Go on with the study in a space that --set or its file changes.")]
    track: Annotated[list[str], Option("Show the trials also in tensorboard, mlflow or both.", "TRACKER,...")]
    name: Annotated[str, Option("Name of the study, for a second study of the same kind.", "NAME")]
    seed: Annotated[int, Option("Seed of the search and its trainings.", "S", low=0)]
    max_params: Annotated[int, Option("Most parameters of a network.", "N", low=1)]
    max_size: Annotated[int, Option("Most bytes of its weights.", "BYTES", low=1)]
    max_flops: Annotated[int, Option("Most operations to score an image.", "N", low=1)]
    max_latency_ms: Annotated[float, Option("Most milliseconds for one image on this machine.", "MS", low=0.001)]
    skip_unreadable: Annotated[bool, Option("Skip pictures that cannot be opened, and count them.")]
    or_synthetic: Annotated[bool, Option("Use drawn images if Fashion-MNIST is not available.")]
    settings: Annotated[list[str], Option("Pin or narrow a knob; may be repeated.", "KNOB=VALUE", flag="--set")]
    knobs: Mapping[str, Any]  # replace the study's own, such as {"depth": 3, "dropout": {"low": 0.0, "high": 0.3}}


def declared(options: type) -> dict[str, tuple[Any, Option | None]]:
    """Return each option's type and how the command line shows it, by the option's name."""
    hints = get_type_hints(options, include_extras=True)
    names = sorted(hints, key=PlaceOptions.__annotations__.__contains__)  # first what is searched, then where
    return {name: _declared(hints[name]) for name in names}


def require_options(options: Mapping[str, Any]) -> None:
    """Check the options of a call from Python, as the command line checks its own.

    Raises: SearchError with the rule, the value and the nearest name.
    """
    known = declared(Options)
    for name, value in options.items():
        if name not in known:
            hint = did_you_mean(name, known) or f"It has {', '.join(known)}."
            raise SearchError(f"run() has no option {name!r}. {hint}")
        kind, option = known[name]
        if option is None or option.low is None:
            continue
        if kind is int and isinstance(value, float):
            raise SearchError(f"{name} must be a whole number, got {value!r}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or value < option.low:
            raise SearchError(f"{name} must be a number of at least {option.low:g}, got {value!r}.")


def _declared(hint: Any) -> tuple[Any, Option | None]:
    match get_args(hint):
        case (kind, Option() as option):
            return kind, option
        case _:
            return hint, None
