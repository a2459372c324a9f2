"""What the project says that it needs is what it imports, and its source distribution holds all that its tests need."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.search.tiny import NAME, TOML

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = ("fmnist", "search", "studies")
# Path begins with -> the extra that it may import.
EXTRAS = {
    "search/demo/": "demo",
    "search/executors/ray": "cluster",
    "search/__init__.py": "notebook",
    "search/tracking/event_files.py": "tensorboard",
    "search/tracking/mlflow_runs.py": "mlflow",
}
BY_OTHERS = {
    "cmaes": "Optuna",
    "onnxscript": "PyTorch",
    "psycopg": "SQLAlchemy",
    "pymysql": "SQLAlchemy",
}  # needed -> who imports it


def declared(extra: str | None = None) -> set[str]:
    """The distributions that pyproject.toml names, by their normal names."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return {normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in lines}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(path: Path) -> set[str]:
    """The top-level packages of others that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(OURS)


def imports() -> dict[str, set[str]]:
    """File of the program -> what it imports, but for the files that import nothing of others."""
    files = {path.relative_to(ROOT).as_posix(): path for room in OURS for path in (ROOT / room).rglob("*.py")}
    return {name: found for name, path in files.items() if (found := imported(path))}


@cache
def installed() -> Mapping[str, list[str]]:
    return packages_distributions()


def distributions(package: str) -> set[str]:
    """Those that have it; its own name where none of them is installed."""
    return {normal(name) for name in installed().get(package, [package])}


def test_all_that_is_imported_is_declared() -> None:
    missing = []
    for path, packages in imports().items():
        extras = [extra for begin, extra in EXTRAS.items() if path.startswith(begin)]
        known = declared().union(*map(declared, extras))
        missing += [f"{path}: {package}" for package in sorted(packages) if not distributions(package) & known]
    assert not missing


def test_all_that_is_declared_is_imported_by_us_or_by_those_who_are_named() -> None:
    used = {name for packages in imports().values() for package in packages for name in distributions(package)}
    assert declared().union(*map(declared, EXTRAS.values())) - used == set(BY_OTHERS)


@pytest.mark.slow
def test_the_tests_of_the_source_distribution_can_be_collected_where_nothing_else_is(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path / "built")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    (archive,) = (tmp_path / "built").iterdir()
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    root = tmp_path / archive.name.removesuffix(".tar.gz")
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(collect, cwd=root, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:]
    files = {path.relative_to(root) for path in root.rglob("test_*.py")}
    assert files == {path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    assert {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line} == {
        path.as_posix() for path in files
    }


@pytest.mark.slow
def test_the_wheel_does_the_whole_job_in_an_empty_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "built")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    (wheel,) = (tmp_path / "built").iterdir()
    elsewhere = os.environ | {"HOME": str(tmp_path)}  # pip asks for the version of rustc, and rustup writes there
    # In an environment of its own, which borrows the libraries of this one but not the project's source.
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], env=elsewhere, check=True, timeout=120)
    packages = next((tmp_path / "venv" / "lib").iterdir()) / "site-packages"
    (packages / "borrowed.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    bin_folder, empty = tmp_path / "venv" / "bin", tmp_path / "empty"
    empty.mkdir()
    install = [str(bin_folder / "pip"), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, env=elsewhere, check=True, capture_output=True, text=True, timeout=120)
    where = [str(bin_folder / "python"), "-c", "import search; print(search.__file__)"]
    found = subprocess.run(where, cwd=empty, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    assert Path(found).is_relative_to(packages)
    (empty / "tiny.toml").write_text(TOML)
    run = [str(bin_folder / "fmnist-search"), "run", "tiny.toml", "--data", "synthetic", "--workers", "1"]
    done = subprocess.run(run, cwd=empty, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (empty / "studies" / NAME / "export" / "model.onnx").exists()
    assert {path.name for path in empty.iterdir()} == {"tiny.toml", "studies"}
