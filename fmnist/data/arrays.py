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
from fmnist.data.npz_members import SAVE_AGAIN, Member, damage_reported, list_members, read_array, read_header
from fmnist.data.pictures import flatten_alpha
from fmnist.data.preparation import Preparation, remaining_white
from fmnist.data.raw import MISSING_WORDS, Raw
from fmnist.data.scale import BYTE, Extent, extent_of, how_to_state, merge, to_greys
from fmnist.errors import FmnistError
from fmnist.memory import require_memory
from fmnist.suggestions import did_you_mean

TRAIN = (
    ("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("pixels", "labels"),
    ("x", "y"), ("data", "target"),
)  # fmt: skip
TEST = (("x_test", "y_test"), ("test_images", "test_labels"))
NAMES = "class_names"
PICTURES = "prepared_by_fmnist_search"  # the key under which `write_npz` stores the preparation
LONGEST_RECORD = 4_000  # bytes of the preparation
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # Pillow's weights of red, green and blue, in 65,536ths
_CHUNK = 1 << 24  # values checked at a time


def read_npz(path: Path, *, white: float | None = None, in_colour: bool = False) -> tuple[Raw, Raw | None]:
    """Return the train split and, if the file has one, the test split; other arrays are listed as ignored.

    Pixels are whole numbers from 0 to 255, or any numbers from 0 to `white` if the study sets it. Colours become greys
    unless `in_colour`.

    Raises: FmnistError naming file, key and row if the file is damaged, an array is missing, or an array cannot be
    images or labels.
    """
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise FmnistError(f"Arrays must be in a file; {path} {state}. Name an .npz file.")
    with damage_reported(path):
        archive = zipfile.ZipFile(path)
    with archive:
        members = list_members(path, archive)
        train_keys, test_keys = _train_keys(path, members), _test_keys(path, members)
        used = {*train_keys, *(test_keys or ()), *({NAMES, PICTURES} & members.keys())}
        headers = {key: read_header(path, archive, members[key]) for key in sorted(used)}
        require_memory(sum(header.memory for header in headers.values()), str(path))
        names = _class_names(archive, headers[NAMES]) if NAMES in used else ()
        preparation = _preparation(archive, headers[PICTURES]) if PICTURES in used else None
        white, is_scaled = remaining_white(preparation, white, path)
        ignored = tuple(sorted(members.keys() - used))
        pairs = (train_keys, test_keys) if test_keys else (train_keys,)
        raws = [_split(archive, headers[images], headers[labels], names, white, in_colour) for images, labels in pairs]
    splits = [replace(raw.prepared(preparation, is_scaled=is_scaled), ignored=ignored) for raw in raws]
    return splits[0], splits[1] if test_keys else None


def read_preparation(path: Path) -> Preparation | None:
    """Return the preparation that `write_npz` stored in the file, None if it has none.

    Raises: FmnistError.
    """
    with damage_reported(path), zipfile.ZipFile(path) as archive:
        members = list_members(path, archive)
        return _preparation(archive, read_header(path, archive, members[PICTURES])) if PICTURES in members else None


def write_npz(path: Path, train: Images, test: Images, preparation: Preparation | None = None) -> None:
    """Write both splits to `path` atomically, in the form that `read_npz` reads; an existing file is replaced.

    Raises: FmnistError if it cannot be written.
    """
    metadata: dict[str, Any] = {NAMES: np.array(train.class_names, np.str_)}
    if preparation:
        metadata[PICTURES] = np.array([preparation.model_dump_json()])
    try:
        with TemporaryDirectory(dir=path.parent, prefix="writing-") as scratch:
            complete = Path(scratch) / "whole.npz"
            np.savez_compressed(
                complete, x_train=train.pixels, y_train=train.labels, x_test=test.pixels, y_test=test.labels, **metadata
            )
            complete.replace(path)
    except OSError as error:
        raise FmnistError(
            f"{path} must be writable: {error.strerror}. Name a file in an existing folder that you may write to."
        ) from error


def _train_keys(path: Path, members: dict[str, zipfile.ZipInfo]) -> tuple[str, str]:
    if (pair := _first_pair(members, TRAIN)) is None:
        valid = [" + ".join(pair) for pair in TRAIN]
        received = ", ".join(members) or "no array"
        raise FmnistError(
            f"{path} must hold images and labels under one of the known pairs of keys; got {received}. "
            f"{did_you_mean(' + '.join(members), valid)}"
        )
    return pair


def _test_keys(path: Path, members: dict[str, zipfile.ZipInfo]) -> tuple[str, str] | None:
    pair = _first_pair(members, TEST)
    for images, labels in TEST if pair is None else ():
        if images in members or labels in members:
            raise FmnistError(
                f"{path} must hold both {images} and {labels} or neither; got {', '.join(members)}. "
                "Add the missing array."
            )
    return pair


def _first_pair(members: dict[str, zipfile.ZipInfo], pairs: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    return next((pair for pair in pairs if members.keys() >= set(pair)), None)


def _split(
    archive: zipfile.ZipFile,
    images: Member,
    labels: Member,
    names: tuple[str, ...],
    white: float | None,
    in_colour: bool,
) -> Raw:
    if images.shape[0] != labels.shape[0]:
        raise images.error(
            f"every image needs a label; got {images.shape[0]:,} images and {labels.shape[0]:,} {labels.key}."
        )
    pixels, missing, extent = _pixels(archive, images, white, in_colour=in_colour)
    return Raw(pixels, _labels(archive, labels, names), missing, classes=names, extents=(extent,))


def _pixels(
    archive: zipfile.ZipFile, member: Member, white: float | None, *, in_colour: bool
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None, Extent]:
    """Shape: pixels [N, H, W], or [N, H, W, 3]; missing [N, H, W], None if no pixel is missing."""
    if member.dtype.kind not in "uif":
        raise member.error(
            f"pixels must be numbers from 0 to 255; got {member.dtype}. Save them as uint8, with 0 for black and 255 "
            "for white."
        )
    shape = _layout(member)
    array = read_array(archive, member).reshape(shape)
    has_colours = in_colour and array.ndim == 4
    if array.dtype == np.uint8 and not white and (array.ndim == 3 or (has_colours and shape[3] == 3)):
        return array, None, extent_of(array, BYTE)
    pixels = np.zeros((*shape[:3], 3) if has_colours else shape[:3], np.uint8)
    missing = np.zeros(shape[:3], np.bool_)
    extent = extent_of(np.zeros(1, array.dtype), white or BYTE, is_stated=white is not None)
    step = max(1, _CHUNK // math.prod(shape[1:]))
    for start in range(0, len(array), step):
        rows = np.s_[start : start + step]
        nan = np.isnan(array[rows])
        values = np.where(nan, 0, array[rows])
        invalid = (
            (values < 0) | (values > white) if white else (values < 0) | (values > BYTE) | (values != np.floor(values))
        )
        if invalid.any():
            row, *place = np.unravel_index(invalid.argmax(), invalid.shape)
            raise _pixel_error(member, array, (start + int(row), *map(int, place)), white)
        scaled = to_greys(values, white or BYTE)
        pixels[rows] = _colours(scaled) if has_colours else _grey(scaled)
        missing[rows] = nan if array.ndim == 3 else nan.any(axis=3)
        extent = merge(extent, extent_of(values.astype(array.dtype), white or BYTE, is_stated=white is not None))
    pixels[missing] = 0
    return pixels, missing if missing.any() else None, extent


def _layout(member: Member) -> tuple[int, ...]:
    """Return the shape to give the array: [N, H, W], or [N, H, W, 3 or 4] for colour images."""
    count, *sides = member.shape
    match sides:
        case [length] if side := flat_side(length):
            return count, side, side
        case [length]:
            raise member.error(
                "a row of numbers must have one possible shape, a square grey image [N, H x H]; got "
                f"{list(member.shape)}: {readings(length)}. "
                "Reshape the array to [N, H, W], or to [N, H, W, 3 or 4] for colour images."
            )
        case [height, width] | [height, width, 1] | [1, height, width]:
            return count, height, width
        case [_, _, 3 | 4]:
            return member.shape
    raise member.error(
        f"images must be [N, H, W], [N, H x H] or have 1, 3 or 4 channels; got {list(member.shape)}. Reshape them."
    )


def _grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert colours to greys exactly as Pillow does. Shape: [N, H, W] or [N, H, W, 3 or 4] -> [N, H, W]."""
    if values.ndim == 3:
        return values
    greys = ((values[..., :3].astype(np.uint32) @ _LUMA + 0x8000) >> 16).astype(np.uint8)
    return _opaque(greys, values)


def _colours(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return red, green and blue. Shape: [N, H, W, 3 or 4] -> [N, H, W, 3]."""
    return _opaque(values[..., :3], values)


def _opaque(pictures: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pictures, which are made from `values`, with transparent parts filled in if these have alpha."""
    if values.shape[3] == 3:
        return pictures
    return np.array([flatten_alpha(one, alpha) for one, alpha in zip(pictures, values[..., 3], strict=True)])


def _pixel_error(member: Member, array: NDArray[Any], index: tuple[int, ...], white: float | None) -> FmnistError:
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    rule = f"a number from 0 to {white:g}, the study's cleaning.white" if white else "a whole number from 0 to 255"
    is_fraction = array.dtype.kind == "f" and low >= 0 and high <= 1
    hint = (
        "All lie between 0 and 1: multiply by 255 and round."
        if is_fraction
        else "Bring the pixels to that range, as uint8."
    )
    received = f"All pixels are from {low:,g} to {high:,g}. {how_to_state(low, high)}".rstrip()
    return member.error(f"pixel {list(index[1:])} must be {rule}; got {array[index]}. {hint} {received}", index[0])


def _labels(archive: zipfile.ZipFile, member: Member, names: tuple[str, ...]) -> NDArray[np.str_]:
    """Return the labels as text, "" for a missing one. Shape: [N]."""
    array = read_array(archive, member)
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "buif":
        array = _from_one_hot(member, array)
    if array.size != len(array):
        raise member.error(f"labels must be [N], or one-hot as [N, classes]; got {list(array.shape)}. Reshape them.")
    flat = array.reshape(-1)
    _, first_rows, code_of_row = np.unique(flat, return_index=True, return_inverse=True)
    return np.array([_label(member, flat, int(row), names) for row in first_rows], np.str_)[code_of_row]


def _from_one_hot(member: Member, array: NDArray[Any]) -> NDArray[np.int64]:
    is_one = array == 1
    is_valid = (is_one | (array == 0)).all(axis=1) & (is_one.sum(axis=1) == 1)
    if not is_valid.all():
        row = int(is_valid.argmin())
        raise member.error(
            f"a row of one-hot labels must be one 1 and otherwise 0; got {array[row].tolist()[:20]}. "
            "Save the labels as [N].",
            row,
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
        raise member.error(f"a label must be a whole number or a name; got {value}. Correct it.", row)
    if names and not 0 <= value < len(names):
        raise member.error(
            f"a label must be an index into the {len(names)} {NAMES}, from 0; got {value}. Correct it.", row
        )
    return names[int(value)] if names else str(int(value))


def _word(member: Member, array: NDArray[Any], row: int) -> str:
    # Decoded from the bytes: NumPy does not raise a UnicodeDecodeError for all invalid text.
    encoding = {"|": "utf-8", "<": "utf-32-le", ">": "utf-32-be"}[array.dtype.str[0]]
    try:
        return array[row : row + 1].tobytes().decode(encoding).rstrip("\0").strip()
    except UnicodeDecodeError as error:
        raise member.error(f"text must be {encoding.upper()}: {error}. {SAVE_AGAIN}.", row) from error


def _class_names(archive: zipfile.ZipFile, member: Member) -> tuple[str, ...]:
    if member.dtype.kind not in "SU" or len(member.shape) != 1:
        raise member.error(
            f"class names must be one string for each class; got {member.dtype} {list(member.shape)}. {SAVE_AGAIN}."
        )
    array = read_array(archive, member)
    names = tuple(_word(member, array, row) for row in range(len(array)))
    if "" in names or len(set(names)) < len(names):
        raise member.error(
            f"class names must be different and not empty; got {', '.join(map(repr, names[:20]))}. {SAVE_AGAIN}."
        )
    return names


def _preparation(archive: zipfile.ZipFile, member: Member) -> Preparation:
    if member.dtype.kind != "U" or member.size != 1 or member.dtype.itemsize > LONGEST_RECORD:
        raise member.error(
            f"the preparation must be one string; got {member.dtype} {list(member.shape)}. Remove this array, or save "
            "the data again."
        )
    return Preparation.from_record(str(read_array(archive, member).reshape(())), None, f"{member.path} {member.key}")
