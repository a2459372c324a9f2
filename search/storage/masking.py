"""Mask the passwords of storage URLs in messages and files."""

import re
from urllib.parse import unquote

_IN_URL = re.compile(r"([a-zA-Z][\w+.-]*://[^\s:/?#'\"]*:)([^\s'\"]*)(@)")
_IN_QUERY = re.compile(r"(?i)([?&;](?:[\w-]*passw(?:or)?d|pwd|pass|passphrase|secret|token|odbc_connect)=)[^&;\s'\"]+")


def masked(text: str, url: str = "") -> str:
    """Return the text with *** in place of the passwords of URLs in it, and of every copy of `url`'s password."""
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    # Up to the last @: otherwise the rest of a password with an unescaped @ would be shown.
    return _IN_QUERY.sub(r"\1***", _IN_URL.sub(r"\1***\3", text))


def _secrets(url: str) -> list[str]:
    # Drivers quote the parts of a URL that they could not parse, either decoded or unchanged.
    secrets = [match.group(2) for match in _IN_URL.finditer(url)]
    secrets += [match.group(0).partition("=")[2] for match in _IN_QUERY.finditer(url)]
    pieces = [piece for secret in secrets for piece in re.split("[@/]", secret) if len(piece) > 3]
    return sorted({*secrets, *map(unquote, secrets), *pieces} - {"", "***"}, key=len, reverse=True)
