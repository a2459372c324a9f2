import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmnist.data.idx import read_idx
from fmnist.data.raw import Raw
from fmnist.errors import FmnistError

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 3, 4), np.uint8)
LABELS = np.array([0, 9, 255, 3, 3, 1, 12], np.uint8)
IMAGES = struct.pack(">4I", 0x0803, 7, 3, 4) + PIXELS.tobytes()
NUMBERS = struct.pack(">2I", 0x0801, 7) + LABELS.tobytes()
FILES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def plain(content: bytes) -> bytes:
    return content


def read(folder: Path, images: bytes, labels: bytes = NUMBERS) -> Raw:
    (folder / "images").write_bytes(images)
    (folder / "labels").write_bytes(labels)
    return read_idx(folder / "images", folder / "labels")


def refused(folder: Path, images: bytes, labels: bytes = NUMBERS) -> str:
    with pytest.raises(FmnistError) as caught:
        read(folder, images, labels)
    return str(caught.value)


def count_rows(content: bytes) -> int:
    """Return the number of rows of a valid file of images, plain or packed, read by other code."""
    unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read() if content[:2] == b"\x1f\x8b" else content
    return int.from_bytes(unpacked[4:8])


@pytest.mark.parametrize("pack_images", [plain, packed])
@pytest.mark.parametrize("pack_labels", [plain, packed])
def test_rows_are_read_in_order(
    tmp_path: Path, pack_images: Callable[[bytes], bytes], pack_labels: Callable[[bytes], bytes]
) -> None:
    raw = read(tmp_path, pack_images(IMAGES), pack_labels(NUMBERS))
    np.testing.assert_array_equal(raw.pixels, PIXELS)
    assert raw.pixels.dtype == np.uint8
    assert raw.pixels.flags.writeable
    assert raw.labels.tolist() == ["0", "9", "255", "3", "3", "1", "12"]
    assert (raw.missing, raw.names, raw.classes) == (None, None, ())


def test_writing_to_the_rows_does_not_change_the_file(tmp_path: Path) -> None:
    read(tmp_path, IMAGES).pixels[:] = 0
    assert (tmp_path / "images").read_bytes() == IMAGES


def test_a_file_packed_in_several_members_is_read(tmp_path: Path) -> None:
    raw = read(tmp_path, packed(IMAGES[:30]) + packed(IMAGES[30:]))
    np.testing.assert_array_equal(raw.pixels, PIXELS)


@pytest.mark.parametrize("pack", [plain, packed])
@pytest.mark.parametrize(
    ("images", "parts"),
    [
        (b"", ["magic number 0x00000803", "got 0x."]),
        (IMAGES[:3], ["magic number 0x00000803", "got 0x000008."]),
        (IMAGES[:10], ["header of 16 bytes", "it has 10 bytes"]),
        (b"\x00\x00\x0d\x03" + IMAGES[4:], ["0x00000803", "got 0x00000d03", "unsigned bytes"]),
        (IMAGES[:-1], ["84 bytes (7 x 3 x 4)", "it holds 83."]),
        (struct.pack(">4I", 0x0803, 0, 28, 28), ["at least one", "0 x 28 x 28"]),
    ],
)
def test_a_file_that_is_not_an_idx_file_of_images_is_refused(
    tmp_path: Path, pack: Callable[[bytes], bytes], images: bytes, parts: list[str]
) -> None:
    message = refused(tmp_path, pack(images))
    assert all(part in message for part in [str(tmp_path / "images"), *parts]), message


@pytest.mark.parametrize(("pack", "held"), [(plain, "it holds 85."), (packed, "it holds more.")])
def test_a_file_longer_than_its_header_says_is_refused(
    tmp_path: Path, pack: Callable[[bytes], bytes], held: str
) -> None:
    assert held in refused(tmp_path, pack(IMAGES + b"\x00"))


@pytest.mark.parametrize("pack", [plain, packed])
def test_swapped_files_are_recognised(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    message = refused(tmp_path, pack(NUMBERS), pack(IMAGES))
    assert "0x00000803" in message
    assert "got 0x00000801. That is a file of labels: are the files of images and labels swapped?" in message
    assert "That is a file of images" in refused(tmp_path, IMAGES, IMAGES)


def test_counts_that_differ_are_both_named(tmp_path: Path) -> None:
    message = refused(tmp_path, IMAGES, struct.pack(">2I", 0x0801, 6) + bytes(6))
    assert "7 images" in message
    assert "6 labels" in message
    assert str(tmp_path / "labels") in message


@pytest.mark.parametrize("cut", [2, 5, 12, 30, -1, -4])
def test_a_packed_file_that_was_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    message = refused(tmp_path, packed(IMAGES)[:cut])
    assert f"{tmp_path / 'images'} must be a complete gzip file" in message


def test_a_packed_file_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    content = bytearray(packed(IMAGES))
    content[-8] ^= 1
    assert "CRC" in refused(tmp_path, bytes(content))


def test_unpacking_stops_at_the_length_in_the_header(tmp_path: Path) -> None:
    stream = zlib.compressobj(9, wbits=31)
    bomb = stream.compress(IMAGES) + b"".join(stream.compress(bytes(1 << 20)) for _ in range(64)) + stream.flush()
    # Cut short where only unpacking all of it would notice.
    assert "it holds more" in refused(tmp_path, bomb[:-1000])


def test_a_file_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    endless = struct.pack(">4I", 0x0803, 0xFFFFFFFF, 28, 28) + bytes(100)
    assert "GiB of memory" in refused(tmp_path, packed(endless))
    assert "it holds 100." in refused(tmp_path, endless)


def test_absent_files_and_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(IMAGES)
    with pytest.raises(FmnistError, match=r"The labels must be in a file; .*absent does not exist"):
        read_idx(tmp_path / "images", tmp_path / "absent")
    with pytest.raises(FmnistError, match=r"The images must be in a file; .* is a folder"):
        read_idx(tmp_path, tmp_path / "images")


@FILES
@given(data=st.data(), is_packed=st.booleans())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject, is_packed: bool) -> None:
    content = bytearray(packed(IMAGES) if is_packed else IMAGES)
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.sampled_from([start, start + 1, start + 4, len(content)]))
    content[start:end] = data.draw(st.binary(max_size=8))
    try:
        raw = read(tmp_path, bytes(content))
    except FmnistError as error:
        assert str(tmp_path / "images") in str(error)  # noqa: PT017
    else:
        assert len(raw) == len(raw.pixels) == count_rows(bytes(content)) == len(LABELS)
