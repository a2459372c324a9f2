"""Find the browser for the tests. As a script, it prints the path, or exits with 1 if there is no browser."""

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "CHROMIUM"  # environment variable with the path of a browser


def find_chromium() -> str | None:
    """Return the path of the browser in the environment variable, otherwise of the first installed one, or None."""
    named = os.environ.get(VARIABLE)
    return shutil.which(named) if named else next((path for name in NAMES if (path := shutil.which(name))), None)


if __name__ == "__main__":
    browser = find_chromium()
    sys.stdout.write(f"{browser}\n" if browser else "")
    sys.exit(browser is None)
