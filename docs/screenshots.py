"""Takes the README's pictures of a finished study into docs/.

    python docs/screenshots.py STUDY      in the folder where the study ran

Needs Chromium, and the extra `dev`.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from fmnist.data.sources import find_source
from tests.browser.chromium import launch

HERE = Path(__file__).parent
WIDTH, HEIGHT, PHONE = 1200, 860, 390


def main(study: str) -> None:
    """The pictures are in this folder."""
    folder = Path("studies") / study
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        browser = launch(playwright, Path(home))
        of_report(browser, (folder / "report.html").resolve().as_uri())
        with serving("dashboard", study, "--port", "8765") as address:
            of_dashboard(browser, address)
        with serving("demo", str(folder / "export"), "--port", "8766") as address:
            of_demo(browser, address, Path(home) / "garment.png")


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """The address at which the command answers."""
    server = subprocess.Popen(["fmnist-search", *command], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield next(found[0] for line in server.stdout if (found := re.findall(r"http://\S+", line)))
    finally:
        server.terminate()
        server.communicate()


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
    page.wait_for_function(
        "[...document.images].filter((one) => one.src.includes('/artifacts/') && one.naturalWidth).length >= 3"
    )
    page.set_viewport_size({"width": WIDTH, "height": 1500})
    save(page, "dashboard.png")


def of_demo(browser: Browser, address: str, file: Path) -> None:
    """A training image as a shop would have it: large, and dark on white."""
    pixels = find_source(None, may_download=False, announce=print).train().pixels[3]
    Image.fromarray(255 - np.kron(pixels, np.ones((12, 12), np.uint8))).save(file)
    page = opened(browser, address, WIDTH)
    page.locator("input[type=file]").first.set_input_files(file)
    page.locator(".answer .near img").last.wait_for()
    page.set_viewport_size({"width": WIDTH, "height": 720})
    save(page, "demo.png")


def opened(browser: Browser, address: str, width: int) -> Page:
    """The page, drawn."""
    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
    page.goto(address)
    page.wait_for_load_state()
    return page


def save(page: Page, name: str) -> None:
    """The window as it is now."""
    page.wait_for_timeout(500)  # animations end
    page.screenshot(path=HERE / name)
    print(HERE / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
