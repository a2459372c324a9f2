"""`import search`: what a notebook or a script does with a study, in scripts without a guard, in other threads, and
interrupted.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import search
from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from search.errors import SearchError
from search.report.page.plots import COLOURS, DRAWN
from search.study.records import Confirmation
from tests.search.tiny import NAME, TOML, in_database, surroundings, tiny_spec, wait_for_line

ROOT = Path(__file__).parents[2]
# Module level, as in a notebook: nothing keeps a worker that would import this file from running the search again.
SCRIPT = """\
import json, os, threading
import search
told, before = {}, os.environ.get("PYTHONSAFEPATH")
def work():
    study = search.run("tiny.toml", data="synthetic", workers=1, trials=2, knobs={"filters": 4}, quiet=True)
    told.update(mean=study.final.mean, filters=study.winner.filters)
    told.update(trials=len(study.trials()), folder=str(study.folder))
thread = threading.Thread(target=work)
thread.start()
thread.join()
told.update(is_same=os.environ.get("PYTHONSAFEPATH") == before)
print(json.dumps(told))
"""
SHOWN = """\
import search
search.run("tiny.toml", data="synthetic", workers=1)
print("after it")
"""


def start_script(folder: Path, text: str) -> subprocess.Popen[str]:
    (folder / "tiny.toml").write_text(TOML)
    (folder / "script.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=folder,
        env=surroundings(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_script_without_a_guard_searches_in_any_thread_and_once(tmp_path: Path) -> None:
    script = start_script(tmp_path, SCRIPT)
    output, errors = script.communicate(timeout=300)
    assert script.returncode == 0, output + errors
    told = json.loads(output)  # nothing else was shown
    assert told["is_same"], "the environment of the program, and of what it starts later"
    assert (told["filters"], told["trials"], told["folder"]) == (4, 2, str(tmp_path / "studies" / NAME))
    study = search.load(NAME, home=tmp_path / "studies")
    assert study.final is not None
    assert study.final.mean == told["mean"]
    assert len(study.optuna.user_attrs["environments"]) == 1


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_call_goes_on(tmp_path: Path) -> None:
    script = start_script(tmp_path, SHOWN)
    wait_for_line(script, "epoch 1/2")
    script.send_signal(signal.SIGINT)
    _, errors = script.communicate(timeout=300)
    assert "KeyboardInterrupt: Results so far are kept" in errors
    assert script.returncode != 0
    again = start_script(tmp_path, SHOWN)
    output, errors = again.communicate(timeout=300)
    assert again.returncode == 0, output + errors
    assert output.endswith("after it\n")
    assert len(search.load(home=tmp_path / "studies").trials()) == 3


def test_a_finished_study_is_looked_at(finished: Path) -> None:
    study = search.load()
    assert (study.name, study.folder) == (NAME, finished / "studies" / NAME)
    confirmation = search.load(NAME)._handle.read(Confirmation)
    assert confirmation is not None
    trials = study.trials()
    assert list(trials["state"]) == ["complete"] * 3
    assert isinstance(study.winner, TrialConfig)
    assert study.winner.learning_rate == trials.loc[confirmation.winner, "learning_rate"]
    assert study.search_best.learning_rate == trials.loc[trials["value"].idxmax(), "learning_rate"]
    assert study.final is not None
    assert len(study.final.runs) == 1
    assert study.optuna.best_value == trials["value"].max()


@pytest.mark.parametrize(
    "figure", ["history", "curves", "parallel", "confirmation", "reliability", "confusion", "learning_rate"]
)
def test_figures_of_the_report_are_plotlys_in_colours_of_their_own(figure: str, finished: Path) -> None:
    drawn = search.load(NAME, home=finished / "studies").plot(figure)
    assert len(drawn.data) >= 1
    assert "var(" not in drawn.to_json()


def test_the_colours_are_those_of_the_page() -> None:
    style = (
        (ROOT / "search" / "report" / "page" / "templates" / "report.css")
        .read_text(encoding="utf-8")
        .partition("@media")[0]
    )
    assert all(f"--{name[6:-1]}: {colour};" in style for name, colour in COLOURS.items())


def test_the_model_gives_labels_and_probabilities(finished: Path) -> None:
    model = search.load(home=finished / "studies").model
    labels, probabilities = model.predict(np.zeros((3, 28, 28), np.uint8))
    assert labels.shape == (3,)
    assert probabilities.shape == (3, len(model.class_names))
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))
    for images in (np.zeros((3, 28, 28)), np.zeros((28, 28), np.uint8), np.zeros((3, 14, 14), np.uint8)):
        with pytest.raises(FmnistError, match=r"Images must be uint8 \[N, 28, 28\], got "):
            model.predict(images)  # type: ignore[arg-type]


def test_a_study_without_trials_has_an_empty_table(tmp_path: Path) -> None:
    in_database(tmp_path, tiny_spec())
    table = search.load("tiny", home=tmp_path / "studies").trials()
    assert len(table) == 0
    assert "learning_rate" in table.columns


def test_what_is_not_there_is_said(finished: Path) -> None:
    study = search.load(home=finished / "studies")
    with pytest.raises(SearchError, match=r"got 'histroy'\. Did you mean 'history'"):
        study.plot("histroy")
    with pytest.raises(SearchError, match="3 of the 4 complete trials"):
        study.plot("importances")
    with pytest.raises(SearchError, match="no study named 'quikc'"):
        search.load("quikc", home=finished / "studies")
    with pytest.raises(SearchError, match="There is no database"):
        search.load(home=finished / "elsewhere")
    with pytest.raises(SearchError, match="workers must be a number of at least 1, got 0"):
        search.run("tiny.toml", data="synthetic", workers=0)
    with pytest.raises(SearchError, match="depht"):
        search.run("tiny.toml", data="synthetic", knobs={"depht": 3})
    assert not (finished / "elsewhere").exists()
    assert set(DRAWN) >= {"history", "importances"}


def test_all_that_is_public_has_words_and_an_example() -> None:
    for name in search.__all__:
        if not name.startswith("_"):
            assert ">>> " in (getattr(search, name).__doc__ or ""), name
    assert search.__version__.count(".") >= 2


@pytest.mark.parametrize("option", ["workers", "threads", "trials"])
def test_a_number_of_things_is_whole(option: str) -> None:
    with pytest.raises(SearchError, match=rf"{option} must be a whole number, got 2\.0"):
        search.run("quick", data="synthetic", **{option: 2.0})  # type: ignore[arg-type]
