"""The wheels of requirements and their dependencies that are missing on another machine.

pip selects versions package by package, without dependencies, so that nothing that is present is downloaded: PyTorch's
CUDA libraries alone have gigabytes. The dependencies are read from the wheels.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from fmnist.errors import FmnistError

PYTHON = "3.12"
PLATFORMS = (
    "manylinux_2_28_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_5_x86_64",
    "manylinux1_x86_64",
)
MACHINE = {  # environment markers
    "implementation_name": "cpython",
    "implementation_version": f"{PYTHON}.0",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "python_full_version": f"{PYTHON}.0",
    "python_version": PYTHON,
    "sys_platform": "linux",
}
ROUNDS = 20  # far more than the depth of dependencies

Present = Mapping[str, Version | None]  # canonical name -> version, None if unknown


@dataclass
class Need:
    """The combined requirements of a package."""

    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    extras: set[str] = field(default_factory=set)  # "" for the package itself


def read_present(file: Path) -> dict[str, Version | None]:
    """Read the packages in `file`: lines of `name==version` or `name`, as from `pip list --format=freeze`.

    Raises: FmnistError if it cannot be read or a line is invalid.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FmnistError(
            f"--present must be the output of `pip list --format=freeze`; {file} cannot be read: {error}. Check the "
            "path."
        ) from error
    return dict(
        _present(file, number, line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )


def fetch_missing(roots: Iterable[Requirement], present: Present, folder: Path) -> list[Path]:
    """Download the wheels of `roots` and their dependencies to `folder`, except those `present`.

    Raises: FmnistError if a present version does not satisfy a requirement, or pip finds no wheel.
    """
    roots = list(roots)
    for _ in range(ROUNDS):
        wheels = _wheels(folder)
        needs = _needs(roots, present, wheels)
        due = {
            name: need
            for name, need in needs.items()
            if name not in wheels or not _fits(_version(wheels[name]), need.specifier)
        }
        for name in (wheels.keys() - needs.keys()) | (wheels.keys() & due.keys()):
            wheels[name].unlink()
        if not due:
            return sorted(_wheels(folder).values())
        _download([f"{name}{need.specifier}" for name, need in sorted(due.items())], folder)
    raise FmnistError(
        f"Compatible versions must be found in {ROUNDS} rounds; {', '.join(sorted(due))} changed in each. Pin one "
        "of them."
    )


def _present(file: Path, number: int, line: str) -> tuple[str, Version | None]:
    name, _, version = line.strip().partition("==")
    try:
        return canonicalize_name(name, validate=True), Version(version) if version else None
    except ValueError as error:  # or InvalidVersion
        raise FmnistError(
            f"{file}, line {number}: a line must be NAME or NAME==VERSION; got {line.strip()!r}. Correct it."
        ) from error


def _needs(roots: Iterable[Requirement], present: Present, wheels: Mapping[str, Path]) -> dict[str, Need]:
    """Return the missing packages, as far as the wheels in the folder tell."""
    needs: dict[str, Need] = {}
    queue = [("this project", root) for root in roots if _applies(root, "")]
    while queue:
        dependent, requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in present:
            _require_fit(name, present[name], requirement.specifier, dependent)
            continue
        need = needs.setdefault(name, Need())
        need.specifier &= requirement.specifier
        new = {"", *requirement.extras} - need.extras
        need.extras |= new
        if name in wheels:
            dependencies = _requirements(wheels[name])
            queue += [(name, other) for other in dependencies if any(_applies(other, extra) for extra in new)]
    return needs


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**MACHINE, "extra": extra})


def _require_fit(name: str, version: Version | None, specifier: SpecifierSet, dependent: str) -> None:
    if version is not None and not _fits(version, specifier):
        raise FmnistError(
            f"{dependent} needs {name}{specifier}; the machine has {version}. Remove it from the file of --present, "
            "so that it is packed and takes precedence."
        )


def _fits(version: Version, specifier: SpecifierSet) -> bool:
    return specifier.contains(version, prereleases=True)


def _wheels(folder: Path) -> dict[str, Path]:
    return {parse_wheel_filename(path.name)[0]: path for path in folder.glob("*.whl")}


def _version(wheel: Path) -> Version:
    return parse_wheel_filename(wheel.name)[1]


def _requirements(wheel: Path) -> Iterator[Requirement]:
    with ZipFile(wheel) as archive:
        metadata = next(
            name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
        )
        raw, _ = parse_email(archive.read(metadata))
    for line in raw.get("requires_dist", []):
        try:
            yield Requirement(line)
        except InvalidRequirement as error:
            raise FmnistError(
                f"{wheel.name} requires {line!r}, which is invalid: {error}. Pin another version."
            ) from error


def _download(requirements: list[str], folder: Path) -> None:
    """Download the wheels of exactly these to `folder`."""
    target = [
        "--python-version",
        PYTHON,
        "--implementation",
        "cp",
        *(word for name in PLATFORMS for word in ("--platform", name)),
    ]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, *target, *requirements]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
        raise FmnistError(
            f"pip must find wheels for CPython {PYTHON} on Linux of {', '.join(requirements)}: {reason}. Check the "
            "network."
        )
