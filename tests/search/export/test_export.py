import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fmnist.checkpoint import CPU, load_checkpoint, save_checkpoint
from fmnist.config import TrialConfig, knob_fields
from fmnist.data import synthetic
from fmnist.metrics import macro_f1
from fmnist.network import build
from fmnist.predict import predict
from search.errors import SearchError
from search.export.export import ExportReport, export_model
from search.export.formats import FORMATS, select_files
from search.export.model_card import Budget, ModelFacts, write_card
from search.export.onnx_export import calibration_pixels, to_int8
from search.export.parity import Parity, compare
from search.study.records import ClassScore, DataRecord, Final
from tests.search.sample import CLASSES, caught, cleaned, data, environment, final

PIXELS = np.concatenate(
    [synthetic.test().pixels, synthetic.train().pixels[:3]]
)  # more than a batch, and not a multiple of it
LABELS = np.concatenate([synthetic.test().labels, synthetic.train().labels[:3]])
CALIBRATION = synthetic.train().pixels[:100]
RICH = TrialConfig(
    depth=3,
    blocks=2,
    filters=8,
    batch_norm=True,
    residual=True,
    activation="gelu",
    pool="before",
    head="max",
    hidden=16,
)


EVERY = {*FORMATS.values(), "config.json", "labels.json", "metrics.json", "MODEL_CARD.md"}


def checkpoint_of(folder: Path, config: TrialConfig, *, scale: float = 1.0) -> Path:
    torch.manual_seed(0)
    model = build(config, len(CLASSES))
    with torch.no_grad():
        model(torch.rand(64, 1, 28, 28))  # moves batch norm's statistics away from 0 and 1
        model.get_parameter("stages.0.conv.weight").mul_(scale)
    save_checkpoint(folder, model, config, CLASSES, origin={"seed": 2000})
    return folder


def facts_of(
    config: TrialConfig, *, name: str = "Fashion-MNIST", seeds: tuple[float, ...] = (0.943, 0.944, 0.942)
) -> ModelFacts:
    result: Final = final(*seeds).model_copy(update={"config": config, "sd": 0.0008 if len(seeds) > 1 else None})
    versions = {"fmnist-search": "0.1.0", "torch": torch.__version__}
    return ModelFacts(
        "quick", data(name), result, environment(versions=versions), 'name = "winner"\n\n[knobs]\ndepth = 3\n'
    )


def exported(folder: Path, config: TrialConfig, name: str = "Fashion-MNIST") -> ExportReport:
    source = checkpoint_of(folder / "model", config)
    facts = facts_of(config, name=name)
    return export_model(
        source,
        folder / "export",
        test_pixels=PIXELS,
        test_labels=LABELS,
        calibration=CALIBRATION,
        facts=facts,
        announce=lambda _: None,
    )


def run_onnx(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probabilities"], {"images": pixels})[0])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return exported(tmp_path_factory.mktemp("rich"), RICH)


@pytest.fixture
def card(report: ExportReport) -> str:
    return (report.folder / "MODEL_CARD.md").read_text()


def test_every_file_exists_and_agrees_with_pytorch(report: ExportReport) -> None:
    assert {path.name for path in report.folder.iterdir()} == EVERY
    assert [parity.file for parity in report.parities] == ["model.safetensors", "model.pt2", "model.onnx"]
    assert all(
        parity.largest_difference <= 1e-4 and parity.disagreements == parity.ties and parity.images == 1003
        for parity in report.parities
    )
    assert all(parity.bytes == (report.folder / parity.file).stat().st_size for parity in report.parities)
    assert load_checkpoint(report.folder).origin == {"seed": 2000}
    assert json.loads((report.folder / "labels.json").read_text()) == list(CLASSES)
    assert {path.name for path in report.folder.parent.iterdir()} == {"model", "export"}


def test_only_the_chosen_formats_are_written(tmp_path: Path) -> None:
    config = TrialConfig(depth=1, filters=4, head="avg")
    source = checkpoint_of(tmp_path / "model", config)
    for names, files, shown in (
        (["onnx-int8"], {"model.int8.onnx"}, 'InferenceSession("model.int8.onnx")'),
        (["safetensors"], {"model.safetensors", "config.json"}, "`fmnist-search predict . PICTURE...`"),
        (["pt2", "pt2"], {"model.pt2"}, 'torch.export.load("model.pt2")'),
        (["onnx", "safetensors"], {"model.onnx", "model.safetensors", "config.json"}, 'InferenceSession("model.onnx")'),
    ):
        report = export_model(
            source,
            tmp_path / "export",
            test_pixels=PIXELS[:10],
            calibration=CALIBRATION,
            facts=facts_of(config),
            announce=lambda _: None,
            files=select_files(names),
        )
        assert {path.name for path in report.folder.iterdir()} == files | {
            "labels.json",
            "metrics.json",
            "MODEL_CARD.md",
        }
        assert {latency.file for latency in report.latencies} == files - {"config.json"}
        card = (report.folder / "MODEL_CARD.md").read_text()
        assert shown in card
        assert ("- onnx\n" in card) == any("onnx" in name for name in names)


def test_an_unknown_format_names_the_nearest() -> None:
    assert select_files([]) == tuple(FORMATS.values())
    with pytest.raises(
        SearchError,
        match=r"--format must be safetensors, pt2, onnx, onnx-int8; got 'onnx-int'. Did you mean 'onnx-int8'\?",
    ):
        select_files(["onnx", "onnx-int"])


def test_the_int8_file_is_small_accurate_and_measured(report: ExportReport) -> None:
    int8, folder = report.int8, report.folder
    assert int8 is not None
    assert int8.bytes < (folder / "model.onnx").stat().st_size
    exact, quantised = (run_onnx(folder / name, PIXELS) for name in ("model.onnx", "model.int8.onnx"))
    assert int8.largest_difference == pytest.approx(float(np.abs(exact - quantised).max()), abs=1e-4)
    assert 0 < int8.largest_difference < 0.2
    assert int8.disagreements == int((exact.argmax(1) != quantised.argmax(1)).sum())
    assert int8.macro_f1 == pytest.approx(macro_f1(LABELS, quantised.argmax(1), 10))
    assert int8.accuracy_difference == pytest.approx(
        float((quantised.argmax(1) == LABELS).mean() - (exact.argmax(1) == LABELS).mean())
    )
    metrics = json.loads((folder / "metrics.json").read_text())["int8"]
    assert metrics == int8.as_json()
    assert metrics["share_otherwise"] == int8.disagreements / 1003
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"and has macro F1 {int8.macro_f1:.4f} (" in card
    assert f"These figures hold for ONNX Runtime {onnxruntime.__version__} on the CPU." in card
    kinds = {node.op_type for node in onnx.load(folder / "model.int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_the_int8_file_is_reproducible_and_calibrated_equally_on_every_class(report: ExportReport) -> None:
    model = onnx.load(report.folder / "model.onnx")
    assert to_int8(model, CALIBRATION).SerializeToString() == (report.folder / "model.int8.onnx").read_bytes()
    assert model == onnx.load(report.folder / "model.onnx"), "the source model is not modified"
    train = synthetic.train()
    pixels = calibration_pixels(train)
    assert pixels.shape == (500, 28, 28)
    np.testing.assert_array_equal(pixels, calibration_pixels(train))
    label_of = {image.tobytes(): label for image, label in zip(train.pixels, train.labels, strict=True)}
    assert set(np.bincount([label_of[image.tobytes()] for image in pixels])) == {50}
    few = train.take(np.concatenate([np.flatnonzero(train.labels == 0)[:3], np.flatnonzero(train.labels > 0)]))
    assert len(calibration_pixels(few)) == 453


def test_every_file_is_timed(report: ExportReport) -> None:
    latency = json.loads((report.folder / "metrics.json").read_text())["latency"]
    assert (latency["device"], latency["threads"], bool(latency["processor"])) == ("cpu", torch.get_num_threads(), True)
    assert set(latency["milliseconds"]) == set(FORMATS.values())
    assert all(0 < times["1"] < times["256"] for times in latency["milliseconds"].values())


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_images(report: ExportReport, count: int) -> None:
    expected = predict(load_checkpoint(report.folder), PIXELS[:count], CPU)
    np.testing.assert_allclose(run_onnx(report.folder / "model.onnx", PIXELS[:count]), expected, atol=1e-5)
    module = torch.export.load(report.folder / "model.pt2").module()
    np.testing.assert_allclose(module(torch.tensor(PIXELS[:count])).detach(), expected, atol=1e-5)


def test_the_onnx_file_describes_its_model(report: ExportReport) -> None:
    model = onnx.load(report.folder / "model.onnx")
    (images,), (probabilities,) = model.graph.input, model.graph.output
    assert (images.name, images.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim] == ["N", 28, 28]
    assert (probabilities.name, probabilities.type.tensor_type.elem_type) == ("probabilities", onnx.TensorProto.FLOAT)
    assert [dim.dim_param or dim.dim_value for dim in probabilities.type.tensor_type.shape.dim] == ["N", 10]
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(facts["labels"]) == list(CLASSES)
    assert TrialConfig.parse(json.loads(facts["config"]), context="the file") == RICH
    assert json.loads(facts["normalisation"]) == {"divisor": 255, "mean": 0.286, "std": 0.353}
    assert json.loads(facts["pictures"])["form"] == "as Fashion-MNIST's"
    assert facts["input"].startswith("images: uint8 [N, 28, 28], grey")
    int8 = onnx.load(report.folder / "model.int8.onnx")
    assert {prop.key: prop.value for prop in int8.metadata_props} == facts
    assert (facts["version"], facts["study"], facts["data"]) == ("0.1.0", "quick", "Fashion-MNIST")
    training = [
        attribute.i for node in model.graph.node for attribute in node.attribute if attribute.name == "training_mode"
    ]
    assert "Dropout" not in {node.op_type for node in model.graph.node}
    assert not any(training)


def test_no_file_contains_paths_of_this_machine(report: ExportReport) -> None:
    root = str(Path(__file__).parents[3]).encode()
    assert [path.name for path in report.folder.iterdir() if root in path.read_bytes()] == []


@pytest.mark.process
def test_the_card_s_code_runs_with_onnx_runtime_alone(report: ExportReport, card: str) -> None:
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) == 5
    check = "\nimport sys\nassert not {'torch', 'fmnist', 'search'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code[1] + check], cwd=report.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in CLASSES


def test_metrics(report: ExportReport) -> None:
    metrics = json.loads((report.folder / "metrics.json").read_text())
    assert metrics["macro_f1"] == 0.943
    assert (metrics["mean"], metrics["sd"], metrics["interval"]) == (pytest.approx(0.943), 0.0008, [0.9391, 0.947])
    assert (metrics["seed"], metrics["seeds"]) == (2000, [2000, 2001, 2002])
    assert (metrics["study"], metrics["data"], metrics["warning"]) == ("quick", "Fashion-MNIST", None)
    assert [parity["file"] for parity in metrics["parity"]] == [parity.file for parity in report.parities]


def test_the_card_states_the_result_and_its_limits(card: str) -> None:
    assert (
        "**Test macro F1 0.9430 ± 0.0008 over 3 seeds, 95 % interval [0.9391, 0.9470]** on 10,000 test images." in card
    )
    assert "- **T-shirt/top**, F1 0.8000: recall 95.0 %, precision 94.0 %." in card
    assert "- Shirt predicted as T-shirt/top: 102 of 1,052 images (9.7 %)." in card
    assert all(f"| `{name}` |" in card for name in knob_fields())
    assert '````toml\nname = "winner"\n\n[knobs]\ndepth = 3\n````' in card
    assert " Its images are most often mistaken for Shirt (5.8 %).\n" in card
    assert card.startswith("---\nlicense: mit\n")
    assert "SYNTHETIC" not in card


def test_the_card_states_budget_and_calibration(tmp_path: Path) -> None:
    budget = Budget(12, 8, 3, 1, "tpe", "median", 2, 2, search_seconds=255, all_seconds=800)
    write_card(
        tmp_path,
        replace(facts_of(RICH), budget=budget, calibration_error=0.0123),
        [Parity("model.onnx", 1, 10, 1e-6, 0, 0)],
    )
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert (
        "The search took 12 trials (8 complete, 3 pruned, 1 failed; sampler tpe, pruner median) and 4 min 15 s; "
        in card
    )
    assert "the best 2 were trained again on 2 fresh seeds; with the final trainings it was 13 min 20 s." in card
    assert "differ by 1.2 percentage points on average (expected calibration error 0.0123, 15 bins)" in card
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["budget"]["pruned"], metrics["calibration_error"]) == (3, 0.0123)
    assert (metrics["int8"], metrics["latency"]) == (None, None)


@pytest.mark.parametrize("error", [0.0123, None])
def test_the_card_states_the_temperature(error: float | None, tmp_path: Path) -> None:
    facts = facts_of(RICH)
    without = None if error is None else 0.0456
    facts = replace(
        facts,
        final=facts.final.model_copy(update={"temperature": 1.25}),
        calibration_error=error,
        error_without_temperature=without,
        fitted_on="the validation images, by hand",
    )
    write_card(tmp_path, facts, [Parity("model.onnx", 1, 10, 1e-6, 0, 0)])
    card, metrics = (tmp_path / "MODEL_CARD.md").read_text(), json.loads((tmp_path / "metrics.json").read_text())
    assert ("Without it the calibration error would be 0.0456." in card) == (error is not None)
    assert "were calibrated with one temperature, 1.25, on validation images: their calibration error" in card
    assert ("is not known here" in card) == (error is None)
    assert "recalibrated" not in card
    assert "are not calibrated" not in card
    told = [metrics[key] for key in ("temperature", "temperature_fitted_on", "calibration_error_without_temperature")]
    assert told == [1.25, "the validation images, by hand", without]


def test_the_card_of_a_model_without_temperature_tells_of_none(card: str) -> None:
    assert "temperature" not in card
    assert "- Its probabilities are not calibrated: 0.9 does not mean correct nine times out of ten." in card


def written_card(folder: Path, record: DataRecord, study: str = "quick") -> str:
    classes = tuple(
        ClassScore(name=name, precision=0.9, recall=0.9, f1=0.9, images=1000) for name in record.class_names
    )
    facts = replace(facts_of(RICH), data=record, study=study)
    size = len(classes)
    counts = tuple(tuple(5 if i == j else 1 for j in range(size)) for i in range(size))
    facts = replace(facts, final=facts.final.model_copy(update={"classes": classes, "confusion": counts}))
    write_card(folder, facts, [Parity("model.onnx", 1, 10, 1e-6, 0, 0)])
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_card_for_other_data_does_not_mention_fashion_mnist(tmp_path: Path) -> None:
    report = cleaned(
        caught("duplicates", 12, action="dropped from train"), caught("blank"), caught("missing_labels", 3, 1)
    )
    record = data(
        "my shop.csv",
        cleaning=report,
        test=2000,
        test_fingerprint="7e57",
        path="/home/me/my shop.csv",
        test_path="/home/me/t.csv",
    )
    card = written_card(tmp_path, record)
    assert not [
        word
        for word in ("license", "fashion-mnist\n", "Fashion-MNIST", "zalando", "garment", "/home/me")
        if word in card
    ]
    assert '      name: "my shop.csv"\n      type: custom\n' in card
    assert (
        "- Exact copies (duplicates): 12 training images, dropped from train.\n- No label (missing_labels): 3 training "
        "images and 1" in card
    )
    assert "fmnist-search run winner.toml --data 'my shop.csv' --test t.csv\n" in card
    assert (
        "The test split has 2,000 images.\nSHA-256 of the training images: `5e0a`; of the test images: `7e57`." in card
    )
    assert "found nothing to fix" in written_card(tmp_path, data("shop.csv", cleaning=cleaned(caught("blank"))))
    warned = written_card(tmp_path, data("shop.csv", cleaning=cleaned(caught("leaks", 1, 1, action="kept"))))
    assert "> **Also in the test split, and kept: 1 training image. The test score is too high.**" in warned


@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=5), st.text(min_size=1), st.text(min_size=1))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["a|b", '"*<>`', "裙子: [x](y)"], "x\u2028: {y}.csv", '# "\\ 😀')
def test_no_name_breaks_the_card(tmp_path: Path, classes: list[str], name: str, study: str) -> None:
    yaml = pytest.importorskip("yaml")
    card = written_card(tmp_path, data(name, class_names=tuple(classes)), study)
    for block in card.split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in block.split("\n") if line}) == 1
    _, front, _ = card.split("---\n", 2)
    (entry,) = yaml.safe_load(front)["model-index"]
    assert (entry["name"], entry["results"][0]["dataset"]["name"]) == (study, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        TrialConfig(depth=4, filters=8, kernel_size=5, activation="silu", head="flatten", hidden=16),
        TrialConfig(depth=2, blocks=2, filters=32, conv="grouped", squeeze=True, batch_norm=True, mirror=True),
        TrialConfig(depth=2, blocks=2, filters=8, conv="separable", pool="stride", mirror=True, translate=1),
        TrialConfig(depth=2, blocks=2, filters=8, conv="inverted", batch_norm=True, pool="before", translate=1),
        TrialConfig(
            depth=2, blocks=3, filters=8, kernel_size=5, batch_norm=True, residual=True, head="avg", dropout=0.4
        ),
    ],
    ids=["deep", "grouped", "separable", "inverted", "wide"],
)
def test_other_networks_and_synthetic_data(tmp_path: Path, config: TrialConfig) -> None:
    report = exported(tmp_path, config, name="synthetic")
    assert max(parity.largest_difference for parity in report.parities) <= 1e-4
    assert run_onnx(report.folder / "model.onnx", PIXELS[:1]).shape == (1, 10)
    assert "No figure here is Fashion-MNIST's" in json.loads((report.folder / "metrics.json").read_text())["warning"]
    card = (report.folder / "MODEL_CARD.md").read_text()
    assert card.count("SYNTHETIC DATA") == 2
    assert "zalando" not in card


def test_the_card_of_another_version_says_that_only_that_one_trains_it_again(tmp_path: Path) -> None:
    write_card(tmp_path, facts_of(RICH), [])
    assert "trains it again" not in (tmp_path / "MODEL_CARD.md").read_text()
    write_card(tmp_path, replace(facts_of(RICH), other_toolkit="0.1.0"), [])
    assert "Version 0.1.0 of fmnist-search trained this model." in (tmp_path / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_random_networks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(4):
        config = TrialConfig.parse(
            {
                "depth": int(random.integers(1, 5)),
                "blocks": int(random.integers(1, 4)),
                "filters": int(random.integers(4, 24)),
                "kernel_size": int(random.choice((3, 5))),
                "growth": float(random.uniform(1, 2)),
                **{name: bool(random.integers(2)) for name in ("batch_norm", "residual")},
                "activation": str(random.choice(("relu", "gelu", "silu"))),
                "pool": str(random.choice(("before", "after"))),
                "head": str(random.choice(("flatten", "max", "avg"))),
                "hidden": int(random.choice((0, 32))),
            },
            context="test",
        )
        (tmp_path / str(number)).mkdir()
        assert exported(tmp_path / str(number), config).folder.is_dir()


@pytest.mark.slow
def test_an_earlier_export_is_replaced_and_a_single_seed_has_no_spread(tmp_path: Path) -> None:
    config = TrialConfig(depth=1, filters=4, head="avg")
    source, lines = checkpoint_of(tmp_path / "model", config), list[str]()
    for facts in (facts_of(config), facts_of(config, seeds=(0.9,))):
        export_model(
            source,
            tmp_path / "export",
            test_pixels=PIXELS[:10],
            calibration=CALIBRATION,
            facts=facts,
            announce=lines.append,
        )
    card = (tmp_path / "export" / "MODEL_CARD.md").read_text()
    assert "**Test macro F1 0.9000 over 1 seed, 95 %" in card
    assert "One seed does not show the spread" in card
    assert json.loads((tmp_path / "export" / "metrics.json").read_text())["sd"] is None
    assert [line.split(":")[0] for line in lines] == [
        "model.safetensors",
        "model.pt2",
        "model.onnx",
        "model.int8.onnx",
    ] * 2


@pytest.mark.parametrize("name", ["thesis.tex", "config.json", "MODEL_CARD.md/notes"])
def test_only_an_export_is_replaced(tmp_path: Path, name: str) -> None:
    source = checkpoint_of(tmp_path / "model", RICH)
    file = tmp_path / "export" / name.replace("/", ".")
    file.parent.mkdir()
    file.write_text("years of work")
    with pytest.raises(SearchError, match=f"holds '{file.name}'"):
        export_model(
            source,
            tmp_path / "export",
            test_pixels=PIXELS,
            calibration=CALIBRATION,
            facts=facts_of(RICH),
            announce=lambda _: None,
        )
    with pytest.raises(SearchError, match="is a file"):
        export_model(
            source, file, test_pixels=PIXELS, calibration=CALIBRATION, facts=facts_of(RICH), announce=lambda _: None
        )
    assert file.read_text() == "years of work"


def test_facts_of_another_model_are_refused(tmp_path: Path) -> None:
    source = checkpoint_of(tmp_path / "model", RICH)
    with pytest.raises(SearchError, match="must be of the final model of 'quick'"):
        export_model(
            source,
            tmp_path / "export",
            test_pixels=PIXELS,
            calibration=CALIBRATION,
            facts=facts_of(TrialConfig()),
            announce=lambda _: None,
        )
    assert not (tmp_path / "export").exists()


def test_a_model_with_nan_weights_is_not_exported(tmp_path: Path) -> None:
    config = TrialConfig(depth=1, filters=4, head="avg")
    source = checkpoint_of(tmp_path / "model", config, scale=float("nan"))
    with pytest.raises(SearchError, match=r"must give finite probabilities; that in .*model does not"):
        export_model(
            source,
            tmp_path / "export",
            test_pixels=PIXELS[:10],
            calibration=CALIBRATION,
            facts=facts_of(config),
            announce=lambda _: None,
        )
    assert list(tmp_path.iterdir()) == [source]


def test_a_tampered_file_does_not_agree(report: ExportReport, tmp_path: Path) -> None:
    model = onnx.load(report.folder / "model.onnx")
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights = onnx.numpy_helper.to_array(largest) * np.float32(1.01)
    largest.CopyFrom(onnx.numpy_helper.from_array(weights, largest.name))
    onnx.save(model, tmp_path / "model.onnx")
    expected = predict(load_checkpoint(report.folder), PIXELS, CPU)
    assert compare("model.onnx", 1, expected, run_onnx(report.folder / "model.onnx", PIXELS)).ties == 0
    with pytest.raises(SearchError, match=r"model.onnx must agree with PyTorch within 0.0001"):
        compare("model.onnx", 1, expected, run_onnx(tmp_path / "model.onnx", PIXELS))


def test_predictions_may_differ_in_ties_only() -> None:
    expected = np.array([[0.50001, 0.49999], [0.9, 0.1]], np.float32)
    parity = compare("a", 1, expected, expected + np.array([[-5e-5, 5e-5], [0, 0]], np.float32))
    assert (parity.disagreements, parity.ties) == (1, 1)
    clear = np.array([[0.50007, 0.49993]], np.float32)  # not a tie, although each differs by less than the tolerance
    with pytest.raises(SearchError, match="class of 1 of 1 images"):
        compare("a", 1, clear, clear + np.array([[-9e-5, 9e-5]], np.float32))
    with pytest.raises(SearchError, match="differs by up to nan"):
        compare("a", 1, clear, clear * np.float32("nan"))
    with pytest.raises(SearchError, match=r"must give probabilities \[1, 2\] as PyTorch does, got \[1, 1\]"):
        compare("a", 1, clear, clear[:, :1])
