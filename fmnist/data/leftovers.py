"""What systems and tools leave behind in folders: files that nobody put there as data."""

import os
import re
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path

# In lower case. Hidden files and folders are among them: .DS_Store, ._1.png, .AppleDouble, .ipynb_checkpoints, .git.
PATTERNS = (
    ".*", "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "desktop.ini", "thumbs.db", "thumbs.db:encryptable", "ehthumbs*.db", "*:zone.identifier",  # Windows
    "$recycle.bin", "system volume information",
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",  # network drives
    "lost+found", "nohup.out", "__pycache__", "picasa.ini",  # Unix and tools
)  # fmt: skip
FILES = ("*~", "~$*", "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.swp")  # a class may be called so
_CORE = re.compile(r"core\.[0-9]+")  # of a process that crashed; core.1.png is a picture

_LEFTOVER, _FILE = (re.compile("|".join(map(translate, patterns))) for patterns in (PATTERNS, FILES))


def is_leftover(name: str, *, is_folder: bool = False) -> bool:
    """Whether a file or folder of that name is ignored, with all that is in it."""
    lower = name.lower()
    if _LEFTOVER.match(lower):
        return True
    return not is_folder and bool(_FILE.match(lower) or _CORE.fullmatch(lower))


def files_of(path: Path, name: str) -> Iterator[str]:
    """The files of the leftover at `path`, each as `name` and what follows; a folder that shows none is one itself."""
    # Links are not followed, and what may not be looked into is no error: nothing of it is read.
    inside = [
        f"{name}/{Path(top, file).relative_to(path).as_posix()}" for top, _, files in os.walk(path) for file in files
    ]
    yield from (file.encode(errors="backslashreplace").decode() for file in sorted(inside) or [name])
