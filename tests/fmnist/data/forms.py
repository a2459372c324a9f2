"""One small data set in every supported form."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from fmnist.data import synthetic
from fmnist.data.arrays import write_npz
from fmnist.data.images import Images
from fmnist.data.sources import Source, find_source

NUMBERS = tuple(str(i) for i in range(10))
TRAIN, TEST = (
    Images(drawn.pixels, drawn.labels, NUMBERS) for drawn in (synthetic.draw(120, seed=5), synthetic.draw(40, seed=6))
)
COLUMNS = ["label", *(f"pixel{i}" for i in range(1, 785))]


def write_csv(path: Path, images: Images) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        rows = zip(images.labels.tolist(), images.pixels.reshape(-1, 784).tolist(), strict=True)
        csv.writer(file).writerows([COLUMNS, *([label, *pixels] for label, pixels in rows)])
    return path


def write_parquet(path: Path, images: Images) -> Path:
    columns = [pa.array(images.labels), *(pa.array(column) for column in images.pixels.reshape(-1, 784).T)]
    parquet.write_table(pa.table(columns, names=COLUMNS), path)
    return path


def write_folder(folder: Path, images: Images) -> Path:
    for row, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / str(label) / f"{row}.png")
    return folder


def write_idx(folder: Path, train: Images, test: Images) -> Path:
    folder.mkdir()
    for split, images in (("train", train), ("t10k", test)):
        for kind, array in (("images-idx3", images.pixels), ("labels-idx1", images.labels.astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4) for n in array.shape)
            (folder / f"{split}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return folder


def as_csv(folder: Path) -> Source:
    return open_source(write_csv(folder / "train.csv", TRAIN), write_csv(folder / "test.csv", TEST))


def as_csv_gz(folder: Path) -> Source:
    return open_source(write_csv(folder / "train.csv.gz", TRAIN), write_csv(folder / "test.csv.gz", TEST))


def as_folder_of_csv(folder: Path) -> Source:
    write_csv(folder / "both" / "fashion-mnist_train.csv", TRAIN)
    write_csv(folder / "both" / "fashion-mnist_test.csv", TEST)
    return open_source(folder / "both")


def as_parquet(folder: Path) -> Source:
    return open_source(write_parquet(folder / "train.parquet", TRAIN), write_parquet(folder / "test.parquet", TEST))


def as_npz(folder: Path) -> Source:
    write_npz(folder / "both.npz", TRAIN, TEST)
    return open_source(folder / "both.npz")


def as_pictures(folder: Path) -> Source:
    write_folder(folder / "pictures" / "train", TRAIN)
    write_folder(folder / "pictures" / "test", TEST)
    return open_source(folder / "pictures")


def as_idx(folder: Path) -> Source:
    return open_source(write_idx(folder / "idx", TRAIN, TEST))


def open_source(data: Path, test: Path | None = None) -> Source:
    return find_source(str(data), test=str(test) if test else None, announce=lambda _: None)


FORMS = [as_csv, as_csv_gz, as_folder_of_csv, as_parquet, as_npz, as_pictures, as_idx]
