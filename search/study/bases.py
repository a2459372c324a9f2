"""A study file and those that it is based on: base = "quick" at its top takes what the file itself does not say."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist.refusals import shown
from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.study.shipped import shipped_studies
from search.study.toml_files import read_text, read_toml

if TYPE_CHECKING:
    from search.study.spec import StudySpec

BASE = "base"  # the key in a file, and no part of a study


def read_with_bases(study: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the names and values of the study's file and of those that it is based on, the last base first.

    Args:
        study: The name of a shipped study, or the path of a file. The path of a base is relative to its file.

    Raises: SearchError if a file cannot be read, or a base leads back to its own file.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    seen: list[str] = []
    folder, context = Path(), ""
    while True:
        key = str((folder / study).resolve()) if is_path(study) else study
        if key in seen:
            raise SearchError(f"{context}: base = {shown(study)} leads back to a file that is based on it.")
        seen.append(key)
        file = Path(study).name if is_path(study) else f"{study}.toml"
        values = read_toml(read_text(folder / study) if is_path(study) else _read_shipped(study, context), file)
        base = values.pop(BASE, None)
        found.insert(0, (file, values))
        if base is None:
            return found
        if not isinstance(base, str):
            rule = "the name of a shipped study, or the path of a file"
            raise SearchError(f"{file}: base must be {rule}, got {shown(base)}.")
        folder = (folder / study).parent if is_path(study) else folder
        study, context = base, f"{file}, base"


def is_path(study: str) -> bool:
    """Whether it is the path of a study file, not the name of a shipped study."""
    return study.endswith(".toml") or "/" in study or "\\" in study


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a study on top of those of its base: of a section, only the keys that it has."""
    result = dict(base)
    for key, value in values.items():
        known = base.get(key)
        is_section = isinstance(value, Mapping) and isinstance(known, Mapping)
        result[key] = {**known, **value} if is_section else value  # type: ignore[dict-item]
    before, search = base.get("search"), values.get("search")
    if isinstance(before, Mapping) and isinstance(search, Mapping) and "floor" not in search:
        costs = before.get("against")
        if search.get("against", costs) != costs:
            result["search"].pop("floor", None)  # of other costs
    return result


def changed_knobs(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[str]:
    """Return the knobs whose entries under [knobs] are others, or new."""
    return frozenset(name for name in after if name not in before or before[name] != after[name])


def with_configs_inside(spec: "StudySpec", changed: frozenset[str]) -> "StudySpec":
    """Return the study whose configurations to try first have no value that the changed knobs exclude."""
    space = spec.space
    configs = [
        {
            name: value
            for name, value in config.items()
            if name not in changed or (name in space.knobs and not space.errors({name: value}))
        }
        for config in spec.prior.configs
    ]
    return spec.model_copy(update={"prior": spec.prior.model_copy(update={"configs": tuple(filter(None, configs))})})


def _read_shipped(name: str, context: str) -> str:
    if name not in shipped_studies():
        hint = did_you_mean(name, shipped_studies())
        raise SearchError(
            f"{f'{context}: ' if context else ''}No study named {shown(name)} ships with fmnist-search. {hint} "
            "For your own file give its path."
        )
    return (files("studies") / f"{name}.toml").read_text(encoding="utf-8")
