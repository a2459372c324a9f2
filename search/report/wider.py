"""Values at the end of their range, beyond which a better one may lie, and the command that searches there."""

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from fmnist.config import TrialConfig, bounds
from search.report.chosen import Chosen, ChosenKnob
from search.study.chance import nothing_learned
from search.study.extension import TIED
from search.study.record import Record
from search.study.records import DataRecord, Environment, Final
from search.study.space import SHORT
from search.study.study import Study
from search.study.trials import best_complete, value_of
from search.terminal.wording import setting

NEAR = 0.05  # of a range's width, on its own scale: such a value is at its end
FACTOR = 3.0  # by which the end of a logarithmic range is moved
SHARE = 0.5  # of its width, by which the end of another range is moved
ENOUGH_TRIALS = 5  # complete ones; with fewer, a value at the end says little
LONGEST_NAME = 94  # characters of a study's name that leave room for "-wider"
EXACT = 17  # digits that tell any two floats apart

End = Literal["low", "high"]


class AtEnd(Record):
    """A value at the end of its range, and a wider range."""

    knob: str
    value: int | float
    end: End
    low: int | float  # of the study
    high: int | float
    wider_low: int | float
    wider_high: int | float

    @property
    def setting(self) -> str:
        """Return the wider range in the form of --set."""
        return f"{self.knob}={self.wider_low!r}..{self.wider_high!r}"


class Wider(Record):
    """The values at the end of their range, and what searches wider."""

    at_end: tuple[AtEnd, ...]
    sentence: str
    extends: bool  # the study itself, which is not finished; otherwise the command begins a new one
    command: str  # in Python where the study was not run from a command line


def read_wider(
    study: Study,
    spec: Mapping[str, JsonValue],
    trials: Sequence[FrozenTrial],
    chosen: Chosen | None,
    data: DataRecord | None,
    environments: Sequence[Environment],
) -> Wider | None:
    """Return what searches wider: the study itself until it is finished, then a new study.

    None if no value is at an end, or the search has learned too little for the place of a value to mean something.
    """
    complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
    best = best_complete(trials)
    section = spec.get("search")
    if chosen is None or best is None or complete < ENOUGH_TRIALS or not isinstance(section, dict):
        return None
    if data is not None and nothing_learned(value_of(best), data):
        return None
    is_freezing = section.get("pruner") == "freeze-thaw"
    is_timed = "latency_ms" in str(section.get("against"))  # whose model is of this space
    is_open = study.read(Final) is None and not is_timed and (is_freezing or section.get("sampler") not in TIED)
    return find_wider(study.name, chosen, environments, extends=is_open, teaches=is_freezing)


def find_wider(
    study: str, chosen: Chosen, environments: Sequence[Environment], *, extends: bool = False, teaches: bool = False
) -> Wider | None:
    """Return what to search wider than `study` did, as its runs were started; None if no value is at an end.

    Args:
        extends: The study itself can go on in a wider space.
        teaches: A new study can begin with its trials.
    """
    at_end = tuple(filter(None, map(_at_end, chosen.searched)))
    if not at_end:
        return None
    sentences = [
        f"{one.knob} {setting(one.value)} is at the {one.end} end of its range, {setting(one.low)} to "
        f"{setting(one.high)}: a wider range may hold a better value."
        for one in at_end
    ]
    added = ["--extend"] if extends else ["--name", f"{study[:LONGEST_NAME]}-wider"]
    added += ["--from", study] if teaches and not extends else []
    command = _command(added, environments, [one.setting for one in at_end])
    return Wider(at_end=at_end, sentence=" ".join(sentences), command=command, extends=extends)


def _at_end(knob: ChosenKnob) -> AtEnd | None:
    place, value, low, high = knob.place, knob.value, knob.low, knob.high
    if place is None or low is None or high is None or isinstance(value, str | bool | None):
        return None
    if NEAR < place < 1 - NEAR or knob.name not in TrialConfig.model_fields:
        return None
    end: End = "low" if place <= NEAR else "high"
    moved = _moved_end(knob, low, high, end)
    if moved is None:
        return None
    wider = {"wider_low": moved if end == "low" else low, "wider_high": moved if end == "high" else high}
    return AtEnd.model_validate({"knob": knob.name, "value": value, "end": end, "low": low, "high": high, **wider})


def _moved_end(knob: ChosenKnob, low: float, high: float, end: End) -> int | float | None:
    """Return the end of a wider range, within what the knob may be; None if the range already ends there."""
    limits, sign = bounds(knob.name), -1 if end == "low" else 1
    own = low if end == "low" else high
    limit, has_limit = (limits.low, limits.has_low) if end == "low" else (limits.high, limits.has_high)
    distance = abs(own * FACTOR**sign - own) if knob.log else SHARE * (high - low)
    room = abs(limit - own)
    if knob.step:
        steps = math.floor(min(max(1, round(distance / knob.step)), room / knob.step + 1e-9))
        return None if steps < 1 else _rounded(own + sign * steps * knob.step, 12, like=own)
    if room == 0:
        return None
    if distance < room:
        return _tidy(own, own + sign * distance, limit, digits=1 if knob.log else 2)
    return limit if has_limit else _tidy(own, (own + limit) / 2, limit, digits=2)


def _tidy(own: float, wanted: float, limit: float, *, digits: int) -> float:
    """Return `wanted` with few digits, strictly between the end that is moved and the limit."""
    low, high = sorted((own, limit))
    rounded = (_rounded(wanted, count, like=wanted) for count in range(digits, EXACT))
    return next((value for value in rounded if low < value < high), wanted)


def _rounded(value: float, digits: int, *, like: float) -> int | float:
    return round(value) if isinstance(like, int) else float(f"{value:.{digits}g}")


def _command(added: Sequence[str], environments: Sequence[Environment], settings: Sequence[str]) -> str:
    for environment in reversed(environments):
        if words := _run_of(environment.command):
            kept = _without(
                words,
                {word for word in added if word.startswith("--")},
                {setting.partition("=")[0] for setting in settings},
            )
            return shlex.join([*kept, *added, *chain.from_iterable(("--set", each) for each in settings)])
    names = {"--extend": "extend=True", "--name": f"name={added[1]!r}" if len(added) > 1 else ""}
    options = [names[word] for word in added if word in names]
    options += [f"prior={[added[-1]]!r}"] if "--from" in added else []
    return f"search.run({', '.join(['...', *options, f'settings={list(settings)!r}'])})"


def _run_of(command: str) -> list[str]:
    """Return the words of a `fmnist-search run`; none if it was another command, or Python that made the run."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    if words[1:2] != ["run"]:
        return []
    program = Path(words[0]).name
    if program == "__main__.py":
        return ["python", "-m", "search", *words[1:]]
    return words if program == "fmnist-search" else []


def _without(words: Iterable[str], options: set[str], knobs: set[str]) -> Iterator[str]:
    """Yield the words of a command without --extend, those of its `options`, and its settings of `knobs`."""
    rest = iter(words)
    for word in rest:
        option, equals, text = word.partition("=")
        if option == "--extend":
            continue
        if option not in {"--set", *options}:
            yield word
            continue
        value = text if equals else next(rest, "")
        knob = value.partition("=")[0].strip()
        if option == "--set" and SHORT.get(knob, knob) not in knobs:
            yield from ("--set", value)
