"""Takes the README's pictures of a finished study into docs/.

    python docs/screenshots.py STUDY      in the folder where the study ran

Needs Chromium, and the extra `dev`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import launch

HERE = Path(__file__).parent
WIDTH, HEIGHT, PHONE = 1200, 860, 390


def main(study: str) -> None:
    """The pictures are in this folder."""
    page_file = (Path("studies") / study / "report.html").resolve()
    server = subprocess.Popen(["fmnist-search", "dashboard", study, "--port", "8765"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = next(found[0] for line in server.stdout if (found := re.findall(r"http://\S+", line)))
        with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
            browser = launch(playwright, Path(home))
            of_report(browser, page_file.as_uri())
            of_dashboard(browser, address)
    finally:
        server.terminate()


def of_report(browser: Browser, address: str) -> None:
    """The top of the page, the path of the search, and the page on a phone."""
    page = opened(browser, address, WIDTH)
    save(page, "report.png")
    page.locator("#search").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#search').scrollIntoView({behavior: 'instant'})")
    save(page, "search.png")
    page = opened(browser, address, PHONE)
    page.get_by_role("heading", name="Surest mistakes").evaluate("(one) => one.scrollIntoView({behavior: 'instant'})")
    save(page, "phone.png")


def of_dashboard(browser: Browser, address: str) -> None:
    """The winner's page, by the link in the study's note."""
    page = opened(browser, f"{address}/note", WIDTH)
    page.get_by_role("link", name=re.compile(r"^trial \d+$")).first.click()
    page.wait_for_function("[...document.images].filter((one) => one.src.includes('/artifacts/') && one.naturalWidth).length >= 3")
    page.set_viewport_size({"width": WIDTH, "height": 1500})
    save(page, "dashboard.png")


def opened(browser: Browser, address: str, width: int) -> Page:
    """The page, drawn."""
    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return page


def save(page: Page, name: str) -> None:
    """The window as it is now."""
    page.wait_for_timeout(500)  # animations end
    page.screenshot(path=HERE / name)
    print(HERE / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
