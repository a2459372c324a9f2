"""Take the README's screenshots of a finished study.

    python docs/screenshots.py STUDY      in the folder where the study ran

Needs Chromium and the extra `dev`.
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
    """Write all screenshots to this folder."""
    folder = Path("studies") / study
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        browser = launch(playwright, Path(home))
        shoot_report(browser, (folder / "report.html").resolve().as_uri())
        with serving("dashboard", study, "--port", "8765") as address:
            shoot_dashboard(browser, address)
        with serving("demo", str(folder / "export"), "--port", "8766") as address:
            shoot_demo(browser, address, Path(home) / "garment.png")


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """Run the command and yield its address."""
    server = subprocess.Popen(["fmnist-search", *command], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield next(urls[0] for line in server.stdout if (urls := re.findall(r"http://\S+", line)))
    finally:
        server.terminate()
        server.communicate()


def shoot_report(browser: Browser, address: str) -> None:
    """Save the top of the report, its search section, and the page on a phone."""
    page = opened(browser, address, WIDTH)
    save(page, "report.png")
    page.locator("#search").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#search').scrollIntoView({behavior: 'instant'})")
    save(page, "search.png")
    page = opened(browser, address, PHONE)
    page.get_by_role("heading", name="Surest mistakes").evaluate(
        "(heading) => heading.scrollIntoView({behavior: 'instant'})"
    )
    save(page, "phone.png")


def shoot_dashboard(browser: Browser, address: str) -> None:
    """Save the page of the winning trial, which the note of the study links to."""
    page = opened(browser, f"{address}/note", WIDTH)
    page.get_by_role("link", name=re.compile(r"^trial \d+$")).first.click()
    page.wait_for_function(
        "[...document.images].filter((image) => image.src.includes('/artifacts/') && image.naturalWidth).length >= 3"
    )
    page.set_viewport_size({"width": WIDTH, "height": 1500})
    save(page, "dashboard.png")


def shoot_demo(browser: Browser, address: str, file: Path) -> None:
    """Save the demo with a training image like a product photo: large, and dark on white."""
    pixels = find_source(None, may_download=False, announce=print).train().pixels[3]
    Image.fromarray(255 - np.kron(pixels, np.ones((12, 12), np.uint8))).save(file)
    page = opened(browser, address, WIDTH)
    page.locator("input[type=file]").first.set_input_files(file)
    page.locator(".answer .near img").last.wait_for()
    page.set_viewport_size({"width": WIDTH, "height": 720})
    save(page, "demo.png")


def opened(browser: Browser, address: str, width: int) -> Page:
    """Open the page and wait until it is rendered."""
    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
    page.goto(address)
    page.wait_for_load_state()
    return page


def save(page: Page, name: str) -> None:
    """Save the visible part of the page."""
    page.wait_for_timeout(500)  # for animations to end
    page.screenshot(path=HERE / name)
    print(HERE / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
