import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fmnist.atomic import folder_in_place
from fmnist.checkpoint import CONFIG, WEIGHTS, load_checkpoint, save_checkpoint
from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from fmnist.network import Network, build

CONFIGURATION = TrialConfig(filters=8, batch_norm=True, hidden=16, learning_rate=0.0123)
NAMES = ("coat", "bag", "shirt")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def model() -> Network:
    torch.manual_seed(0)
    return build(CONFIGURATION, len(NAMES))


@pytest.fixture
def folder(tmp_path: Path, model: Network) -> Path:
    save_checkpoint(tmp_path / "model", model, CONFIGURATION, NAMES, origin={"seed": 7, "data": "synthetic"})
    return tmp_path / "model"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change config.json and update its checksum."""
    about = json.loads((folder / CONFIG).read_text())
    change(about)
    about.pop("checksum")
    content = json.dumps(about, sort_keys=True, separators=(",", ":"))
    about["checksum"] = hashlib.sha256(content.encode()).hexdigest()
    (folder / CONFIG).write_text(json.dumps(about))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
    change(weights)
    save_file(weights, folder / WEIGHTS)
    rewrite(folder, lambda about: about.update(sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()))


def test_a_saved_checkpoint_is_loaded(folder: Path, model: Network) -> None:
    loaded = load_checkpoint(folder)
    assert (loaded.config, loaded.class_names) == (CONFIGURATION, NAMES)
    assert loaded.origin == {"seed": 7, "data": "synthetic"}
    assert not loaded.model.training
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(loaded.model(images), model.eval()(images), rtol=0, atol=0)


def test_weights_are_saved_as_contiguous_float32(tmp_path: Path, model: Network) -> None:
    trained = model.to(torch.bfloat16).to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "model", trained, CONFIGURATION, NAMES, origin={})
    loaded = load_checkpoint(tmp_path / "model").model
    assert all(parameter.dtype == torch.float32 and parameter.is_contiguous() for parameter in loaded.parameters())
    name = "stages.1.conv.weight"
    torch.testing.assert_close(loaded.get_parameter(name), trained.get_parameter(name).float(), rtol=0, atol=0)


def test_training_of_a_loaded_network_can_continue(folder: Path) -> None:
    model = load_checkpoint(folder).model.train()
    model(torch.rand(2, 1, 28, 28)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_loading_does_not_change_the_random_state(folder: Path) -> None:
    before = torch.get_rng_state()
    load_checkpoint(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_replaces_a_checkpoint_and_leaves_no_other_files(folder: Path, model: Network) -> None:
    save_checkpoint(folder, model, CONFIGURATION, NAMES, origin={"seed": 8})
    assert load_checkpoint(folder).origin == {"seed": 8}
    assert list(folder.parent.iterdir()) == [folder]


def test_a_knob_that_is_missing_in_an_older_checkpoint_has_its_default(folder: Path) -> None:
    rewrite(folder, lambda about: about["config"].pop("ema"))
    assert load_checkpoint(folder).config == CONFIGURATION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about["config"].update(dropuot=0.1), "unknown knob 'dropuot'. Did you mean 'dropout'"),
        (lambda about: about["config"].update(depth=9), "depth must be a whole number from 1 to 4, got 9"),
        (lambda about: about["config"].update(filters=16), "does not fit its configuration: .*must be F32 .*got F32"),
        (lambda about: about["config"].update(hidden=0), r"must be absent, got F32|must be F32 .*, got absent"),
        (
            lambda about: about["config"].update(depth=4, filters=512, growth=4.0, kernel_size=5),
            "does not fit its configuration",
        ),
        (lambda about: about.update(format=2), "format must be 1, the format that this version reads, got 2"),
        (lambda about: about.update(colour="red"), "unknown key 'colour'"),
        (lambda about: about.pop("origin"), "origin is missing; it must be a table"),
        (lambda about: about.update(config=[]), r"config must be a table, got \[\]"),
        (
            lambda about: about.update(class_names=["coat", 5, "bag"]),
            "class_names entry 2 must be a string in quotes, got 5",
        ),
        (lambda about: about.update(class_names=[f"{i}" for i in range(101)]), "must be 2 to 100 names"),
        (lambda about: about.update(class_names=["coat", "\x1b[31m", "bag"]), "printable characters"),
        (lambda about: about.update(class_names=["coat", "x" * 101, "bag"]), "of at most 100 printable"),
        (lambda about: about.update(class_names=["coat", "bag"]), "classifier.* must be F32"),
        (lambda about: about.update(class_names=["coat", "coat", "bag"]), "all different"),
        (lambda about: about.update(sha256="0" * 64), "must have the SHA-256"),
    ],
)
def test_a_changed_configuration_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(FmnistError, match=message) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: weights.pop("stages.0.conv.weight"),
            r"stages.0.conv.weight must be F32 \[8, 1, 3, 3\], got absent",
        ),
        (lambda weights: weights.update(more=torch.zeros(2)), r"'more' must be absent, got F32 \[2\]"),
        (lambda weights: weights.update(mean=torch.zeros(2)), r"mean must be F32 \[\], got F32 \[2\]"),
        (
            lambda weights: weights.update(mean=torch.zeros((), dtype=torch.float64)),
            r"mean must be F32 \[\], got F64 \[\]",
        ),
    ],
)
def test_weights_of_another_network_are_refused(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    rewrite_weights(folder, change)
    with pytest.raises(FmnistError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (CONFIG, b"{", "config.json must be JSON: EOF while parsing"),
        (CONFIG, b"[]", r"the content must be a section with keys of its own, got \[\]"),
        (CONFIG, b"\xff\xfe", "config.json must be JSON"),
        (CONFIG, b" " * 2**21, "at most 1,048,576 bytes, got 2,097,152"),
        (WEIGHTS, b"", "must have the SHA-256"),
    ],
)
def test_damaged_files_are_refused(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(FmnistError, match=message):
        load_checkpoint(folder)


def test_one_flipped_bit_is_detected(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(FmnistError, match="SHA-256"):
        load_checkpoint(folder)


def test_weights_in_another_format_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"x" * 100)
    rewrite(folder, lambda about: about.update(sha256=hashlib.sha256(b"x" * 100).hexdigest()))
    with pytest.raises(FmnistError, match="must be a safetensors file"):
        load_checkpoint(folder)


def test_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(FmnistError, match=r"Did you mean '.*model'"):
        load_checkpoint(folder.parent)
    with pytest.raises(FmnistError, match="That folder does not exist"):
        load_checkpoint(folder / "absent")
    (folder / WEIGHTS).unlink()
    with pytest.raises(FmnistError, match=f"{WEIGHTS} must be readable"):
        load_checkpoint(folder)


def test_only_checkpoints_are_replaced(tmp_path: Path, model: Network) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FmnistError, match=r"also holds 'thesis.tex'"):
        save_checkpoint(tmp_path, model, CONFIGURATION, NAMES, origin={})
    with pytest.raises(FmnistError, match="is a file"):
        save_checkpoint(tmp_path / "thesis.tex", model, CONFIGURATION, NAMES, origin={})
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_network_of_another_configuration_is_not_saved(tmp_path: Path, model: Network) -> None:
    with pytest.raises(FmnistError, match="The model does not fit its configuration"):
        save_checkpoint(tmp_path / "model", model, TrialConfig(), NAMES, origin={})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_folder_unchanged(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder_in_place(folder) as temporary:  # noqa: PT012
        (temporary / WEIGHTS).write_text("half")
        raise KeyboardInterrupt
    assert load_checkpoint(folder).origin["seed"] == 7
    assert list(folder.parent.iterdir()) == [folder]


SAVE_FOREVER = """
import itertools, sys, torch
from pathlib import Path
from fmnist.checkpoint import save_checkpoint
from fmnist.config import TrialConfig
from fmnist.network import build
config = TrialConfig(filters=64)
for number in itertools.count():
    model = build(config, 2)
    torch.nn.init.constant_(model.classifier[1].bias, number)
    save_checkpoint(Path(sys.argv[1]), model, config, ("a", "b"), origin={"number": number})
    print(number, flush=True)
"""


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_process_leaves_a_complete_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        numbers = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
    try:
        loaded = load_checkpoint(folder)
    except FmnistError as error:
        assert "does not exist" in str(error)  # noqa: PT017  # killed between the two renames: absent, but never mixed
    else:
        assert loaded.origin["number"] >= numbers[-1]
        assert loaded.model.get_parameter("classifier.1.bias")[0] == loaded.origin["number"]


@pytest.mark.process
def test_saving_and_loading_do_not_import_pytorchs_compiler(tmp_path: Path) -> None:
    """The import takes seconds in each process."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom fmnist.checkpoint import load_checkpoint, save_checkpoint\n"
        "from fmnist.config import TrialConfig\nfrom fmnist.network import build\n"
        "config, names = TrialConfig(batch_norm=True, blocks=2, hidden=16), ('a', 'b')\n"
        "save_checkpoint(Path('saved'), build(config, 2), config, names, origin={})\nload_checkpoint(Path('saved'))\n"
        "print([name for name in ('sympy', 'torch._dynamo') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (result.stdout.strip(), result.stderr) == ("[]", "")
