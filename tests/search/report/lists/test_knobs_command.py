"""`fmnist-search knobs`: every knob with its valid values, and its values in a study."""

import json
from pathlib import Path

import pytest

from fmnist.config import knob_fields
from tests.search.tiny import Say


def test_every_knob_is_listed_with_valid_values_and_meaning(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, output, errors = say("knobs")
    assert (code, errors) == (0, "")
    for name, field in knob_fields().items():
        assert name in output
        assert (field.description or "") in output
    assert "a whole number from 1 to 4" in output
    assert "0.0003 to 0.03 log" in output


def test_a_study_shows_pinned_and_searched_values(say: Say, tmp_path: Path) -> None:
    code, output, _ = say("knobs", "tiny.toml", "--json")
    assert code == 0
    rows = {row["knob"]: row for row in json.loads(output)}
    assert list(rows) == list(knob_fields())
    assert {name: rows[name]["in_study"] for name in ("filters", "learning_rate", "batch_norm", "dropout")} == {
        "filters": "4, 8",
        "learning_rate": "0.003 to 0.01 log",
        "batch_norm": "true",
        "dropout": "0",
    }
    assert rows["epochs"]["searched"] == "never"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_an_unknown_study_is_refused(say: Say) -> None:
    code, _, errors = say("knobs", "quik")
    assert code == 2
    assert "Did you mean 'quick'?" in errors


@pytest.mark.parametrize("width", [40, 80])
def test_on_a_narrow_terminal_no_line_is_too_wide(say: Say, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, output, _ = say("knobs", "quick")
    assert code == 0
    assert max(map(len, output.splitlines())) <= width


def test_figures_for_programs_are_not_rounded(say: Say, tmp_path: Path) -> None:
    text = "[search]\ntrials = 1\n[knobs]\nlearning_rate = 0.0123456\ndropout = { low = 0.0123456, high = 0.5 }\n"
    (tmp_path / "fine.toml").write_text(text)
    rows = {row["knob"]: row["in_study"] for row in json.loads(say("knobs", "fine.toml", "--json")[1])}
    assert (rows["learning_rate"], rows["dropout"]) == ("0.0123456", "0.0123456 to 0.5")
    assert "0.0123456" not in say("knobs", "fine.toml")[1]
