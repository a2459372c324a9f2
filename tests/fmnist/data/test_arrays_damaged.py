import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from fmnist.data.arrays import read_npz
from fmnist.errors import FmnistError
from tests.fmnist.data.npz_files import FILES, LABELS, PIXELS, WORDS, header, npy, read, zipped


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not a zip file"), (b"text", "not a zip file"), (npy(PIXELS), "not a zip file")],
)
def test_a_file_that_is_not_npz_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FmnistError, match=rf"a\.npz must be a complete \.npz file: .*{reason}"):
        read_npz(tmp_path / "a.npz")
    for name, state in {"absent": "does not exist", "": "is a folder"}.items():
        with pytest.raises(FmnistError, match=state):
            read_npz(tmp_path / name)


def test_a_damaged_array_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", x=npy(PIXELS), y=npy(LABELS))
    content = bytearray(path.read_bytes())
    content[content.index(PIXELS.tobytes()) + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(FmnistError, match=r"a\.npz must be a complete \.npz file: Bad CRC-32 for file 'x\.npy'"):
        read_npz(path)


def test_a_checksum_is_compared_even_if_all_bytes_are_read(tmp_path: Path) -> None:
    """A reader may have all bytes before it reaches the end of the packed data, where the checksum is compared."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 40, 40), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", x=pixels, y=LABELS)
    content = (tmp_path / "a.npz").read_bytes()
    checksum = zlib.crc32(npy(pixels)).to_bytes(4, "little")
    assert checksum in content
    (tmp_path / "a.npz").write_bytes(content.replace(checksum, bytes(4)))
    with pytest.raises(FmnistError, match=r"Bad CRC-32 for file 'x\.npy'"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("descr", "gib"), [("|u1", r"73,01\d"), ("<f8", r"730,15\d")]
)  # a pixel made from a float takes 2 bytes more
def test_an_array_larger_than_memory_is_refused_before_it_is_read(descr: str, gib: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", x=header((10**9, 280, 280), descr) + bytes(100), y=header((10**9,)))
    with pytest.raises(FmnistError, match=rf"a\.npz takes about {gib}\.\d GiB of memory"):
        read_npz(path)


@pytest.mark.parametrize("content", [header((5, 4, 4)) + bytes(79), header((5, 4, 4)) + bytes(81), header((5, 4, 4))])
def test_an_array_whose_length_differs_from_its_header_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FmnistError, match=r"a\.npz x: its header announces 208 bytes"):
        read_npz(zipped(tmp_path / "a.npz", x=content, y=npy(LABELS)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        header((5, 4, 4))[:40],
        header((5, 4, 4), "x"),
        header((5, 4, 4)).replace(b"5,", b"5\\"),
        header((-1, 4)),
        header((2, -3)),
    ],
)
def test_an_array_with_a_damaged_header_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FmnistError, match=r"a\.npz"):
        read_npz(zipped(tmp_path / "a.npz", x=content, y=npy(LABELS)))


@FILES
@given(
    x=st_numpy.arrays(
        st.sampled_from(["u1", "i1", "i2", "f2", "f4", "f8"]),
        st_numpy.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=5),
    ),
    y=st_numpy.arrays(
        st.sampled_from(["u1", "i8", "f2", "f4", "f8", "S2", "U2", "?"]),
        st_numpy.array_shapes(max_dims=2, min_side=0, max_side=5),
    ),
)
def test_any_arrays_are_read_or_refused(tmp_path: Path, x: NDArray[Any], y: NDArray[Any]) -> None:
    try:
        raw = read(tmp_path, x=x, y=y)
    except FmnistError as error:
        assert str(tmp_path / "a.npz") in str(error)  # noqa: PT017
    else:
        assert len(raw) == len(raw.pixels) == len(x) == len(y)


@FILES
@given(data=st.data(), is_compressed=st.booleans())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject, is_compressed: bool) -> None:
    save = np.savez_compressed if is_compressed else np.savez
    save(tmp_path / "a.npz", x_train=PIXELS, y_train=LABELS, class_names=np.array([f"c{i}" for i in range(13)]))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.sampled_from([start, start + 1, start + 4, len(content)]))
    content[start:end] = data.draw(st.binary(max_size=8))
    (tmp_path / "a.npz").write_bytes(content)
    try:
        raw, test = read_npz(tmp_path / "a.npz")
    except FmnistError as error:
        assert str(tmp_path / "a.npz") in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(raw.pixels, PIXELS)
        assert (len(raw), test) == (5, None)


@FILES
@given(key=st.sampled_from(["x", "y"]), data=st.data())
def test_a_damaged_array_with_a_valid_checksum_is_read_or_refused(
    tmp_path: Path, key: str, data: st.DataObject
) -> None:
    contents = {"x": npy(PIXELS.astype("f4")), "y": npy(np.array(WORDS))}
    content = bytearray(contents[key])
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.sampled_from([start, start + 1, start + 4]))
    content[start:end] = data.draw(st.binary(max_size=8))
    path = zipped(tmp_path / "a.npz", **(contents | {key: bytes(content)}))
    try:
        raw, _ = read_npz(path)
    except FmnistError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert len(raw) == len(raw.pixels) == len(LABELS)
