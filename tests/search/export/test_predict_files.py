"""`predict` with exported folders and single ONNX files: equal predictions, or one clean message."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image

from fmnist.checkpoint import save_checkpoint
from fmnist.config import TrialConfig
from fmnist.data import synthetic
from fmnist.network import build
from search.export.export import export_model
from tests.search.export.test_export import CALIBRATION, PIXELS, facts_of
from tests.search.sample import CLASSES
from tests.search.tiny import Say, command, surroundings

CONFIG = TrialConfig(depth=2, filters=8, batch_norm=True, head="avg")
PICTURES = ("0.png", "1.png", "photo.png")


def exported(folder: Path, pictures: str = "as Fashion-MNIST's", name: str = "Fashion-MNIST") -> Path:
    torch.manual_seed(0)
    save_checkpoint(folder / "seed", build(CONFIG, 10), CONFIG, CLASSES, origin={"data": name, "pictures": pictures})
    facts = facts_of(CONFIG, name=name)
    export_model(
        folder / "seed",
        folder / "model",
        test_pixels=PIXELS[:20],
        calibration=CALIBRATION,
        facts=facts,
        announce=lambda _: None,
    )
    for index in range(2):
        Image.fromarray(synthetic.test().pixels[index]).save(folder / f"{index}.png")
    Image.fromarray(255 - synthetic.test().pixels[2]).resize((90, 60)).save(
        folder / "photo.png"
    )  # dark on white, of another shape
    return folder / "model"


def only(model: Path, *names: str) -> Path:
    """Return a folder with only these files of the export."""
    folder = model.with_name("-".join(names))
    folder.mkdir()
    for name in names:
        shutil.copy(model / name, folder)
    return folder


def answers(say: Say, model: Path | str) -> list[tuple[str, list[tuple[str, float]]]]:
    code, output, errors = say("predict", model, *PICTURES, "--json")
    assert (code, errors) == (0, "")
    return [
        (picture["file"], [(guess["label"], guess["probability"]) for guess in picture["predictions"]])
        for picture in json.loads(output)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("pictures", ["as Fashion-MNIST's", "resized"])
def test_a_single_file_predicts_like_its_folder(say: Say, tmp_path: Path, pictures: str) -> None:
    model = exported(tmp_path, pictures)
    expected = answers(say, model)
    for source in (
        model / "model.onnx",
        only(model, "model.onnx"),
        only(model, "model.safetensors", "config.json"),
        tmp_path / "seed",
    ):
        predictions = answers(say, source)
        assert [(file, [label for label, _ in best]) for file, best in predictions] == [
            (file, [label for label, _ in best]) for file, best in expected
        ]
        assert [p for _, best in predictions for _, p in best] == pytest.approx(
            [p for _, best in expected for _, p in best], abs=1e-5
        )
    int8 = answers(say, model / "model.int8.onnx")
    assert int8 == answers(say, only(model, "model.int8.onnx"))
    # The first two are like the calibration images.
    assert [p for _, best in int8[:2] for _, p in best] == pytest.approx(
        [p for _, best in expected[:2] for _, p in best], abs=0.05
    )
    assert say("predict", model / "model.onnx", *PICTURES) == say("predict", model, *PICTURES)


@pytest.mark.slow
def test_the_preparation_of_pictures_is_stored_in_the_file(say: Say, tmp_path: Path) -> None:
    for name, pictures in (("plain", "as Fashion-MNIST's"), ("resized", "resized")):
        (tmp_path / name).mkdir()
        shutil.copy(exported(tmp_path / name, pictures) / "model.onnx", tmp_path / f"{name}.onnx")
    for name in PICTURES:
        shutil.copy(tmp_path / "plain" / name, tmp_path)
    plain, resized = answers(say, "plain.onnx"), answers(say, "resized.onnx")
    assert plain[:2] == resized[:2], "pictures of 28 x 28 on black are not changed"
    assert plain[2] != resized[2]


@pytest.mark.process
def test_predicting_from_an_onnx_file_does_not_import_torch(tmp_path: Path) -> None:
    model = exported(tmp_path)
    code = (
        "import sys\n"
        "from search.cli.main import main\n"
        f"sys.argv = ['fmnist-search', 'predict', {str(model / 'model.onnx')!r}, '0.png', 'photo.png']\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'optuna', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=surroundings(), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    *lines, loaded = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["0.png", "photo.png"]
    assert loaded == "[]"


@pytest.mark.process
def test_training_on_synthetic_data_is_stated(say: Say, tmp_path: Path) -> None:
    code, _, errors = say("predict", exported(tmp_path, name="synthetic") / "model.onnx", "0.png")
    assert (code, errors) == (
        0,
        "Note: this model was trained on synthetic images; it cannot classify real garments.\n",
    )


@pytest.mark.slow
def test_an_unreadable_file_is_one_clean_message(say: Say, tmp_path: Path) -> None:
    model = exported(tmp_path)
    renamed = onnx.load(model / "model.onnx")
    onnx.helper.set_model_props(renamed, {"labels": '["a\\u001b[2J"]'})
    onnx.save(renamed, "named.onnx")
    onnx.save(
        onnx.load(model / "model.onnx"),
        "outside.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    Path("junk.onnx").write_bytes(b"\x80\x04junk" * 99)
    for file, says in (
        (only(model, "model.pt2"), "has only model.pt2, a kind of pickle"),
        ("named.onnx", "metadata 'labels' must be a JSON list of 2 to 100 names"),
        ("outside.onnx", "it points at other files, which are not read"),
        ("junk.onnx", "must be an ONNX model"),
        ("absent.onnx", "must be readable: No such file or directory"),
        ("nowhere", "there is no nowhere/config.json"),
    ):
        code, output, errors = say("predict", file, "0.png")
        assert (code, output) == (2, "")
        assert errors.startswith("Error: ")
        assert says in errors
        assert len(errors.splitlines()) == 1
        assert errors.replace("\n", "").isprintable()
    code, _, errors = say("predict", model / "model.onnx", "0.png", "--device", "cuda")
    assert (code, "computed on the CPU, got --device cuda" in errors) == (2, True)


@pytest.mark.process
def test_the_command_reads_a_single_file(tmp_path: Path) -> None:
    model = exported(tmp_path)
    done = subprocess.run(
        command("predict", model / "model.onnx", "0.png"),
        cwd=tmp_path,
        env=surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("0.png: ")


@pytest.mark.process
def test_folders_and_patterns_are_read_and_a_bad_file_stops_no_other(say: Say, tmp_path: Path) -> None:
    model = exported(tmp_path) / "model.onnx"
    (tmp_path / "mine").mkdir()
    for name in ("b.png", "a.PNG"):
        shutil.copy(tmp_path / "0.png", tmp_path / "mine" / name)
    (tmp_path / "mine" / "notes.txt").write_text("no picture")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    code, output, errors = say("predict", model, "mine", "broken.png", "[01].png", "absent.png")
    assert code == 2
    assert [line.partition(":")[0] for line in output.splitlines()] == ["mine/a.PNG", "mine/b.png", "0.png", "1.png"]
    assert [line.split()[0] for line in errors.splitlines()] == ["Error:", "Error:"]
    assert "broken.png" in errors
    assert "absent.png" in errors
    (tmp_path / "mine" / "@eaDir").mkdir()
    for name in ("@eaDir/a.PNG", "._a.PNG"):
        shutil.copy(tmp_path / "0.png", tmp_path / "mine" / name)
    (tmp_path / "mine" / "folder.png").mkdir()
    code, output, errors = say("predict", model, "mine")
    assert (code, errors) == (0, "")
    assert [line.partition(":")[0] for line in output.splitlines()] == ["mine/a.PNG", "mine/b.png"]
    code, output, errors = say("predict", model, f"{300 * 'x'}.png", "**.png", "0.png")
    assert (code, output.partition(":")[0]) == (2, "0.png")
    assert [line.split()[0] for line in errors.splitlines()] == ["Error:", "Error:"]
    code, _, errors = say("predict", model, "*.jpg")
    assert (code, "There is no picture in '*.jpg'" in errors) == (2, True)


@pytest.mark.process
def test_a_study_is_its_exported_model(say: Say, tmp_path: Path) -> None:
    exported(tmp_path).rename(tmp_path / "export")
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    (tmp_path / "export").rename(tmp_path / "studies" / "mine" / "export")
    assert say("predict", "mine", "0.png") == say("predict", "studies/mine/export", "0.png")
    assert say("predict", "mine", "0.png", "--device", "cpu")[0] == 0
