"""`[data] side` and `channels` of a study: a whole run on colour pictures, and what is refused."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import search
from fmnist.checkpoint import load_checkpoint
from fmnist.data.images import Images
from fmnist.neighbours import by_pixels
from fmnist.size import DEFAULT_SIZE, Size
from search.dashboard.pictures import mistakes
from search.demo.answer import answer
from search.report.page.pictures import as_address
from search.report.sheet import draw_sheet
from search.study.predictions import Predictions
from search.study.spec import StudySpec
from tests.search.tiny import Say, made_once, run_command, tiny_spec

STUDY = """\
[data]
side = 32
channels = 3

[search]
trials = 1
sampler = "random"
pruner = "none"

[knobs]
epochs = 3
depth = 2
filters = 8
batch_norm = true
head = "max"
batch_size = 16
learning_rate = 0.01
passes = 4
small_epochs = 0.4
flip = true

[confirm]
top = 1
seeds = 0

[final]
seeds = 1
"""
COLOURS = {"green": (60, 137, 60), "red": (210, 60, 60)}  # of one grey
GREY = STUDY.replace("channels = 3", "channels = 1")
EXTENTS = ((40, 56), (64, 48))


def write_photos(folder: Path) -> None:
    """Rectangles of the two colours, anywhere in pictures of two sizes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 10)):
        for name, colour in COLOURS.items():
            place = folder / split / name
            place.mkdir(parents=True)
            for index in range(count):
                width, height = EXTENTS[index % 2]
                picture = Image.new("RGB", (width, height), (20, 20, 20))
                left, top, right, bottom = (
                    int(rng.integers(low, high))
                    for low, high in ((2, 12), (2, 12), (width // 2, width), (height // 2, height))
                )
                shade = rng.uniform(0.8, 1.1)
                paint = tuple(round(shade * part) for part in colour)
                picture.paste((paint[0], paint[1], paint[2]), (left, top, right, bottom))
                picture.save(place / f"{index}.png")


def _run(folder: Path) -> None:
    write_photos(folder / "photos")
    for name, study in (("colour", STUDY), ("grey", GREY)):
        (folder / f"{name}.toml").write_text(study)
        done = run_command(folder, "run", f"{name}.toml", "--data", "photos", "--name", name, "--workers", "1")
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.txt").write_text(done.stdout)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with a study in colour and one in grey on the same photos; no test writes to it."""
    return made_once(tmp_path_factory, worker_id, "image-size", _run)


@pytest.mark.process
@pytest.mark.slow
def test_colour_tells_the_classes_in_three_channels_only(runs: Path) -> None:
    final = {name: search.load(name, home=runs / "studies").final for name in ("colour", "grey")}
    assert final["colour"] is not None
    assert final["grey"] is not None
    assert final["colour"].mean > 0.95
    assert final["grey"].mean < 0.8
    assert final["colour"].config.size == Size(32, 3)
    assert "Images    32 x 32 pixels, colour" in (runs / "colour.txt").read_text()
    assert "Images    32 x 32 pixels, grey" in (runs / "grey.txt").read_text()


@pytest.mark.process
@pytest.mark.slow
def test_the_exported_files_predict_the_same_from_pictures(
    runs: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    export = Path("studies", "colour", "export")
    pictures = [Path("photos", "test", name, f"{index}.png") for name in COLOURS for index in range(4)]
    answers = []
    for model in (export / "model.onnx", export / "model.int8.onnx", export):
        device = () if model.suffix else ("--device", "cpu")  # with a device, the weights in PyTorch
        code, output, errors = say("predict", model, *pictures, "--json", *device)
        assert (code, errors) == (0, "")
        guesses = [entry["predictions"][0] for entry in json.loads(output)]
        assert [guess["label"] for guess in guesses] == [path.parent.name for path in pictures]
        answers.append([guess["probability"] for guess in guesses])
    assert answers[0] == pytest.approx(answers[2], abs=1e-5)
    session = onnxruntime.InferenceSession(export / "model.onnx")
    assert session.get_inputs()[0].shape[1:] == [32, 32, 3]
    about = session.get_modelmeta().custom_metadata_map
    assert "uint8 [N, 32, 32, 3], red, green and blue" in about["input"]
    assert json.loads(about["pictures"])["channels"] == 3
    assert load_checkpoint(export).preparation.size == Size(32, 3)
    card = (export / "MODEL_CARD.md").read_text()
    assert "a classifier of 32 x 32 colour images" in card
    assert "numpy.zeros((1, 32, 32, 3), numpy.uint8)" in card
    assert "Images were scaled to fit to 32 x 32 pixels." in card


@pytest.mark.process
@pytest.mark.slow
def test_the_study_is_read_again_with_its_size(runs: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    model = search.load("colour", home=runs / "studies").model
    assert model.size == Size(32, 3)
    image = model.read(Path("photos", "test", "red", "0.png"))
    assert model.predict(image[None])[0].tolist() == [model.class_names.index("red")]
    code, output, errors = say("best", "colour")
    assert (code, errors) == (0, "")
    assert "[data]\nside = 32\nchannels = 3\n" in output
    code, output, errors = say("evaluate", Path("studies", "colour", "export"), "--data", "photos")
    assert (code, errors) == (0, "")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "now", "lines"),
    [
        ("side = 32", "side = 48", ("-data.side = 32", "+data.side = 48")),
        ("channels = 3", "channels = 1", ("-data.channels = 3", "+data.channels = 1")),
    ],
)
def test_a_begun_study_keeps_its_size(
    runs: Path, say: Say, monkeypatch: pytest.MonkeyPatch, before: str, now: str, lines: tuple[str, str]
) -> None:
    monkeypatch.chdir(runs)
    file = runs / "other.toml"
    file.write_text(STUDY.replace(before, now))
    code, _, errors = say("run", file, "--data", "photos", "--name", "colour", "--workers", "1")
    assert code == 2
    assert "exists with another set-up" in errors
    assert all(line in errors for line in lines)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("side = 30", "data.side must be 28, 32, 48 or 64, got 30."),
        ('side = "32"', "data.side must be 28, 32, 48 or 64, got '32'."),
        ("channels = 2", "data.channels must be 1 or 3, got 2."),
        ("width = 32", "unknown key 'data.width'. Valid: channels, side."),
    ],
)
def test_other_sizes_are_refused_in_the_file(say: Say, tmp_path: Path, change: str, rule: str) -> None:
    (tmp_path / "own.toml").write_text(f"[data]\n{change}\n\n[search]\ntrials = 1\n")
    code, _, errors = say("run", "own.toml", "--data", "synthetic")
    assert code == 2
    assert rule in errors


def test_the_size_is_no_knob(say: Say, tmp_path: Path) -> None:
    code, _, errors = say("run", "tiny.toml", "--data", "synthetic", "--set", "side=48")
    assert code == 2
    assert "side is no knob: all networks of a study have one size. Set it under [data] of its TOML." in errors
    (tmp_path / "own.toml").write_text("[knobs]\nchannels = [1, 3]\n\n[search]\ntrials = 1\n")
    code, _, errors = say("run", "own.toml", "--data", "synthetic")
    assert code == 2
    assert "channels is no knob" in errors
    code, output, _ = say("knobs", "--json")
    assert code == 0
    assert not {"side", "channels"} & {row["knob"] for row in json.loads(output)}


def test_every_configuration_of_a_study_has_its_size_and_an_older_study_the_usual_one() -> None:
    values = tiny_spec().model_dump()
    older = StudySpec.parse({key: value for key, value in values.items() if key != "data"}, context="older")
    assert older == tiny_spec()
    assert older.data.size == DEFAULT_SIZE
    spec = StudySpec.parse(values | {"data": {"side": 48, "channels": 3}}, context="own")
    assert spec.space.pinned == older.space.pinned | {"side": 48, "channels": 3}
    assert StudySpec.parse(json.loads(spec.model_dump_json()), context="stored").data.size == Size(48, 3)


def test_new_writes_the_section(say: Say, tmp_path: Path) -> None:
    code, _, errors = say("new", "mine.toml", "--from", "quick")
    assert (code, errors) == (0, "")
    text = (tmp_path / "mine.toml").read_text()
    assert "[data]\n# side = 28 " in text
    assert "# channels = 1 " in text


def painted(size: Size, *colours: tuple[int, int, int]) -> Images:
    pixels = np.zeros((len(colours), *size.shape), np.uint8)
    pixels[:] = np.array(colours)[:, None, None]
    return Images(pixels, np.arange(len(colours)), tuple("abc"[: len(colours)]))


def shown(png: bytes) -> set[tuple[int, ...]]:
    with Image.open(BytesIO(png)) as picture:
        return {tuple(pixel) for pixel in np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()}


@pytest.mark.process  # Matplotlib asks for the fonts
@pytest.mark.parametrize("side", [28, 32, 48, 64])
def test_pictures_of_images_have_their_colours(tmp_path: Path, side: int) -> None:
    images = painted(Size(side, 3), (250, 20, 20), (20, 20, 250))  # type: ignore[arg-type]
    draw_sheet(images, {}, tmp_path / "sheet.png")
    assert {(250, 20, 20), (20, 20, 250)} <= shown((tmp_path / "sheet.png").read_bytes())
    wrong = Predictions(images.labels, np.array([[[0.1, 0.9], [0.8, 0.2]]]), exported=0)
    drawn = mistakes(wrong, images.pixels, images.class_names, "test")
    assert drawn is not None
    assert {(250, 20, 20), (20, 20, 250)} <= shown(drawn)
    assert as_address(images.pixels[0]).startswith("data:image/png;base64,")
    nearest, _ = by_pixels(images).nearest(images.pixels[0], 2)
    assert nearest.labels.tolist() == [1], "the image itself is left out"


@pytest.mark.process
@pytest.mark.slow
def test_the_demo_shows_what_the_model_sees(runs: Path) -> None:
    model = search.load("colour", home=runs / "studies").model
    image = model.read(runs / "photos" / "test" / "red" / "1.png")
    html = answer(image, model, None)
    assert "the picture in 32 by 32 pixels" in html
    assert '<p class="name">red' in html
