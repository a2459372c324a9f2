from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import DESK, PATIENCE, Faults, launch
from tests.browser.find_chromium import find_chromium
from tests.search.tiny import made_once, run_command

TOML = """\
description = "some trials pruned, some over a limit"

[search]
trials = 6
sampler = "random"
pruner = "halving"

[limits]
max_params = 20000

[knobs]
epochs = 4
depth = 1
filters = [4, 8, 64]
batch_norm = true
batch_size = 256
learning_rate = { low = 0.0003, high = 0.03, log = true }
dropout = { low = 0.0, high = 0.4 }

[confirm]
top = 2
seeds = 2

[final]
seeds = 2
epochs = 2
"""
NAME = "seen-synthetic"
KINDS = ("error", "warning")  # of messages that the page must not log
Open = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    is_missing = find_chromium() is None
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
            if is_missing:
                item.add_marker(pytest.mark.skip(reason="Chromium is not installed: make browser-test installs it"))


@pytest.fixture(scope="session")
def reviewed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with a finished study: trials pruned and over a limit, two seeds each in confirm and final."""
    return made_once(tmp_path_factory, worker_id, "reviewed", _run_seen)


def _run_seen(folder: Path) -> None:
    (folder / "seen.toml").write_text(TOML)
    done = run_command(folder, "run", "seen.toml", "--data", "synthetic", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright, tmp_path_factory.mktemp("chromium"))
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Browser) -> Iterator[Open]:
    """Return a function that opens an address in a window; at the end of the test, no page may have had a fault."""
    logs: list[Faults] = []

    def open_page(
        address: str, *, width: int = DESK, script: bool = True, dark: bool = False, kinds: tuple[str, ...] = KINDS
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=script,
            color_scheme="dark" if dark else "light",
        )
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        origin = address.split("/dashboard", maxsplit=1)[0]
        logs.append(Faults((origin,), kinds))
        logs[-1].watch(page)
        page.goto(address)
        return page

    yield open_page
    for context in chromium.contexts:
        context.close()
    assert [line for log in logs for line in log.lines] == []
