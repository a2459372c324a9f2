"""`export --ensemble`: the networks of all final seeds as one file, and where a study tells their score."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fmnist.checkpoint import CPU, load_checkpoint, save_checkpoint
from fmnist.data import synthetic
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.metrics import bootstrap_interval, score
from fmnist.network import build
from fmnist.predict import predict
from search.job.final import final_folder, make_final
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.report.calibration import calibration
from search.report.render import headline, read_report, to_markdown
from search.storage.opening import open_storage
from search.study.predictions import predictions_path
from search.study.records import Candidate, DataRecord, Final, Opening
from search.study.study import Study, create_study
from tests.search.export.test_export import run_onnx
from tests.search.job.test_final import CONFIG, Saves, final_spec
from tests.search.sample import trial
from tests.search.tiny import Say, stage

STORAGE = "sqlite:///studies/fmnist.db"
SAID = "The 2 networks together, averaged: "


def drawn() -> Source:
    return find_source("synthetic", announce=lambda _: None)


class Draws(Saves):
    """Saves networks of random weights for the classes of the synthetic images."""

    def __init__(self) -> None:
        super().__init__(lambda task: _renamed(task.checkpoint))


def _renamed(folder: Path | None) -> None:
    assert folder is not None
    seed = int(folder.name.removeprefix("seed-"))
    torch.manual_seed(seed)
    model = build(CONFIG, len(synthetic.CLASS_NAMES))
    save_checkpoint(folder, model, CONFIG, synthetic.CLASS_NAMES, origin={"seed": seed, "data": "synthetic"})


def finished(*, seeds: int = 2) -> Study:
    """A study in the current folder, whose final networks have random weights."""
    source = drawn()
    train = source.train()
    data = DataRecord(
        name="synthetic", fingerprint=fingerprint(train), train=5000, valid=1000, class_names=train.class_names
    )
    spec = final_spec(seeds=seeds)
    study = create_study(open_storage(STORAGE, create=True), spec, data)
    study.optuna.add_trial(trial(0.8, config=CONFIG.model_dump(mode="json")))
    winner = Candidate(trial=0, config=CONFIG, search_value=0.8)
    make_final(stage(study, spec, Draws(), Progress(), Interrupt()), winner, source)
    return study


def mean_answers(study: Study) -> NDArray[np.float64]:
    """PyTorch's probabilities of the test images, averaged over the two networks."""
    models = [load_checkpoint(final_folder(study, seed)) for seed in (2000, 2001)]
    answers = np.stack([predict(model, synthetic.test().pixels, CPU) for model in models])
    return np.asarray(answers.mean(axis=0, dtype=np.float64))


def rewritten(study: Study, **changes: Any) -> None:
    final = study.read(Final)
    assert final is not None
    study.write(final.model_copy(update=changes))


def test_the_file_has_the_mean_of_all_networks_and_its_own_figures(say: Say) -> None:
    study = finished()
    code, output, errors = say("export", "--ensemble")
    assert (code, errors) == (0, ""), errors
    assert "Exporting the ensemble of 2 networks to studies/tiny/ensemble" in output
    folder, labels, mean = study.folder / "ensemble", synthetic.test().labels, mean_answers(study)
    assert {path.name for path in folder.iterdir()} == {
        "ensemble.onnx",
        "labels.json",
        "metrics.json",
        "MODEL_CARD.md",
    }
    np.testing.assert_allclose(run_onnx(folder / "ensemble.onnx", synthetic.test().pixels), mean, atol=1e-5)
    scores, metrics = score(labels, mean.argmax(axis=1), 10), json.loads((folder / "metrics.json").read_text())
    assert (metrics["kind"], metrics["macro_f1"]) == ("ensemble", pytest.approx(scores.macro_f1))
    assert metrics["accuracy"] == pytest.approx(scores.accuracy)
    assert metrics["interval"] == list(bootstrap_interval(labels, mean.argmax(axis=1)[None], 10))
    confidence, is_right = mean.max(axis=1), labels == mean.argmax(axis=1)
    assert metrics["calibration_error"] == pytest.approx(calibration(confidence, is_right).error)
    final = study.read(Final)
    assert final is not None
    assert (metrics["parameters"], metrics["flops"]) == (2 * final.parameters, 2 * final.flops)
    assert [member["seed"] for member in metrics["members"]] == [2000, 2001]
    assert metrics["bytes"] == (folder / "ensemble.onnx").stat().st_size
    assert metrics["parity"][0]["images"] == 1000
    assert metrics["parity"][0]["largest_difference"] <= 1e-4
    assert set(metrics["latency"]["milliseconds"]) == {"ensemble.onnx"}
    assert "SYNTHETIC DATA" in metrics["warning"]
    assert len(study.read_all(Opening)) == 1, "its figures come from the stored predictions"


def test_its_card_is_of_an_ensemble(say: Say) -> None:
    study = finished()
    assert say("export", "--ensemble", "--to", "both")[0] == 0
    final, card = study.read(Final), Path("both/MODEL_CARD.md").read_text()
    assert final is not None
    assert final.ensemble is not None
    assert card.startswith("---\nlicense: mit\n")
    assert "- ensemble\n" in card
    assert f"name: Macro F1, this ensemble of 2 networks\n      value: {final.ensemble.macro_f1:.6f}" in card
    assert "# tiny: an ensemble of 2 classifiers of 28 x 28 grey images" in card
    assert "> **SYNTHETIC DATA" in card
    assert f"**Test macro F1 {final.ensemble.macro_f1:.4f}, 95 % interval [{final.ensemble.low:.4f}, " in card
    assert f"The ensemble has {2 * final.parameters:,} parameters" in card
    assert f"| 2001 | {final.runs[1].macro_f1:.4f} | {final.runs[1].accuracy:.4f} |" in card
    assert "15 bins" in card
    assert "| `ensemble.onnx` |" in card
    assert "on 1,000 test images" in card
    metadata = {entry.key: entry.value for entry in onnx.load("both/ensemble.onnx").metadata_props}
    assert json.loads(metadata["ensemble"]) == {"members": 2, "seeds": [2000, 2001]}


def test_predict_reads_the_folder_and_the_file(say: Say) -> None:
    study = finished()
    assert say("export", "--ensemble", "--to", "both")[0] == 0
    Image.fromarray(synthetic.test().pixels[0]).save("0.png")
    first = synthetic.CLASS_NAMES[int(mean_answers(study)[0].argmax())]
    for model in ("both", "both/ensemble.onnx"):
        code, output, _ = say("predict", model, "0.png", "--json")
        assert code == 0
        assert json.loads(output)[0]["predictions"][0]["label"] == first


def test_an_older_study_has_no_score_of_them_until_its_predictions_give_it(say: Say) -> None:
    study = finished()
    final = study.read(Final)
    assert final is not None
    assert final.ensemble is not None
    rewritten(study, ensemble=None)
    assert SAID not in headline(read_report(study))
    assert say("export", "--ensemble")[0] == 0
    metrics = json.loads((study.folder / "ensemble" / "metrics.json").read_text())
    assert metrics["macro_f1"] == final.ensemble.macro_f1
    predictions_path(study.folder).unlink()
    code, _, errors = say("export", "--ensemble")
    assert code == 2
    assert "those of the study 'tiny' are not here: there is no studies/tiny/final/predictions.npz" in errors
    study.write(final)  # its score is on record
    assert say("export", "--ensemble")[0] == 0
    assert json.loads((study.folder / "ensemble" / "metrics.json").read_text())["calibration_error"] is None


def test_what_cannot_be_an_ensemble_is_refused(say: Say) -> None:
    study = finished(seeds=1)
    assert study.read(Final) is not None
    code, _, errors = say("export", "--ensemble")
    assert code == 2
    assert "An ensemble needs at least two final networks; the study 'tiny' has one." in errors
    code, _, errors = say("export", "--ensemble", "--format", "onnx")
    assert code == 2
    assert "--ensemble writes one ONNX file of the winner, got --format as well. Leave one out." in errors


def test_a_folder_of_another_kind_is_not_replaced_and_its_own_is(say: Say) -> None:
    finished()
    assert say("export", "--to", "model", "--format", "pt2")[0] == 0
    code, _, errors = say("export", "--ensemble", "--to", "model")
    assert code == 2
    assert "An export replaces only an export or an empty folder; model holds 'model.pt2'." in errors
    assert say("export", "--ensemble", "--to", "both")[0] == 0
    assert say("export", "--ensemble", "--to", "both")[0] == 0
    code, _, errors = say("export", "--to", "both")
    assert code == 2
    assert "both holds 'ensemble.onnx'" in errors


def test_a_member_that_is_not_the_tested_one_is_refused(say: Say) -> None:
    study = finished()
    shutil.rmtree(final_folder(study, 2001))
    shutil.copytree(final_folder(study, 2000), final_folder(study, 2001))
    code, _, errors = say("export", "--ensemble")
    assert code == 2
    assert "its checksum differs" in errors
    assert not (study.folder / "ensemble").exists()
    shutil.rmtree(final_folder(study, 2001))
    code, _, errors = say("export", "--ensemble")
    assert code == 2
    assert "there is no studies/tiny/final/seed-2001/config.json" in errors


def test_the_score_is_told_wherever_that_of_the_single_networks_is(say: Say) -> None:
    study = finished()
    final = study.read(Final)
    assert final is not None
    assert final.ensemble is not None
    sentence = f"{SAID}{final.ensemble.macro_f1:.4f}, which is not the score of a single network."
    report = read_report(study)
    assert headline(report).endswith(f"once. {sentence}")
    assert sentence in to_markdown(report)
    code, output, _ = say("status")
    assert code == 0
    assert f"{final.ensemble.macro_f1:.4f}" in output
    assert "averaged; it is no single network." in output
    assert json.loads(say("status", "--json")[1])[0]["ensemble"] == final.ensemble.macro_f1
    assert say("export", "--format", "safetensors")[0] == 0
    card, metrics = Path("model/MODEL_CARD.md").read_text(), json.loads(Path("model/metrics.json").read_text())
    assert card.count("together") == 1
    assert sentence in card
    assert metrics["macro_f1"] == final.runs[0].macro_f1
    assert metrics["ensemble"] == final.ensemble.model_dump()
