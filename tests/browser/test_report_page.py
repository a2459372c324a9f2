"""report.html in a browser, opened as a file."""

import json
import math
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import DESK, PHONE, READABLE, drawn_marks, overflow, smallest_letters
from tests.browser.conftest import NAME, Open

SECTIONS = ["winner", "result", "confirm", "search", "record", "again"]


@pytest.fixture(scope="session")
def address(reviewed: Path) -> str:
    return (reviewed / "studies" / NAME / "report.html").as_uri()


def images(page: Page) -> list[list[int]]:
    sizes: list[list[int]] = page.evaluate(
        "[...document.images].map((image) => [image.naturalWidth, image.naturalHeight, image.alt.length])"
    )
    return sizes


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_every_figure_is_drawn(address: str, look: Open, width: int, dark: bool) -> None:
    page = look(address, width=width, dark=dark)
    marks = drawn_marks(page)
    assert len(marks) == page.locator(".figure").count() >= 6
    assert [name for name, count in marks.items() if not count] == []


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_the_page_fits_its_window_and_is_readable(address: str, look: Open, width: int) -> None:
    page = look(address, width=width)
    page.wait_for_selector(".js-plotly-plot")
    assert overflow(page) <= 0
    assert smallest_letters(page, "main p, main td, main th, main a, dd, dt") >= READABLE
    links = page.locator("nav a, summary").evaluate_all(
        "(all) => all.map((link) => link.getBoundingClientRect().height)"
    )
    assert min(links) >= 24, "links are large enough for a finger"


def test_the_dark_and_light_themes_differ_and_have_contrast(address: str, look: Open) -> None:
    shades = []
    for dark in (False, True):
        page = look(address, dark=dark)
        colours = page.evaluate("['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])")
        ink, paper = (luminance(colour) for colour in colours)
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 7
        shades.append(paper)
    assert shades[0] > 0.7
    assert shades[1] < 0.1


def luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)", as the Web Content Accessibility Guidelines define it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_all_tables_and_pictures_are_shown_without_javascript(address: str, reviewed: Path, look: Open) -> None:
    page = look(address, script=False)
    final = json.loads((reviewed / "studies" / NAME / "report.json").read_text())["final"]
    assert f"{final['mean']:.4f}" in page.inner_text("header")
    assert page.locator("table.matrix tbody tr").count() == len(final["classes"])
    for score in final["classes"]:
        assert page.locator("td", has_text=score["name"]).count() > 0
    assert "[knobs]" in page.inner_text("#again")
    assert page.locator(".figure").evaluate_all(
        "(all) => all.every((figure) => getComputedStyle(figure).display === 'none')"
    )


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_the_winners_knobs_come_first_and_a_dot_shows_where_each_lies(
    address: str, reviewed: Path, look: Open, width: int
) -> None:
    page = look(address, width=width)
    chosen = json.loads((reviewed / "studies" / NAME / "report.json").read_text())["chosen"]
    block = page.locator("main article").first
    assert block.locator("h3").inner_text() == f"Knobs of the winner, trial {chosen['trial']}"
    assert [row.inner_text().split()[0] for row in block.locator("tbody tr").all()] == [
        knob["name"] for knob in chosen["searched"]
    ]
    values = {knob["name"]: knob["value"] for knob in chosen["searched"]}
    assert block.locator(".chosen").inner_text().splitlines()[0] == str(values["filters"])
    place = math.log(values["learning_rate"] / 0.0003) / math.log(0.03 / 0.0003)
    scale = block.get_by_role("img", name=f"{place:.0%} of the way from low to high on a log scale".replace("%", " %"))
    line, dot = scale.bounding_box(), scale.locator("span").bounding_box()
    assert line is not None
    assert dot is not None
    assert (dot["x"] + dot["width"] / 2 - line["x"]) / line["width"] == pytest.approx(place, abs=0.02)
    assert block.locator(".scroll").evaluate("(table) => table.scrollWidth - table.clientWidth") <= 0


def test_the_mistakes_are_pictures_with_texts(address: str, look: Open) -> None:
    pictures = images(look(address))
    assert 1 <= len(pictures) <= 40
    assert all(width >= 28 and height >= 28 and text > 5 for width, height, text in pictures)


def test_the_links_lead_to_the_sections_and_tables_are_reached_by_keyboard(address: str, look: Open) -> None:
    page = look(address)
    assert [link.get_attribute("href") for link in page.locator("nav a").all()] == [f"#{name}" for name in SECTIONS]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#winner")
    page.locator("nav a[href='#again']").click()
    expect(page.locator("#again h2")).to_be_in_viewport()
    assert page.locator(".scroll").evaluate_all("(all) => all.every((table) => table.tabIndex === 0)")
    folded = page.locator("details").first
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    assert folded.evaluate("(details) => details.open")


def test_hovering_over_a_figure_shows_its_values(address: str, look: Open) -> None:
    page = look(address)
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point", state="attached")
    point = page.locator(".js-plotly-plot .scatterlayer .point").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    page.wait_for_selector(".hoverlayer .hovertext")


def test_in_print_the_page_has_some_sheets_and_fits_their_width(address: str, look: Open) -> None:
    page = look(address)
    page.wait_for_selector(".js-plotly-plot")
    sheets = re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))
    assert 3 <= len(sheets) <= 40
    page.emulate_media(media="print")
    assert overflow(page) <= 0


def test_a_long_table_is_sorted_by_a_click_and_filtered_by_words(address: str, look: Open) -> None:
    page = look(address)
    table = page.locator("#every-trial table")
    page.locator("#every-trial summary").click()
    trials = table.locator("tbody tr").count()
    assert trials >= 8
    head = table.locator("th", has_text="macro F1")
    for direction in ("ascending", "descending"):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        values = [float(text) for text in table.locator("td:nth-child(3)").all_inner_texts() if text != "-"]
        assert values == sorted(values, reverse=direction == "descending")
    states = table.locator("td:nth-child(2)").all_inner_texts()
    page.locator("#every-trial").get_by_role("searchbox").fill("complete winner")
    assert table.locator("tbody tr:visible").count() == sum("winner" in state for state in states) == 1
    expect(page.locator("#every-trial output")).to_have_text(f"1 of {trials}")


def test_code_is_copied_by_a_button(address: str, look: Open) -> None:
    page = look(address)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator("#again .copy").first
    button.click()
    expect(button).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == page.locator("#again pre").first.inner_text().strip()


def test_the_contents_stay_in_sight(address: str, look: Open) -> None:
    page = look(address)
    page.locator("nav a[href='#record']").click()
    expect(page.locator("#record h2")).to_be_in_viewport()
    expect(page.locator("nav")).to_be_in_viewport()
    title, contents = page.locator("#record h2").bounding_box(), page.locator("nav").bounding_box()
    assert title is not None
    assert contents is not None
    assert title["y"] >= contents["y"] + contents["height"], "it hides no title"
