"""A real Chromium, headless, and what it has to complain of."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

from tests.browser.find_chromium import find_chromium

PHONE, DESK = 390, 1280  # pixels
READABLE = 11  # pixels: the smallest letters


def launch(playwright: Playwright, home: Path) -> Browser:
    """The browser with a home of its own."""
    folder = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    path = find_chromium()
    assert path is not None
    return playwright.chromium.launch(
        executable_path=path, args=["--no-sandbox", "--disable-gpu"], env={**os.environ, **folder}
    )


@dataclass
class Complaints:
    """What a page logged as a warning or an error, threw, or could not load; and where else it asked."""

    allowed: tuple[str, ...]  # beginnings of addresses
    kinds: tuple[str, ...] = ("error", "warning")
    found: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """All that the page does from now on is seen."""
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.found.append(f"thrown: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in self.kinds:
            self.found.append(f"{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left while an answer was on its way
            self.found.append(f"failed: {request.url} {request.failure}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((*self.allowed, "data:", "blob:")):
            self.found.append(f"asked elsewhere: {request.url}")


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


DRAWN = ".trace path, .trace .point, .hm image, .parcoords canvas, canvas.gl-canvas, .slice, .bars path, .js-line"


def drawn_marks(page: Page) -> dict[str, int]:
    """How many points, bars, lines and cells stand in each of the page's Plotly figures."""
    every = "[...document.querySelectorAll('.js-plotly-plot')]"
    found: dict[str, int] = page.evaluate(
        f"Object.fromEntries({every}.map((one, i) => [one.id || String(i), one.querySelectorAll('{DRAWN}').length]))"
    )
    return found
