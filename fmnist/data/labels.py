"""Labels as written in the data -> classes 0 .. C-1 with their names, by scikit-learn's LabelEncoder."""

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
    """Return the labels normalized ("7" for "07", accents composed) and renamed; "" for a missing label.

    Shape: str [N].
    """
    distinct, code_of_row = np.unique(labels, return_inverse=True)
    composed_rename = {composed(label): composed(name) for label, name in rename.items()}
    renamed = [_renamed(composed(str(label)), composed_rename) for label in distinct]
    return np.array(renamed, dtype=np.str_)[code_of_row]


def composed(name: str) -> str:
    """Return the name in Unicode's form NFC, in which a letter with an accent is one character."""
    return unicodedata.normalize("NFC", name)


def explain_difference(name: str, near: str) -> str:
    """Return a sentence on the first character that differs, after a blank; "" if the difference is visible."""
    pairs = enumerate(zip_longest(name, near, fillvalue=""), start=1)
    place, chars = next(((place, pair) for place, pair in pairs if pair[0] != pair[1]), (0, ("", "")))
    if not any(char.isspace() or not char.isascii() for char in chars):
        return ""
    first, second = (
        f"U+{ord(char):04X} {unicodedata.name(char, 'without a name')}" if char else "nothing" for char in chars
    )
    return f" They differ in character {place}: {first} in the former, {second} in the latter."


def nearest_class(name: str, others: Iterable[str]) -> str:
    """Return a hint which of `others` is probably meant by `name`; it explains a difference that is hard to see."""
    options = sorted(others)
    near = nearest(name, options)
    return did_you_mean(name, options) + (explain_difference(name, near) if near else "")


def require_renamed(rename: Mapping[str, str], raws: Sequence[Raw], where: str) -> None:
    """Check that every label to rename exists.

    Raises: FmnistError naming one that does not.
    """
    present = {_plain(str(label)) for raw in raws for label in np.unique(raw.labels)} - {""}
    for label in rename:
        if _plain(label) not in present:
            raise FmnistError(
                f"cleaning.rename must name labels of the data; no image of {where} has the label {label!r}. "
                f"{nearest_class(label, present)}"
            )


def class_order(declared: Iterable[str], present: Iterable[str]) -> tuple[str, ...]:
    """Return all classes in the order of their codes.

    Numbers are ordered by value; otherwise the declared classes come first, as declared, then the others by name.
    """
    names = dict.fromkeys(declared)  # an ordered set
    names.update(dict.fromkeys(sorted(present)))
    names.pop("", None)
    return tuple(sorted(names, key=int)) if _are_numbers(names) else tuple(names)


def require_classes(labels: NDArray[np.str_], classes: tuple[str, ...], where: str) -> None:
    """Check that every class has images, and that their number and names are valid.

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
    _require_valid(classes, where)


def are_class_names(names: Sequence[str]) -> bool:
    """Return whether a model may have classes of these names; NAMES states the rule."""
    are_valid = all(name.isprintable() and len(name) <= LONGEST_NAME for name in names)
    return are_valid and FEWEST_CLASSES <= len(names) == len(set(names)) <= MOST_CLASSES


def encode(labels: NDArray[np.str_], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return each label's index in `classes`, which must contain every label. Shape: str [N] -> int64 [N]."""
    from sklearn.preprocessing import LabelEncoder  # a second to import, not needed by a trained model

    encoder = LabelEncoder().fit(classes)  # sorts the classes alphabetically
    index = np.array([classes.index(name) for name in encoder.classes_], np.int64)
    return np.asarray(index[encoder.transform(labels).astype(np.int64)])


def _renamed(label: str, rename: Mapping[str, str]) -> str:
    plain = _plain(label)
    return rename.get(label, rename.get(plain, plain))


def _plain(label: str) -> str:
    label = composed(label)
    return str(int(label)) if _WHOLE.fullmatch(label) else label


def _are_numbers(names: Iterable[str]) -> bool:
    return all(_WHOLE.fullmatch(name) for name in names)


def _require_valid(classes: tuple[str, ...], where: str) -> None:
    if len(classes) > MOST_CLASSES:
        first_names = ", ".join(repr(name) for name in classes[:3])
        raise FmnistError(
            f"There must be at most {MOST_CLASSES} classes; {where} has {len(classes):,} different labels: "
            f"{first_names} ... Is another column the label? Keep some with cleaning.classes, or merge some with "
            "cleaning.rename."
        )
    if len(classes) < FEWEST_CLASSES:
        received = f"only {classes[0]!r}" if classes else "no label at all"
        raise FmnistError(
            f"There must be at least {FEWEST_CLASSES} classes to distinguish; {where} has {received}. Add images of "
            "another class."
        )
    for name in classes:
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise FmnistError(
                f"A class name must be at most {LONGEST_NAME} printable characters; {where} has {name[:40]!r} "
                f"({len(name):,} characters). Rename it with cleaning.rename."
            )
