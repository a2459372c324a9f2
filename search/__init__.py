"""The search: Optuna studies over `fmnist`, from the first trial to the exported model.

What a notebook or a script needs is here; the command line is `fmnist-search`, or `python -m search`.

Example:
    >>> import search
    >>> study = search.run("quick", data="synthetic", trials=4, quiet=True)
    >>> study.final.mean
"""

from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

if TYPE_CHECKING:  # what takes seconds to import is imported where it is used
    import optuna
    import pandas as pd
    import plotly.graph_objects as go

    from fmnist.classifier import Classifier
    from fmnist.config import TrialConfig
    from search.job.options import Options
    from search.study.front import FrontPoint
    from search.study.records import Final
    from search.study.study import Study as Handle

__all__ = ["Study", "__version__", "load", "run"]


def __getattr__(name: str) -> str:
    if name == "__version__":  # asked for when it is wanted: a source tree that is not installed has none
        return version("fmnist-search")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Study:
    """A study, as `run` makes it and `load` finds it. What it says is read from its storage at that moment.

    Example:
        >>> study = search.load("quick-synthetic")
        >>> study.winner.depth
    """

    def __init__(self, handle: "Handle") -> None:
        self._handle = handle

    def __repr__(self) -> str:
        return f"<Study {self.name!r} in {self.folder}>"

    @property
    def name(self) -> str:
        """By which its storage knows it."""
        return self._handle.name

    @property
    def folder(self) -> Path:
        """Where its files are: report.md, report.html, export/."""
        return self._handle.folder

    @property
    def optuna(self) -> "optuna.Study":
        """The study of Optuna, for all that Optuna can do with one."""
        return self._handle.optuna

    def trials(self) -> "pd.DataFrame":
        """A row a trial: number, state, value (validation macro F1), epochs, seconds, parameters and every knob.

        Raises: SearchError where pandas is not installed.
        """
        from search.errors import SearchError
        from search.report.lists.trial_rows import kinds, trial_rows

        try:
            import pandas as pd
        except ImportError:
            raise SearchError(
                "Study.trials() needs pandas, which is not installed: pip install 'fmnist-search[notebook]', "
                "or in a checkout .venv/bin/pip install -e '.[notebook]'."
            ) from None
        rows = trial_rows(self._handle)
        return pd.DataFrame(rows, columns=None if rows else list(kinds(rows))).set_index("number")

    @property
    def winner(self) -> "TrialConfig":
        """The configuration that the confirm stage chose.

        Raises: SearchError where there is none yet; `search_best` is the best so far.
        """
        from search.errors import SearchError
        from search.study.winner import is_confirmed, winner

        if not is_confirmed(self._handle):
            raise SearchError(
                f"The study {self.name!r} has no winner yet: its candidates were not all trained again. See "
                "search_best."
            )
        return winner(self._handle)[1]

    @property
    def search_best(self) -> "TrialConfig":
        """The configuration of the best trial of the search, by its one validation score, which is optimistic.

        Raises: SearchError where no trial is complete.
        """
        from search.study.winner import best_trial

        return best_trial(self._handle)[1]

    @property
    def final(self) -> "Final | None":
        """The result on the test split: `mean` and `sd` of macro F1 over the seeds, `low` and `high`, `runs`,
        `classes`; None before it.
        """
        from search.study.records import Final

        return self._handle.read(Final)

    @property
    def front(self) -> "tuple[FrontPoint, ...]":
        """The tested points of a search against costs, the cheapest first, each with its `trial`, `costs`, `validation`
        and `final`; none before the test or in another study.
        """
        from search.study.front import read_front

        return read_front(self._handle)

    def plot(self, figure: str = "history") -> "go.Figure":
        """A figure of the report: history, curves, timeline, importances, parallel, pair, confirmation, reliability,
        confusion, front, or the name of a knob.

        Raises: SearchError where there is no such figure, or nothing to draw yet.
        """
        from search.report.page.plots import plot

        return plot(self._handle, figure)

    @cached_property
    def model(self) -> "Classifier":
        """The exported model: `model.predict(images)` gives labels [N] and probabilities [N, classes]; the images are
        uint8 [N, side, side], or in colour [N, side, side, 3], of `model.size`.

        Raises: SearchError where the study has no model yet.
        """
        from fmnist.classifier import load_classifier
        from search.errors import SearchError

        if self.final is None:
            raise SearchError(
                f"The study {self.name!r} has no model yet. Give the call, or the command, that began it again."
            )
        return load_classifier(self.folder / "export", None)


def run(
    study: "str | Path | None" = None,
    *,
    data: "str | Path | None" = None,
    test: "str | Path | None" = None,
    home: "str | Path | None" = None,
    storage: str | None = None,
    quiet: bool = False,
    **options: "Unpack[Options]",
) -> Study:
    """Search, confirm, retrain, test once, report and export a study, as `fmnist-search run` does.

    The same call resumes a study that was interrupted, and returns one that is finished. It works in any thread, in a
    notebook, and in a script without an `if __name__ == "__main__"` guard. Only the main thread can be interrupted.

    Args:
        study: A shipped study, such as "quick", or a TOML file; "auto" by default.
        data: "synthetic", a file or a folder; Fashion-MNIST by default.
        test: The test split, if it is another file or folder.
        home: The folder of the study's folder, and of the database unless `storage` names another; by default
            `$FMNIST_STUDIES`, or "studies".
        storage: A SQLAlchemy URL, such as "sqlite:////data/studies.db"; where no home is given, `$FMNIST_STORAGE` by
            default.
        quiet: Show nothing but alarms, on stderr.
        options: As those of `fmnist-search run`, with `_` for `-`: trials, minutes, sampler, workers, device, executor
            and the others of `search.job.options.Options`; and `knobs`, which replace the study's own, such as
            `{"depth": 3, "dropout": {"low": 0.0, "high": 0.3}}`. None is the same as absent.

    Raises: FmnistError with all errors of the request. KeyboardInterrupt after the running trials were put back.

    Example:
        >>> study = search.run("quick", data="synthetic", trials=4, workers=1)
    """
    from search.job.guest import run_study
    from search.job.options import require_options
    from search.job.request import RunRequest

    given = {name: value for name, value in options.items() if value is not None}
    require_options(given)
    place, url = _place(home, storage)
    request = RunRequest(
        storage=url,
        study=_text(study),
        data=_text(data),
        test=_text(test),
        home=place,
        options=cast("Options", given),
    )
    return Study(run_study(request, quiet=quiet))


def load(name: str | None = None, *, home: "str | Path | None" = None, storage: str | None = None) -> Study:
    """The study of that name, or without a name the one that ran last.

    Raises: SearchError where there is none.

    Example:
        >>> search.load("quick-synthetic").final.mean
    """
    from search.storage.opening import open_storage
    from search.study.study import load_study

    place, url = _place(home, storage)
    opened = open_storage(url, create=False)
    return Study(load_study(opened, name, place))


def _place(home: "str | Path | None", storage: str | None) -> "tuple[Path, str]":
    from search.study.paths import HOME, NAMED_STORAGE, STORAGE_FILE

    place = Path(home or HOME).resolve()
    named = storage or (NAMED_STORAGE if home is None else None)
    return place, named or f"sqlite:///{place / STORAGE_FILE.name}"


def _text(value: "str | Path | None") -> str | None:
    return None if value is None else str(value)
