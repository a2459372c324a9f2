import gzip
import hashlib
import pickle
import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from fmnist.data import download, official, sources
from fmnist.data.cache import cache_folder
from fmnist.data.official import OfficialFile
from fmnist.data.preparation import CENTRED, Preparation
from fmnist.data.sources import Source, find_source
from fmnist.errors import FmnistError
from tests.fmnist.data.official_files import ARRAYS, FILES, PACKED, as_idx


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _ignore(line: str) -> None: ...


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty working directory and cache, and small files instead of the official ones."""
    small = tuple(OfficialFile(name, _md5(content), _md5(PACKED[f"{name}.gz"])) for name, content in FILES.items())
    for module in (official, download, sources):
        monkeypatch.setattr(module, "OFFICIAL", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FMNIST_DATA", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Torchvision's only mirror: a port of this machine that accepts connections and never answers."""
    from torchvision.datasets import FashionMNIST

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.getsockname()[1]}/"])
        monkeypatch.setattr(FashionMNIST, "resources", [(f"{name}.gz", _md5(PACKED[f"{name}.gz"])) for name in FILES])
        monkeypatch.setattr(download, "TIMEOUT", 0.2)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    _write(tmp_path / "given" / "FashionMNIST" / "raw", PACKED)
    return tmp_path / "given"


def _assert_holds_the_arrays(source: Source) -> None:
    assert (source.name, source.is_synthetic) == ("Fashion-MNIST", False)
    for images, split in ((source.train(), "train"), (source.test(), "t10k")):
        np.testing.assert_array_equal(images.pixels, ARRAYS[f"{split}-images-idx3-ubyte"])
        np.testing.assert_array_equal(images.labels, ARRAYS[f"{split}-labels-idx1-ubyte"])
        assert images.labels.dtype == np.int64


@pytest.mark.parametrize("files", [PACKED, FILES], ids=["packed", "unpacked"])
@pytest.mark.parametrize("inside", ["", "FashionMNIST", "FashionMNIST/raw"])
def test_the_official_files_are_found_and_nothing_is_written_beside_them(
    inside: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    raw = _write(tmp_path / "given" / "FashionMNIST" / "raw", files)
    lines: list[str] = []
    source = find_source(str(tmp_path / "given" / inside), announce=lines.append)
    _assert_holds_the_arrays(source)
    assert lines == [f"Data: reading and cleaning {raw}; the result is cached.", f"Data: Fashion-MNIST, in {raw}."]
    assert _names(raw) == sorted(files)


def test_cached_images_are_reused(packed: Path) -> None:
    first = find_source(str(packed), announce=_ignore)
    lines: list[str] = []
    assert find_source(str(packed), announce=lines.append) == first
    assert lines == [f"Data: Fashion-MNIST, in {packed / 'FashionMNIST' / 'raw'}."]


def test_repacked_official_files_are_official(tmp_path: Path) -> None:
    again = {
        name: gzip.compress(content, compresslevel=1, mtime=1)
        for name, content in zip(PACKED, FILES.values(), strict=True)
    }
    _write(tmp_path / "given", again)
    _assert_holds_the_arrays(find_source(str(tmp_path / "given"), announce=_ignore))


def test_the_environment_names_the_folder_and_the_option_overrides_it(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_DATA", str(packed))
    _assert_holds_the_arrays(find_source(None, announce=_ignore))
    assert find_source("synthetic", announce=_ignore).is_synthetic
    monkeypatch.setenv("FMNIST_DATA", "synthetic")
    assert find_source(None, announce=_ignore).is_synthetic
    _assert_holds_the_arrays(find_source(str(packed), announce=_ignore))


def test_the_source_stores_only_a_path_given_as_option(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_source(str(packed), announce=_ignore).path == str(packed)
    monkeypatch.setenv("FMNIST_DATA", str(packed))
    assert find_source(None, announce=_ignore).path is None


def test_nothing_is_downloaded_if_that_is_not_allowed() -> None:
    lines: list[str] = []
    with pytest.raises(
        FmnistError, match=f"Fashion-MNIST is neither in {re.escape(str(Path('data').absolute()))} nor in "
    ):
        find_source(None, may_download=False, announce=lines.append)
    assert lines == []


def test_the_data_folder_comes_before_the_cache(packed: Path) -> None:
    shutil.copytree(packed, "data")
    _assert_holds_the_arrays(find_source(None, announce=_ignore))
    shutil.rmtree("data")
    shutil.copytree(packed, cache_folder(), dirs_exist_ok=True)
    _assert_holds_the_arrays(find_source(None, announce=_ignore))


@pytest.mark.parametrize("name", ["nowhere", "a-file", "empty"])
@pytest.mark.parametrize("option", ["--data", "$FMNIST_DATA"])
def test_a_named_folder_without_the_data_is_an_error_and_nothing_else_is_tried(
    name: str, option: str, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(packed, "data")
    Path("a-file").touch()
    Path("empty").mkdir()
    monkeypatch.setenv("FMNIST_DATA", name)
    with pytest.raises(FmnistError) as caught:
        find_source(name if option == "--data" else None, or_synthetic=True, announce=_ignore)
    message = str(caught.value)
    assert str(Path(name).absolute()) in message


@pytest.mark.parametrize("missing", PACKED)
def test_an_incomplete_folder_is_an_error_that_names_the_missing_files(missing: str, packed: Path) -> None:
    (packed / "FashionMNIST" / "raw" / missing).unlink()
    with pytest.raises(FmnistError, match=f"does not have {missing}\\."):
        find_source(str(packed), announce=_ignore)
    shutil.copytree(packed, "data")
    with pytest.raises(FmnistError, match=r"\./data must hold .* does not have"):
        find_source(None, or_synthetic=True, announce=_ignore)


@pytest.mark.parametrize("name", [*PACKED, *FILES])
def test_a_file_that_is_cut_short_is_an_error(name: str, tmp_path: Path) -> None:
    whole = PACKED if name in PACKED else FILES
    raw = _write(tmp_path / "given", whole | {name: whole[name][:-3]})
    with pytest.raises(FmnistError, match=str(raw / name)):
        find_source(str(tmp_path / "given"), announce=_ignore)


@pytest.mark.parametrize("name", FILES)
def test_one_file_that_is_not_official_is_an_error(name: str, tmp_path: Path) -> None:
    content = bytearray(FILES[name])
    content[-1] = 0 if content[-1] else 1
    raw = _write(tmp_path / "given", FILES | {name: bytes(content)})
    with pytest.raises(FmnistError, match=f"{raw / name} must be the official Fashion-MNIST file"):
        find_source(str(tmp_path / "given"), announce=_ignore)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_packed", [True, False])  # a browser may have unpacked the file and kept its name
def test_one_packed_file_that_is_not_official_is_an_error(name: str, is_packed: bool, tmp_path: Path) -> None:
    content = FILES[name][:-1] + bytes([9 - FILES[name][-1] % 10])
    raw = _write(tmp_path / "given", PACKED | {f"{name}.gz": gzip.compress(content) if is_packed else content})
    with pytest.raises(FmnistError, match=f"{raw / name}.gz must be the official Fashion-MNIST file"):
        find_source(str(tmp_path / "given"), announce=_ignore)


def test_four_other_idx_files_are_a_data_set_of_another_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.integers(0, 256, array.shape, np.uint8) if array.ndim > 1 else array[::-1] % 5
        for name, array in ARRAYS.items()
    }
    _write(tmp_path / "given", {name: as_idx(array) for name, array in arrays.items()})
    lines: list[str] = []
    source = find_source(str(tmp_path / "given"), announce=lines.append)
    assert (source.name, source.train().class_names) == ("given", ("0", "1", "2", "3", "4"))
    assert any("none of the idx files" in line for line in lines)
    assert source.preparation == Preparation()


def test_the_official_files_keep_their_form_with_another_test_split(packed: Path, tmp_path: Path) -> None:
    test = _write(tmp_path / "test", {name: as_idx(array[::-1]) for name, array in ARRAYS.items()})
    source = find_source(str(packed), test=str(test), announce=_ignore)
    assert source.preparation == Preparation(form=CENTRED)
    assert (source.name, source.train().class_names) == ("given", tuple("0123456789"))


def test_a_damaged_cache_is_an_error_that_says_what_to_delete(packed: Path) -> None:
    root = find_source(str(packed), announce=_ignore).root
    assert root is not None
    (root / "train-pixels.npy").write_bytes(b"damaged")
    with pytest.raises(FmnistError, match=f"Delete {root}"):
        find_source(str(packed), announce=_ignore).train()
    shutil.rmtree(root)
    _assert_holds_the_arrays(find_source(str(packed), announce=_ignore))


def test_a_cache_that_cannot_be_written_is_an_error(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(FmnistError, match="XDG_CACHE_HOME"):
        find_source(str(packed), announce=_ignore)


def test_concurrent_reads_give_the_same_source(packed: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: find_source(str(packed), announce=_ignore), range(8)))
    assert len(set(results)) == 1
    _assert_holds_the_arrays(results[0])


@pytest.mark.parametrize("network", ["silent", "closed"])
def test_without_data_or_network_the_error_names_the_folders_searched_and_the_next_step(
    network: str, mirror: socket.socket
) -> None:
    if network == "closed":
        mirror.close()
    lines: list[str] = []
    with pytest.raises(FmnistError, match="timed out" if network == "silent" else "refused") as caught:
        find_source(None, announce=lines.append)
    message = str(caught.value)
    assert all(
        part in message for part in [*PACKED, str(Path("data").resolve()), str(cache_folder()), "--data synthetic"]
    )
    assert "\n" not in message
    assert [line.split(";")[0] for line in lines] == ["Data: Fashion-MNIST is not on this machine yet"]
    assert [path for path in cache_folder().rglob("*") if path.is_file()] == []
    assert socket.getdefaulttimeout() is None


def test_synthetic_images_replace_missing_data_only_if_allowed_and_with_a_warning(mirror: socket.socket) -> None:
    mirror.close()
    lines: list[str] = []
    source = find_source(None, or_synthetic=True, announce=lines.append)
    assert source == Source("synthetic", None)
    assert lines[-1].startswith("Data: SYNTHETIC IMAGES, NOT FASHION-MNIST.")
    assert (len(source.train()), len(source.test())) == (6_000, 1_000)


@pytest.mark.parametrize("earlier", [{}, {next(iter(PACKED)): b"an interrupted download"}], ids=["none", "interrupted"])
def test_a_download_is_cached_for_the_next_run(
    earlier: dict[str, bytes], mirror: socket.socket, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier:
        _write(cache_folder() / "FashionMNIST" / "raw", earlier)
    # The folder for temporary files may be on another disk, from which a file cannot be moved in one step.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(packed / "FashionMNIST" / "raw"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = mirror
        Thread(target=server.serve_forever, daemon=True).start()
        _assert_holds_the_arrays(find_source(None, announce=_ignore))
        server.shutdown()
    _assert_holds_the_arrays(find_source(None, announce=_ignore))
    assert _names(cache_folder()) == ["FashionMNIST", "cleaned"]
    assert _names(cache_folder() / "FashionMNIST" / "raw") == sorted(PACKED)


def test_a_source_is_small_when_pickled_and_loads_after_unpickling(packed: Path) -> None:
    sent = pickle.dumps(find_source(str(packed), announce=_ignore))
    assert len(sent) < 1_000
    _assert_holds_the_arrays(pickle.loads(sent))


def test_loaded_pixels_can_be_written_to_without_changing_the_file(packed: Path) -> None:
    source = find_source(str(packed), announce=_ignore)
    source.train().pixels[:] = 0
    _assert_holds_the_arrays(source)
