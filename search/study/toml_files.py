"""The text of study files, and TOML read from text."""

import re
import tomllib
from pathlib import Path
from typing import Any

from fmnist.files import read_file
from fmnist.refusals import shown
from search.errors import SearchError

LARGEST = 2**16  # bytes of a file; the shipped ones have less than 2,000
DEEPEST = 100  # dots in a key


def read_text(path: Path) -> str:
    """Return the text of a study file.

    Raises: SearchError if it cannot be read, or is no text.
    """
    try:
        return read_file(path, LARGEST).decode("utf-8-sig")  # some Windows editors write a byte order mark
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1} is {error.object[error.start]:#04x}"
        raise SearchError(
            f"The study file {shown(str(path))} cannot be read: it must be text in UTF-8, {place}. Save it as UTF-8."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SearchError(f"The study file {shown(str(path))} cannot be read: {reason}. Check the path.") from None


def read_toml(text: str, context: str) -> dict[str, Any]:
    """Return the values of a TOML text.

    Raises: SearchError, whose message begins with `context`.
    """
    # tomllib stores every prefix of a dotted key: some thousand dots would fill the memory.
    if max(part.count(".") for part in re.split("[,\n]", text)) > DEEPEST:
        raise SearchError(f"{context}: not valid TOML: a key must have at most {DEEPEST} dots.")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    except ValueError:  # Python limits the digits of an integer
        reason = "a number has too many digits"
    except RecursionError:
        reason = "lists or tables are nested too deeply"
    raise SearchError(f"{context}: not valid TOML: {reason}.")
