"""Raw and cleaned images as folders of NumPy arrays, which are mapped into memory: all processes share one copy."""

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
    """The rows lie in `folder`, for `load_raw`."""
    _save(folder, {"pixels": raw.pixels, "labels": raw.labels})
    if raw.missing is not None:
        _save(folder, {"missing": raw.missing})
    lists = {key: getattr(raw, key) for key in ("classes", "ignored", "unreadable", "extents", *NOT_READ)}
    preparation = raw.preparation and raw.preparation.model_dump(mode="json")
    _tell(folder, {**lists, "names": raw.names, "is_resized": raw.is_resized, "preparation": preparation})


def load_raw(folder: Path) -> Raw:
    """The rows that were saved in `folder`."""
    about = _about(folder)
    names, told = about.pop("names"), about.pop("preparation")
    lists = {key: tuple(value) for key, value in about.items() if isinstance(value, list)}
    lists["extents"] = tuple(Extent(*extent) for extent in lists["extents"])
    missing = _load(folder, "missing") if (folder / "missing.npy").exists() else None
    preparation = told and Preparation.model_validate(told)
    names = None if names is None else tuple(names)
    return Raw(
        _load(folder, "pixels"), _load(folder, "labels"), missing, names, preparation=preparation, **{**about, **lists}
    )


def save_cleaned(folder: Path, cleaned: "Cleaned") -> None:
    """Images, report and what was caught lie in `folder`, for the functions below."""
    for split, images in (("train", cleaned.train), ("test", cleaned.test)):
        _save_images(folder, split, images)
    if cleaned.blind is not None:
        _save(folder, {"blind-pixels": cleaned.blind})
    for rule, pictures in cleaned.caught.items():
        _save(folder, {f"caught-{rule}": pictures.pixels})
        if pictures.missing is not None:
            _save(folder, {f"gaps-{rule}": pictures.missing})
    caught = {rule: pictures.names for rule, pictures in cleaned.caught.items()}
    records = {
        "report": cleaned.report.model_dump(mode="json"),
        "preparation": cleaned.preparation.model_dump(mode="json"),
    }
    _tell(folder, {"class_names": cleaned.train.class_names, **records, "caught": caught})


def save_splits(folder: Path, splits: Mapping[str, Images]) -> None:
    """The images of each split lie in `folder`, for `load_images`; there must be one split at least."""
    for split, images in splits.items():
        _save_images(folder, split, images)
    _tell(folder, {"class_names": next(iter(splits.values())).class_names})


def load_images(folder: Path, split: str) -> Images:
    """The images of that split, mapped: shared between processes until one writes to its own copy."""
    return Images(
        _load(folder, f"{split}-pixels"), _load(folder, f"{split}-labels"), tuple(_about(folder)["class_names"])
    )


def load_blind(folder: Path) -> Images:
    """The training images as one sees them who does not know their labels."""
    train = load_images(folder, "train")
    return replace(train, pixels=_load(folder, "blind-pixels")) if (folder / "blind-pixels.npy").exists() else train


def load_report(folder: Path) -> CleaningReport:
    """What cleaning found and did."""
    return CleaningReport.model_validate(_about(folder)["report"])


def load_preparation(folder: Path) -> Preparation:
    """How the pictures became the images."""
    return Preparation.model_validate(_about(folder)["preparation"])


def load_caught(folder: Path) -> dict[str, CaughtPictures]:
    """The first images that each rule caught, of rules that caught some."""
    names: dict[str, list[str]] = _about(folder)["caught"]
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
            f"{path} must be whole and readable: {error}. Delete {folder} and start again, to have it made anew."
        ) from error


def _tell(folder: Path, about: dict[str, Any]) -> None:
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FmnistError(
            f"{path} must be whole and readable: {error}. Delete {folder} and start again, to have it made anew."
        ) from error
    return told
