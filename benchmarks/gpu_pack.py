"""A folder with what a GPU machine without network needs to run benchmarks/gpu.py from the source tree.

    python benchmarks/gpu_pack.py DIR [--data PATH] [--present FILE]        ten seconds, with network

DIR gets the wheels, for CPython 3.12 on x86-64 Linux, that this project and its tests need and the machine does not
have; a wheel with the name and version of this project but without code, because it runs from its source; and the four
files of Fashion-MNIST. An earlier pack in DIR is replaced. A pack is smaller than 60 MiB.

--data        a folder with the official files; by default $FMNIST_DATA or ./data

--present     the output of `pip list --format=freeze` on the machine; by default benchmarks/gpu_machine.txt

The last two lines of the output are the commands for the machine.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import gzip
import os
import shutil
import tomllib
from shlex import quote
from typing import Annotated, Any
from zipfile import ZipFile

import typer
from packaging.requirements import Requirement
from rich.console import Console

from benchmarks.table import perform, tell
from benchmarks.wheels import Present, fetch_missing, read_present
from fmnist.atomic import folder_in_place
from fmnist.data.official import idx_files, missing_files, raw_folder, unofficial
from fmnist.errors import FmnistError
from search.report.render import print_table
from search.terminal.table import Table

ROOT = Path(__file__).resolve().parents[1]
PRESENT = Path(__file__).with_name("gpu_machine.txt")
FOR_TESTS = {"hypothesis", "pytest", "pytest-xdist"}  # in the extra `dev`
DATA, SITE = "fashion-mnist", "/tmp/site"
MARK = "pack.txt"  # lists the pack; a folder with this file may be replaced
MIB = 2**20
MOST_MIB = 60


def gpu_pack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder, or an earlier pack.")],
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A folder with the four files of Fashion-MNIST.")
    ] = None,
    present: Annotated[
        Path, typer.Option(metavar="FILE", help="The packages that pip lists on the machine.", show_default=False)
    ] = PRESENT,
) -> None:
    """Write the pack to `folder`, or leave it unchanged if that fails."""
    _require_free(folder)
    packages, files = read_present(present), _official_files(data)
    tell(f"{len(packages)} packages are on the machine; the others are downloaded.")
    try:
        with folder_in_place(folder) as temporary:
            sizes = _fill(temporary, files, packages)
    except OSError as error:
        raise FmnistError(
            f"{folder} must be writable: {error.strerror or error}. Free space there, or name another folder."
        ) from error
    _show(sizes)
    print(f"python3 -m pip install --no-index --no-deps --target {SITE} {quote(str(folder))}/*.whl")
    print(f"PYTHONPATH={SITE} FMNIST_DATA={quote(str(folder / DATA))} python3 benchmarks/gpu.py")


def _require_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FmnistError(f"A pack is a folder; {folder} is a file. Name another folder.")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    foreign = {name for name in names if name not in {MARK, DATA} and not name.endswith(".whl")}
    if foreign := foreign or (set() if MARK in names else names):
        raise FmnistError(
            f"A pack replaces only a pack or an empty folder; {folder} holds {min(foreign)!r}. Name another folder."
        )


def _official_files(data: Path | None) -> list[Path]:
    """Return the four files of Fashion-MNIST, compressed or not.

    Raises: FmnistError if files are missing or differ from the official ones.
    """
    root = (data or Path(os.environ.get("FMNIST_DATA") or "data")).expanduser()
    raw = raw_folder(root)
    if raw is None or missing_files(root):
        absent = ", ".join(missing_files(root))
        raise FmnistError(
            f"A pack needs Fashion-MNIST's four files; {root} does not have {absent}. Name a folder that has them "
            "with --data."
        )
    files = idx_files(raw)
    if wrong := unofficial(files):
        raise FmnistError(
            f"{wrong[0]} must be the official Fashion-MNIST file; its MD5 differs. Name other data with --data."
        )
    return files


def _fill(folder: Path, files: list[Path], present: Present) -> dict[str, int]:
    """Write the pack to `folder` and return the size of each file in bytes by name."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    fetch_missing(_requirements(about), present, folder)
    _write_own_wheel(folder, about)
    raw = folder / DATA / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in files:
        _copy(file, raw / f"{file.name.removesuffix('.gz')}.gz")
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
    _require_small(sizes)
    (folder / MARK).write_text("".join(f"{name} {size}\n" for name, size in sizes.items()), encoding="utf-8")
    return sizes


def _requirements(about: dict[str, Any]) -> list[Requirement]:
    dev = map(Requirement, about["optional-dependencies"]["dev"])
    for_tests = [requirement for requirement in dev if requirement.name in FOR_TESTS]
    return [*map(Requirement, about["dependencies"]), *for_tests]


def _write_own_wheel(folder: Path, about: dict[str, Any]) -> None:
    """Write a wheel without code: a study records the version, which Python reads from installed packages."""
    name, version = about["name"].replace("-", "_"), about["version"]
    inside = f"{name}-{version}.dist-info"
    parts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: gpu_pack\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    parts["RECORD"] = "".join(f"{inside}/{part},,\n" for part in (*parts, "RECORD"))
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for part, text in parts.items():
            wheel.writestr(f"{inside}/{part}", text)


def _copy(file: Path, to: Path) -> None:
    if file.suffix == ".gz":
        shutil.copyfile(file, to)
    else:
        to.write_bytes(gzip.compress(file.read_bytes(), mtime=0))


def _require_small(sizes: dict[str, int]) -> None:
    if (total := sum(sizes.values())) > MOST_MIB * MIB:
        largest = max(sizes, key=lambda name: sizes[name] if name.endswith(".whl") else 0)
        raise FmnistError(
            f"A pack must be at most {MOST_MIB} MiB; it has {total / MIB:.1f}. Install packages on the machine, the "
            f"largest first ({largest}, {sizes[largest] / MIB:.1f} MiB), and list them in the file of --present."
        )


def _show(sizes: dict[str, int]) -> None:
    rows = [(name, f"{size / MIB:.2f}") for name, size in sizes.items()]
    print_table(Table("Pack", ("file", "MiB"), [*rows, ("all", f"{sum(sizes.values()) / MIB:.2f}")]), Console())


if __name__ == "__main__":
    perform(gpu_pack, __doc__ or "")
