"""The page of `compare --html` in a browser, opened as a file."""

import re
import shutil
from pathlib import Path

import pytest

from tests.browser.chromium import DESK, PHONE, READABLE, drawn_marks, overflow, smallest_letters
from tests.browser.conftest import NAME, Open
from tests.search.tiny import made_once, run_command

FILE = "compared.html"
OTHER = "other"


@pytest.fixture(scope="session")
def address(reviewed: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """The page of the study that is in `reviewed`, and of another one in another space."""

    def make(folder: Path) -> None:
        shutil.copytree(reviewed, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".made"))
        knobs = ("--set", "dropout=0.1", "--set", "filters=8..16")
        run = ("run", "seen.toml", "--data", "synthetic", "--workers", "1", "--name", OTHER, "--trials", "3", *knobs)
        for arguments in (run, ("compare", NAME, OTHER, "--html", FILE)):
            done = run_command(folder, *arguments)
            assert done.returncode == 0, done.stdout + done.stderr

    return (made_once(tmp_path_factory, worker_id, "compared", make) / FILE).as_uri()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_every_figure_is_drawn(address: str, look: Open, width: int, dark: bool) -> None:
    page = look(address, width=width, dark=dark)
    marks = drawn_marks(page)
    assert len(marks) == page.locator(".figure").count() == 8
    assert [name for name, count in marks.items() if not count] == []


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_the_page_fits_its_window_and_is_readable(address: str, look: Open, width: int) -> None:
    page = look(address, width=width)
    page.wait_for_selector(".js-plotly-plot")
    assert overflow(page) <= 0
    assert smallest_letters(page, "main p, main td, main th") >= READABLE


def test_on_a_desk_no_table_of_scores_is_cut_off(address: str, look: Open) -> None:
    page = look(address, width=DESK)
    tables = page.locator("#scores .scroll:has(table)")
    assert tables.count() == 2
    assert tables.evaluate_all("(all) => all.every((table) => table.scrollWidth <= table.clientWidth)")


def test_a_study_has_one_colour_in_all_figures(address: str, look: Open) -> None:
    page = look(address)
    page.wait_for_selector(".js-plotly-plot")
    colours = page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].flatMap((plot) => plot._fullData)"
        f".filter((trace) => trace.name === '{NAME}').map((trace) => trace.marker.color)"
    )
    assert len(colours) == 5  # classes, two of costs, two of paths
    assert len(set(colours)) == 1
    assert re.fullmatch(r"#[0-9a-f]{6}|rgb\(.*\)", colours[0]), "a colour of the stylesheet, and no name of one"


def test_in_print_the_page_has_some_sheets_and_fits_their_width(address: str, look: Open) -> None:
    page = look(address)
    page.wait_for_selector(".js-plotly-plot")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 12
    page.emulate_media(media="print")
    assert overflow(page) <= 0
