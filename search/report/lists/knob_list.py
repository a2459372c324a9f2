"""The knobs: valid values, searched values, and the values in a study."""

from fmnist.config import TrialConfig, knob_fields, knobs
from fmnist.refusals import rule
from search.report.lists.answer import Answer, Facts
from search.study.spec import StudySpec
from search.terminal.table import Table
from search.terminal.wording import extent, setting

KEYS = ("knob", "in_study", "default", "searched", "allowed", "meaning")


def knob_list(spec: StudySpec | None) -> Answer:
    """Return each knob's default, searched range, valid values and meaning, and its values in the study, if any."""
    rows = [_row(name, spec) for name in knob_fields()]
    keys = [key for key in KEYS if key != "in_study" or spec]
    heads = {"in_study": f"in {spec.name}" if spec else "", "searched": '"search"'}
    cells = [tuple(str(row[key]) for key in keys) for row in rows]
    caption = 'Write a value, a list, { low, high } or "search" under [knobs], or with --set.'
    texts = frozenset(range(len(keys)))
    # The most important first: a narrow terminal omits the last ones.
    spare = tuple(keys.index(key) for key in ("in_study", "meaning", "searched", "default", "allowed") if key in keys)
    return Answer(
        [Table("Knobs", tuple(heads.get(key, key) for key in keys), cells, caption, texts, spare=spare)], KEYS, rows
    )


def _row(name: str, spec: StudySpec | None) -> Facts:
    field = TrialConfig.model_fields[name]
    knob = knobs().get(name)
    return {
        "knob": name,
        "default": setting(field.default),
        "searched": extent(knob) if knob else "never",
        "allowed": rule(TrialConfig, name),
        "meaning": field.description or "",
        "in_study": _in_study(name, spec) if spec else None,
    }


def _in_study(name: str, spec: StudySpec) -> str:
    if knob := spec.space.knobs.get(name):
        return extent(knob)
    return setting(spec.space.pinned.get(name, TrialConfig.model_fields[name].default))
