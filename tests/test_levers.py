"""benchmarks/levers.py: what it trains, what it keeps, and the ways of training that are no knobs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.lever_trainings import TRAININGS, Lookahead, Skipping, Whitened
from benchmarks.levers import BASE, LEVERS, ROWS, epochs_of, read_levers, read_rows, relative_cost
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.errors import FmnistError
from fmnist.train import _Run
from tests.search.tiny import surroundings

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TABLE = """\
epochs = 2
[base]
depth = 1
filters = 8
batch_norm = true
head = "max"
[variants]
"wide" = { filters = 64 }
"gone" = { learning_rate = 1.0, batch_norm = false, optimizer = "adam", l2 = 1.0 }
"sharp" = { training = "sharpness-aware" }
"""


@pytest.fixture(scope="module")
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 28, 28), dtype=np.uint8)
    labels = np.arange(128) % 4
    pixels[labels == 0, :14] = 0  # something to learn
    return Images(pixels, labels, ("a", "b", "c", "d"))


def config(**changes: Any) -> TrialConfig:
    return TrialConfig(**{"depth": 1, "filters": 8, "batch_norm": True, "batch_size": 16, "epochs": 4, **changes})


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "benchmarks" / "levers.py")
    files = ("--levers", "levers.toml", "--file", "rows.csv", "--data", "synthetic", "--json", "out.json")
    command = [sys.executable, script, *files, "--images", "256", "--seeds", "2", *options]
    return subprocess.run(
        command, cwd=folder, env=surroundings(), capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.process
@pytest.mark.slow
def test_every_lever_trains_for_the_time_of_the_base_and_only_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "levers.toml").write_text(TABLE)
    first = run(tmp_path)
    assert first.returncode == 0, first.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    epochs = {row["name"]: row["epochs"] for row in rows}
    assert [row["seed"] for row in rows if row["name"] == "base"] == [0, 1]
    assert epochs["base"] == 2
    assert epochs["wide"] == epochs["sharp"] == 1  # both cost about twice as much, or more
    assert "Levers" in first.stdout
    assert "2, 2 diverged" in first.stdout
    (tmp_path / "levers.toml").write_text(TABLE.replace("filters = 64", "filters = 48"))
    again = run(tmp_path)
    assert again.stderr.count("of 2: wide") == 2
    assert len(read_rows(tmp_path / "rows.csv")) == len(rows) + 2
    longer = run(tmp_path, "--epochs", "3", "--only", "sharp")
    assert longer.stderr.count("3 epochs") == 2
    refused = run(tmp_path, "--only", "wode")
    assert (refused.returncode, "got 'wode'. Did you mean 'wide'?" in refused.stderr) == (2, True)


def test_the_shipped_table_is_valid_and_its_trainings_are_those_of_the_table() -> None:
    _, levers = read_levers(LEVERS)
    recipes = {lever.recipe: lever.name for lever in levers}
    assert len(recipes) == len(levers)
    rows = read_rows(ROWS)
    assert {row.recipe: row.name for row in rows}.items() <= recipes.items()
    assert len({(row.recipe, row.epochs, row.seed) for row in rows}) == len(rows)
    of_base = {row.epochs for row in rows if row.name == BASE}
    assert all(row.epochs in {epochs_of(row.cost, count) for count in of_base} for row in rows)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = 2", "must be a TOML file with epochs, [base] and [variants]"),
        (TABLE.replace("sharpness-aware", "sharp"), "training must be usual, whitened"),
        (TABLE.replace("filters = 64", "filtrs = 64"), "unknown knob 'filtrs'"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "levers.toml").write_text(text)
    with pytest.raises(FmnistError) as caught:
        read_levers(tmp_path / "levers.toml")
    assert says in str(caught.value)


def test_another_file_is_not_taken_for_trainings(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("name,score\nbase,1\n")
    with pytest.raises(FmnistError, match="must have the columns name, recipe"):
        read_rows(tmp_path / "rows.csv")


def test_a_lever_on_smaller_images_or_fewer_of_them_counts_less() -> None:
    levers = {lever.name: lever for lever in read_levers(LEVERS)[1]}
    costs = {name: relative_cost(levers["base"], levers[name]) for name in ("smaller images first", "skip easy images")}
    assert all(cost < 1 for cost in costs.values())


@pytest.mark.parametrize("name", list(TRAININGS))
def test_every_training_learns(name: str, images: Images) -> None:
    torch.manual_seed(0)
    training = TRAININGS[name](config(learning_rate=0.01, epochs=8), images, 0, CPU)
    losses = [training.epoch(28) for _ in range(8)]
    assert losses[-1] < losses[0] - 0.1
    assert training.done == training.steps


def test_skipping_leaves_out_images_of_small_loss(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    training = Skipping(config(), images, 0, CPU)
    training.epoch(28)
    seen: list[int] = []
    block = training.block

    def noted(rows: Tensor, side: int) -> Tensor:
        seen.extend(rows.flatten().tolist())
        return block(rows, side)

    monkeypatch.setattr(training, "block", noted)
    training.losses[:32] = 0.0
    training.epoch(28)
    assert len(seen) == 96
    assert set(seen).isdisjoint(range(32))


def test_the_whitened_first_layer_has_uncorrelated_outputs_of_the_usual_size(images: Images) -> None:
    torch.manual_seed(0)
    usual = _Run(config(), images, 0, CPU).model
    torch.manual_seed(0)
    whitened = Whitened(config(), images, 0, CPU).model
    x = (torch.from_numpy(images.pixels).unsqueeze(1) / 255 - usual.mean) / usual.std
    outputs, others = (model.stages[0].conv(x)[:, :, 1:-1, 1:-1] for model in (whitened, usual))  # type: ignore[operator]
    correlations = torch.corrcoef(outputs.transpose(0, 1).flatten(1)).fill_diagonal_(0)
    assert correlations.abs().max() < 0.3
    assert outputs.std().item() == pytest.approx(others.std().item(), rel=0.3)


def test_lookahead_goes_half_of_the_way(images: Images) -> None:
    torch.manual_seed(0)
    usual, lookahead = (kind(config(), images, 0, CPU) for kind in (_Run, Lookahead))
    lookahead.model.load_state_dict(usual.model.state_dict())
    start = [parameter.detach().clone() for parameter in usual.model.parameters()]
    for training in (usual, lookahead):
        training.batches.generator.manual_seed(0)
        for _ in range(5):
            training.block(torch.arange(16).view(1, 16), 28)
    for first, fast, slow in zip(start, usual.model.parameters(), lookahead.model.parameters(), strict=True):
        torch.testing.assert_close(slow, (first + fast) / 2, rtol=1e-3, atol=1e-5)
