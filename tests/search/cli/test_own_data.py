"""Data of one's own, through the command line: inspected, cleaned, searched, never mixed up."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import optuna
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from fmnist.data.images import Images
from fmnist.data.sources import Source
from fmnist.data.splits import search_splits
from search.job.objective import Objective
from tests.fmnist.data.forms import COLUMNS, FORMS, TEST, TRAIN, as_idx, write_csv, write_folder
from tests.search.tiny import CPU, TOML, Say, run_command, tiny_spec

NAMES = ("Top", "Hose", "Kleid", "Tasche", "Schuh")


def write_dirty(path: Path, images: Images) -> Path:
    """Columns shuffled, labels in words, a BOM, CRLF; pixels missing in rows 2 and 7, row 4 without a label, row 9 a
    copy of row 8.
    """
    order = np.random.default_rng(0).permutation(785)
    rows = [
        [NAMES[label % 5], *map(str, pixels)]
        for label, pixels in zip(images.labels, images.pixels.reshape(-1, 784).tolist(), strict=True)
    ]
    for row in (1, 6):
        rows[row][100:110] = [""] * 10
    rows[3][0] = "NaN"
    rows[8] = list(rows[7])
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, lineterminator="\r\n").writerows([[row[i] for i in order] for row in [COLUMNS, *rows]])
    return path


def test_data_shows_what_cleaning_found_and_draws_it(say: Say, tmp_path: Path) -> None:
    code, output, errors = say("data", write_dirty(tmp_path / "dirty.csv", TRAIN), "--save", "clean")
    assert (code, errors) == (0, "")
    for part in (
        "missing_pixels",
        "row 2, 7",
        "missing_labels",
        "row 4",
        "duplicates",
        "row 9",
        "Kleid",
        "held out",
        "brightness",
    ):
        assert part in output
    with Image.open("data-sheet.png") as sheet:
        assert sheet.width == 900
    code, output, errors = say("data", "clean", "--json", "--sheet", "again.png")
    assert code == 0
    saved, again = json.loads(Path("clean/cleaning.json").read_text()), json.loads(output)
    assert (again["fingerprint"], again["test_fingerprint"]) == (saved["fingerprint"], saved["test_fingerprint"])
    found = {one["rule"]: (one["train"], one["examples"]) for one in saved["cleaning"]["caught"] if one["train"]}
    assert found == {
        "missing_labels": (1, ["row 4"]),
        "missing_pixels": (2, ["row 2", "row 7"]),
        "duplicates": (1, ["row 9"]),
    }
    assert not any(one["train"] or one["test"] for one in again["cleaning"]["caught"])


def test_the_rules_are_those_of_the_study(say: Say, tmp_path: Path) -> None:
    write_dirty(tmp_path / "dirty.csv", TRAIN)
    with Path("tiny.toml").open("a") as file:
        file.write('[cleaning]\nmissing_labels = "error"\n')
    code, _, errors = say("data", "dirty.csv", "--study", "tiny.toml")
    assert code == 2
    assert 'row 4 has no label, and cleaning.missing_labels is "error"' in errors
    with Path("tiny.toml").open("a") as file:
        file.write('mising_pixels = "zero"\n')
    code, _, errors = say("run", "tiny.toml", "--data", "dirty.csv", "--dry-run")
    assert code == 2
    assert "unknown key 'cleaning.mising_pixels'. Did you mean 'missing_pixels'?" in errors


def test_the_study_says_what_white_is(say: Say, tmp_path: Path) -> None:
    write_csv(tmp_path / "shares.csv", Images((TRAIN.pixels > 99).astype(np.uint8), TRAIN.labels, TRAIN.class_names))
    code, _, errors = say("data", "shares.csv", "--study", "tiny.toml")
    assert code == 2
    assert "all pixels are from 0 to 1" in errors
    assert "[cleaning] white = 1 in the study's TOML" in errors
    with Path("tiny.toml").open("a") as file:
        file.write("[cleaning]\nwhite = 1\n")
    code, output, _ = say("data", "shares.csv", "--study", "tiny.toml", "--json")
    assert code == 0
    assert json.loads(output)["summary"]["pixels"]["high"] == 255
    Path("tiny.toml").write_text(Path("tiny.toml").read_text().replace("white = 1", "white = 0"))
    code, _, errors = say("data", "shares.csv", "--study", "tiny.toml")
    assert code == 2
    assert "cleaning.white" in errors


def test_splits_and_what_was_not_read_stand_in_the_table(say: Say, tmp_path: Path) -> None:
    for split, images in (("Training", TRAIN), ("val", TEST), ("Testing", TEST)):
        write_folder(tmp_path / "shop" / split, images)
    (tmp_path / "shop" / "Training" / "3" / "desktop.ini").write_text("[x]")
    (tmp_path / "shop" / "labels.csv").write_text("file,label\n0.png,3\n")
    code, output, errors = say("data", "shop")
    assert (code, errors) == (0, "")
    for part in ("other_splits", "not read", "val/0/", "leftovers", "3/desktop.ini", "other_files", "labels.csv"):
        assert part in output


@pytest.mark.parametrize(
    ("name", "study"), [("shop.csv", "tiny-shop"), ("n.csv", "tiny-n"), ("tiny.csv", "tiny"), ("帽子.csv", "tiny-own")]
)
def test_a_study_is_named_after_its_data_too(name: str, study: str, say: Say, tmp_path: Path) -> None:
    code, output, _ = say("run", "tiny.toml", "--dry-run", "--data", write_csv(tmp_path / name, TRAIN))
    assert code == 0
    assert f"Study     {study}:" in output


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text.replace("label", "lable", 1), "'lable'"),
        (lambda text: text.replace("\n3,", "\n3,7,", 1), "row 4"),
        (lambda text: text.replace("\n3,", "\n3,x", 1), "row 4"),
        (lambda text: text.replace("\n3,", "\n3,9", 1), "pixel1"),
        (lambda text: text.split("\n")[0], "no rows"),
    ],
)
def test_a_broken_table_is_one_clean_message_and_nothing_is_written(
    damage: Callable[[str], str], says: str, say: Say, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "broken.csv", Images(np.maximum(TRAIN.pixels, 100), TRAIN.labels, TRAIN.class_names))
    path.write_text(damage(path.read_text().replace("\r\n", "\n")))
    for arguments in (("data", path), ("run", "tiny.toml", "--data", path)):
        code, _, errors = say(*arguments)
        assert code == 2
        assert errors.startswith("Error: ")
        assert "broken.csv" in errors
        assert says in errors
        assert sorted(each.name for each in tmp_path.iterdir()) == ["broken.csv", "tiny.toml"]


@pytest.mark.parametrize("form", [form for form in FORMS if form is not as_idx])
def test_every_form_gives_the_same_trial_as_the_official_layout(form: Callable[[Path], Source], tmp_path: Path) -> None:
    def value(source: Source) -> float:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(Objective(tiny_spec(augmentation=0.3).space, search_splits(source, seed=0), CPU), n_trials=1)
        return study.best_value

    assert value(form(tmp_path)) == value(as_idx(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("side", "ground"), [(28, 255), (28, 0), (40, 255)])
def test_a_model_says_of_the_pictures_it_is_scored_on_what_evaluate_counts(
    tmp_path: Path, side: int, ground: int
) -> None:
    (tmp_path / "tiny.toml").write_text(TOML.replace("epochs = 2", "epochs = 6"))
    rng = np.random.default_rng(0)
    for row in range(3 * 60):
        pixels = np.full((side, side), ground, np.uint8)
        pixels[2 + 8 * (row % 3) :][:7, 4:-4] = abs(ground - rng.integers(120, 256, (7, side - 8)))
        split = "train" if row < 3 * 48 else "test"
        place = tmp_path / "shop" / split / NAMES[row % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{row}.png")
    done = run_command(
        tmp_path, "run", "tiny.toml", "--trials", "2", "--workers", "1", "--name", "mine", "--data", "shop"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_command(tmp_path, "export", "mine", "--to", "model").returncode == 0
    evaluated = run_command(tmp_path, "evaluate", "model", "--data", "shop")
    assert evaluated.returncode == 0, evaluated.stderr
    files = sorted((tmp_path / "shop" / "test").rglob("*.png"))
    labels = [file.parent.name for file in files]
    for model in ("model", "model/model.onnx"):
        asked = run_command(tmp_path, "predict", model, *map(str, files), "--json")
        said = [one["predictions"][0]["label"] for one in json.loads(asked.stdout)]
        macro = f1_score(labels, said, average="macro")
        assert f"Macro F1 {macro:.4f}," in evaluated.stdout
        assert macro > 0.5, "the answers are not by chance right"


@pytest.mark.slow
def test_a_search_on_a_table_names_what_was_cleaned_and_refuses_other_data(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    write_dirty(tmp_path / "dirty.csv", TRAIN)
    write_csv(tmp_path / "other.csv", TRAIN)
    run = ("run", "tiny.toml", "--trials", "2", "--workers", "1", "--name", "mine")
    done = run_command(tmp_path, *run, "--data", "dirty.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    written = (tmp_path / "studies" / "mine" / "report.md").read_text()
    for part in ("missing_pixels", "row 2, 7", "duplicates", "row 9", "Kleid", "dirty.csv"):
        assert part in written
    for part in ("missing_pixels 2 filled with 0", "duplicates 1 dropped", "`fmnist-search data` shows them"):
        assert part in done.stdout
    record = json.loads((tmp_path / "studies" / "mine" / "report.json").read_text())["data"]
    refused = run_command(tmp_path, *run, "--data", "other.csv")
    assert refused.returncode == 2
    assert record["fingerprint"] in refused.stderr
    assert len(re.findall("[0-9a-f]{64}", refused.stderr)) == 2
    assert "Give --name for a new study" in refused.stderr
    again = run_command(tmp_path, "export", "mine", "--to", "model")  # finds its data by itself
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.slow
def test_names_and_preparation_of_pictures_travel_to_the_model(tmp_path: Path) -> None:
    for number, name in enumerate(("Schuh", "Hemd", "帽子")):
        images = TRAIN.pixels[TRAIN.labels == number]
        (tmp_path / "shop" / name).mkdir(parents=True)
        for i, pixels in enumerate([*images, *TEST.pixels[TEST.labels == number]]):
            Image.fromarray(pixels).resize((40, 50)).save(tmp_path / "shop" / name / f"{i}.png")
    (tmp_path / "tiny.toml").write_text(TOML)
    done = run_command(tmp_path, "run", "tiny.toml", "--data", "shop", "--trials", "1", "--workers", "1", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    export = tmp_path / "studies" / "tiny-shop" / "export"
    about = json.loads((export / "config.json").read_text())
    assert about["class_names"] == ["Hemd", "Schuh", "帽子"]
    pictures = {"form": "letterboxed", "side": 28, "channels": 1, "white": None, "whites": [255.0]}
    assert about["origin"]["pictures"] == pictures
    metadata = {entry.key: entry.value for entry in onnx.load(export / "model.onnx").metadata_props}
    assert json.loads(metadata["labels"]) == about["class_names"]
    assert json.loads((export / "labels.json").read_text()) == about["class_names"]
    card = (export / "MODEL_CARD.md").read_text()
    assert "帽子" in card
    assert "Fashion-MNIST" not in card.split("## Intended use")[0]
    said = run_command(tmp_path, "predict", export, tmp_path / "shop" / "帽子" / "1.png", "--json")
    assert said.returncode == 0
    assert {one["label"] for one in json.loads(said.stdout)[0]["predictions"]} == {"Hemd", "Schuh", "帽子"}
