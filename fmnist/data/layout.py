"""Which folders of a data set are splits, told by their names in any case: train, training, test, testing, val, valid,
validation, dev.
"""

import re
from typing import NamedTuple

from fmnist.errors import FmnistError

_SPLIT = re.compile(
    r"(?:(?P<train>train(?:ing)?)|(?P<test>test(?:ing)?)|(?P<validation>val(?:id(?:ation)?)?|dev))[ "
    r"_-]*(?:set|data|images|split)?"
)
_RULE = "A folder of pictures holds one folder for each split, such as train and test, or one for each class"


class Layout(NamedTuple):
    """The folders of the splits, by name."""

    train: str
    test: str | None
    validation: tuple[str, ...]


def split_of(name: str) -> str | None:
    """The split that a folder of that name holds, "train", "test" or "validation"; None where it is no split's name."""
    match = _SPLIT.fullmatch(name.strip().lower())
    return match.lastgroup if match else None


def find_layout(folder: str, names: tuple[str, ...]) -> Layout | None:
    """The splits among the folders called `names` in `folder`; None where none of them is one: they are classes.

    Raises: FmnistError where there is no train split beside the others, or a split is there twice.
    """
    of = {split: [name for name in names if split_of(name) == split] for split in ("train", "test", "validation")}
    if not any(of.values()):
        return None
    for split in ("train", "test"):
        if len(of[split]) > 1:
            raise FmnistError(
                f"{_RULE}; {folder} holds {' and '.join(of[split])}, both for {split}. Join them, or move one away."
            )
    if not of["train"]:
        raise FmnistError(
            f"{_RULE}; {folder} holds {', '.join(names[:8])} and no train. "
            "Move the class folders into a folder train, or rename the one that is a class and no split."
        )
    return Layout(of["train"][0], next(iter(of["test"]), None), tuple(of["validation"]))


def require_outermost(folder: str, paths: list[str]) -> None:
    """No class folder of `folder` has splits in it, as Bag/train and Bag/test are; `paths` are of all files, relative
    to it.

    Raises: FmnistError.
    """
    splits: dict[str, str] = {}  # split -> the first folder of it
    for path in paths:
        class_name, *inner = path.split("/")[:-1]
        if inner and (split := split_of(inner[0])):
            splits.setdefault(split, f"{class_name}/{inner[0]}")
    if len(splits) > 1:
        raise FmnistError(
            f"Splits stand above classes, as train/Bag and test/Bag do; {folder} holds "
            f"{' and '.join(splits.values())}. "
            "Move the pictures, or keep one split only."
        )
