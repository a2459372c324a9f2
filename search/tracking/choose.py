"""Choose trackers: from the names of a request to what the trainings are sent to."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast, get_args

from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.tracking.event_files import EventFiles
from search.tracking.mlflow_runs import MlflowRuns
from search.tracking.tracker import Tracker

TrackerName = Literal["tensorboard", "mlflow"]
NAMES: tuple[TrackerName, ...] = get_args(TrackerName)


def choose_trackers(asked: str | Sequence[str]) -> tuple[TrackerName, ...]:
    """Return the names in the texts, each of which may have several with commas between.

    Raises: SearchError if there is no such tracker, or its package is not installed.
    """
    names = dict.fromkeys(
        name.strip() for text in ([asked] if isinstance(asked, str) else asked) for name in text.split(",")
    )
    if unknown := [name for name in names if name not in NAMES]:
        raise SearchError(f"--track must name trackers, got {unknown[0]!r}. {did_you_mean(unknown[0], NAMES)}")
    for name in names:
        found = find_spec(name)
        if found is None or found.origin is None:  # a folder of that name is no package
            raise SearchError(
                f"--track {name} needs the package {name}, which is not installed: pip install "
                f"'fmnist-search[{name}]', or in a checkout .venv/bin/pip install -e '.[{name}]'."
            )
    return cast("tuple[TrackerName, ...]", tuple(names))


def make_tracker(name: TrackerName, folder: Path) -> Tracker:
    """Return the tracker of the study in that folder; it opens nothing before something is sent."""
    match name:
        case "tensorboard":
            return EventFiles(folder / name)
        case "mlflow":
            return MlflowRuns(folder)
