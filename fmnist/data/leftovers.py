"""What systems and tools leave behind in folders: files that nobody put there as data."""

import os
import re
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path

# In lower case. Hidden files and folders are among them: .DS_Store, ._1.png, .AppleDouble, .ipynb_checkpoints, .git.
PATTERNS = (
    ".*", "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "desktop.ini", "thumbs.db", "thumbs.db:encryptable", "ehthumbs*.db", "*:zone.identifier", "~$*",  # Windows and Office
    "$recycle.bin", "system volume information",
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",  # network drives
    "lost+found", "*~", "nohup.out", "core.[0-9]*",  # Unix
    "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.swp", "__pycache__", "picasa.ini",  # tools
)  # fmt: skip

_LEFTOVER = re.compile("|".join(map(translate, PATTERNS)))


def is_leftover(name: str) -> bool:
    """Whether a file or folder of that name is ignored, with all that is in it."""
    return _LEFTOVER.match(name.lower()) is not None


def files_of(path: Path, name: str) -> Iterator[str]:
    """The files of the leftover at `path`, each as `name` and what follows; a folder that shows none is one itself."""
    # Links are not followed, and what may not be looked into is no error: nothing of it is read.
    inside = [f"{name}/{Path(top, file).relative_to(path).as_posix()}" for top, _, files in os.walk(path) for file in files]
    yield from (file.encode(errors="backslashreplace").decode() for file in sorted(inside) or [name])
