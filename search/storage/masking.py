"""Passwords of storage URLs, kept out of whatever a person or a file is shown."""

import re
from urllib.parse import unquote

_IN_URL = re.compile(r"([a-zA-Z][\w+.-]*://[^\s:/?#'\"]*:)([^\s'\"]*)(@)")
_IN_QUERY = re.compile(r"(?i)([?&;](?:[\w-]*passw(?:or)?d|pwd|pass|passphrase|secret|token|odbc_connect)=)[^&;\s'\"]+")


def masked(text: str, url: str = "") -> str:
    """The text with *** in place of every password that a URL in it holds, and of `url`'s password wherever else it
    stands.
    """
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    # Up to the last @: a password with an unescaped @ would else be shown from there on.
    return _IN_QUERY.sub(r"\1***", _IN_URL.sub(r"\1***\3", text))


def _secrets(url: str) -> list[str]:
    # Drivers quote the parts that they could not make sense of, decoded or as they were given.
    found = [match.group(2) for match in _IN_URL.finditer(url)]
    found += [match.group(0).partition("=")[2] for match in _IN_QUERY.finditer(url)]
    pieces = [piece for secret in found for piece in re.split("[@/]", secret) if len(piece) > 3]
    return sorted({*found, *map(unquote, found), *pieces} - {"", "***"}, key=len, reverse=True)
