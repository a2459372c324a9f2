"""What MkDocs calls when it builds the site: files outside docs/ that pages link to become pages or files of the site.

So a link is written once, as GitHub follows it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "studies/LOG.md": "log.md",
}  # path in the repository -> path in the site
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")  # the file of a link or picture that is neither a URL nor an anchor


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    for path, address in PAGES.items():
        files.append(File.generated(config, address, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page, which are relative to its place in the repository, to places in the site."""
    folder = Path(page.file.abs_src_path or ROOT).parent.relative_to(ROOT).as_posix()
    return LINK.sub(lambda link: place(posixpath.normpath(f"{folder}/{link[1]}"), config, files), markdown)


def place(path: str, config: MkDocsConfig, files: Files) -> str:
    """Return where in the site a file of the repository is; the file becomes part of the site if it was not."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in PAGES:
        return PAGES[path]
    if files.get_file_from_path(path) is None and (ROOT / path).is_file():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return path
