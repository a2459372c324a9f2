"""How the command is called from where a person is."""

import shutil
import sys
from pathlib import Path

NAME = "fmnist-search"


def program() -> str:
    """Return the command as a person can type it: its name if that is on the PATH, else as it was called."""
    called = Path(sys.argv[0])
    if called.name != NAME:  # python -m search, or another program that imports it
        return NAME
    found = shutil.which(NAME)
    return NAME if found and Path(found).resolve() == called.resolve() else str(called)
