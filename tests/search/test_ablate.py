"""`fmnist-search ablate` through the real command: what is trained, what is said of it, and what is refused."""

import csv
import io
import json
import math
import signal
from pathlib import Path
from statistics import fmean, stdev

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist.config import TrialConfig
from search.ablation import KEYS, REGULARISERS, WORTH, ablation_table, neutral, switched_off, used, worths
from search.records import Ablation, Ablations, SeedRun, Variant
from search.spec import load_spec
from search.storage.opening import open_storage
from search.study import load_study, read
from tests.search.tiny import NAME, RUN, TOML, Say, run_command, start_command, wait_for_line

ON = "batch_norm = true\ndropout = 0.2\naugmentation = 0.2\nema = 0.98"
ABLATED = TOML.replace("batch_norm = true", ON).replace("trials = 3", "trials = 1")
ABLATE = ("ablate", "--workers", "1", "--epochs", "1")
USED = {"batch_norm", "dropout", "augmentation", "ema"}


@pytest.fixture(scope="module")
def regularised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study whose winner uses four regularisers; ablated on one seed."""
    folder = tmp_path_factory.mktemp("regularised")
    (folder / "tiny.toml").write_text(ABLATED)
    for arguments in (RUN, (*ABLATE, "--seeds", "1")):
        done = run_command(folder, *arguments)
        assert done.returncode == 0, done.stderr
    return folder


def ablation_in(folder: Path) -> Ablation:
    study = load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), NAME)
    found = read(study, "ablations", Ablations)
    assert found is not None
    return found.found[-1]


def runs_of(found: Ablation) -> dict[str | None, list[SeedRun]]:
    return {variant.without: list(variant.runs) for variant in found.variants}


@pytest.mark.slow
def test_each_regulariser_is_switched_off_once_on_the_same_fresh_seeds_and_more_seeds_train_only_those(regularised: Path) -> None:
    before = runs_of(ablation_in(regularised))
    assert before.keys() == {None, *USED}
    assert {run.seed for runs in before.values() for run in runs} == {3000}
    done = run_command(regularised, *ABLATE, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "Ablation: 10 trainings, 5 of them done before." in done.stdout
    after = runs_of(ablation_in(regularised))
    assert all(runs[:1] == before[knob] and [run.seed for run in runs] == [3000, 3001] for knob, runs in after.items())
    assert done.stdout.count(" complete at F1") == 5
    folder = regularised / "studies" / NAME
    document = json.loads((folder / "report.json").read_text())
    assert len(document["ablation"]["variants"]) == 5
    for text in (done.stdout, (folder / "report.md").read_text(), (folder / "report.html").read_text()):
        assert WORTH in text
        assert "label_smoothing" in text
    study = load_study(open_storage(f"sqlite:///{regularised}/studies/fmnist.db", create=False), NAME)
    assert len(study.user_attrs["openings"]) == 1


@pytest.mark.slow
def test_json_and_csv_say_the_same_as_the_study(regularised: Path) -> None:
    rows = json.loads(run_command(regularised, *ABLATE, "--seeds", "1", "--only", "dropout", "--json").stdout)
    lines = list(csv.DictReader(io.StringIO(run_command(regularised, *ABLATE, "--seeds", "1", "--csv").stdout)))
    found = runs_of(ablation_in(regularised))
    assert [tuple(row) for row in rows] == [KEYS] * len(found)
    for row, line in zip(rows, lines, strict=True):
        runs = found[row["without"]]
        assert row["macro_f1"] == pytest.approx(fmean(run.macro_f1 for run in runs))
        assert float(line["macro_f1"]) == row["macro_f1"]
        if row["without"]:
            assert row["worth"] == pytest.approx(fmean(one.macro_f1 - run.macro_f1 for one, run in zip(found[None], runs, strict=True)))


@pytest.mark.slow
def test_interrupted_and_killed_it_goes_on_and_trains_nothing_twice(regularised: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(ABLATED)
    assert run_command(tmp_path, *RUN).returncode == 0
    for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = start_command(tmp_path, *ABLATE, "--seeds", "1")
        wait_for_line(process, "complete at F1")
        process.send_signal(how)
        process.communicate()
        assert process.returncode == code
    kept = runs_of(ablation_in(tmp_path))
    done = run_command(tmp_path, *ABLATE, "--seeds", "1")
    assert done.returncode == 0, done.stderr
    found, whole = runs_of(ablation_in(tmp_path)), runs_of(ablation_in(regularised))
    assert done.stdout.count(" complete at F1") == 5 - sum(len(runs) for runs in kept.values())
    assert {knob: [run.macro_f1 for run in runs[:1]] for knob, runs in found.items()} == {
        knob: [run.macro_f1 for run in runs[:1]] for knob, runs in whole.items()
    }


@pytest.mark.slow
def test_what_cannot_be_switched_off_is_refused(regularised: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(regularised)
    for arguments, says in (
        (("--only", "droput"), "Did you mean 'dropout'?"),
        (("--only", "label_smoothing"), "the winner does not use it"),
        (("--json", "--csv"), "One of --json and --csv"),
        (("--data", "nowhere"), "nowhere does not exist"),
    ):
        code, _, errors = say(*ABLATE, *arguments)
        assert code == 2
        assert errors.startswith("Error: ")
        assert says in errors


def test_a_study_without_a_winner_is_refused(say: Say, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    study = optuna.create_study(storage="sqlite:///studies/fmnist.db", study_name="other", direction="maximize")
    code, _, errors = say("ablate", "--data", "synthetic")
    assert code == 2
    assert "was not made by fmnist-search" in errors or "no complete trial yet" in errors
    study.add_trial(optuna.trial.create_trial(value=0.5))
    code, _, errors = say("ablate", "--data", "synthetic")
    assert code == 2
    assert errors.startswith("Error: ")


def test_the_interval_is_students_t() -> None:
    # Differences 0.01, 0.02, 0.03: mean 0.02, sd 0.01, and t(2) at 97.5 % is 4.3027.
    found = Ablation(
        trial=1, config=TrialConfig(dropout=0.2), variants=(variant(None, 0.5, 0.6, 0.7), variant("dropout", 0.49, 0.58, 0.67))
    )
    (worth,) = worths(found)
    assert worth.mean == pytest.approx(0.02)
    assert worth.sd == pytest.approx(0.01)
    assert worth.interval == pytest.approx((0.02 - 4.30265 * 0.01 / math.sqrt(3), 0.02 + 4.30265 * 0.01 / math.sqrt(3)), abs=1e-6)
    assert "unclear" in str(ablation_table(found).rows)


def variant(without: str | None, *scores: float) -> Variant:
    return Variant(without=without, runs=tuple(SeedRun(seed=3000 + i, macro_f1=score, seconds=1.0) for i, score in enumerate(scores)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_worth_is_paired_by_seed(whole: list[float], without: list[float]) -> None:
    found = Ablation(trial=0, config=TrialConfig(l2=0.1), variants=(variant(None, *whole), variant("l2", *without)))
    (worth,) = worths(found)
    pairs = [one - other for one, other in zip(whole, without, strict=False)]
    assert worth.mean == pytest.approx(fmean(pairs))
    assert worth.sd == (pytest.approx(stdev(pairs)) if len(pairs) > 1 else None)
    assert (worth.interval is None) == (len(pairs) == 1)


@pytest.mark.parametrize("name", ["quick", "improved", "sprint", "standard", "thorough"])
def test_switching_off_makes_a_valid_configuration_of_every_shipped_space(name: str) -> None:
    study, space = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)), load_spec(name).space
    for _ in range(20):
        config = space.suggest(study.ask())
        for knob in used(config):
            without = switched_off(config, knob)
            assert getattr(without, knob) == neutral(knob)
            assert {name for name in type(config).model_fields if getattr(config, name) != getattr(without, name)} == {knob}
            assert set(used(without)) == set(used(config)) - {knob}
    assert set(REGULARISERS) <= set(TrialConfig.model_fields)
