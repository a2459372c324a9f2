"""One real end-to-end check, where the official files are at hand."""

import json
import os
from pathlib import Path

import pytest

from fmnist.data.sources import find_source, fingerprint
from search.storage.opening import open_storage
from search.study.records import DataRecord, Final
from search.study.study import load_study
from tests.search.tiny import run_installed

SMALL = """\
[search]
trials = 2
sampler = "random"
pruner = "none"

[knobs]
epochs = 1
filters = 8
depth = 3
pool = "before"
head = "max"
batch_norm = true
batch_size = 128
optimizer = "adamw"
schedule = "triangle"
learning_rate = { low = 0.006, high = 0.012, log = true }

[confirm]
top = 1
seeds = 0

[final]
seeds = 1
epochs = 1
"""


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("FMNIST_DATA"),
    reason="$FMNIST_DATA does not name a folder with the official Fashion-MNIST files",
)
def test_the_whole_job_on_fashion_mnist(tmp_path: Path) -> None:
    data = str(Path(os.environ["FMNIST_DATA"]).resolve())
    (tmp_path / "small.toml").write_text(SMALL)
    done = run_installed(tmp_path, "run", "small.toml", "--data", data)
    assert done.returncode == 0, done.stdout + done.stderr
    study = load_study(open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=False), "small")
    final, kept = study.read(Final), study.read(DataRecord)
    assert final is not None
    assert 0.75 < final.mean < 0.97
    assert final.test_images == 10_000
    assert kept is not None
    assert (kept.name, kept.train, kept.valid) == ("Fashion-MNIST", 50_000, 10_000)
    assert kept.fingerprint == fingerprint(find_source(data, announce=lambda _: None).train())
    assert len(study.optuna.user_attrs["openings"]) == 1
    metrics = json.loads((tmp_path / "studies" / "small" / "export" / "metrics.json").read_text())
    assert metrics["macro_f1"] == pytest.approx(final.runs[0].macro_f1)
    assert "not Fashion-MNIST" not in done.stdout
