"""Small CSV files for tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fmnist.data.raw import Raw
from fmnist.errors import FmnistError

SMALL = ["label", "pixel1", "pixel2", "pixel3", "pixel4"]
HEADER = ",".join(SMALL) + "\n"


def write_text(folder: Path, content: str | bytes, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def listed_pixels(raw: Raw) -> list[list[int]]:
    listed: list[list[int]] = raw.pixels.reshape(len(raw), -1).tolist()
    return listed


def refusal(read: Callable[[Path], Raw], path: Path) -> str:
    with pytest.raises(FmnistError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    return message
