"""Raw and cleaned images as folders of NumPy arrays, mapped into memory so that all processes share one copy."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fmnist.data.cleaning import CaughtPictures, CleaningReport
from fmnist.data.images import Images
from fmnist.data.preparation import Preparation
from fmnist.data.raw import NOT_READ, Raw
from fmnist.data.scale import Extent
from fmnist.errors import FmnistError

if TYPE_CHECKING:
    from fmnist.data.clean import Cleaned

ABOUT = "about.json"


def save_raw(folder: Path, raw: Raw) -> None:
    """Save the rows in `folder`, for `load_raw`."""
    _save(folder, {"pixels": raw.pixels, "labels": raw.labels})
    if raw.missing is not None:
        _save(folder, {"missing": raw.missing})
    lists = {key: getattr(raw, key) for key in ("classes", "ignored", "unreadable", "extents", *NOT_READ)}
    preparation = raw.preparation and raw.preparation.model_dump(mode="json")
    _save_about(folder, {**lists, "names": raw.names, "is_resized": raw.is_resized, "preparation": preparation})


def load_raw(folder: Path) -> Raw:
    """Load the rows saved in `folder`."""
    about = _load_about(folder)
    names, preparation = about.pop("names"), about.pop("preparation")
    lists = {key: tuple(value) for key, value in about.items() if isinstance(value, list)}
    lists["extents"] = tuple(Extent(*extent) for extent in lists["extents"])
    missing = _load(folder, "missing") if (folder / "missing.npy").exists() else None
    preparation = preparation and Preparation.model_validate(preparation)
    names = None if names is None else tuple(names)
    return Raw(
        _load(folder, "pixels"), _load(folder, "labels"), missing, names, preparation=preparation, **{**about, **lists}
    )


def save_cleaned(folder: Path, cleaned: "Cleaned") -> None:
    """Save images, report and the first images caught in `folder`, for the functions below."""
    for split, images in (("train", cleaned.train), ("test", cleaned.test)):
        _save_images(folder, split, images)
    if cleaned.scoring_pixels is not None:
        _save(folder, {"scoring-pixels": cleaned.scoring_pixels})
    for rule, pictures in cleaned.caught.items():
        _save(folder, {f"caught-{rule}": pictures.pixels})
        if pictures.missing is not None:
            _save(folder, {f"gaps-{rule}": pictures.missing})
    caught = {rule: pictures.names for rule, pictures in cleaned.caught.items()}
    records = {
        "report": cleaned.report.model_dump(mode="json"),
        "preparation": cleaned.preparation.model_dump(mode="json"),
    }
    _save_about(folder, {"class_names": cleaned.train.class_names, **records, "caught": caught})


def save_splits(folder: Path, splits: Mapping[str, Images]) -> None:
    """Save the images of each split in `folder`, for `load_images`; there must be at least one split."""
    for split, images in splits.items():
        _save_images(folder, split, images)
    _save_about(folder, {"class_names": next(iter(splits.values())).class_names})


def load_images(folder: Path, split: str) -> Images:
    """Load the images of that split, mapped: processes share them until one writes to its own copy."""
    return Images(
        _load(folder, f"{split}-pixels"), _load(folder, f"{split}-labels"), tuple(_load_about(folder)["class_names"])
    )


def load_for_scoring(folder: Path) -> Images:
    """Load the training images with missing pixels filled without using the labels."""
    train = load_images(folder, "train")
    return replace(train, pixels=_load(folder, "scoring-pixels")) if (folder / "scoring-pixels.npy").exists() else train


def load_report(folder: Path) -> CleaningReport:
    """Load the report on what cleaning found and did."""
    return CleaningReport.model_validate(_load_about(folder)["report"])


def load_preparation(folder: Path) -> Preparation:
    """Load the preparation that turned pictures into the images."""
    return Preparation.model_validate(_load_about(folder)["preparation"])


def load_caught(folder: Path) -> dict[str, CaughtPictures]:
    """Load the first images that each rule caught, for rules that caught some."""
    names: dict[str, list[str]] = _load_about(folder)["caught"]
    return {
        rule: CaughtPictures(_load(folder, f"caught-{rule}"), _gaps(folder, rule), tuple(rows))
        for rule, rows in names.items()
    }


def _gaps(folder: Path, rule: str) -> NDArray[np.bool_] | None:
    return _load(folder, f"gaps-{rule}") if (folder / f"gaps-{rule}.npy").exists() else None


def _save_images(folder: Path, split: str, images: Images) -> None:
    _save(folder, {f"{split}-pixels": images.pixels, f"{split}-labels": images.labels})


def _save(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _load(folder: Path, name: str) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    try:
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise FmnistError(
            f"{path} must be complete and readable: {error}. Delete {folder} and start again; it is then rebuilt."
        ) from error


def _save_about(folder: Path, about: dict[str, Any]) -> None:
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _load_about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FmnistError(
            f"{path} must be complete and readable: {error}. Delete {folder} and start again; it is then rebuilt."
        ) from error
    return about
