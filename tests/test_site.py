"""The site that `make docs` builds: every page, no broken link, and nothing that a browser loads from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.search.tiny import made_once

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "studies/LOG.md": "log",
}
LOADED = re.compile(r"<(?:script|img|iframe|link(?! rel=\"canonical\"))\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\s>]*")

pytestmark = pytest.mark.process


def build_site(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of the pages below `root` into the folder `site`, as `make docs` does."""
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--config-file",
        str(root / "mkdocs.yml"),
        "--site-dir",
        str(site),
    ]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(build, env=quiet, capture_output=True, text=True, timeout=300, check=False)


def make_site(site: Path) -> None:
    """Build this project's site."""
    done = build_site(ROOT, site)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    return made_once(tmp_path_factory, worker_id, "site", make_site)


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} | set(OUTSIDE.values())
    assert {page.stem for page in site.glob("*.html")} == pages | {"404"}
    assert not list(site.rglob("*.py"))


def test_links_that_leave_docs_lead_to_pages(site: Path) -> None:
    assert 'href="index.html#start"' in (site / "tutorial.html").read_text(encoding="utf-8")
    assert 'href="log.html"' in (site / "method.html").read_text(encoding="utf-8")


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    assert [found for page in pages for found in LOADED.findall(page.read_text(encoding="utf-8"))] == []
    sheets = "".join(sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheets) == []


def test_a_broken_link_or_anchor_and_a_forgotten_page_fail(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "studies").mkdir()
    for name in ("mkdocs.yml", *OUTSIDE):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs" / "faq.md").write_text("[a](nowhere.md) [b](data.md#nowhere) [c](../README.md#nowhere)\n")
    (tmp_path / "docs" / "forgotten.md").write_text("# Forgotten\n")
    (tmp_path / "source.py").write_text("")
    (tmp_path / "docs" / "gpu.md").write_text("[d](../source.py) [e](../nowhere.py)\n")
    done = build_site(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    for broken in ("nowhere.md", "data.md#nowhere", "index.md#nowhere", "forgotten.md", "nowhere.py"):
        assert broken in done.stderr, broken
    assert "source.py" not in done.stderr
