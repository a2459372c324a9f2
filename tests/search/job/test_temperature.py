"""The temperature of a study: fitted in the confirm stage, contained in the final networks, and told where they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from optuna.trial import create_trial

from fmnist.checkpoint import load_checkpoint
from fmnist.config import TrialConfig
from fmnist.data import synthetic
from fmnist.data.sources import Source
from fmnist.data.splits import full_split, search_splits
from fmnist.predict import predict
from fmnist.scoring import class_scores
from fmnist.temperature import fit_temperature, with_temperature
from fmnist.train import fit
from search.executors import Event, Predicted, Task
from search.executors.training import Setup, Unusable, events_of, load_material
from search.job.confirm import confirm
from search.job.final import final_folder, make_final
from search.job.interrupt import Interrupt, InterruptedRunError
from search.job.progress.base import Progress
from search.report.calibration import calibration
from search.report.validation import keep_predictions, predictions_path
from search.storage.opening import open_storage
from search.study.predictions import read_predictions
from search.study.records import Confirmation, Final
from search.study.spec import StudySpec
from search.study.study import Study, create_study, load_study
from tests.fmnist.data.prepared import prepared
from tests.search.tiny import (
    CPU,
    DATA,
    NAME,
    PINNED,
    RUN,
    TOML,
    Inline,
    InterruptAfter,
    run_command,
    stage,
    start_command,
    tiny_spec,
    wait_for_line,
)

NOT_CALIBRATED = "The final models' probabilities will not be calibrated: "
EPOCHS = 2
CONFIG = TrialConfig.model_validate(PINNED | {"epochs": EPOCHS, "batch_size": 32})


class Worker(Inline):
    """An executor in this process whose trainings are those of a worker."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.setup = Setup(source, split_seed=0, device="cpu", threads=1)
        self.material = load_material(self.setup)

    def _train(self, task: Task) -> Iterator[Event]:
        for event in events_of(task, self.setup, self.material, lambda _: None):
            assert not isinstance(event, Unusable)
            yield event


class Heard(Progress):
    """Remembers the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str, *, is_alarm: bool = False) -> None:  # noqa: ARG002
        self.messages.append(text)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """720 images, 120 of them for validation, and 60 for the test; what is written goes to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return prepared(tmp_path / "data", synthetic.draw(720, seed=3), synthetic.draw(60, seed=4))


def calibrating(*, seeds: int) -> StudySpec:
    spec = tiny_spec(epochs=EPOCHS)
    confirming = spec.confirm.model_copy(update={"top": 1, "seeds": seeds})
    return spec.model_copy(update={"confirm": confirming, "final": spec.final.model_copy(update={"seeds": 1})})


def searched(spec: StudySpec, *, value: float = 0.8, valid: int = 120) -> Study:
    """A study in a database whose one trial, number 0, is over."""
    data = DATA.model_copy(update={"train": 6 * valid, "valid": valid})
    study = create_study(open_storage("sqlite:///studies/fmnist.db", create=True), spec, data)
    study.optuna.add_trial(create_trial(value=value, user_attrs={"config": CONFIG.model_dump(mode="json")}))
    return study


def confirmed(study: Study, spec: StudySpec, executor: Inline, progress: Progress | None = None) -> Confirmation:
    confirm(stage(study, spec, executor, progress or Progress()))
    return confirmation_of(study)


def confirmation_of(study: Study) -> Confirmation:
    found = study.read(Confirmation)
    assert found is not None
    return found


def finalized(study: Study, spec: StudySpec, source: Source, executor: Inline) -> Final:
    (winner,) = confirmation_of(study).candidates
    return make_final(stage(study, spec, executor, Progress()), winner, source)


def validation_of(source: Source, seed: int) -> tuple[Predicted, float]:
    """Predictions and macro F1 of an undisturbed training."""
    splits = search_splits(source, seed=0)
    *_, last = fit(CONFIG, splits.train, splits.valid, seed=seed, device=CPU)
    assert last.logits is not None
    assert last.macro_f1 is not None
    return Predicted("trial 0", splits.valid.labels, last.logits.softmax(dim=1).numpy()), last.macro_f1


def temperatures_of(source: Source, *seeds: int) -> list[float]:
    answers = [validation_of(source, seed)[0] for seed in seeds]
    return [fit_temperature(answer.probabilities, answer.labels) for answer in answers]


def test_it_is_the_geometric_mean_over_the_fresh_seeds_and_survives_an_interruption(source: Source) -> None:
    spec, interrupt = calibrating(seeds=2), Interrupt()
    study, expected = searched(spec), temperatures_of(source, 1000, 1001)
    assert 0.5 < expected[0] != expected[1] < 4
    with pytest.raises(InterruptedRunError):
        confirm(stage(study, spec, Worker(source), InterruptAfter(interrupt, EPOCHS + 1), interrupt))
    before = confirmation_of(study)
    assert [run.temperature for run in before.candidates[0].runs] == expected[:1]
    assert (before.winner, before.temperature) == (None, None)
    rest, heard = Worker(source), Heard()
    after = confirmed(study, spec, rest, heard)
    assert [task.seed for task in rest.trained] == [1001]
    assert [run.temperature for run in after.candidates[0].runs] == expected
    assert after.winner == 0
    assert after.temperature == round(geometric_mean(expected), 3)
    assert heard.messages == []


def test_the_final_network_contains_it_and_is_otherwise_the_same(source: Source) -> None:
    spec = calibrating(seeds=1)
    study = searched(spec)
    temperature = confirmed(study, spec, Worker(source)).temperature
    assert temperature == temperatures_of(source, 1000)[0] != 1
    final = finalized(study, spec, source, Worker(source))
    checkpoint = load_checkpoint(final_folder(study, 2000))
    assert final.temperature == checkpoint.origin["temperature"] == temperature

    *_, plain = fit(CONFIG, full_split(source), None, seed=2000, device=CPU)
    pixels = torch.from_numpy(source.test().pixels)
    scores = class_scores(plain.model, pixels)
    torch.testing.assert_close(class_scores(checkpoint.model, pixels), scores / temperature, rtol=1e-4, atol=1e-5)
    stored = read_predictions(study.folder, final)
    assert stored is not None
    np.testing.assert_array_equal(stored.predicted[0], scores.argmax(dim=1))
    undone = with_temperature(stored.probabilities[0], 1 / temperature)
    np.testing.assert_allclose(undone, scores.softmax(dim=1), atol=1e-5)


def test_a_final_network_with_another_temperature_is_trained_again(source: Source) -> None:
    spec = calibrating(seeds=1)
    study, interrupt = searched(spec), Interrupt()
    spec = spec.model_copy(update={"final": spec.final.model_copy(update={"seeds": 2})})
    winner = confirm(stage(study, spec, Worker(source), Progress()))
    with pytest.raises(InterruptedRunError):
        make_final(stage(study, spec, Worker(source), InterruptAfter(interrupt, EPOCHS + 1), interrupt), winner, source)
    study.write(confirmation_of(study).model_copy(update={"temperature": 2.5}))
    rest = Worker(source)
    final = finalized(study, spec, source, rest)
    assert [(task.seed, task.temperature) for task in rest.trained] == [(2000, 2.5), (2001, 2.5)]
    assert final.temperature == 2.5


def test_without_fresh_seeds_it_is_fitted_on_the_trial_and_stays_when_its_predictions_are_gone(source: Source) -> None:
    spec, executor, heard = calibrating(seeds=0), Worker(source), Heard()
    predicted, value = validation_of(source, 7)
    study = searched(spec, value=value)
    assert keep_predictions(study, 0, predicted) == ""
    found = confirmed(study, spec, executor, heard)
    assert found.temperature == fit_temperature(predicted.probabilities, predicted.labels)
    predictions_path(study, 0).unlink()
    assert confirmed(study, spec, executor, heard) == found
    assert (executor.trained, heard.messages) == ([], [])
    assert finalized(study, spec, source, executor).temperature == found.temperature


def test_without_fresh_seeds_and_predictions_there_is_none_and_a_message_says_so(source: Source) -> None:
    spec, heard = calibrating(seeds=0), Heard()
    study = searched(spec)
    assert confirmed(study, spec, Worker(source), heard).temperature is None
    told = "the study's folder holds no predictions of trial 0 on the validation images."
    assert heard.messages == [NOT_CALIBRATED + told]
    final = finalized(study, spec, source, Worker(source))
    assert final.temperature is None
    assert load_checkpoint(final_folder(study, 2000)).origin["temperature"] is None


@pytest.mark.parametrize("seeds", [0, 1])
def test_on_fewer_than_100_validation_images_none_is_fitted_and_a_message_says_so(
    seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = prepared(tmp_path / "data", synthetic.draw(540, seed=3))
    predicted, value = validation_of(few, 7)
    assert len(predicted.labels) == 90
    spec, heard = calibrating(seeds=seeds), Heard()
    study = searched(spec, value=value, valid=90)
    assert keep_predictions(study, 0, predicted) == ""
    found = confirmed(study, spec, Worker(few), heard)
    assert found.temperature is None
    assert [run.temperature for run in found.candidates[0].runs] == [None] * seeds
    assert heard.messages == [f"{NOT_CALIBRATED}a temperature takes at least 100 validation images, got 90."]


def test_a_confirm_stage_of_an_earlier_version_is_read_and_gives_none(source: Source) -> None:
    spec, heard = calibrating(seeds=1), Heard()
    study = searched(spec)
    run = {"seed": 1000, "macro_f1": 0.8, "seconds": 1.0}
    old: dict[str, Any] = {"trial": 0, "config": CONFIG.model_dump(mode="json"), "search_value": 0.8, "runs": [run]}
    study.optuna.set_user_attr("confirmation", {"candidates": [old], "winner": 0, "dropped": []})
    assert confirmed(study, spec, Worker(source), heard).temperature is None
    told = "an earlier version trained trial 0 on fresh seeds and fitted no temperature."
    assert heard.messages == [NOT_CALIBRATED + told]


def study_in(folder: Path) -> tuple[Study, Confirmation, Final]:
    study = load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), NAME)
    final = study.read(Final)
    assert final is not None
    return study, confirmation_of(study), final


@pytest.mark.slow
def test_a_whole_run_stores_tells_and_exports_it(whole: Path) -> None:
    _, confirmation, final = study_in(whole)
    folder, temperature = whole / "studies" / NAME, confirmation.temperature
    (winner,) = [each for each in confirmation.candidates if each.trial == confirmation.winner]
    assert temperature == final.temperature == winner.runs[0].temperature
    assert temperature is not None
    for model in (folder / "final" / "seed-2000", folder / "export"):
        assert load_checkpoint(model).origin["temperature"] == temperature

    stored = read_predictions(folder, final)
    assert stored is not None
    undone = with_temperature(stored.probabilities[0], 1 / temperature)
    errors = [
        calibration(each.max(axis=1), each.argmax(axis=1) == stored.labels).error
        for each in (stored.probabilities[0].astype(np.float64), undone)
    ]
    fitted_on = f"the validation images, with the 1 network that the confirm stage trained of trial {final.trial}"
    metrics = json.loads((folder / "export" / "metrics.json").read_text())
    assert metrics["temperature"] == temperature
    assert metrics["temperature_fitted_on"] == fitted_on
    assert metrics["calibration_error"] == pytest.approx(errors[0])
    assert metrics["calibration_error_without_temperature"] == pytest.approx(errors[1])
    card, page = (folder / "export" / "MODEL_CARD.md").read_text(), (folder / "report.html").read_text()
    assert f"by the temperature {temperature:g} before the softmax" in card
    assert f"It was fitted on {fitted_on}, never on the test split. Without it" in card
    assert f"Without it the calibration error would be {errors[1]:.4f}." in card
    assert "were not recalibrated" not in card
    assert f"by the temperature {temperature:g}, fitted on {fitted_on}; without it" in page
    assert f"without it the error would be {errors[1]:.4f}." in page
    assert f"divided by {temperature:g}, the temperature" in (folder / "report.md").read_text().replace("\\", "")
    assert json.loads((folder / "report.json").read_text())["final"]["temperature"] == temperature


@pytest.mark.slow
def test_the_exported_files_give_the_calibrated_probabilities(whole: Path) -> None:
    _, _, final = study_in(whole)
    folder, pixels = whole / "studies" / NAME, synthetic.test().pixels
    stored = read_predictions(folder, final)
    assert stored is not None
    session = onnxruntime.InferenceSession(folder / "export" / "model.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"images": pixels})
    np.testing.assert_allclose(probabilities, stored.probabilities[0], atol=1e-4)
    np.testing.assert_allclose(predict(load_checkpoint(folder / "export"), pixels, CPU), probabilities, atol=1e-4)


@pytest.mark.process
@pytest.mark.slow
def test_killed_in_the_confirm_and_the_final_stage_a_study_has_the_temperature_of_one_undisturbed(
    whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    for moment in ("1/2 trial", "seed 2000, epoch 1/2"):
        process = start_command(tmp_path, *RUN)
        wait_for_line(process, moment)
        process.kill()
        process.communicate()
    done = run_command(tmp_path, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    (_, killed, final), (_, undisturbed, _) = study_in(tmp_path), study_in(whole)
    assert killed.temperature == undisturbed.temperature == final.temperature
    assert load_checkpoint(tmp_path / "studies" / NAME / "export").origin["temperature"] == killed.temperature
