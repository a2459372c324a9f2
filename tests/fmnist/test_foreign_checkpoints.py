"""Untrusted model folders: each is loaded as it was saved, or refused with one message."""

import copy
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fmnist.checkpoint import CONFIG, WEIGHTS, Checkpoint, load_checkpoint, save_checkpoint
from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from fmnist.network import build

CONFIGURATION = TrialConfig(depth=1, filters=4, head="max", batch_norm=True)
NAMES = ("coat", "bag")
LARGEST = {"depth": 4, "blocks": 4, "filters": 512, "growth": 4.0, "kernel_size": 5, "hidden": 4096, "head": "flatten"}
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build(CONFIGURATION, len(NAMES))
    save_checkpoint(
        tmp_path / "model", model, CONFIGURATION, NAMES, origin={"seed": 7, "data": "synthetic", "share": 0.1}
    )
    return tmp_path / "model"


def refusal(folder: Path) -> str:
    with pytest.raises(FmnistError) as caught:
        load_checkpoint(folder)
    return str(caught.value)


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    about = json.loads((folder / CONFIG).read_text())
    change(about)
    (folder / CONFIG).write_text(json.dumps(about))


def rehashed(folder: Path, weights: bytes) -> None:
    """Replace the weights with an updated SHA-256, and drop the optional checksum of the configuration."""
    (folder / WEIGHTS).write_bytes(weights)
    changed(
        folder, lambda about: (about.pop("checksum", None), about.update(sha256=hashlib.sha256(weights).hexdigest()))
    )


def are_equal(first: Checkpoint, second: Checkpoint) -> bool:
    pairs = zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    facts = [(checkpoint.config, checkpoint.class_names, checkpoint.origin) for checkpoint in (first, second)]
    return facts[0] == facts[1] and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about["config"].update(mirror=True),
        lambda about: about.update(class_names=["bag", "coat"]),
        lambda about: about["origin"].update(data="Fashion-MNIST"),
        lambda about: about["origin"].update(share=0.1000000001),
        lambda about: about["config"].pop("mirror"),
    ],
)
def test_a_careless_edit_is_detected(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    changed(folder, change)
    assert f"{CONFIG} must have the checksum" in refusal(folder)


def test_the_layout_of_the_json_does_not_matter(folder: Path) -> None:
    expected = load_checkpoint(folder)
    about = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(dict(reversed(about.items())), indent=1, sort_keys=False))
    assert are_equal(load_checkpoint(folder), expected)


def test_an_older_checkpoint_without_checksum_is_loaded(folder: Path) -> None:
    expected = load_checkpoint(folder)
    changed(folder, lambda about: about.pop("checksum"))
    assert are_equal(load_checkpoint(folder), expected)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")) | st.integers(), json_values))
@settings(max_examples=60, deadline=None)
@example({1: 1, 10: 2, 9: 5e-324, "a": 1.7976931348623157e308, "b": 10**30})
def test_any_origin_is_sealed_and_loaded(tmp_path_factory: pytest.TempPathFactory, origin: dict[Any, Any]) -> None:
    folder = tmp_path_factory.getbasetemp() / "origins"
    save_checkpoint(folder, build(CONFIGURATION, 2), CONFIGURATION, NAMES, origin=origin)
    assert load_checkpoint(folder).origin == json.loads(json.dumps(origin))


def test_invalid_class_names_are_not_saved(tmp_path: Path) -> None:
    for names in (("coat", "coat"), ("coat", "\x1b[2J"), ("coat", "x" * 101)):
        with pytest.raises(FmnistError, match="class_names must be 2 to 100 names"):
            save_checkpoint(tmp_path / "model", build(CONFIGURATION, 2), CONFIGURATION, names, origin={})
    assert not (tmp_path / "model").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("kind", ["pipe", "zero", "folder"])
def test_anything_but_a_regular_file_is_refused_without_waiting(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "zero":
        (folder / name).symlink_to("/dev/zero")
    else:
        (folder / name).mkdir()
    received = "a folder" if kind == "folder" else "a pipe, a socket or a device"
    assert f"{name} must be a file, got {received}" in refusal(folder)


def test_links_are_followed_and_cyclic_links_are_refused(folder: Path) -> None:
    expected = load_checkpoint(folder)
    (folder / WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")
    assert are_equal(load_checkpoint(folder), expected)
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to(folder / CONFIG)
    assert f"{CONFIG} must be readable" in refusal(folder)


LOAD = """
import resource, sys
from pathlib import Path
from fmnist.checkpoint import load_checkpoint
from fmnist.errors import FmnistError
for folder in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try: load_checkpoint(Path(folder))
    except FmnistError as error: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, repr(str(error)))
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process's memory in KiB")
def test_claimed_sizes_take_no_memory(folder: Path, tmp_path: Path) -> None:
    huge, sparse, wide = (tmp_path / name for name in ("huge", "sparse", "wide"))
    for copy_folder in (huge, sparse, wide):
        copy_folder.mkdir()
        for name in (CONFIG, WEIGHTS):
            (copy_folder / name).write_bytes((folder / name).read_bytes())
    changed(huge, lambda about: (about.pop("checksum"), about["config"].update(LARGEST)))
    os.truncate(sparse / WEIGHTS, 2**36)  # 64 GiB that take no disk space
    changed(wide, lambda about: (about.pop("checksum"), about.update(class_names=[str(i) for i in range(100_000)])))
    loads = subprocess.run([sys.executable, "-c", LOAD, huge, sparse, wide], capture_output=True, text=True, check=True)
    growths, messages = zip(*(line.split(" ", 1) for line in loads.stdout.splitlines()), strict=True)
    assert "does not fit its configuration" in messages[0]
    assert "bytes, got 68,719,476,736" in messages[1]
    assert "class_names must be 2 to 100 names" in messages[2]
    assert max(map(int, growths)) < 100_000


def replaced(tree: Any, path: list[int], value: object) -> Any:
    """A copy with `value` at the path, whose numbers select keys or entries."""
    tree = copy.deepcopy(tree)
    index, *rest = path
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = keys[index % len(keys)]
    subtree = tree[key] if isinstance(tree[key], dict | list) and tree[key] and rest else None
    tree[key] = replaced(subtree, rest, value) if subtree is not None else value
    return tree


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=3),
    json_values | st.sampled_from([float("nan"), float("inf"), 10**400, True]),
    st.booleans(),
)
@FUZZ
def test_any_value_in_the_configuration_is_refused_or_harmless(
    folder: Path, path: list[int], value: object, sealed: bool
) -> None:
    original = (folder / CONFIG).read_text()
    about = replaced(json.loads(original), path, value)
    if not sealed:
        about.pop("checksum", None)
    (folder / CONFIG).write_text(json.dumps(about))
    try:
        loaded_or_refused(folder)
    finally:
        (folder / CONFIG).write_text(original)


def damaged(content: bytes, data: st.DataObject) -> bytes:
    start = data.draw(st.integers(0, len(content)))
    end = min(len(content), start + data.draw(st.integers(0, 8)))
    new = data.draw(
        st.binary(max_size=8)
        | st.sampled_from([b"[" * 5000, b'{"a":' * 5000, b"\xff", b"\x00", b"9" * 5000, b"NaN", b'"format": 1,'])
    )
    return content[:start] + new + (b"" if data.draw(st.booleans()) else content[end:])


@given(st.data())
@FUZZ
def test_a_damaged_configuration_is_refused_or_harmless(folder: Path, data: st.DataObject) -> None:
    original = (folder / CONFIG).read_bytes()
    (folder / CONFIG).write_bytes(damaged(original, data))
    try:
        loaded_or_refused(folder)
    finally:
        (folder / CONFIG).write_bytes(original)


@given(st.data())
@FUZZ
def test_damaged_weights_are_refused_by_checksum_or_shape(folder: Path, data: st.DataObject) -> None:
    weights, about = (folder / WEIGHTS).read_bytes(), (folder / CONFIG).read_bytes()
    new = damaged(weights, data)
    (folder / WEIGHTS).write_bytes(new)
    assert new == weights or "must have the SHA-256" in refusal(folder)
    rehashed(folder, new)
    loaded_or_refused(folder)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_bytes(about)


@pytest.mark.parametrize("size", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_a_wrong_header_length_is_refused(folder: Path, size: int) -> None:
    rehashed(folder, struct.pack("<Q", size) + (folder / WEIGHTS).read_bytes()[8:])
    assert "must be a safetensors file" in refusal(folder)


@pytest.mark.parametrize(
    "header",
    [
        '{"mean": {"dtype": "F32", "shape": [9223372036854775807, 9223372036854775807], "data_offsets": [0, 4]}}',
        '{"mean": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}',
        '{"mean": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        '{"mean": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        '{"mean": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}}',
        '{"mean": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        '"mean": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        '{"__metadata__": {"format": "pickle"}}',
        "[" * 5000,
        "null",
    ],
)
def test_an_invalid_header_is_refused(folder: Path, header: str) -> None:
    rehashed(folder, struct.pack("<Q", len(header)) + header.encode() + b"\x00" * 4)
    assert WEIGHTS in refusal(folder)


@pytest.mark.parametrize("key", ["sha256", "checksum"])
@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "\x1b[31m" + "0" * 60, "\x9c"])
def test_an_invalid_checksum_is_refused_with_a_printable_message(folder: Path, key: str, digest: str) -> None:
    changed(folder, lambda about: about.update({key: digest}))
    message = refusal(folder)
    assert f"{key} must be 64 hexadecimal digits in lower case, got " in message
    assert message.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["\x1b[31m", "\x9b31m", "a\nb", "x" * 10_000])
def test_tensor_names_are_escaped_in_messages(folder: Path, name: str) -> None:
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    rehashed(folder, struct.pack("<Q", len(header)) + header.encode() + b"\x00" * 4)
    message = refusal(folder)
    assert message.replace("\n", "").isprintable()
    assert len(message) < 2000


def loaded_or_refused(folder: Path) -> None:
    try:
        checkpoint = load_checkpoint(folder)
    except FmnistError as error:
        message = str(error)
        assert str(folder) in message
        assert len(message) < 5000
        assert message.replace("\n", "").isprintable()
    else:
        assert checkpoint.model(torch.zeros(1, 1, 28, 28)).shape == (1, len(checkpoint.class_names))
