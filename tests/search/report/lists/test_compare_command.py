"""`fmnist-search compare`: finished studies on the same test images, from stored predictions."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from fmnist.config import TrialConfig
from fmnist.metrics import paired_difference
from search.storage.opening import open_storage
from search.study.records import Confirmation
from search.study.study import load_study
from tests.search.report.lists.listed import LABELS, STORAGE
from tests.search.sample import candidate, remember
from tests.search.tiny import Say


def stored(name: str) -> Path:
    return Path("studies") / name / "final" / "predictions.npz"


def test_scores_and_differences_are_shown(listed: Say) -> None:
    code, output, errors = listed("compare", "first", "second")
    assert (code, errors) == (0, "")
    rows = [line.split() for line in output.splitlines()]
    scores = next(row for row in rows if row[:1] == ["second"])
    assert scores[2] == "-"  # the fresh seeds that it does not have
    assert scores[7:] == ["105,674", "1", "min", "35", "s"]
    assert "Nowhere: all studies search the same space." in output
    assert next(row for row in rows if row[:1] == ["second"] and row != scores)[-1] == "worse"
    assert "Better than first by" in output


def test_the_difference_is_that_of_the_stored_predictions(listed: Say) -> None:
    code, output, errors = listed("compare", "second", "first", "--json")
    assert (code, errors) == (0, "")
    measure, other = json.loads(output)
    assert (measure["study"], measure["difference"], measure["seeds"], other["seeds"]) == ("second", None, 3, 2)
    first, second = (
        np.load(stored(name), allow_pickle=False)["probabilities"].argmax(axis=2) for name in ("first", "second")
    )
    expected = paired_difference(LABELS, first, second, 10)
    assert (other["difference"], other["difference_low"], other["difference_high"]) == (
        expected.value,
        expected.low,
        expected.high,
    )
    assert other["difference"] == pytest.approx(other["final"] - measure["final"])
    assert other["difference_low"] > 0
    (_, again) = csv.DictReader(io.StringIO(listed("compare", "second", "first", "--csv")[1]))
    assert (float(again["difference"]), again["parameters"], again["seconds"]) == (expected.value, "105674", "95.25")


def test_the_confirmed_score_and_the_spaces_are_shown(listed: Say) -> None:
    study = load_study(open_storage(STORAGE, create=False), "second")
    remember(study, confirmation=Confirmation(candidates=(candidate(0, 0.93, 0.91, 0.92),), winner=0))
    study.note_spec(study.spec.overridden(settings=["filters=16", "dropout=0..0.5"]))
    code, output, errors = listed("compare", "first", "second")
    assert (code, errors) == (0, "")
    rows = [line.split() for line in output.splitlines()]
    assert next(row for row in rows if row[:1] == ["second"])[2] == "0.9150"
    winner = TrialConfig().filters  # of the configuration on record
    assert ["filters", f"{winner}", "of", "4,", "8", "16"] in rows
    first, second = json.loads(listed("compare", "first", "second", "--json")[1])
    assert (first["confirmed"], first["confirmed_seeds"]) == (None, 0)
    assert (second["confirmed"], second["confirmed_seeds"]) == (pytest.approx(0.915), 2)
    assert second["optimism"] == pytest.approx(0.015)
    assert first["knobs"]["filters"] == {"value": winner, "searched": [4, 8]}
    assert second["knobs"]["filters"]["searched"] is None
    assert second["knobs"]["dropout"]["searched"] == {"low": 0, "high": 0.5, "log": False, "step": None}
    assert first["knobs"].keys() == second["knobs"].keys() == {"filters", "dropout"}


def test_in_a_narrow_terminal_the_confirmed_score_stays(listed: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    output = listed("compare", "first", "second")[1]
    assert max(map(len, output.splitlines())) <= 60
    assert "confirmed" in output.splitlines()[1]
    assert "No room for" in output


def test_the_test_split_is_not_opened(listed: Say) -> None:
    before = [load_study(open_storage(STORAGE, create=False), name).optuna.user_attrs for name in ("first", "second")]
    assert listed("compare", "first", "second")[0] == 0
    assert [
        load_study(open_storage(STORAGE, create=False), name).optuna.user_attrs for name in ("first", "second")
    ] == before


@pytest.mark.parametrize(
    ("studies", "says"),
    [
        (("first",), "A comparison needs at least two studies, each once, got first."),
        (("first", "first"), "each once, got first, first."),
        (("first", "going"), "A comparison needs final scores; the study 'going' has none yet. Finish it"),
        (("first", "shop"), "the fingerprint 7e57, those of 'shop', of shop, other."),
        (("first", "secnd"), "Did you mean 'second'?"),
    ],
)
def test_studies_that_cannot_be_compared_are_refused(listed: Say, studies: tuple[str, ...], says: str) -> None:
    code, output, errors = listed("compare", *studies)
    assert (code, output) == (2, "")
    assert says in errors


def test_missing_damaged_or_wrong_predictions_are_refused(listed: Say) -> None:
    second = stored("second").read_bytes()
    for content, says in (
        (stored("first").read_bytes(), "must hold labels [400] below 10 and probabilities [3, 400, 10]"),
        (second[:-40], "it is damaged"),
        (b"", "it is damaged"),
        (None, "which are not here: there is no studies/second/final/predictions.npz."),
    ):
        if content is None:
            stored("second").unlink()
        else:
            stored("second").write_bytes(content)
        code, output, errors = listed("compare", "first", "second")
        assert (code, output) == (2, "")
        assert says in errors


def test_labels_in_another_order_are_refused(listed: Say) -> None:
    with np.load(stored("second"), allow_pickle=False) as arrays:
        np.savez(stored("second"), labels=arrays["labels"][::-1], probabilities=arrays["probabilities"][:, ::-1])
    code, _, errors = listed("compare", "first", "second")
    assert (code, "stored labels of 'first' and 'second' differ" in errors) == (2, True)
