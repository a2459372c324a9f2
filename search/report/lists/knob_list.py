"""The knobs: valid values, searched values, and the values in a study."""

from collections.abc import Callable

from fmnist.config import TrialConfig, knob_fields, knobs
from fmnist.refusals import rule
from search.report.lists.answer import Answer, Facts
from search.study.spec import StudySpec
from search.terminal.table import Table
from search.terminal.wording import exact, extent, setting

KEYS = ("knob", "in_study", "default", "searched", "allowed", "meaning")


def knob_list(spec: StudySpec | None) -> Answer:
    """Return each knob's default, searched range, valid values and meaning, and its values in the study, if any."""
    rows, shown = ([_row(name, spec, write) for name in knob_fields()] for write in (exact, setting))
    keys = [key for key in KEYS if key != "in_study" or spec]
    heads = {"in_study": f"in {spec.name}" if spec else "", "searched": '"search"'}
    cells = [tuple(str(row[key]) for key in keys) for row in shown]
    caption = 'Write a value, a list, { low, high } or "search" under [knobs], or with --set.'
    texts = frozenset(range(len(keys)))
    # The most important first: a narrow terminal omits the last ones.
    spare = tuple(keys.index(key) for key in ("in_study", "meaning", "searched", "default", "allowed") if key in keys)
    return Answer(
        [Table("Knobs", tuple(heads.get(key, key) for key in keys), cells, caption, texts, spare=spare)], KEYS, rows
    )


def _row(name: str, spec: StudySpec | None, write: Callable[[object], str]) -> Facts:
    field = TrialConfig.model_fields[name]
    knob = knobs().get(name)
    return {
        "knob": name,
        "default": write(field.default),
        "searched": extent(knob, write) if knob else "never",
        "allowed": rule(TrialConfig, name),
        "meaning": field.description or "",
        "in_study": _in_study(name, spec, write) if spec else None,
    }


def _in_study(name: str, spec: StudySpec, write: Callable[[object], str]) -> str:
    if knob := spec.space.knobs.get(name):
        return extent(knob, write)
    return write(spec.space.pinned.get(name, TrialConfig.model_fields[name].default))
