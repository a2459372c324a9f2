"""NumPy's .npz files: arrays of images and labels by name, for one split or both."""

import math
import zipfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.data.flat import flat_side, readings
from fmnist.data.images import Images
from fmnist.data.npz_members import SAVE_AGAIN, Member, array_of, damage_named, header_of, members_of
from fmnist.data.pictures import opaque
from fmnist.data.preparation import Preparation
from fmnist.data.raw import MISSING_WORDS, Raw
from fmnist.data.scale import BYTE, Extent, extent_of, how_to_state, merged, to_greys
from fmnist.errors import FmnistError
from fmnist.memory import require_memory
from fmnist.suggestions import did_you_mean

TRAIN = (
    ("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("pixels", "labels"),
    ("x", "y"), ("data", "target"),
)  # fmt: skip
TEST = (("x_test", "y_test"), ("test_images", "test_labels"))
NAMES = "class_names"
PICTURES = "prepared_by_fmnist_search"  # the key of what `write_npz` says of the pictures
LONGEST_RECORD = 4_000  # bytes of it
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # of red, green and blue, as Pillow weighs them, in 65,536ths
_CHUNK = 1 << 24  # values that are checked at once


def read_npz(path: Path, *, white: float | None = None) -> tuple[Raw, Raw | None]:
    """The rows of the train split and, where the file has one, of the test split; what else it holds is listed as
    ignored.

    Pixels are whole numbers from 0 to 255, or any numbers from 0 to `white` where the study states it.

    Raises: FmnistError naming file, key and row where the file is damaged, lacks arrays, or holds what are no images or
    labels.
    """
    if not path.is_file():
        raise FmnistError(
            f"A file of arrays is needed; {path} {'is a folder' if path.is_dir() else 'does not exist'}. Name an .npz "
            "file."
        )
    with damage_named(path):
        archive = zipfile.ZipFile(path)
    with archive:
        members = members_of(path, archive)
        train, test = _train_pair(path, members), _test_pair(path, members)
        used = {*train, *(test or ()), *({NAMES, PICTURES} & members.keys())}
        headers = {key: header_of(path, archive, members[key]) for key in sorted(used)}
        require_memory(sum(header.memory for header in headers.values()), str(path))
        names = _class_names(archive, headers[NAMES]) if NAMES in used else ()
        preparation = _preparation(archive, headers[PICTURES]) if PICTURES in used else None
        if preparation and white == preparation.white:
            white = None  # the pixels have been brought to greys by it already
        ignored = tuple(sorted(members.keys() - used))
        pairs = (train, test) if test else (train,)
        splits = [_split(archive, headers[images], headers[labels], names, white) for images, labels in pairs]
    whole = [replace(split, ignored=ignored, preparation=preparation) for split in splits]
    return whole[0], whole[1] if test else None


def read_preparation(path: Path) -> Preparation | None:
    """What the file says of how its pictures were prepared, as `write_npz` wrote it; None where it says nothing.

    Raises: FmnistError.
    """
    with damage_named(path), zipfile.ZipFile(path) as archive:
        members = members_of(path, archive)
        return _preparation(archive, header_of(path, archive, members[PICTURES])) if PICTURES in members else None


def write_npz(path: Path, train: Images, test: Images, preparation: Preparation | None = None) -> None:
    """`path` holds both splits as `read_npz` reads them, whole or not at all; a file that was there is replaced.

    Raises: FmnistError where it cannot be written.
    """
    about: dict[str, Any] = {NAMES: np.array(train.class_names, np.str_)}
    if preparation:
        about[PICTURES] = np.array([preparation.model_dump_json()])
    try:
        with TemporaryDirectory(dir=path.parent, prefix="writing-") as scratch:
            whole = Path(scratch) / "whole.npz"
            np.savez_compressed(
                whole, x_train=train.pixels, y_train=train.labels, x_test=test.pixels, y_test=test.labels, **about
            )
            whole.replace(path)
    except OSError as error:
        raise FmnistError(
            f"{path} must be writable: {error.strerror}. Name a file in a folder that is there and that you may write."
        ) from error


def _train_pair(path: Path, members: dict[str, zipfile.ZipInfo]) -> tuple[str, str]:
    if (pair := _pair(members, TRAIN)) is None:
        valid = [" + ".join(pair) for pair in TRAIN]
        found = ", ".join(members) or "no array"
        raise FmnistError(
            f"{path} must hold images and their labels by a pair of keys; got {found}. "
            f"{did_you_mean(' + '.join(members), valid)}"
        )
    return pair


def _test_pair(path: Path, members: dict[str, zipfile.ZipInfo]) -> tuple[str, str] | None:
    pair = _pair(members, TEST)
    for images, labels in TEST if pair is None else ():
        if images in members or labels in members:
            raise FmnistError(
                f"{path} must hold {images} and {labels} or neither; got {', '.join(members)}. Add what is missing."
            )
    return pair


def _pair(members: dict[str, zipfile.ZipInfo], pairs: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    return next((pair for pair in pairs if members.keys() >= set(pair)), None)


def _split(
    archive: zipfile.ZipFile, images: Member, labels: Member, names: tuple[str, ...], white: float | None
) -> Raw:
    if images.shape[0] != labels.shape[0]:
        raise images.wrong(
            f"every image needs a label; got {images.shape[0]:,} images and {labels.shape[0]:,} {labels.key}."
        )
    pixels, missing, extent = _pixels(archive, images, white)
    return Raw(pixels, _labels(archive, labels, names), missing, classes=names, extents=(extent,))


def _pixels(
    archive: zipfile.ZipFile, member: Member, white: float | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None, Extent]:
    """Shape: pixels and missing [N, H, W]; None where no pixel is missing."""
    if member.dtype.kind not in "uif":
        raise member.wrong(
            f"greys from 0 to 255 are wanted; got {member.dtype}. Save them as uint8, with 0 for black and 255 for "
            "white."
        )
    shape = _layout(member)
    array = array_of(archive, member).reshape(shape)
    if array.dtype == np.uint8 and array.ndim == 3 and not white:
        return array, None, extent_of(array, BYTE)
    pixels, missing = np.zeros(shape[:3], np.uint8), np.zeros(shape[:3], np.bool_)
    extent = extent_of(np.zeros(1, array.dtype), white or BYTE, is_stated=white is not None)
    step = max(1, _CHUNK // math.prod(shape[1:]))
    for start in range(0, len(array), step):
        rows = np.s_[start : start + step]
        unknown = np.isnan(array[rows])
        known = np.where(unknown, 0, array[rows])
        wrong = (known < 0) | (known > white) if white else (known < 0) | (known > BYTE) | (known != np.floor(known))
        if wrong.any():
            row, *place = np.unravel_index(wrong.argmax(), wrong.shape)
            raise _wrong_pixel(member, array, (start + int(row), *map(int, place)), white)
        pixels[rows], missing[rows] = (
            _grey(to_greys(known, white or BYTE)),
            unknown if array.ndim == 3 else unknown.any(axis=3),
        )
        extent = merged(extent, extent_of(known.astype(array.dtype), white or BYTE, is_stated=white is not None))
    pixels[missing] = 0
    return pixels, missing if missing.any() else None, extent


def _layout(member: Member) -> tuple[int, ...]:
    """What the array is reshaped to: [N, H, W], or [N, H, W, 3 or 4] where it has colours."""
    count, *sides = member.shape
    match sides:
        case [length] if side := flat_side(length):
            return count, side, side
        case [length]:
            raise member.wrong(
                f"a row of numbers must be an image of one shape, [N, H x H] in grey; got {list(member.shape)}: "
                f"{readings(length)}. "
                "Reshape the array to [N, H, W], or to [N, H, W, 3 or 4] of colours."
            )
        case [height, width] | [height, width, 1] | [1, height, width]:
            return count, height, width
        case [_, _, 3 | 4]:
            return member.shape
    raise member.wrong(
        f"images are wanted as [N, H, W], [N, H x H] or with 1, 3 or 4 channels; got {list(member.shape)}. Reshape "
        "them."
    )


def _grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shape: [N, H, W] as it is, [N, H, W, 3 or 4] -> [N, H, W]; as a picture's file with these values is read."""
    if values.ndim == 3:
        return values
    grey = ((values[..., :3].astype(np.uint32) @ _LUMA + 0x8000) >> 16).astype(np.uint8)
    return (
        grey
        if values.shape[3] == 3
        else np.array([opaque(one, alpha) for one, alpha in zip(grey, values[..., 3], strict=True)])
    )


def _wrong_pixel(member: Member, array: NDArray[Any], at: tuple[int, ...], white: float | None) -> FmnistError:
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    rule = f"a number from 0 to {white:g}, which cleaning.white says" if white else "a whole number from 0 to 255"
    is_share = array.dtype.kind == "f" and low >= 0 and high <= 1
    hint = (
        "All lie between 0 and 1: multiply by 255 and round."
        if is_share
        else "Bring the pixels to that range, as uint8."
    )
    found = f"All pixels are from {low:,g} to {high:,g}. {how_to_state(low, high)}".rstrip()
    return member.wrong(f"pixel {list(at[1:])} must be {rule}; got {array[at]}. {hint} {found}", at[0])


def _labels(archive: zipfile.ZipFile, member: Member, names: tuple[str, ...]) -> NDArray[np.str_]:
    """Shape: [N]; "" where there is none."""
    array = array_of(archive, member)
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "buif":
        array = _from_one_hot(member, array)
    if array.size != len(array):
        raise member.wrong(
            f"labels are wanted as [N], or one-hot as [N, classes]; got {list(array.shape)}. Reshape them."
        )
    flat = array.reshape(-1)
    _, first, which = np.unique(flat, return_index=True, return_inverse=True)
    return np.array([_label(member, flat, int(row), names) for row in first], np.str_)[which]


def _from_one_hot(member: Member, array: NDArray[Any]) -> NDArray[np.int64]:
    is_one = array == 1
    right = (is_one | (array == 0)).all(axis=1) & (is_one.sum(axis=1) == 1)
    if not right.all():
        row = int(right.argmin())
        raise member.wrong(
            f"a row of one-hot labels is 0 but for one 1; got {array[row].tolist()[:20]}. Save the labels as [N].", row
        )
    return np.asarray(is_one.argmax(axis=1), np.int64)


def _label(member: Member, array: NDArray[Any], row: int, names: tuple[str, ...]) -> str:
    if array.dtype.kind in "SU":
        word = _word(member, array, row)
        return "" if word.lower() in MISSING_WORDS else word
    value = array[row]
    if np.isnan(value):
        return ""
    if array.dtype.kind == "f" and not (abs(float(value)) < 2**53 and float(value).is_integer()):
        raise member.wrong(f"a label is a whole number or a name; got {value}. Correct it.", row)
    if names and not 0 <= value < len(names):
        raise member.wrong(
            f"a label says which of {len(names)} {NAMES} is meant, from 0; got {value}. Correct it.", row
        )
    return names[int(value)] if names else str(int(value))


def _word(member: Member, array: NDArray[Any], row: int) -> str:
    # From its bytes, for NumPy fails with other than an error of text where they are no characters.
    encoding = {"|": "utf-8", "<": "utf-32-le", ">": "utf-32-be"}[array.dtype.str[0]]
    try:
        return array[row : row + 1].tobytes().decode(encoding).rstrip("\0").strip()
    except UnicodeDecodeError as error:
        raise member.wrong(f"text must be {encoding.upper()}: {error}. {SAVE_AGAIN}.", row) from error


def _class_names(archive: zipfile.ZipFile, member: Member) -> tuple[str, ...]:
    if member.dtype.kind not in "SU" or len(member.shape) != 1:
        raise member.wrong(
            f"one string for each class is wanted; got {member.dtype} {list(member.shape)}. {SAVE_AGAIN}."
        )
    array = array_of(archive, member)
    names = tuple(_word(member, array, row) for row in range(len(array)))
    if "" in names or len(set(names)) < len(names):
        raise member.wrong(
            f"names of classes differ and are not empty; got {', '.join(map(repr, names[:20]))}. {SAVE_AGAIN}."
        )
    return names


def _preparation(archive: zipfile.ZipFile, member: Member) -> Preparation:
    if member.dtype.kind != "U" or member.size != 1 or member.dtype.itemsize > LONGEST_RECORD:
        raise member.wrong(
            f"one string is wanted; got {member.dtype} {list(member.shape)}. Leave it out, or save the data again."
        )
    return Preparation.told(str(array_of(archive, member).reshape(())), None, f"{member.path} {member.key}")
