"""Which browser the tests take. As a script, which needs nothing but Python: prints its path, or ends with 1 where
there is none.
"""

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "CHROMIUM"  # the path of one that is elsewhere


def find_chromium() -> str | None:
    """The path of the browser that the environment names, else of the first one installed; None where there is none."""
    named = os.environ.get(VARIABLE)
    return shutil.which(named) if named else next((path for name in NAMES if (path := shutil.which(name))), None)


if __name__ == "__main__":
    found = find_chromium()
    sys.stdout.write(f"{found}\n" if found else "")
    sys.exit(found is None)
