"""The winner's knobs within their ranges, and values at the end of one, in the files and on the screen of `report`."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import create_trial

from fmnist.config import TrialConfig, knobs
from fmnist.knobs import Range
from search.report.chosen import Chosen, ChosenKnob
from search.report.wider import find_wider
from search.storage.opening import open_storage
from search.study.environment import capture_environment
from search.study.records import Confirmation, Environment
from search.study.settings import read_setting
from search.study.space import read_space
from search.study.spec import load_spec
from search.study.study import create_study
from tests.search.sample import candidate, data, environment, final, remember
from tests.search.tiny import Say

STUDY = """\
[search]
trials = 6
sampler = "random"
pruner = "none"

[knobs]
epochs = 1
batch_size = 256
filters = { low = 8, high = 24, step = 8 }
depth = { low = 1, high = 4 }
activation = ["relu", "silu"]
dropout = { low = 0.1, high = 0.5 }
learning_rate = { low = 0.005, high = 0.03, log = true }
"""
MIDDLE = {"filters": 16, "depth": 2, "activation": "silu", "dropout": 0.2, "learning_rate": 0.01}
RUN = "fmnist-search run mine.toml --data synthetic --set lr=0.005..0.03 --name mine --workers 1"
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def make(say: Say, tmp_path: Path) -> Make:
    """Makes the study `mine`, whose trials have these values, and returns report.json as the command writes it."""

    def made(
        *values: float,
        command: str = RUN,
        winner: int | None = None,
        valid: int = 10_000,
        finished: bool = False,
        **best: Any,
    ) -> dict[str, Any]:
        (tmp_path / "mine.toml").write_text(STUDY)
        storage = open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=True)
        study = create_study(storage, load_spec("mine.toml"), data("synthetic", valid=valid))
        for value in values:
            params = MIDDLE | (best if value == max(values) else {})
            config = TrialConfig.model_validate(params | {"epochs": 1, "batch_size": 256}).model_dump(mode="json")
            study.optuna.add_trial(
                create_trial(
                    value=value,
                    params=params,
                    distributions=study.spec.space.distributions(),
                    user_attrs={"config": config},
                )
            )
        remember(study, environments=[environment(command=command)])
        if winner is not None:
            candidates = tuple(candidate(number, values[number], 0.8) for number in (winner, 5))
            remember(study, confirmation=Confirmation(candidates=candidates, winner=winner))
        if finished:
            remember(study, final=final(0.8, 0.79))
        storage.engine.dispose()
        code, _, errors = say("report", "mine", "--html", "page.html")
        assert (code, errors) == (0, "")
        report: dict[str, Any] = json.loads((tmp_path / "studies" / "mine" / "report.json").read_text())
        return report

    return made


SCORES = (0.5, 0.6, 0.7, 0.65, 0.66, 0.8)


def test_a_value_at_the_end_of_its_range_is_told_everywhere_with_a_command(
    make: Make, say: Say, tmp_path: Path
) -> None:
    report = make(*SCORES, learning_rate=0.0052)
    sentence = (
        "learning_rate 0.0052 is at the low end of its range, 0.005 to 0.03: a wider range may hold a better value."
    )
    command = (
        "fmnist-search run mine.toml --data synthetic --name mine --workers 1 --extend --set learning_rate=0.002..0.03"
    )
    assert (report["wider"]["sentence"], report["wider"]["command"]) == (sentence, command)
    assert [knob["knob"] for knob in report["wider"]["at_end"]] == ["learning_rate"]
    markdown = (tmp_path / "studies" / "mine" / "report.md").read_text()
    assert sentence in markdown
    assert f"\n    {command}\n" in markdown
    assert all(part in (tmp_path / "page.html").read_text() for part in (sentence, f"<code>{command}</code>"))
    _, output, _ = say("report", "mine")
    assert all(part in output for part in (sentence, f"\n{command}\n"))


def test_the_command_searches_wider_as_a_new_study_once_the_test_split_was_opened(make: Make, say: Say) -> None:
    report = make(*SCORES, finished=True, learning_rate=0.0299, dropout=0.11, filters=24)
    code, output, errors = say(*shlex.split(report["wider"]["command"])[1:], "--dry-run")
    assert (code, errors) == (0, "")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    plan = "\n".join(lines)
    for part in ("mine-wider", "0.005 to 0.09 log", "0 to 0.5", "8 to 32 by 8"):
        assert part in plan, plan


@pytest.mark.parametrize("best", [{}, {"depth": 1}, {"depth": 4}, {"activation": "relu"}, {"dropout": 0.13}])
def test_values_inside_at_a_hard_bound_or_chosen_from_a_list_are_not_told(make: Make, best: dict[str, Any]) -> None:
    assert make(*SCORES, **best)["wider"] is None


def test_nothing_is_told_of_few_trials_or_of_a_search_that_learned_nothing(make: Make, tmp_path: Path) -> None:
    assert make(*SCORES[:4], learning_rate=0.005)["wider"] is None
    (tmp_path / "studies" / "fmnist.db").unlink()
    assert make(*(score / 10 for score in SCORES), learning_rate=0.005)["wider"] is None


def test_it_is_told_of_the_winner_not_of_the_best_trial(make: Make) -> None:
    report = make(*SCORES, winner=2, learning_rate=0.005)
    assert report["wider"] is None
    assert (report["chosen"]["trial"], report["chosen"]["standing"]) == (2, "winner")


def test_a_study_run_from_python_is_told_the_call(make: Make) -> None:
    report = make(*SCORES, command="script.py --fast", learning_rate=0.005)
    assert report["wider"]["command"] == ("search.run(..., extend=True, settings=['learning_rate=0.002..0.03'])")


@pytest.mark.process
def test_a_recorded_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["fmnist-search", "run", "--data", "my photos", "--set", 'activation=["relu"]']
    monkeypatch.setattr(sys, "argv", words)
    assert shlex.split(capture_environment(device="cpu", workers=1, threads_per_worker=1).command) == words


def test_the_knobs_are_shown_in_their_ranges(make: Make, say: Say, tmp_path: Path) -> None:
    report = make(*SCORES, learning_rate=0.0122)["chosen"]
    assert (report["trial"], report["standing"]) == (5, "best trial")
    assert report["pinned"] == {"batch_size": 256, "epochs": 1}
    _, output, _ = say("report", "mine")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "Knobs of the best trial so far, trial 5: not confirmed" in lines
    assert "activation silu relu, [silu]" in lines
    assert "dropout 0.2 0.1 ────●─────────── 0.5" in lines
    assert "learning_rate 0.0122 0.005 ───────●──────── 0.03 log" in lines
    assert "Pinned: batch_size=256, epochs=1. Every other knob has its default." in lines
    page = (tmp_path / "page.html").read_text()
    assert 'aria-label="50 % of the way from low to high on a log scale"' in page
    assert re.search(r'<li class="chosen">silu<span class="unseen">, chosen</span></li>', page)
    assert page.index('id="knobs"') < page.index('id="search"')


NUMERIC = {name: knob for name, knob in knobs().items() if isinstance(knob, Range)}


@given(st.sampled_from(sorted(NUMERIC)), st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_wider_range_is_one_that_the_knob_may_have_and_keeps_scale_and_steps(name: str, draw: st.DataObject) -> None:
    declared = NUMERIC[name]
    ends = (
        st.integers(declared.low, int(declared.high))
        if isinstance(declared.low, int)
        else st.floats(declared.low, declared.high)
    )
    low, high = sorted(draw.draw(st.tuples(ends, ends).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-3)))
    step = declared.step if isinstance(low, int) and (high - low) % (declared.step or 1) == 0 else None
    value = draw.draw(st.sampled_from([low, high]))
    step = step or (1 if isinstance(low, int) else None)
    knob = ChosenKnob(name=name, value=value, low=low, high=high, log=declared.log, step=step)
    chosen = Chosen(trial=0, standing="winner", searched=(knob,), pinned={})
    environments: list[Environment] = [environment()]
    if (wider := find_wider("quick", chosen, environments)) is None:
        return
    own = {"low": low, "high": high} | ({"log": True} if declared.log else {"step": step} if step else {})
    read, entry = read_setting(shlex.split(wider.command)[-1], {name: own})
    searched = read_space({read: entry}, search_unlisted=False, context="wider").knobs[name]
    assert isinstance(searched, Range)
    assert (searched.low < low) == (value == low)
    assert (searched.high > high) == (value == high)
    assert searched.log == declared.log
    assert (searched.step or 1) == (step or 1)
