"""The text of a new study file: every setting with the value that its base has, as comments to change."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fmnist.config import TrialConfig, knob_fields, knobs
from fmnist.refusals import rule, shown
from search.errors import SearchError
from search.study.bases import BASE, is_path
from search.study.spec import StudySpec, load_spec
from search.terminal.wording import extent

SHOWN = ("budget", "search", "data", "limits", "confirm", "final")  # sections with settings of one value
WIDTH = 46  # columns of a setting before its comment


def write_template(file: Path, base: str) -> None:
    """Write a new study file based on `base`, the name of a shipped study or the path of a file.

    Raises: SearchError if there is such a file already, or it cannot be written, or there is no such base.
    """
    if file.suffix != ".toml":
        raise SearchError(f"A study file must have a name that ends in .toml, got {shown(str(file))}.")
    spec = load_spec(base)
    text = template(os.path.relpath(base, file.parent) if is_path(base) else base, spec)
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise SearchError(f"{shown(str(file))} is there already. Give another name, or delete it first.") from None
    except OSError as error:
        raise SearchError(f"{shown(str(file))} cannot be written: {error.strerror}. Check the path.") from None


def template(base: str, spec: StudySpec) -> str:
    """Return the TOML of a study based on `base`, which `spec` is: a base, and comments with all it could change."""
    lines = [
        "# Take away the # in front of a line to change what it says. What stays a comment is as in the base.",
        f"{BASE} = {_toml(base)}",
        "",
        '# description = "what this study is for"',
        f"# seed = {spec.seed}",
    ]
    for section in SHOWN:
        lines += ["", f"[{section}]", *_settings(spec, section)]
    lines += [
        "",
        '# A value pins a knob, a list or { low, high } searches it, also with log = true or step; "search" takes the',
        "# range in its comment.",
        "[knobs]",
        *_knobs(spec),
    ]
    return "\n".join(lines) + "\n"


def _settings(spec: StudySpec, section: str) -> Iterator[str]:
    model = getattr(spec, section)
    for name, field in type(model).model_fields.items():
        if name == "student":  # a section of its own
            continue
        value = getattr(model, name)
        text = f"# {name} =" if value is None else f"# {name} = {_toml(value)}"
        yield _line(text, field.description or rule(type(model), name))


def _knobs(spec: StudySpec) -> Iterator[str]:
    for name, field in knob_fields().items():
        entry = spec.knobs.get(name, field.default)
        searched = f'"search": {extent(knob)}' if (knob := knobs().get(name)) else rule(TrialConfig, name)
        yield _line(f"# {name} = {_toml(entry)}", f"{field.description}; {searched}" if field.description else searched)


def _line(setting: str, comment: str) -> str:
    return f"{setting:<{WIDTH}}  # {comment}"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float() if math.isinf(value):
            return "inf"
        case Mapping():
            return f"{{ {', '.join(f'{key} = {_toml(one)}' for key, one in value.items())} }}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
