"""`fmnist-search trials` and `show`, on a study with trials in every state."""

import csv
import io
import json
import re
from pathlib import Path

import optuna
import pytest

from fmnist.config import knobs
from search.report.lists.trial_rows import FIXED
from search.study.records import Confirmation
from tests.search.report.lists.listed import FOREIGN, ODD_REASON, STORAGE
from tests.search.sample import candidate
from tests.search.tiny import Say

STATES = ["complete", "complete", "pruned", "failed", "refused", "running", "waiting"]


def picked(listed: Say, *arguments: str) -> list[int]:
    code, output, errors = listed("trials", "going", "--json", *arguments)
    assert (code, errors) == (0, "")
    return [row["number"] for row in json.loads(output)]


def test_every_trial_is_on_a_line_with_its_state(listed: Say) -> None:
    code, output, errors = listed("trials", "going")
    assert (code, errors) == (0, "")
    lines = [line.split() for line in output.splitlines() if line[:5].strip().isdigit()]
    assert [line[1] for line in lines] == STATES
    for part in ("0.9350", "median after epoch 1", "105,674", "0.00123", "1 min 02 s", "7 trials."):
        assert part in output


def test_rows_for_programs_have_every_knob_and_stable_keys(listed: Say) -> None:
    _, output, _ = listed("trials", "going", "--json")
    trials = json.loads(output)
    assert [row["state"] for row in trials] == STATES
    assert {tuple(row) for row in trials} == {(*FIXED, *knobs())}
    first = {
        "number": 0,
        "value": 0.91,
        "epochs": 3,
        "seconds": 61.5,
        "parameters": 105_674,
        "flops": 12_300_000,
        "reason": None,
        "seed": 7,
    }
    assert first.items() <= trials[0].items()
    assert (trials[0]["filters"], trials[0]["learning_rate"], trials[0]["flip"]) == (48, 0.0012345, False)
    assert trials[3]["reason"] == ODD_REASON
    assert (trials[5]["epochs"], trials[5]["value"], trials[6]["depth"]) == (2, None, None)
    _, output, _ = listed("trials", "going", "--csv")
    table = list(csv.DictReader(io.StringIO(output)))
    assert (table[0]["learning_rate"], table[0]["parameters"], table[0]["flip"], table[0]["reason"]) == (
        "0.0012345",
        "105674",
        "false",
        "",
    )
    assert table[3]["reason"].startswith("'=HYPERLINK(1), [red]")


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        (("state=PRUNED",), [2]),
        (("state=fail",), [3]),
        (("state != complete", "depth>=3"), [2, 3, 4]),
        (("value>0.91",), [1]),
        (("value>=0.91",), [0, 1]),
        (("value<0.91",), [2]),
        (("value<=0.81", "state=pruned"), [2]),
        (("value!=0.91",), [1, 2, 3, 4, 5, 6]),
        (("depth=4",), [1, 4]),
        (("filters>=32",), [0, 1, 2, 3, 4, 5]),
        (("filters>48",), []),
        (("flip=FALSE", "head=max", "epochs=3"), [0, 1]),
        (("reason=median after epoch 1",), [2]),
        (("learning_rate<1.3e-3", "number>3"), [4, 5]),
    ],
)
def test_where_filters(listed: Say, conditions: tuple[str, ...], numbers: list[int]) -> None:
    assert picked(listed, *(part for condition in conditions for part in ("--where", condition))) == numbers


def test_sort_puts_the_best_value_first_and_missing_values_last(listed: Say) -> None:
    assert picked(listed, "--sort", "value") == [1, 0, 2, 3, 4, 5, 6]
    assert picked(listed, "--sort", "value", "--reverse") == [2, 0, 1, 3, 4, 5, 6]
    assert picked(listed, "--sort", "depth") == [0, 5, 2, 3, 1, 4, 6]
    assert picked(listed, "--sort", "state")[:3] == [0, 1, 3]
    assert picked(listed, "--reverse") == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("printed", "key"), [("trial", "number"), ("f1", "value"), ("macro F1", "value"), ("time", "seconds")]
)
def test_a_column_is_named_as_it_is_printed(listed: Say, printed: str, key: str) -> None:
    assert picked(listed, "--sort", printed) == picked(listed, "--sort", key)
    assert picked(listed, "--where", f"{printed}>=0.91") == picked(listed, "--where", f"{key}>=0.91")
    _, output, _ = listed("trials", "going", "--columns", printed, "--csv")
    assert output.splitlines()[0] == key


def test_winner_and_best_trial_are_told_apart(listed: Say) -> None:
    def standings() -> dict[str, str]:
        lines = listed("trials", "going")[1].splitlines()
        found = {line.split()[0]: re.findall("winner|best trial", line) for line in lines if line[:5].strip().isdigit()}
        return {number: " ".join(words) for number, words in found.items() if words}

    def shown(*arguments: str) -> str:
        return listed("show", *arguments)[1].splitlines()[0]

    assert standings() == {"1": "best trial"}
    assert shown("going") == "Trial 1 of going, the best trial"
    confirm(winner=0)
    assert standings() == {"0": "winner", "1": "best trial"}
    assert shown("going") == shown("--study", "going") == "Trial 0 of going, the winner"
    assert shown("going", "1") == shown("1", "--study", "going") == "Trial 1 of going, the best trial"
    assert shown("going", "2") == "Trial 2 of going"
    assert json.loads(listed("show", "going", "--json")[1])["standing"] == "winner"
    confirm(winner=1)
    assert standings() == {"1": "winner"}


def confirm(winner: int) -> None:
    study = optuna.load_study(study_name="going", storage=STORAGE)
    candidates = (candidate(0, 0.91, 0.92), candidate(1, 0.935, 0.9))
    study.set_user_attr("confirmation", Confirmation(candidates=candidates, winner=winner).model_dump(mode="json"))


def test_show_without_a_complete_trial_or_with_two_studies_is_refused(listed: Say) -> None:
    assert "no complete trial yet, so no best trial. Give a trial's number." in listed("show", FOREIGN)[2]
    assert (
        "A trial is of one study, got 'going' and --study 'first'."
        in listed("show", "going", "1", "--study", "first")[2]
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--sort", "valeu"), "There is no column 'valeu' of trials. Did you mean 'value'?"),
        (("--columns", "value,fitlers"), "There is no column 'fitlers' of trials. Did you mean 'filters'?"),
        (("--columns", ""), "A value must not be empty, got '' for --columns."),
        (
            ("--where", "fitlers>=32"),
            "--where 'fitlers>=32': There is no column 'fitlers' of trials. Did you mean 'filters'?",
        ),
        (("--where", "state=prunned"), "state is never 'prunned'. Did you mean 'pruned'?"),
        (("--where", "head=maxx"), "head is never 'maxx'. Did you mean 'max'?"),
        (("--where", "batch_norm=ja"), "batch_norm is never 'ja'. Valid: false, true."),
        (("--where", "flip=ja"), "flip is never 'ja'. Valid: alternate, false, true."),
        (("--where", "filters=many"), "filters must be compared with a number, got 'many'."),
        (("--where", "value>nan"), "value must be compared with a number, got 'nan'."),
        (("--where", "state<pruned"), "state holds words, not numbers: use = or !=, got <."),
        (("--where", "filters"), "It must be a column, one of != <= >= = < >, and a value"),
        (("--where", "=3"), "It must be a column"),
        (("--where", "\x1b[2J=3"), "There is no column '\\x1b[2J' of trials."),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(listed: Say, arguments: tuple[str, ...], says: str) -> None:
    code, output, errors = listed("trials", "going", *arguments)
    assert (code, output) == (2, "")
    assert says in errors


def test_all_wrong_conditions_are_reported_at_once(listed: Say) -> None:
    _, _, errors = listed("trials", "going", "--where", "stat=x", "--where", "depth=x", "--where", "state=failed")
    assert [line.split(":")[-2].split()[-1] for line in errors.strip().splitlines()] == ["'stat=x'", "'depth=x'"]


def test_a_narrow_terminal_omits_knobs_and_names_them(listed: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, output, _ = listed("trials", "going")
    hidden = "No room for learning_rate, reason, parameters: see --json, --csv or a wider terminal."
    assert hidden in " ".join(output.split())
    assert "best trial" in output
    _, output, _ = listed("trials", "going", "--where", "state!=complete", "--where", "parameters>1000")
    assert all(part in output for part in ("105,674", "median after epoch 1", "No room for"))
    assert max(map(len, output.splitlines())) <= 80


def test_columns_are_chosen_by_name(listed: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    code, output, errors = listed("trials", "going", "--columns", "value, learning_rate,reason", "--sort", "value")
    assert (code, errors) == (0, "")
    lines = [line.split() for line in output.splitlines()]
    assert lines[1] == ["macro", "F1", "learning_rate", "reason"]
    assert lines[3] == ["0.9350", "0.00123", "-"]
    _, output, _ = listed("trials", "going", "--columns", "reason,number", "--where", "state=pruned", "--json")
    assert json.loads(output) == [{"reason": "median after epoch 1", "number": 2}]
    assert listed("trials", "going", "--columns", "depth", "--csv")[1].split() == [
        "depth",
        "2",
        "4",
        "3",
        "3",
        "4",
        "2",
        '""',
    ]
    assert listed("trials", "going", "--columns", "depth", "--where", "depth>4", "--csv")[1].split() == ["depth"]
    monkeypatch.setenv("COLUMNS", "30")
    _, output, _ = listed("trials", "going", "--columns", "learning_rate,value,parameters")
    assert "7 trials. No room for parameters:" in " ".join(output.split())


def test_no_match_is_stated(listed: Say) -> None:
    assert "None of 7 trials matches." in listed("trials", "going", "--where", "depth>4")[1]
    assert listed("trials", "going", "--where", "depth>4", "--json")[1] == "[]\n"
    assert listed("trials", "going", "--where", "depth>4", "--csv")[1].startswith("number,state,value")


def test_another_programs_study_is_listed(listed: Say) -> None:
    code, output, _ = listed("trials", FOREIGN, "--json", "--where", "knob.value=3", "--where", "kind==odd")
    (row,) = json.loads(output)
    assert (code, row["knob.value"], row["kind"], row["value"], row["depth"]) == (0, 3, "=odd", None, None)
    code, output, _ = listed("trials", FOREIGN)
    assert (code, output.replace("\n", "").isprintable()) == (0, True)
    code, output, _ = listed("show", "0", "--study", FOREIGN)
    assert (code, "=odd" in output) == (0, True)


def test_show_has_all_of_a_trial(listed: Say) -> None:
    code, output, errors = listed("show", "0", "--study", "going")
    assert (code, errors) == (0, "")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    for line in (
        "Trial 0 of going",
        "state complete",
        "macro F1 0.9100",
        "seed 7",
        "time 1 min 02 s",
        "depth 2 searched stages, each halves the image",
        "filters 48 width of the first stage",
        "2 0.5000 0.7500 0.8200 0.8100 41.0",
        "max_params -25.0 % within",
    ):
        assert line in lines


def test_show_states_why_a_trial_ended(listed: Say) -> None:
    assert "max_params 105,674, over 100,000" in listed("show", "4", "--study", "going")[1]
    refused = listed("show", "4", "--study", "going")[1]
    assert all(part in refused for part in ("+5.7 %", "over", "None: it was not trained for a whole epoch."))
    failed = listed("show", "3", "--study", "going")[1]
    assert "=HYPERLINK(1), [red] \ufffd[2J\ufffdevil" in failed
    running = listed("show", "5", "--study", "going")[1]
    assert "0.8200" in running
    assert "train loss" not in running
    assert "None yet: the trial has not started." in listed("show", "6", "--study", "going")[1]


def test_a_trial_for_programs(listed: Say) -> None:
    trial = json.loads(listed("show", "0", "--study", "going", "--json")[1])
    assert (trial["study"], trial["number"], trial["state"], trial["value"]) == ("going", 0, "complete", 0.91)
    assert trial["searched"] == {"depth": 2, "learning_rate": 0.0012345, "head": "max"}
    assert trial["fixed"]["filters"] == 48
    assert not trial["fixed"].keys() & trial["searched"].keys()
    assert trial["constraints"] == {"max_params": -0.25}
    assert trial["curve"][1] == {
        "epoch": 2,
        "train_loss": 0.5,
        "valid_loss": 0.75,
        "macro_f1": 0.82,
        "accuracy": 0.81,
        "seconds": 41.0,
    }
    table = list(csv.DictReader(io.StringIO(listed("show", "0", "--study", "going", "--csv")[1])))
    assert [(row["trial"], row["epoch"], row["macro_f1"]) for row in table] == [
        ("0", "1", "0.81"),
        ("0", "2", "0.82"),
        ("0", "3", "0.83"),
    ]


def test_an_unknown_trial_or_study_is_refused(listed: Say) -> None:
    code, _, errors = listed("show", "12", "--study", "going")
    assert (code, "has no trial 12. It has 0 to 6. `fmnist-search trials going` lists them." in errors) == (2, True)
    elsewhere = f"sqlite:///{Path('studies/fmnist.db').absolute()}"
    _, _, errors = listed("show", "12", "--study", "going", "--storage", elsewhere)
    assert f"`fmnist-search trials going --storage {elsewhere}` lists them." in errors
    for wrong in ("seven", "1.5"):
        code, output, errors = listed("show", wrong, "--study", "going")
        assert (code, output) == (2, "")
        assert (
            f"Invalid value for 'TRIAL': a trial's number must be a valid integer of at least 0, got {wrong!r}."
            in errors
        )
    code, _, errors = listed("trials", "goin")
    assert (code, "Did you mean 'going'?" in errors) == (2, True)
