"""Configurations that a person wants to be tried next, also while a run is at work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist.refusals import listed, shown
from search.errors import SearchError
from search.storage.optuna_private import enqueued_values
from search.study.budget import is_searched
from search.study.records import Final
from search.study.settings import read_setting
from search.study.study import Study
from search.study.toml_files import read_text, read_toml

KEY = "configs"  # in a file, as under [prior] of a study


def read_configs(file: Path) -> list[dict[str, Any]]:
    """Return the configurations in a TOML file: configs = [{ filters = 32, dropout = 0.1 }, ...].

    Raises: SearchError.
    """
    values = read_toml(read_text(file), file.name)
    configs = values.get(KEY)
    if (
        set(values) != {KEY}
        or not isinstance(configs, list)
        or not all(isinstance(one, dict) and one for one in configs)
    ):
        raise SearchError(
            f"{file.name} must have one key, {KEY}, a list of tables of knobs, such as "
            f"{KEY} = [{{ filters = 32, dropout = 0.1 }}], got {shown(values)}."
        )
    return configs


def read_config(settings: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that knob=value settings give.

    Raises: SearchError.
    """
    return dict(read_setting(setting, {}, option="enqueue") for setting in settings)


def enqueue(study: Study, configs: Sequence[Mapping[str, Any]]) -> tuple[list[int], bool]:
    """Have these configurations tried next; the search chooses the knobs that one leaves out.

    They count in the study's budget. Return the numbers of their trials, and whether the budget is used up already.

    Raises: SearchError with all that is not in the study's space, or if the study is finished.
    """
    spec = study.spec
    if study.read(Final) is not None:
        raise SearchError(f"The study {study.name!r} is finished: its test split was opened. Give a new study --name.")
    errors = [
        f"{f'{KEY} entry {place}: ' if len(configs) > 1 else ''}{error}."
        for place, config in enumerate(configs, start=1)
        for error in spec.space.errors(config)
    ]
    if spec.search.sampler == "grid":  # which has its own points, and none for what is left out
        errors += [
            f"{f'{KEY} entry {place}: ' if len(configs) > 1 else ''}a configuration for a grid must name every "
            f"searched knob, got none for {', '.join(missing)}."
            for place, config in enumerate(configs, start=1)
            if (missing := [name for name in spec.space.knobs if name not in config])
        ]
    if errors:
        raise SearchError(listed(errors))
    with study.locked():
        before = len(study.trials())
        for config in configs:
            study.optuna.enqueue_trial(dict(config))
        # A run at work may have begun one already.
        numbers = [trial.number for trial in study.trials()[before:] if enqueued_values(trial) is not None]
    return numbers, is_searched(study, spec)
