"""Drawn pictures in every form, and their images as a data set and as a model read them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from fmnist.data.cleaning import CleaningRules
from fmnist.data.preparation import picture_reader
from fmnist.data.sources import Source, find_source

KEEP = CleaningRules(leaks="keep", duplicates="keep", conflicts="keep", blank="keep")
Pixels = NDArray[Any]


def drawn(shape: tuple[int, int], ground: int, count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Draw different pictures of bars on that ground, all far from the corners."""
    rng = np.random.default_rng(seed)
    pictures = np.full((count, *shape), ground, np.uint8)
    cloth = 0 if ground > 127 else 255
    for picture in pictures:
        inner = picture[shape[0] // 5 : -shape[0] // 5, shape[1] // 4 : -shape[1] // 4]
        inner[:] = np.abs(cloth - rng.integers(0, 90, inner.shape)).astype(np.uint8)
    return list(pictures)


def save(pictures: list[Pixels], folder: Path) -> list[Path]:
    """Save pictures in the folders of three classes, and return their paths in the order in which they are read."""
    paths = []
    for row, pixels in enumerate(pictures):
        paths.append(folder / f"class {row % 3}" / f"{row}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(paths[-1])
    return paths


def as_folder(folder: Path, pictures: list[Pixels]) -> Path:
    save(pictures, folder / "pictures")
    return folder / "pictures"


def as_parquet(folder: Path, pictures: list[Pixels]) -> Path:
    cells = []
    for pixels in pictures:
        Image.fromarray(pixels).save(stored := io.BytesIO(), "PNG")
        cells.append({"bytes": stored.getvalue(), "path": None})
    parquet.write_table(
        pa.table({"label": [str(row % 3) for row in range(len(cells))], "image": cells}), folder / "pictures.parquet"
    )
    return folder / "pictures.parquet"


def as_arrays(folder: Path, pictures: list[Pixels]) -> Path:
    np.savez(folder / "arrays.npz", x=np.stack(pictures), y=np.arange(len(pictures)) % 3)
    return folder / "arrays.npz"


def as_table(folder: Path, pictures: list[Pixels]) -> Path:
    names = ["label", *(f"{row}x{column}" for row in range(1, 29) for column in range(1, 29))]
    rows = [",".join(map(str, [row % 3, *np.asarray(pixels).ravel().tolist()])) for row, pixels in enumerate(pictures)]
    (folder / "table.csv").write_text("\n".join([",".join(names), *rows]) + "\n")
    return folder / "table.csv"


def read(path: Path, **options: Any) -> Source:
    """Read the data at `path` as train and as test, which does not matter for these tests."""
    rules = KEEP.model_copy(update={"white": options.pop("white", None)})
    return find_source(str(path), test=str(path), rules=rules, announce=lambda _: None, **options)


def read_for_model(source: Source, files: list[Path]) -> NDArray[np.uint8]:
    reader = picture_reader(source.preparation)
    return np.stack([reader(file) for file in files])
