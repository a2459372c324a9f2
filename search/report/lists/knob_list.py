"""The knobs: what each may be, what a search chooses from, and what a study makes of it."""

from fmnist.config import TrialConfig, knobs
from fmnist.knobs import Choice, Knob, Range
from fmnist.refusals import rule
from search.report.lists.answer import Answer, Facts
from search.study.spec import StudySpec
from search.terminal.table import Table
from search.terminal.wording import setting

KEYS = ("knob", "in_study", "default", "searched", "allowed", "meaning")


def knob_list(spec: StudySpec | None) -> Answer:
    """Every knob with its default, what `"search"` takes, what is valid and what it means; and what the study, if any,
    makes of it.
    """
    rows = [_row(name, spec) for name in TrialConfig.model_fields]
    shown = [key for key in KEYS if key != "in_study" or spec]
    heads = {"in_study": f"in {spec.name}" if spec else "", "searched": '"search"'}
    cells = [tuple(str(row[key]) for key in shown) for row in rows]
    caption = 'Write a value, a list, { low, high } or "search" under [knobs], or with --set.'
    texts = frozenset(range(len(shown)))
    # The most wanted first: a narrow terminal goes without the last ones.
    spare = tuple(shown.index(key) for key in ("in_study", "meaning", "searched", "default", "allowed") if key in shown)
    return Answer(
        [Table("Knobs", tuple(heads.get(key, key) for key in shown), cells, caption, texts, spare=spare)], KEYS, rows
    )


def _row(name: str, spec: StudySpec | None) -> Facts:
    field = TrialConfig.model_fields[name]
    declared = knobs().get(name)
    return {
        "knob": name,
        "default": setting(field.default),
        "searched": _said(declared) if declared else "never",
        "allowed": rule(TrialConfig, name),
        "meaning": field.description or "",
        "in_study": _in_study(name, spec) if spec else None,
    }


def _in_study(name: str, spec: StudySpec) -> str:
    if found := spec.space.knobs.get(name):
        return _said(found)
    return setting(spec.space.pinned.get(name, TrialConfig.model_fields[name].default))


def _said(knob: Knob) -> str:
    match knob:
        case Choice(options):
            return ", ".join(setting(option) for option in options)
        case Range(low, high, log, step):
            how = " log" if log else f" by {setting(step)}" if step is not None and step != 1 else ""
            return f"{setting(low)} to {setting(high)}{how}"
