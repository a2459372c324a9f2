"""`fmnist-search ablate` through the real command: what is trained, what is said of it, and what is refused."""

import csv
import io
import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist.config import TrialConfig
from fmnist.data.sources import find_source, fingerprint
from search.cli.ablate import ablate as ablate_command
from search.executors import Event, Failed, Task
from search.executors.mps import Sharing
from search.job.confirm import confirm
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.report.ablation import KEYS, REGULARISERS, ablation_table, neutral, switched_off, used, worths
from search.storage.opening import open_storage
from search.study.records import Ablation, Ablations, SeedRun, Variant
from search.study.spec import load_spec
from search.study.study import load_study
from tests.search.tiny import (
    CLASSES,
    DATA,
    NAME,
    RUN,
    TOML,
    Inline,
    Say,
    in_database,
    run_command,
    stage,
    start_command,
    tiny_spec,
    wait_for_line,
)

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


def ablation_in(folder: Path, name: str = NAME) -> Ablation:
    study = load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), name)
    found = study.read(Ablations)
    assert found is not None
    return found.found[-1]


def runs_of(found: Ablation) -> dict[str | None, list[SeedRun]]:
    return {variant.without: list(variant.runs) for variant in found.variants}


@pytest.mark.slow
def test_each_regulariser_is_switched_off_once_on_the_same_fresh_seeds_and_more_seeds_train_only_those(
    regularised: Path,
) -> None:
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
        assert "What each regulariser is worth, on the validation split" in text
        assert "label_smoothing" in text
    study = load_study(open_storage(f"sqlite:///{regularised}/studies/fmnist.db", create=False), NAME)
    assert len(study.optuna.user_attrs["openings"]) == 1


@pytest.mark.slow
def test_a_study_of_an_incompatible_version_is_refused_and_its_best_configuration_says_so(
    regularised: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.study.version", lambda _: "9.0.0")
    monkeypatch.chdir(regularised)
    code, _, errors = say(*ABLATE, "--seeds", "1")
    assert (code, "in which some knobs had another meaning" in errors) == (2, True)
    code, output, _ = say("best", NAME)
    assert (code, "in which some knobs had another meaning" in output) == (0, True)


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
            assert row["worth"] == pytest.approx(
                fmean(one.macro_f1 - run.macro_f1 for one, run in zip(found[None], runs, strict=True))
            )


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
        (("--json", "--csv"), "Only one of --json and --csv"),
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


@pytest.mark.process
def test_a_study_whose_search_is_not_over_is_refused(say: Say, tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec())
    optimize(stage(study, tiny_spec(trials=1), Inline(), Progress(), Interrupt()), CLASSES)
    code, _, errors = say("ablate", "tiny", "--data", "synthetic")
    assert code == 2
    assert "has no winner yet" in errors
    assert "Run the command that started it again" in errors
    code, output, _ = say("best", "tiny")
    assert code == 0
    assert "Trial 0, the best trial so far and not confirmed, of the study tiny." in output


class WithoutL2(Inline):
    """Networks without L2 leave the road."""

    def __init__(self, *_: object) -> None:
        super().__init__()
        self.sharing = Sharing()

    def __enter__(self) -> "WithoutL2":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _train(self, task: Task) -> Iterator[Event]:
        if task.config.l2 == 0:
            yield Failed(task.key, "diverged", "diverged", 0.1)
        else:
            yield from super()._train(task)


@pytest.mark.process
def test_a_variant_that_diverges_is_told_so_and_the_others_are_trained(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.job.place.LocalExecutor", WithoutL2)
    source = find_source("synthetic", announce=lambda _: None)
    study = in_database(tmp_path, tiny_spec(trials=1, epochs=1, l2=0.01))
    optimize(stage(study, study.spec, Inline(), Progress(), Interrupt()), CLASSES)
    confirm(stage(study, study.spec, Inline(), Progress(), Interrupt()))
    study.write(DATA.model_copy(update={"name": "synthetic", "fingerprint": fingerprint(source.train())}))
    for _ in range(2):
        code, output, errors = say("ablate", "tiny", "--data", "synthetic", "--seeds", "2")
        assert (code, errors) == (0, "")
        assert "diverges with 2 seeds" in output
    assert output.count("complete at F1") == 0
    found = {variant.without: variant for variant in ablation_in(tmp_path, "tiny").variants}
    assert (found["l2"].runs, found["l2"].diverged) == ((), (3000, 3001))
    assert [run.seed for run in found["batch_norm"].runs] == [3000, 3001]


def test_the_interval_is_students_t() -> None:
    # Differences 0.01, 0.02, 0.03: mean 0.02, sd 0.01, and t(2) at 97.5 % is 4.3027.
    found = Ablation(
        trial=1,
        config=TrialConfig(dropout=0.2),
        variants=(variant(None, 0.5, 0.6, 0.7), variant("dropout", 0.49, 0.58, 0.67)),
    )
    (worth,) = worths(found)
    assert worth.mean == pytest.approx(0.02)
    assert worth.sd == pytest.approx(0.01)
    assert worth.interval == pytest.approx(
        (0.02 - 4.30265 * 0.01 / math.sqrt(3), 0.02 + 4.30265 * 0.01 / math.sqrt(3)), abs=1e-6
    )
    assert "unclear" in str(ablation_table(found).rows)


def variant(without: str | None, *scores: float) -> Variant:
    return Variant(
        without=without,
        runs=tuple(SeedRun(seed=3000 + i, macro_f1=score, seconds=1.0) for i, score in enumerate(scores)),
    )


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
            assert {name for name in type(config).model_fields if getattr(config, name) != getattr(without, name)} == {
                knob
            }
            assert set(used(without)) == set(used(config)) - {knob}
    assert set(REGULARISERS) <= set(TrialConfig.model_fields)


def test_the_help_names_every_regulariser() -> None:
    text = " ".join((ablate_command.__doc__ or "").split())
    assert [knob for knob in REGULARISERS if knob not in text] == []
