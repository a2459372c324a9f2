"""Find the folders of a data set that are splits by their names: train, training, test, testing, val, validation, dev.

Capitals do not matter, and "set", "data", "images" or "split" may follow the name.
"""

import re
from typing import NamedTuple

from fmnist.errors import FmnistError

_SPLIT = re.compile(
    r"(?:(?P<train>train(?:ing)?)|(?P<test>test(?:ing)?)|(?P<validation>val(?:id(?:ation)?)?|dev))[ "
    r"_-]*(?:set|data|images|split)?"
)
_RULE = "A folder of pictures must hold one folder for each split, such as train and test, or one for each class"


class Layout(NamedTuple):
    """The folders of the splits, by name."""

    train: str
    test: str | None
    validation: tuple[str, ...]


def split_of(name: str) -> str | None:
    """Return the split that a folder of that name holds, "train", "test" or "validation", or None."""
    match = _SPLIT.fullmatch(name.strip().lower())
    return match.lastgroup if match else None


def find_layout(folder: str, names: tuple[str, ...]) -> Layout | None:
    """Return the splits among the folders called `names` in `folder`, None if there are only classes.

    Raises: FmnistError if other splits have no train split beside them, or a split exists twice.
    """
    folders_of = {
        split: [name for name in names if split_of(name) == split] for split in ("train", "test", "validation")
    }
    if not any(folders_of.values()):
        return None
    for split in ("train", "test"):
        if len(folders_of[split]) > 1:
            raise FmnistError(
                f"{_RULE}; {folder} holds {' and '.join(folders_of[split])}, both for {split}. Merge them, or move one "
                "away."
            )
    if not folders_of["train"]:
        raise FmnistError(
            f"{_RULE}; {folder} holds {', '.join(names[:8])} and no train. "
            "Move the class folders into a folder train, or rename the folder that is a class and not a split."
        )
    return Layout(folders_of["train"][0], next(iter(folders_of["test"]), None), tuple(folders_of["validation"]))


def require_outermost(folder: str, paths: list[str]) -> None:
    """Check that no class folder holds splits, as in Bag/train and Bag/test; `paths` of all files are relative to it.

    Raises: FmnistError.
    """
    splits: dict[str, str] = {}  # split -> its first folder
    for path in paths:
        class_name, *inner = path.split("/")[:-1]
        if inner and (split := split_of(inner[0])):
            splits.setdefault(split, f"{class_name}/{inner[0]}")
    if len(splits) > 1:
        raise FmnistError(
            f"Splits must be above classes, as in train/Bag and test/Bag; {folder} holds "
            f"{' and '.join(splits.values())}. Move the pictures, or keep only one split."
        )
