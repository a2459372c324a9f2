"""optuna-dashboard in a browser, on a study of the toolkit."""

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from playwright.sync_api import Page

from search.storage import trial_record
from search.storage.opening import open_storage
from search.study.limits import constrain
from search.study.study import load_study
from tests.browser.chromium import PHONE, drawn_marks, overflow
from tests.browser.conftest import NAME, Open
from tests.search.tiny import start_command, wait_for_line

TRACES = "[...document.querySelectorAll('.js-plotly-plot')].flatMap((plot) => plot.data)"


@pytest.fixture(scope="session")
def origin(reviewed: Path) -> Iterator[str]:
    with served(reviewed) as origin:
        yield origin


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = start_command(folder, "dashboard", "--port", str(free_port()))
    try:
        yield re.findall(r"http://[^/]+", wait_for_line(server, "http://"))[0]
    finally:
        server.kill()
        server.communicate()


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def trials_of(origin: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{origin}/api/studies/1", timeout=30) as answer:
        trials: list[dict[str, Any]] = json.load(answer)["trials"]
    return trials


def winner_of(reviewed: Path) -> int:
    return int(json.loads((reviewed / "studies" / NAME / "report.json").read_text())["winner"])


def heading(page: Page, text: str) -> None:
    page.get_by_role("heading", name=text).first.wait_for()


@pytest.mark.parametrize("width", [1280, PHONE])
def test_the_studys_charts_are_drawn(origin: str, look: Open, width: int) -> None:
    page = look(f"{origin}/dashboard", width=width)
    page.get_by_text(NAME).first.click()
    page.wait_for_url("**/dashboard/studies/1*")
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .trace').length > 10")
    assert sum(1 for count in drawn_marks(page).values() if count) >= 3
    assert page.get_by_text("macro F1").count() > 0


def test_the_note_links_to_the_winner_and_its_note(origin: str, reviewed: Path, look: Open) -> None:
    page, winner = look(f"{origin}/dashboard/studies/1/note"), winner_of(reviewed)
    heading(page, NAME)
    assert page.get_by_text("Test macro F1").count() == 1
    page.get_by_role("link", name=f"trial {winner}").first.click()
    heading(page, f"Trial {winner}, the winner")
    heading(page, "Each class, on the validation split")


def test_the_winners_artifacts_open(origin: str, reviewed: Path, look: Open) -> None:
    page = look(f"{origin}/dashboard/studies/1/trials?numbers={winner_of(reviewed)}")
    heading(page, "Artifacts")
    page.wait_for_function(
        "[...document.images]"
        ".filter((image) => image.src.includes('/artifacts/') && image.naturalWidth > 300).length === 5"
    )
    exported = reviewed / "studies" / NAME / "export"
    for name in ("model.onnx", "MODEL_CARD.md"):
        card = page.locator("div", has=page.get_by_text(name, exact=True)).filter(has=page.locator("a[download]")).last
        with page.expect_download() as download:
            card.locator("a[download]").first.click()
        assert Path(download.value.path()).read_bytes() == (exported / name).read_bytes()


def test_the_note_of_a_refused_trial_states_the_limit(origin: str, look: Open) -> None:
    over = [trial["number"] for trial in trials_of(origin) if any(value > 0 for value in trial["constraints"])]
    assert over
    page = look(f"{origin}/dashboard/studies/1/trials?numbers={over[0]}")
    heading(page, f"Trial {over[0]}, infeasible")
    assert page.get_by_text("Over its limit: max_params").count() == 1


def test_a_complete_trial_over_a_limit_is_drawn_as_infeasible(tmp_path: Path, look: Open) -> None:
    (tmp_path / "studies").mkdir()
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/studies/fmnist.db", study_name="limited", direction="maximize"
    )
    for value, over in ((0.5, -0.2), (0.9, 0.2)):
        trial = study.ask()
        trial.suggest_float("dropout", 0, 1)
        constrain(trial, {"max_params": over})
        study.tell(trial, value)
    with served(tmp_path) as origin:
        page = look(f"{origin}/dashboard/studies/1")
        page.wait_for_function(
            f"{TRACES}.some((trace) => trace.name?.startsWith('Infeasible Trial') && trace.x.length === 1)"
        )
        page.close()  # before its server ends


@pytest.mark.parametrize("of_winner", [True, False])
def test_the_page_of_a_trial_fits_its_window(of_winner: bool, tmp_path: Path, reviewed: Path, look: Open) -> None:
    folder = shutil.copytree(reviewed, tmp_path / "study")
    number = winner_of(reviewed) if of_winner else fail_with_long_reason(folder)
    with served(folder) as origin:
        page = look(f"{origin}/dashboard/studies/1/trials?numbers={number}", width=1200)
        heading(page, f"Trial {number} (trial_id=")
        page.get_by_text("User Attributes").wait_for()
        assert page.get_by_text("parameters ", exact=False).count() > 0
        assert overflow(page) <= 0
        page.close()  # before its server ends


def fail_with_long_reason(folder: Path) -> int:
    storage = open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False)
    study = load_study(storage, NAME).optuna
    trial = study.ask()
    trial_record.note_start(trial, config={"depth": 1}, seed=0, parameters=7, flops=9)
    trial_record.note_reason(trial, "CUDA out of memory. " + "Tried to allocate 20.00 MiB on GPU 0. " * 9)
    study.tell(trial, state=TrialState.FAIL)
    storage.engine.dispose()
    return trial.number


def test_a_note_fits_a_phone(origin: str, look: Open) -> None:
    page = look(f"{origin}/dashboard/studies/1/note", width=PHONE)
    heading(page, NAME)
    line = page.get_by_text("Test macro F1").first
    assert line.evaluate("(line) => line.getBoundingClientRect().right") <= PHONE
