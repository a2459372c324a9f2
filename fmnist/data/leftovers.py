"""Files that operating systems and tools leave behind in folders of data."""

import os
import re
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path

# In lower case. Hidden files and folders match too: .DS_Store, ._1.png, .AppleDouble, .ipynb_checkpoints, .git.
PATTERNS = (
    ".*", "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "desktop.ini", "thumbs.db", "thumbs.db:encryptable", "ehthumbs*.db", "*:zone.identifier",  # Windows
    "$recycle.bin", "system volume information",
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",  # network drives
    "lost+found", "nohup.out", "__pycache__", "picasa.ini",  # Unix and tools
)  # fmt: skip
# Patterns of files only: a class folder may have such a name.
FILES = ("*~", "~$*", "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.swp")
_CORE = re.compile(r"core\.[0-9]+")  # dump of a crashed process; core.1.png is a picture

_LEFTOVER, _FILE = (re.compile("|".join(map(translate, patterns))) for patterns in (PATTERNS, FILES))


def is_leftover(name: str, *, is_folder: bool = False) -> bool:
    """Return whether a file or folder of that name is ignored, including its content."""
    lower = name.lower()
    if _LEFTOVER.match(lower):
        return True
    return not is_folder and bool(_FILE.match(lower) or _CORE.fullmatch(lower))


def list_files(path: Path, name: str) -> Iterator[str]:
    """Yield the files of the leftover at `path`, named relative to `name`; a folder without files yields `name`."""
    # Links are not followed, and a folder that may not be listed is not an error: none of it is read.
    inside = [
        f"{name}/{Path(top, file).relative_to(path).as_posix()}" for top, _, files in os.walk(path) for file in files
    ]
    yield from (file.encode(errors="backslashreplace").decode() for file in sorted(inside) or [name])
