import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fmnist.data.folders import fingerprint_folder, read_folder
from fmnist.data.raw import Raw
from fmnist.errors import FmnistError

RNG = np.random.default_rng(0)
FILES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def picture(*shape: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(file, "PNG")
    return file.getvalue()


SMALL = picture(28, 28)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read(folder: Path, files: dict[str, bytes], *, skip_unreadable: bool = False) -> Raw:
    return read_folder(write(folder, files), skip_unreadable=skip_unreadable)


def refused(folder: Path, files: dict[str, bytes], *, skip_unreadable: bool = False) -> str:
    with pytest.raises(FmnistError) as caught:
        read(folder, files, skip_unreadable=skip_unreadable)
    return str(caught.value)


def opened(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(path))


def test_rows_are_named_and_ordered_by_picture_then_by_class(tmp_path: Path) -> None:
    names = [
        "Bag-2/1.png",
        "Bag/2.png",
        "Shirt/2.png",
        "Bag/10.png",
        "Shirt/B.png",
        "Shirt/a.png",
        "Bag/b/1.PNG",
        "Bag/é.png",
    ]
    raw = read(tmp_path, {name: picture(28, 28) for name in reversed(names)})
    assert raw.names == tuple(names)
    assert raw.labels.tolist() == [name.split("/")[0] for name in names]
    assert raw.classes == ("Bag", "Bag-2", "Shirt")
    for name, pixels in zip(names, raw.pixels, strict=True):
        np.testing.assert_array_equal(pixels, opened(tmp_path / name))
    assert (raw.missing, raw.unreadable, raw.is_resized) == (None, (), False)


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.jpeg", "a.bmp", "a.gif", "a.webp", "a.tif", "a.TIFF"])
def test_all_common_formats_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "Shirt").mkdir()
    Image.new("L", (28, 28), 200).save(tmp_path / "Shirt" / name)
    raw = read_folder(tmp_path, skip_unreadable=False)
    assert raw.names == (f"Shirt/{name}",)
    assert raw.pixels.mean() == pytest.approx(200, abs=2)


def test_only_pictures_of_other_sizes_are_resized(tmp_path: Path) -> None:
    raw = read(tmp_path, {"Shirt/a.png": SMALL, "Shirt/b.png": picture(56, 60, 3)})
    assert raw.is_resized
    assert raw.pixels.shape == (2, 28, 28)
    np.testing.assert_array_equal(raw.pixels[0], opened(tmp_path / "Shirt" / "a.png"))


def test_a_class_without_pictures_is_declared(tmp_path: Path) -> None:
    (tmp_path / "Dress").mkdir()
    raw = read(tmp_path, {"Shirt/a.png": SMALL})
    assert raw.classes == ("Dress", "Shirt")
    assert raw.labels.tolist() == ["Shirt"]


def test_hidden_files_and_leftovers_are_ignored(tmp_path: Path) -> None:
    leftovers = [
        "Shirt/.DS_Store",
        "Shirt/._a.png",
        "Shirt/Thumbs.db",
        "Shirt/.git/a.png",
        "__MACOSX/Shirt/a.png",
        ".cache/b.png",
    ]
    raw = read(tmp_path, {"Shirt/a.png": SMALL, "README.md": b"about"} | dict.fromkeys(leftovers, b"x"))
    assert raw.names == ("Shirt/a.png",)
    assert raw.classes == ("Shirt",)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("Shirt/notes.txt", b"x", "must hold only pictures"),
        ("Shirt/b.png", SMALL[:400], "readable picture"),
        ("Shirt/c.gif", b"", "Pillow does not know its format"),
    ],
)
def test_a_file_that_is_not_a_picture_is_refused_or_skipped_and_listed(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    files = {"Bag/a.png": SMALL, name: content, "Shirt/z.png": SMALL}
    message = refused(tmp_path, files)
    assert str(tmp_path / name) in message
    assert reason in message
    assert "--skip-unreadable" in message
    raw = read(tmp_path, files, skip_unreadable=True)
    assert raw.names == ("Bag/a.png", "Shirt/z.png")
    assert raw.unreadable == (name,)
    np.testing.assert_array_equal(raw.pixels[1], opened(tmp_path / "Shirt" / "z.png"))


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({}, ["holds nothing", "Shirt/1.png"]),
        ({"notes.txt": b"x", "more.csv": b"x"}, ["2 files, such as more.csv", "Shirt/1.png"]),
        ({"1.png": SMALL, "2.PNG": SMALL}, ["2 in no class folder, such as 1.png", "Shirt/1.png"]),
        ({"1.png": SMALL, "Shirt/1.png": SMALL}, ["1 in no class folder, such as 1.png"]),
        ({f"{name}/notes.txt": b"x" for name in "ABCDE"}, ["none of its folders A, B, C, D, E has one"]),
        ({f"{name}/notes.txt": b"x" for name in "ABCDEF"}, ["none of its folders A, B, C, D, E and 1 more has one"]),
        ({f"{name}/notes.txt": b"x" for name in "ABCDEFG"}, ["folders A, B, C, D, E and 2 more has one", ".png"]),
    ],
)
def test_another_layout_is_refused_naming_the_content(
    tmp_path: Path, files: dict[str, bytes], parts: list[str]
) -> None:
    message = refused(tmp_path, files)
    assert all(part in message for part in [str(tmp_path), *parts]), message


def test_a_folder_of_unreadable_pictures_only_is_refused(tmp_path: Path) -> None:
    assert "none of 2 files" in refused(tmp_path, {"A/1.png": b"x", "B/1.png": b"y"}, skip_unreadable=True)


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    for use in (lambda path: read_folder(path, skip_unreadable=True), fingerprint_folder):
        with pytest.raises(FmnistError, match=f"{name} must be a folder that can be read"):
            use(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="creating links needs privileges on Windows")
def test_cycles_of_links_are_not_followed(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {"Shirt/a.png": SMALL, "Shirt/deep/b.png": SMALL, "Bag/a.png": SMALL})
    for target in ("Shirt", "Shirt/deep", ".", ".."):
        (data / "Shirt" / "deep" / f"to {target.replace('/', ' ')}").symlink_to((data / target).resolve())
    (data / "Bag" / "other").symlink_to(data / "Shirt" / "deep")
    raw = read_folder(data, skip_unreadable=False)
    assert sorted(raw.names or ()) == [
        "Bag/a.png",
        "Bag/other/b.png",
        "Bag/other/to Shirt/a.png",
        "Shirt/a.png",
        "Shirt/deep/b.png",
    ]
    assert len(fingerprint_folder(data)) == 64


@pytest.mark.skipif(os.name == "nt", reason="creating links needs privileges on Windows")
def test_broken_links_are_unreadable(tmp_path: Path) -> None:
    write(tmp_path, {"Shirt/a.png": SMALL})
    (tmp_path / "Shirt" / "lost.png").symlink_to(tmp_path / "absent.png")
    (tmp_path / "Shirt" / "self").symlink_to(tmp_path / "Shirt" / "self")
    assert read_folder(tmp_path, skip_unreadable=True).unreadable == ("Shirt/lost.png", "Shirt/self")
    assert len(fingerprint_folder(tmp_path)) == 64


def test_deeply_nested_folders_are_read(tmp_path: Path) -> None:
    raw = read(tmp_path, {"Shirt/" + "d/" * 400 + "a.png": SMALL})
    assert raw.labels.tolist() == ["Shirt"]


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="such names cannot be created there")
def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"Shirt/a.png": SMALL})
    (tmp_path / "Shirt" / os.fsdecode(b"\xff.png")).write_bytes(SMALL)
    with pytest.raises(FmnistError, match=r"UTF-8; .*Shirt holds b'.*xff\.png'"):
        read_folder(tmp_path, skip_unreadable=False)


def test_the_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    files = {"Shirt/a.png": SMALL, "Bag/b.png": SMALL}
    write(tmp_path, files)
    fingerprints = [fingerprint_folder(tmp_path)]
    assert fingerprint_folder(tmp_path) == fingerprints[0]
    write(tmp_path, {"Shirt/.hidden": b"x"})
    fingerprints.append(fingerprint_folder(tmp_path))  # the path of a leftover counts
    write(tmp_path, {"Shirt/.hidden": b"another"})
    assert fingerprint_folder(tmp_path) == fingerprints[1]
    os.utime(tmp_path / "Bag/b.png", ns=(1, 1))
    assert fingerprint_folder(tmp_path) == fingerprints[1], "the content of a file counts, not its time"
    write(tmp_path, {"Bag/b.png": SMALL[:-1] + b"x"})
    os.utime(tmp_path / "Bag/b.png", ns=(1, 1))
    fingerprints.append(fingerprint_folder(tmp_path))
    (tmp_path / "Bag/b.png").rename(tmp_path / "Bag/c.png")
    fingerprints.append(fingerprint_folder(tmp_path))
    (tmp_path / "Dress").mkdir()
    fingerprints.append(fingerprint_folder(tmp_path))
    assert len(set(fingerprints)) == 5


def test_the_fingerprint_does_not_depend_on_the_path_of_the_folder(tmp_path: Path) -> None:
    for place in ("here", "there/deeper"):
        write(tmp_path / place, {"Shirt/a.png": SMALL, "Bag/b.png": SMALL})
    assert fingerprint_folder(tmp_path / "here") == fingerprint_folder(tmp_path / "there/deeper")


@FILES
@given(start=st.integers(0, len(SMALL) - 1), width=st.sampled_from([0, 1, 4, 10_000]), inserted=st.binary(max_size=8))
def test_a_damaged_picture_is_read_or_refused(tmp_path: Path, start: int, width: int, inserted: bytes) -> None:
    files = {"Bag/a.png": SMALL, "Shirt/b.png": SMALL[:start] + inserted + SMALL[start + width :]}
    skipped = read(tmp_path, files, skip_unreadable=True)
    assert skipped.names == ("Bag/a.png", "Shirt/b.png")[: 2 - len(skipped.unreadable)]
    try:
        raw = read(tmp_path, files)
    except FmnistError as error:
        assert str(tmp_path / "Shirt" / "b.png") in str(error)  # noqa: PT017
        assert skipped.unreadable == ("Shirt/b.png",)
    else:
        assert len(raw) == len(raw.pixels) == 2
        assert skipped.unreadable == ()
