"""`fmnist-search status`, and the output formats of every list: tables, JSON, CSV."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.cli.completion import study_names, trial_numbers
from search.job.progress.base import Progress
from search.job.search import optimize
from search.report.lists.answer import FORMULA, Answer, to_csv, to_json
from search.storage.opening import open_storage
from search.study.records import Confirmation
from search.study.study import load_study
from tests.search.report.lists.listed import FOREIGN, STORAGE
from tests.search.tiny import CLASSES, Inline, Say, command, in_database, stage, surroundings, tiny_spec

LOOKS = (("status",), ("trials", "going"), ("show", "1", "--study", "going"), ("compare", "first", "second"))
NAMES = [FOREIGN, "first", "second", "shop", "going"]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_status_has_stage_trials_best_final_and_time_of_every_study(listed: Say) -> None:
    code, output, errors = listed("status")
    assert (code, errors) == (0, "")
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert lines["study"].split()[:7] == ["study", "stage", "trials", "refused", "running", "waiting", "best"]
    assert lines["going"].split() == ["going", "search", "4/20", "1", "1", "1", "0.9350", "-", "1", "h", "02", "min"]
    assert lines["first"].split()[1:7] == ["finished", "2/2", "0", "0", "0", "0.9000"]
    assert "[0.8" in lines["first"]
    assert "1 min 35 s" in lines["first"]


def test_a_study_whose_budget_was_raised_searches_again(say: Say, tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec(trials=1))
    optimize(stage(study, tiny_spec(trials=1), Inline(), Progress()), CLASSES)
    study.write(Confirmation(candidates=(), winner=0))
    assert json.loads(say("status", "--json")[1])[0]["stage"] == "final training"
    study.note_spec(tiny_spec(trials=4))
    assert json.loads(say("status", "--json")[1])[0]["stage"] == "search"


def test_status_of_named_studies_has_only_them(listed: Say) -> None:
    code, output, errors = listed("status", "second", "first", "--json")
    assert (code, errors) == (0, "")
    assert [row["study"] for row in json.loads(output)] == ["second", "first"]
    code, _, errors = listed("status", "frist")
    assert code == 2
    assert "first" in errors


def test_status_for_programs_has_numbers_without_units(listed: Say) -> None:
    code, output, errors = listed("status", "--json")
    assert (code, errors) == (0, "")
    studies = {row["study"]: row for row in json.loads(output)}
    assert set(studies) == set(NAMES)
    going = studies["going"]
    assert (going["stage"], going["done"], going["budget"], going["refused"], going["seconds"]) == (
        "search",
        4,
        20,
        1,
        3725.5,
    )
    assert (going["best"], going["best_trial"], going["final"]) == (0.935, 1, None)
    assert studies["first"]["final_low"] < studies["first"]["final"] < studies["first"]["final_high"]
    assert (studies[FOREIGN]["budget"], studies[FOREIGN]["best"]) == (
        None,
        None,
    )  # with two objectives there is no best value
    assert {tuple(row) for row in studies.values()} == {tuple(going)}
    _, output, _ = listed("status", "--csv")
    table = {row["study"]: row for row in rows(output)}
    assert tuple(table["going"]) == tuple(going)
    assert table["going"]["final"] == ""
    assert float(table["first"]["final"]) == studies["first"]["final"]
    assert "'@SUM(1)[/x]\ufffd[2J" in table


def test_records_of_another_version_do_not_hide_other_studies(listed: Say) -> None:
    load_study(open_storage(STORAGE, create=False), "first").optuna.set_user_attr("final", {"score": 1})
    code, output, errors = listed("status")
    assert (code, errors) == (0, "")
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert lines["first"].split()[1:3] == ["unreadable", "2/-"]
    assert "finished" in lines["second"]
    code, output, errors = listed("compare", "first", "second")
    assert (code, output) == (2, "")
    assert errors.startswith("Error: The study 'first' holds records that this version cannot read.")


def test_a_storage_without_studies_gets_a_message(say: Say) -> None:
    open_storage(STORAGE, create=True)
    assert "None yet." in say("status")[1]
    assert say("status", "--json")[1] == "[]\n"
    assert say("status", "--csv")[1].startswith("study,stage,done,budget")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_output_for_programs_does_not_depend_on_the_terminal(
    listed: Say, monkeypatch: pytest.MonkeyPatch, look: tuple[str, ...], form: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    code, output, errors = listed(*look, form)
    assert (code, errors) == (0, "")
    assert "\x1b" not in output
    if form == "--json":
        assert json.loads(output)
    else:
        assert len({len(line) for line in csv.reader(io.StringIO(output))}) == 1


def test_json_and_csv_exclude_each_other(listed: Say) -> None:
    for look in LOOKS:
        code, output, errors = listed(*look, "--json", "--csv")
        assert (code, output) == (2, "")
        assert errors == "Error: Only one of --json and --csv may be given, got both. Leave one out.\n"


def test_the_report_for_programs_is_report_json(listed: Say, tmp_path: Path) -> None:
    code, output, errors = listed("report", "going", "--json")
    assert code == 0
    assert json.loads(output) == json.loads((tmp_path / "studies" / "going" / "report.json").read_text())
    assert errors.startswith("Written: ")


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.sampled_from("=+-@ ab,\"'\n\t\x1b\u202e1.e"), max_size=8)
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "=b", "c"]), values), max_size=5))
def test_any_value_is_unchanged_in_json_and_harmless_in_csv(
    facts: list[dict[str, bool | int | float | str | None]],
) -> None:
    answer = Answer([], ("a", "=b", "c"), facts)
    for row, read in zip(facts, json.loads(to_json(answer)), strict=True):
        for key, value in read.items():
            original = row.get(key)
            assert value == original or (value is None and isinstance(original, float))
            assert type(value) is type(original) or value is None
    head, *lines = csv.reader(io.StringIO(to_csv(answer) + "\n"))
    assert head == ["a", "'=b", "c"]
    assert len(lines) == len(facts)
    for row, line in zip(facts, lines, strict=True):
        for key, cell in zip(answer.keys, line, strict=True):
            value = row.get(key)
            if isinstance(value, str):
                assert not cell.lstrip().startswith(FORMULA)
                assert cell.replace("\n", "").isprintable()
            elif isinstance(value, int | float) and cell not in ("", "true", "false"):
                assert float(cell) == float(value)


@pytest.mark.parametrize("look", LOOKS)
def test_a_pipe_gets_no_escape_sequences_even_from_odd_names(listed: Say, look: tuple[str, ...]) -> None:
    code, output, errors = listed(*look)
    assert (code, errors) == (0, "")
    assert output.replace("\n", "").isprintable()


def test_colour_follows_the_environment(listed: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert "\x1b" not in listed("trials", "going")[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in listed("trials", "going")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    for arguments in (*LOOKS, ("report", "going"), ("trials", "absent")):
        _, output, errors = listed(*arguments)
        assert "\x1b" not in output + errors


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_tables_are_as_wide_as_columns_says(listed: Say, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for look in LOOKS:
        _, output, _ = listed(*look)
        assert max(map(len, output.splitlines())) <= width


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_no_figure_of_a_list_is_broken_into_lines(listed: Say, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    for look in LOOKS:
        figures = []
        for columns in (200, width):
            monkeypatch.setenv("COLUMNS", str(columns))
            figures.append(set(re.findall(r"[+-]?\d[\d.,/]*\d", listed(*look)[1])))
        assert figures[1] <= figures[0]


def test_a_narrow_terminal_has_the_scores_of_each_study(listed: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, output, _ = listed("status")
    lines = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    assert lines["going"] == ["going", "4/20", "0.9350", "-"]
    assert lines["first"][:3] == ["first", "2/2", "0.9000"]
    assert "No room for stage, refused, running, waiting, time: see --json" in " ".join(output.split())


@pytest.mark.process
def test_no_list_imports_torch(tmp_path: Path, listed: Say) -> None:
    program = (
        "import sys; sys.argv[:] = ['fmnist-search', *sys.argv[1:]]\nfrom search.cli.main import main\n"
        "try: main()\nfinally: print(*({'torch', 'torchvision', 'sklearn', 'pandas'} & set(sys.modules)), "
        "file=sys.stderr)"
    )
    for look in (*LOOKS, ("--help",), ("trials", "--help")):
        done = subprocess.run(
            [sys.executable, "-c", program, *look],
            cwd=tmp_path,
            env=surroundings(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.strip() == "", look


def test_names_complete_from_the_default_storage(listed: Say, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "studies").glob("fmnist.db*")}
    assert study_names("") == ["first", "going", "second", "shop"]  # a name with control characters is not offered
    assert study_names("s") == ["second", "shop"]
    assert study_names("%") == []
    assert trial_numbers("1") == ["1"]
    assert {path: path.read_bytes() for path in (tmp_path / "studies").glob("fmnist.db*")} == before


def test_completion_creates_nothing_and_ignores_a_broken_storage(say: Say, tmp_path: Path) -> None:
    assert study_names("") == []
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "fmnist.db").write_text("no database")
    assert study_names("") == []
    assert [path.name for path in (tmp_path / "studies").iterdir()] == ["fmnist.db"]
    assert say("status")[0] == 2


@pytest.mark.process
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fmnist-search report s", ["second", "shop"]),
        ("fmnist-search compare first go", ["going"]),
        ("fmnist-search show 1 --study g", ["going"]),
        ("fmnist-search show 5", ["5"]),
        ("fmnist-search show g", ["going"]),
        ("fmnist-search show going 5", ["5"]),
        ("fmnist-search comp", ["compare"]),
        ("fmnist-search run und", ["under-100k", "under-25k", "under-300k"]),
        ("fmnist-search run --sampler g", ["gp", "grid"]),
        ("fmnist-search run quick --pruner h", ["hyperband", "halving"]),
    ],
)
def test_completions_are_offered_to_a_shell(listed: Say, tmp_path: Path, line: str, offered: list[str]) -> None:
    environment = surroundings(
        _FMNIST_SEARCH_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(line.count(" "))
    )
    done = subprocess.run(command(), cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (offered, "")
