"""The wheels that another machine lacks: of what is asked for and of what that asks for in turn, those that are not
there yet.

Versions are chosen by pip, package by package and with no dependencies, so that nothing which is there is downloaded:
PyTorch's CUDA libraries alone have gigabytes. What each wheel requires is read from the wheel.
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
MACHINE = {  # what the conditions of requirements ask for
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
ROUNDS = 20  # far more than requirements are deep

Present = Mapping[str, Version | None]  # canonical name -> version, None where it is not known


@dataclass
class Need:
    """What is asked of a package, by all together."""

    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    extras: set[str] = field(default_factory=set)  # with "" for the package itself


def read_present(file: Path) -> dict[str, Version | None]:
    """The packages in `file`, one `name==version` or `name` a line, as `pip list --format=freeze` prints them.

    Raises: FmnistError where it cannot be read, or a line is none such.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FmnistError(
            f"--present names what `pip list --format=freeze` printed; {file} cannot be read: {error}."
        ) from error
    return dict(
        _present(file, number, line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )


def fetch_missing(roots: Iterable[Requirement], present: Present, folder: Path) -> list[Path]:
    """The wheels of `roots`, and of all that they need, lie in `folder`, but for what is `present`.

    Raises: FmnistError where a version that is present is not one asked for, or pip finds no wheel.
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
        f"Versions that suit all must be found in {ROUNDS} rounds; {', '.join(sorted(due))} changed in each. Pin one "
        "of them."
    )


def _present(file: Path, number: int, line: str) -> tuple[str, Version | None]:
    name, _, version = line.strip().partition("==")
    try:
        return canonicalize_name(name, validate=True), Version(version) if version else None
    except ValueError as error:  # also of a version
        raise FmnistError(
            f"{file}, line {number}: a line must be NAME or NAME==VERSION; got {line.strip()!r}. Correct it."
        ) from error


def _needs(roots: Iterable[Requirement], present: Present, wheels: Mapping[str, Path]) -> dict[str, Need]:
    """What the machine lacks, as far as the wheels that are there tell."""
    found: dict[str, Need] = {}
    waiting = [("this project", root) for root in roots if _applies(root, "")]
    while waiting:
        asker, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in present:
            _require_fit(name, present[name], requirement.specifier, asker)
            continue
        need = found.setdefault(name, Need())
        need.specifier &= requirement.specifier
        new = {"", *requirement.extras} - need.extras
        need.extras |= new
        if name in wheels:
            waiting += [
                (name, one) for one in _requirements(wheels[name]) if any(_applies(one, extra) for extra in new)
            ]
    return found


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**MACHINE, "extra": extra})


def _require_fit(name: str, version: Version | None, specifier: SpecifierSet, asker: str) -> None:
    if version is not None and not _fits(version, specifier):
        raise FmnistError(
            f"{asker} needs {name}{specifier}; the machine has {version}. Take it out of the list that --present "
            "names, "
            "and it is packed too and goes before the machine's own."
        )


def _fits(version: Version, specifier: SpecifierSet) -> bool:
    return specifier.contains(version, prereleases=True)


def _wheels(folder: Path) -> dict[str, Path]:
    return {parse_wheel_filename(path.name)[0]: path for path in folder.glob("*.whl")}


def _version(wheel: Path) -> Version:
    return parse_wheel_filename(wheel.name)[1]


def _requirements(wheel: Path) -> Iterator[Requirement]:
    with ZipFile(wheel) as archive:
        inside = next(
            name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
        )
        raw, _ = parse_email(archive.read(inside))
    for line in raw.get("requires_dist", []):
        try:
            yield Requirement(line)
        except InvalidRequirement as error:
            raise FmnistError(
                f"{wheel.name} requires {line!r}, which is no requirement: {error}. Pin another version of it."
            ) from error


def _download(requirements: list[str], folder: Path) -> None:
    """The wheels of exactly these are in `folder`."""
    target = [
        "--python-version",
        PYTHON,
        "--implementation",
        "cp",
        *(word for name in PLATFORMS for word in ("--platform", name)),
    ]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, *target, *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise FmnistError(
            f"pip must find wheels for CPython {PYTHON} on Linux of {', '.join(requirements)}: {reason}. Check the "
            "network."
        )
