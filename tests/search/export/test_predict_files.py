"""`predict` of whatever was exported: folders of any formats and ONNX files alone give the same answers, or one clean
message.
"""

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
    """A folder with nothing else of the export."""
    folder = model.with_name("-".join(names))
    folder.mkdir()
    for name in names:
        shutil.copy(model / name, folder)
    return folder


def answers(say: Say, model: Path | str) -> list[tuple[str, list[tuple[str, float]]]]:
    code, output, errors = say("predict", model, *PICTURES, "--json")
    assert (code, errors) == (0, "")
    return [
        (one["file"], [(guess["label"], guess["probability"]) for guess in one["predictions"]])
        for one in json.loads(output)
    ]


@pytest.mark.parametrize("pictures", ["as Fashion-MNIST's", "resized"])
def test_a_file_alone_answers_as_its_folder(say: Say, tmp_path: Path, pictures: str) -> None:
    model = exported(tmp_path, pictures)
    expected = answers(say, model)
    for same in (
        model / "model.onnx",
        only(model, "model.onnx"),
        only(model, "model.safetensors", "config.json"),
        tmp_path / "seed",
    ):
        found = answers(say, same)
        assert [(file, [label for label, _ in best]) for file, best in found] == [
            (file, [label for label, _ in best]) for file, best in expected
        ]
        assert [p for _, best in found for _, p in best] == pytest.approx(
            [p for _, best in expected for _, p in best], abs=1e-5
        )
    int8 = answers(say, model / "model.int8.onnx")
    assert int8 == answers(say, only(model, "model.int8.onnx"))
    # Of the two that are like the images it was calibrated on.
    assert [p for _, best in int8[:2] for _, p in best] == pytest.approx(
        [p for _, best in expected[:2] for _, p in best], abs=0.05
    )
    assert say("predict", model / "model.onnx", *PICTURES) == say("predict", model, *PICTURES)


def test_the_way_pictures_were_prepared_travels_in_the_file(say: Say, tmp_path: Path) -> None:
    for name, pictures in (("plain", "as Fashion-MNIST's"), ("resized", "resized")):
        (tmp_path / name).mkdir()
        shutil.copy(exported(tmp_path / name, pictures) / "model.onnx", tmp_path / f"{name}.onnx")
    for name in PICTURES:
        shutil.copy(tmp_path / "plain" / name, tmp_path)
    plain, resized = answers(say, "plain.onnx"), answers(say, "resized.onnx")
    assert plain[:2] == resized[:2], "pictures of 28 x 28 on black are taken as they are"
    assert plain[2] != resized[2]


def test_predicting_from_an_onnx_file_leaves_torch_out(tmp_path: Path) -> None:
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


def test_synthetic_training_is_said(say: Say, tmp_path: Path) -> None:
    code, _, errors = say("predict", exported(tmp_path, name="synthetic") / "model.onnx", "0.png")
    assert (code, errors) == (0, "Note: this model was trained on synthetic images; it does not know real garments.\n")


def test_what_cannot_be_read_is_one_clean_message(say: Say, tmp_path: Path) -> None:
    model = exported(tmp_path)
    stranger = onnx.load(model / "model.onnx")
    onnx.helper.set_model_props(stranger, {"labels": '["a\\u001b[2J"]'})
    onnx.save(stranger, "named.onnx")
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


def test_the_real_command_reads_a_file_alone(tmp_path: Path) -> None:
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
