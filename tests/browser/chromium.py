"""A headless Chromium, and a log of the errors and requests of its pages."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

from tests.browser.find_chromium import find_chromium

PHONE, DESK = 390, 1280  # pixels
PATIENCE = 180_000  # milliseconds that a loaded machine may take for what takes it one
READABLE = 11  # pixels: the smallest letters


def launch(playwright: Playwright, home: Path) -> Browser:
    """Start the browser with `home` as its home folder."""
    folder = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    path = find_chromium()
    assert path is not None
    return playwright.chromium.launch(
        executable_path=path, args=["--no-sandbox", "--disable-gpu"], env={**os.environ, **folder}
    )


@dataclass
class Faults:
    """The errors, warnings and failed requests of a page, and its requests to other hosts."""

    allowed: tuple[str, ...]  # beginnings of addresses
    kinds: tuple[str, ...] = ("error", "warning")
    lines: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Record all faults of the page from now on."""
        page.on("console", self._on_message)
        page.on("pageerror", lambda error: self.lines.append(f"thrown: {error}"))
        page.on("requestfailed", self._on_failure)
        page.on("request", self._on_request)

    def _on_message(self, message: ConsoleMessage) -> None:
        if message.type in self.kinds:
            self.lines.append(f"{message.type}: {message.text}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was closed during a request
            self.lines.append(f"failed: {request.url} {request.failure}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((*self.allowed, "data:", "blob:")):
            self.lines.append(f"request to another host: {request.url}")


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def smallest_letters(page: Page, where: str) -> float:
    """Return the size of the smallest letters of the elements that the selector `where` finds, in pixels."""
    sizes = "(all) => all.map((element) => parseFloat(getComputedStyle(element).fontSize))"
    return float(min(page.locator(where).evaluate_all(sizes)))


DRAWN = ".trace path, .trace .point, .hm image, .parcoords canvas, canvas.gl-canvas, .slice, .bars path, .js-line"


def drawn_marks(page: Page) -> dict[str, int]:
    """Return the number of points, bars, lines and cells in each Plotly figure of the page, once ours are drawn."""
    page.wait_for_function("document.querySelectorAll('.figure:not(.js-plotly-plot)').length === 0")
    plots = "[...document.querySelectorAll('.js-plotly-plot')]"
    counts: dict[str, int] = page.evaluate(
        f"Object.fromEntries({plots}.map((plot, i) => [plot.id || String(i), plot.querySelectorAll('{DRAWN}').length]))"
    )
    return counts
