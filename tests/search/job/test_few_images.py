from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.job.few_images import ENOUGH, with_enough_steps
from search.study.chance import by_chance, nothing_learned
from search.study.records import DataRecord
from tests.search.tiny import Say, run_command, tiny_spec


def passes(images: int, **knobs: Any) -> tuple[int, list[str]]:
    told: list[str] = []
    spec = tiny_spec()
    spec = spec.model_copy(update={"knobs": spec.knobs | knobs})
    return with_enough_steps(spec, images, told.append).knobs.get("passes", 1), told


@pytest.mark.parametrize(
    ("images", "batch", "expected"),
    [(50_000, 128, 1), (ENOUGH * 128, 128, 1), (ENOUGH * 128 - 1, 128, 2), (214, 128, 30), (3, 128, 30), (600, 64, 4)],
)
def test_an_epoch_of_few_images_has_enough_steps(images: int, batch: int, expected: int) -> None:
    found, told = passes(images, batch_size=batch)
    assert found == expected
    assert found * (images // min(batch, images)) >= ENOUGH
    assert bool(told) == (expected > 1)


@pytest.mark.parametrize("searched", [[64, 256], {"low": 64, "high": 256}])
def test_the_largest_batch_that_is_searched_counts(searched: object) -> None:
    assert passes(2560, batch_size=searched)[0] == 3


def test_a_study_that_names_its_passes_keeps_them() -> None:
    assert passes(214, batch_size=128, passes=2) == (2, [])


def photos(folder: Path, *, sizes: tuple[int, ...] = (100, 100, 100)) -> None:
    """Pictures of classes whose bars stand in different places."""
    rng = np.random.default_rng(0)
    for label, size in enumerate(sizes):
        (folder / f"class {label}").mkdir(parents=True)
        for index in range(size):
            pixels = rng.integers(0, 60, (28, 28), dtype=np.uint8)
            pixels[1 + 8 * label : 8 + 8 * label, 4:24] += 120
            Image.fromarray(pixels).save(folder / f"class {label}" / f"{index}.png")


@pytest.mark.parametrize(
    ("sizes", "settings", "is_shown"),
    [
        ((30, 100), (), True),
        ((60, 100), (), False),
        ((30, 100), ("--set", "class_weights=0..1"), False),
        ((30, 100), ("--set", "class_weights=0"), False),
    ],
)
def test_the_plan_says_what_may_help_unbalanced_classes(
    sizes: tuple[int, ...], settings: tuple[str, ...], is_shown: bool, tmp_path: Path, say: Say
) -> None:
    photos(tmp_path / "photos", sizes=sizes)
    code, output, errors = say("run", "tiny.toml", "--data", "photos", "--workers", "1", *settings, "--dry-run")
    assert (code, errors) == (0, "")
    hint = "images each; --set class_weights=0..1 searches weights for them"
    assert (hint in " ".join(output.split())) is is_shown


@pytest.mark.process
def test_a_default_study_learns_from_a_few_photos(tmp_path: Path, say: Say) -> None:
    photos(tmp_path / "photos")
    options = ("--data", "photos", "--trials", "2", "--set", "filters=8", "--set", "depth=3")
    done = run_command(tmp_path, "run", "quick", *options)
    assert done.returncode == 0, done.stderr
    assert "make few steps: an epoch passes over them" in done.stdout
    code, output, _ = say("report", "--json")
    assert code == 0
    assert '"mean": 1.0' in output or '"mean": 0.9' in output


def data(classes: int, images: int) -> DataRecord:
    names = tuple(f"class {index}" for index in range(classes))
    return DataRecord(name="photos", fingerprint="0", train=4 * images, valid=images, class_names=names)


def test_what_random_answers_have() -> None:
    assert by_chance(5, 43) == pytest.approx(0.322, abs=1e-3)
    assert by_chance(10, 10_000) == pytest.approx(0.106, abs=1e-3)


def test_a_search_that_learned_nothing_says_so() -> None:
    told = nothing_learned(0.06, data(5, 43))
    assert told is not None
    assert "up to 0.32 on 43 images of 5 classes: nothing was learned" in told
    assert nothing_learned(0.5, data(5, 43)) is None
    assert nothing_learned(None, data(5, 43)) is None
