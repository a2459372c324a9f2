"""Labels as people write them -> classes 0 .. C-1 with their names, by scikit-learn's LabelEncoder."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from fmnist.data.raw import Raw
from fmnist.errors import FmnistError
from fmnist.suggestions import did_you_mean, nearest

FEWEST_CLASSES, MOST_CLASSES = 2, 100
LONGEST_NAME = 100  # characters
NAMES = f"{FEWEST_CLASSES} to {MOST_CLASSES} names, all different, of at most {LONGEST_NAME} printable characters"
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def written_labels(labels: NDArray[np.str_], rename: Mapping[str, str]) -> NDArray[np.str_]:
    """The labels as read, numbers in one form ("7" for "07"), accents in one form, and renamed; "" where there is none.
    Shape: str [N].
    """
    written, row_of = np.unique(labels, return_inverse=True)
    composed_rename = {composed(label): composed(name) for label, name in rename.items()}
    renamed = [_renamed(composed(str(label)), composed_rename) for label in written]
    return np.array(renamed, dtype=np.str_)[row_of]


def composed(name: str) -> str:
    """The name with each accent and its letter as one character: what looks the same and means the same is the same."""
    return unicodedata.normalize("NFC", name)


def what_differs(name: str, near: str) -> str:
    """Where two names that look alike differ, as a sentence with a blank before it; "" where one sees it."""
    pairs = enumerate(zip_longest(name, near, fillvalue=""), start=1)
    place, chars = next(((place, pair) for place, pair in pairs if pair[0] != pair[1]), (0, ("", "")))
    if not any(char.isspace() or not char.isascii() for char in chars):
        return ""
    one, other = (
        f"U+{ord(char):04X} {unicodedata.name(char, 'without a name')}" if char else "nothing" for char in chars
    )
    return f" They differ in character {place}: {one} in the former, {other} in the latter."


def nearest_class(name: str, others: Iterable[str]) -> str:
    """The hint which of `others` is meant by `name`, and what differs where one does not see it."""
    options = sorted(others)
    near = nearest(name, options)
    return did_you_mean(name, options) + (what_differs(name, near) if near else "")


def require_renamed(rename: Mapping[str, str], raws: Sequence[Raw], where: str) -> None:
    """Every label that is to be renamed is there.

    Raises: FmnistError naming one that is not.
    """
    present = {_plain(str(label)) for raw in raws for label in np.unique(raw.labels)} - {""}
    for label in rename:
        if _plain(label) not in present:
            raise FmnistError(
                f"cleaning.rename names the label {label!r}, which no image of {where} has. "
                f"{nearest_class(label, present)}"
            )


def class_order(declared: Iterable[str], present: Iterable[str]) -> tuple[str, ...]:
    """All classes in the order of their codes: numbers by value, else those that are declared as declared, then the
    others by name.
    """
    names = dict.fromkeys(declared)  # a set that keeps the order
    names.update(dict.fromkeys(sorted(present)))
    names.pop("", None)
    return tuple(sorted(names, key=int)) if _are_numbers(names) else tuple(names)


def require_classes(labels: NDArray[np.str_], classes: tuple[str, ...], where: str) -> None:
    """There are images of every class, and neither too few classes nor too many.

    Raises: FmnistError.
    """
    present = set(np.unique(labels).tolist())
    if empty := [name for name in classes if name not in present]:
        others = present - set(classes)
        hint = nearest_class(empty[0], others) if others else "Add images, or remove the class."
        raise FmnistError(
            f"Every class must have images; {empty[0]!r} has none in {where}{'' if others else ' after cleaning'}. "
            f"{hint}"
        )
    _require_fit(classes, where)


def are_class_names(names: Sequence[str]) -> bool:
    """Whether a model may have classes of these names: NAMES says the rule."""
    are_names = all(name.isprintable() and len(name) <= LONGEST_NAME for name in names)
    return are_names and FEWEST_CLASSES <= len(names) == len(set(names)) <= MOST_CLASSES


def encode(labels: NDArray[np.str_], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Each label's class, by its place in `classes`; every label must be one of them. Shape: str [N] -> int64 [N]."""
    from sklearn.preprocessing import LabelEncoder  # a second to import, and a trained model needs none of it

    encoder = LabelEncoder().fit(classes)  # in its own order, by letter
    place = np.array([classes.index(name) for name in encoder.classes_], np.int64)
    return np.asarray(place[encoder.transform(labels).astype(np.int64)])


def _renamed(label: str, rename: Mapping[str, str]) -> str:
    plain = _plain(label)
    return rename.get(label, rename.get(plain, plain))


def _plain(label: str) -> str:
    label = composed(label)
    return str(int(label)) if _WHOLE.fullmatch(label) else label


def _are_numbers(names: Iterable[str]) -> bool:
    return all(_WHOLE.fullmatch(name) for name in names)


def _require_fit(classes: tuple[str, ...], where: str) -> None:
    if len(classes) > MOST_CLASSES:
        some = ", ".join(repr(name) for name in classes[:3])
        raise FmnistError(
            f"There may be at most {MOST_CLASSES} classes; {where} has {len(classes):,} different labels: {some} ... "
            "Is another column the label? Keep some with cleaning.classes, or join some with cleaning.rename."
        )
    if len(classes) < FEWEST_CLASSES:
        found = f"only {classes[0]!r}" if classes else "no label at all"
        raise FmnistError(
            f"There must be at least {FEWEST_CLASSES} classes to tell apart; {where} has {found}. Add images of "
            "another class."
        )
    for name in classes:
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise FmnistError(
                f"A class's name must be at most {LONGEST_NAME} printable characters; {where} has {name[:40]!r} "
                f"({len(name):,} characters). Give it another with cleaning.rename."
            )
