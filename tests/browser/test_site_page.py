"""The site of the docs in a browser, its pages opened as files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.chromium import DESK, PATIENCE, PHONE, Faults, overflow
from tests.test_site import make_site

pytestmark = pytest.mark.process


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    make_site(folder)
    return folder


@pytest.fixture(params=[(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, chromium: Browser, site: Path) -> Iterator[Page]:
    """A window, whose pages may have no fault and load nothing that is not of the site."""
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    page, faults = context.new_page(), Faults((site.as_uri(),))
    faults.watch(page)
    yield page
    context.close()
    assert faults.lines == []


def test_every_page_fits_its_window(page: Page, site: Path) -> None:
    for file in sorted(set(site.glob("*.html")) - {site / "404.html"}):  # a page of servers
        page.goto(file.as_uri())
        assert overflow(page) == 0, file.name


def test_the_search_finds_a_page_without_a_server(page: Page, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("/")  # the theme's key for it
    page.locator(".md-search__input").press_sequentially("teachers")
    page.locator(".md-search-result__link", has_text="Studies").first.click()
    page.wait_for_url("**/studies.html*")
