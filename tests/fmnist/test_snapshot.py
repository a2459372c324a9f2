import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist.config import TrialConfig
from fmnist.data import synthetic
from fmnist.data.images import Images
from fmnist.errors import FmnistError
from fmnist.snapshot import load_snapshot, save_snapshot
from fmnist.train import Epoch, fit

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"depth": 1, "filters": 8, "head": "max", "learning_rate": 3e-3, "batch_size": 32, "epochs": 4}
KNOBS = {
    "batch_norm": st.booleans(),
    "dropout": st.sampled_from((0.0, 0.3)),
    "augmentation": st.sampled_from((0.0, 0.5)),
    "ema": st.sampled_from((0.0, 0.98)),
    "optimizer": st.sampled_from(("adam", "adamw")),
    "schedule": st.sampled_from(("constant", "cosine", "triangle")),
    "small_epochs": st.sampled_from((0.0, 0.5)),
    "hidden": st.sampled_from((0, 16)),
    "l2": st.sampled_from((0.0, 0.1)),
    "passes": st.sampled_from((1, 3)),
    "flip": st.sampled_from((False, "alternate")),
}


@pytest.fixture(scope="module")
def images() -> Images:
    return synthetic.draw(100, seed=1)


def figures(epoch: Epoch) -> tuple[int, float, float | None, float | None]:
    return epoch.number, epoch.train_loss, epoch.valid_loss, epoch.macro_f1


def weights(epoch: Epoch) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in epoch.model.state_dict().values()]


@given(changes=st.fixed_dictionaries(KNOBS), at=st.integers(1, 3), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_a_resumed_training_equals_an_uninterrupted_one(
    images: Images, tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], at: int, seed: int
) -> None:
    config = TrialConfig(**{**SMALL, **changes})
    path = tmp_path_factory.mktemp("snapshot") / "snapshot.safetensors"
    uninterrupted = [(figures(epoch), weights(epoch)) for epoch in fit(config, images, images, seed=seed, device=CPU)]
    for epoch in fit(config, images, images, seed=seed, device=CPU):
        if epoch.number == at:
            save_snapshot(path, epoch.snapshot(), {"key": "value"})
            break
    torch.rand(17)  # other work of the process in between
    after, about = load_snapshot(path)
    assert (after.epoch, about) == (at, {"key": "value"})
    resumed = [
        (figures(epoch), weights(epoch)) for epoch in fit(config, images, images, seed=seed, device=CPU, after=after)
    ]
    assert [numbers for numbers, _ in resumed] == [numbers for numbers, _ in uninterrupted[at:]]
    assert all(torch.equal(a, b) for a, b in zip(resumed[-1][1], uninterrupted[-1][1], strict=True))


@pytest.mark.process
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_a_training_resumes_in_a_new_process(images: Images, tmp_path: Path) -> None:
    """Eager steps before the capture create what a graph needs, such as the handles of CUDA's libraries."""
    config, path = TrialConfig(**SMALL), tmp_path / "snapshot.safetensors"
    *_, expected = fit(config, images, images, seed=0, device=torch.device("cuda"))
    save_snapshot(
        path, next(fit(config, images, images, seed=0, device=torch.device("cuda"))).snapshot(), {"key": "value"}
    )
    program = (
        "import sys, torch\nfrom pathlib import Path\n"
        "from fmnist.config import TrialConfig\nfrom fmnist.data import synthetic\n"
        "from fmnist.snapshot import load_snapshot\nfrom fmnist.train import fit\n"
        "images = synthetic.draw(100, seed=1)\n"
        "config, (after, _) = TrialConfig.model_validate_json(sys.argv[1]), load_snapshot(Path(sys.argv[2]))\n"
        "*_, last = fit(config, images, images, seed=0, device=torch.device('cuda'), after=after)\n"
        "print(last.train_loss)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, config.model_dump_json(), path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == pytest.approx(expected.train_loss, rel=1e-2)


def test_taking_snapshots_does_not_change_the_training(images: Images) -> None:
    config = TrialConfig(**SMALL, dropout=0.3, augmentation=0.5, ema=0.9)
    plain = [figures(epoch) for epoch in fit(config, images, images, seed=0, device=CPU)]
    with_snapshots = []
    for epoch in fit(config, images, images, seed=0, device=CPU):
        epoch.snapshot()
        with_snapshots.append(figures(epoch))
    assert with_snapshots == plain


def test_a_snapshot_does_not_change_when_training_continues(images: Images) -> None:
    epochs = fit(TrialConfig(**SMALL), images, None, seed=0, device=CPU)
    snapshot = next(epochs).snapshot()
    before = {name: tensor.clone() for name, tensor in snapshot.tensors.items()}
    next(epochs)
    assert all(torch.equal(before[name], tensor) for name, tensor in snapshot.tensors.items())


@pytest.mark.parametrize("changes", [{"filters": 12}, {"batch_norm": True}, {"ema": 0.9}, {"epochs": 1}])
def test_a_snapshot_of_another_training_is_refused(images: Images, changes: dict[str, Any]) -> None:
    snapshot = next(fit(TrialConfig(**SMALL), images, None, seed=0, device=CPU)).snapshot()
    other = TrialConfig(**{**SMALL, **changes})
    with pytest.raises(FmnistError, match="resumes only from its own snapshot"):
        next(fit(other, images, None, seed=0, device=CPU, after=snapshot))


@pytest.fixture(scope="module")
def content(images: Images, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a snapshot's file."""
    path = tmp_path_factory.mktemp("snapshot") / "snapshot.safetensors"
    save_snapshot(path, next(fit(TrialConfig(**SMALL), images, None, seed=0, device=CPU)).snapshot(), {})
    return path.read_bytes()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("snapshot") / "snapshot.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FmnistError, match="must be the snapshot of a training"):
        load_snapshot(path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FmnistError, match="must be the snapshot of a training"):
        load_snapshot(tmp_path / "other.safetensors")


def test_a_snapshot_that_cannot_be_written_raises(images: Images, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    snapshot = next(fit(TrialConfig(**SMALL), images, None, seed=0, device=CPU)).snapshot()
    with pytest.raises(FmnistError, match="must be writable"):
        save_snapshot(tmp_path / "file" / "snapshot.safetensors", snapshot, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
