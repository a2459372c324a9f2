"""The pack for a GPU machine: its wheels and data, and what is refused. pip finds wheels in a local folder."""

import gzip
import hashlib
import os
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from benchmarks import gpu_pack
from benchmarks.wheels import read_present
from fmnist.data import official
from fmnist.data.official import OfficialFile
from fmnist.errors import FmnistError

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
MISSING = {"cmaes", "tomli-w"}  # dependencies that the machine of these tests does not have
OWN = f"fmnist_search-{PROJECT['version']}-py3-none-any.whl"
PYTHON_3_12 = "tomli_w-1.2.0-cp312-cp312-manylinux_2_28_x86_64.whl"


class Pack:
    """The folder of a pack, the packages of a machine, the wheels that pip finds, and the data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wheels, self.data, self.present = (
            folder / name for name in ("pack", "wheels", "data", "present.txt")
        )
        self.wheels.mkdir()
        requirements = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
        names = [Requirement(line).name for line in requirements]
        self.lines = ["# a comment", "", *(name for name in names if name not in MISSING)]
        self.add_wheel("cmaes-0.13.1-py3-none-any.whl")
        self.add_wheel(PYTHON_3_12)

    def add_wheel(self, file: str, *requires: str) -> None:
        name, version = file.split("-")[:2]
        folder = f"{name}-{version}.dist-info"
        with ZipFile(self.wheels / file, "w") as wheel:
            lines = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
            wheel.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}")
            tag = "-".join(file.removesuffix(".whl").split("-")[2:])
            wheel.writestr(f"{folder}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
            wheel.writestr(f"{folder}/RECORD", "")

    def make(self) -> list[str]:
        """Make the pack, and return the names of its wheels."""
        self.present.write_text("\n".join(self.lines))
        gpu_pack.gpu_pack(self.folder, data=self.data, present=self.present)
        return sorted(path.name for path in self.folder.glob("*.whl"))


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    made = Pack(tmp_path)
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(made.wheels)), ("PIP_CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(made.wheels))  # pip calls a Rust compiler, which may write to the home folder
    monkeypatch.delenv("FMNIST_DATA", raising=False)
    made.data.mkdir()
    files = [_small_file(made.data, file.name) for file in official.OFFICIAL]
    monkeypatch.setattr(official, "OFFICIAL", tuple(files))
    return made


def _small_file(folder: Path, name: str) -> OfficialFile:
    content = name.encode()
    packed = gzip.compress(content)
    (folder / f"{name}.gz").write_bytes(packed)
    return OfficialFile(name, *(hashlib.md5(data, usedforsecurity=False).hexdigest() for data in (content, packed)))


@pytest.mark.process
def test_a_pack_has_missing_packages_and_prints_the_commands(pack: Pack, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack.make() == ["cmaes-0.13.1-py3-none-any.whl", OWN, PYTHON_3_12]
    *_, install, start = capsys.readouterr().out.splitlines()
    assert install == f"python3 -m pip install --no-index --no-deps --target /tmp/site {pack.folder}/*.whl"
    assert start == f"PYTHONPATH=/tmp/site FMNIST_DATA={pack.folder}/fashion-mnist python3 benchmarks/gpu.py"


@pytest.mark.process
def test_dependencies_of_a_wheel_are_packed_if_their_markers_apply(pack: Pack) -> None:
    pack.add_wheel(
        "cmaes-0.13.2-py3-none-any.whl",
        "Tiny_Part[fast]>=1; python_version >= '3.12' and sys_platform == 'linux'",
        "elsewhere; sys_platform == 'win32'",
        "older; python_version < '3.12'",
        "optional; extra == 'more'",
        "numpy>=1",
    )
    pack.add_wheel("tiny_part-1.0-py3-none-any.whl", "faster; extra == 'fast'", "slower; extra == 'slow'")
    pack.add_wheel("faster-1.0-py3-none-any.whl")
    assert pack.make() == [
        *("cmaes-0.13.2-py3-none-any.whl", "faster-1.0-py3-none-any.whl", OWN),
        *("tiny_part-1.0-py3-none-any.whl", PYTHON_3_12),
    ]


@pytest.mark.process
def test_package_names_are_normalised(pack: Pack) -> None:
    pack.lines += ["Tomli_W==1.2.0", "Tiny.Part"]
    pack.add_wheel("cmaes-0.13.2-py3-none-any.whl", "tiny-part")
    assert pack.make() == ["cmaes-0.13.2-py3-none-any.whl", OWN]


@pytest.mark.process
def test_wheels_are_for_the_python_of_the_machine(pack: Pack) -> None:
    pack.add_wheel("tomli_w-1.3.0-cp311-cp311-manylinux_2_28_x86_64.whl")
    pack.add_wheel("tomli_w-1.3.0-cp312-cp312-win_amd64.whl")
    assert PYTHON_3_12 in pack.make()


@pytest.mark.process
def test_a_version_that_another_requirement_excludes_is_replaced(pack: Pack) -> None:
    pack.add_wheel("cmaes-0.13.2-py3-none-any.whl", "part")
    pack.add_wheel("part-1.0-py3-none-any.whl", "other")
    pack.add_wheel("part-2.0-py3-none-any.whl", "other")
    pack.add_wheel("other-1.0-py3-none-any.whl", "part<2")
    assert pack.make() == [
        "cmaes-0.13.2-py3-none-any.whl",
        OWN,
        "other-1.0-py3-none-any.whl",
        "part-1.0-py3-none-any.whl",
        PYTHON_3_12,
    ]


@pytest.mark.process
def test_the_projects_own_wheel_has_its_version_and_no_code(pack: Pack) -> None:
    pack.make()
    with ZipFile(pack.folder / OWN) as wheel:
        assert {name.partition("/")[0] for name in wheel.namelist()} == {
            f"fmnist_search-{PROJECT['version']}.dist-info"
        }


@pytest.mark.process
def test_the_data_in_the_pack_is_compressed(pack: Pack) -> None:
    first, *others = official.OFFICIAL
    (pack.data / f"{first.name}.gz").unlink()
    (pack.data / first.name).write_text(first.name)
    pack.make()
    raw = pack.folder / "fashion-mnist" / "FashionMNIST" / "raw"
    assert gzip.decompress((raw / f"{first.name}.gz").read_bytes()) == first.name.encode()
    for name in (f"{file.name}.gz" for file in others):
        assert (raw / name).read_bytes() == (pack.data / name).read_bytes()
    assert not official.missing_files(pack.folder / "fashion-mnist")


@pytest.mark.process
def test_an_earlier_pack_is_replaced(pack: Pack) -> None:
    pack.make()
    (pack.folder / "old-1.0-py3-none-any.whl").touch()
    assert "old-1.0-py3-none-any.whl" not in pack.make()


@pytest.mark.parametrize("name", ["mine.txt", "mine-1.0-py3-none-any.whl"])
def test_a_folder_with_other_files_is_not_changed(pack: Pack, name: str) -> None:
    pack.folder.mkdir()
    (pack.folder / name).touch()
    with pytest.raises(FmnistError, match=f"only a pack or an empty folder; .* holds '{name}'. Name another folder"):
        pack.make()
    assert [path.name for path in pack.folder.iterdir()] == [name]


@pytest.mark.process
def test_a_pack_that_is_too_large_is_not_kept(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_pack, "MOST_MIB", 0)
    with pytest.raises(FmnistError, match="at most 0 MiB"):
        pack.make()
    assert not pack.folder.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("optuna==4.9", "this project needs optuna.*; the machine has 4.9. Remove it from the file"),
        ("numpy==1.26.4+local", "this project needs numpy>=2.0; the machine has 1.26.4"),
        ("numpy @ file:///tmp", "a line must be NAME or NAME==VERSION; got 'numpy @ file:///tmp'"),
        ("numpy==two", "a line must be NAME or NAME==VERSION; got 'numpy==two'"),
    ],
)
def test_an_unsuitable_machine_is_refused(pack: Pack, line: str, message: str) -> None:
    pack.lines.append(line)
    with pytest.raises(FmnistError, match=message):
        pack.make()


@pytest.mark.process
def test_a_wheel_that_does_not_exist_is_named(pack: Pack) -> None:
    pack.lines.remove("optuna")
    with pytest.raises(
        FmnistError, match=r"pip must find wheels for CPython 3\.12 on Linux of .*optuna.*: .*No matching distribution"
    ):
        pack.make()


def test_the_data_must_be_complete_and_official(pack: Pack) -> None:
    file = pack.data / f"{official.OFFICIAL[2].name}.gz"
    file.write_bytes(gzip.compress(b"others"))
    with pytest.raises(FmnistError, match="must be the official Fashion-MNIST file; its MD5 differs"):
        pack.make()
    file.unlink()
    with pytest.raises(FmnistError, match=f"does not have {file.name}. Name a folder that has them with --data"):
        pack.make()


def test_the_default_machine_has_the_main_packages() -> None:
    packages = read_present(gpu_pack.PRESENT)
    assert str(packages["torch"]) == "2.11.0"
    assert {"numpy", "torchvision", "scikit-learn", "pytest", "pytest-xdist", "hypothesis"} <= packages.keys()
    assert not {"optuna", "sqlalchemy", "pydantic"} & packages.keys()
