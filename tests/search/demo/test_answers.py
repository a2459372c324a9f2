"""The demo's answers, without a page: what they say, when, and that they keep their layout."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist.classifier import Classifier
from fmnist.data import synthetic
from fmnist.data.images import Images
from fmnist.data.preparation import Preparation
from fmnist.neighbours import by_pixels
from search.demo.about import about
from search.demo.answer import answer, empty, fault
from search.demo.answers import Answers
from search.demo.neighbour_loader import NeighbourLoader

IMAGES = synthetic.draw(200, seed=1)
NEIGHBOURS = by_pixels(IMAGES)
PICTURE = synthetic.draw(1, seed=9).pixels[0]


def classifier(*probabilities: float, names: tuple[str, ...] = synthetic.CLASS_NAMES) -> Classifier:
    """A model that gives every image these probabilities of its first classes."""
    rest = len(names) - len(probabilities)
    row = np.array([*probabilities, *[(1 - sum(probabilities)) / max(1, rest)] * rest], np.float32)
    return Classifier(names, "shop", Preparation(), lambda images: np.tile(row, (len(images), 1)), None)


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_a_sure_answer_is_the_class_alone() -> None:
    html = answer(PICTURE, classifier(0.9), NEIGHBOURS)
    assert '<p class="name">T-shirt/top</p>' in html
    assert "Unsure" not in html
    assert html.count("<img") == 1 + 8


@pytest.mark.parametrize(
    ("probabilities", "says"),
    [
        ((0.6, 0.3), "Unsure. It may be T-shirt/top or Trouser."),
        ((0.4, 0.25, 0.2), "Unsure. It may be T-shirt/top or Trouser or Pullover."),
        ((0.15,), "Unsure. It may be one of several classes."),
    ],
)
def test_an_unsure_answer_says_so_and_names_what_it_may_be(probabilities: tuple[float, ...], says: str) -> None:
    html = answer(PICTURE, classifier(*probabilities), NEIGHBOURS)
    assert '<p class="name">T-shirt/top?</p>' in html
    assert says in text(html)


def test_an_answer_to_what_is_unlike_all_training_images_is_unsure() -> None:
    corner = np.zeros((28, 28), np.uint8)
    corner[:2, :2] = 255
    html = answer(corner, classifier(0.99), NEIGHBOURS)
    assert "Unsure. It is unlike the training images." in text(html)


def test_a_training_image_is_not_its_own_neighbour() -> None:
    shown = re.findall(r'src="([^"]+)"', answer(IMAGES.pixels[0], classifier(0.9), NEIGHBOURS))
    assert len(shown) == 9
    assert shown.count(shown[0]) == 1


def test_all_states_have_the_same_parts() -> None:
    model = classifier(0.5, 0.4)
    states = [empty(), fault("bad"), answer(PICTURE, model, None), answer(PICTURE, model, NEIGHBOURS)]
    for html in states:
        assert re.findall(r"<h2>(.*?)</h2>", html) == [
            "What the model sees",
            "How sure it is",
            "Nearest training images",
        ]
        assert len(re.findall(r'<ul class="near".*?</ul>', html)[0].split("<li")) == 1 + 8


def test_names_of_classes_are_text() -> None:
    html = answer(PICTURE, classifier(0.6, 0.4, names=("<b>a</b>", "x" * 200)), NEIGHBOURS)
    assert "<b>" not in html
    assert "x" * 200 not in html


def test_it_speaks_of_the_models_own_classes() -> None:
    model = classifier(0.6, names=("mug", "<i>vase</i>"))
    page = [*about(Path("shop/export"), model), empty(), answer(PICTURE, model, "none here")]
    assert "It knows mug, &lt;i&gt;vase&lt;/i&gt;; it names one of them whatever it sees." in page[1]
    assert not re.search("garment|shirt|Fashion", " ".join(page))
    many = about(Path("shop/export"), classifier(0.6, names=tuple(f"kind {i}" for i in range(90))))
    assert many[1].startswith("It knows kind 0, ")
    assert "kind 19, 70 more;" in many[1]


@contextmanager
def loading(read: Callable[[], Images | str]) -> Iterator[tuple[NeighbourLoader, threading.Event]]:
    """A loader that compares images only once the event is set."""
    go_on = threading.Event()

    def features(pixels: np.ndarray) -> np.ndarray:
        go_on.wait()
        return pixels.reshape(-1, 784).astype(np.float32)

    loader = NeighbourLoader(read, features)
    try:
        yield loader, go_on
    finally:
        go_on.set()
        loader.neighbours()


def saved(folder: Path) -> Path:
    Image.fromarray(PICTURE).save(folder / "picture.png")
    return folder / "picture.png"


def test_the_prediction_does_not_wait_for_the_training_images(tmp_path: Path) -> None:
    with loading(lambda: IMAGES) as (loader, go_on):
        answers = Answers(classifier(0.9), loader)
        parts = answers.to_picture(saved(tmp_path), "me")
        first = next(parts)
        assert "T-shirt/top" in first
        assert "are being read" in first
        go_on.set()
        assert "Of 200 training images" in next(parts)
        assert next(parts, None) is None
        assert len(list(answers.to_picture(saved(tmp_path), "me"))) == 1


def test_a_later_question_of_the_same_visitor_gives_up_the_earlier_one(tmp_path: Path) -> None:
    with loading(lambda: IMAGES) as (loader, go_on):
        answers = Answers(classifier(0.9), loader)
        earlier, other = answers.to_picture(saved(tmp_path), "me"), answers.to_picture(saved(tmp_path), "you")
        assert next(earlier)
        assert next(other)
        assert list(answers.to_picture(None, "me")) == [empty()]
        go_on.set()
        assert list(earlier) == []
        assert len(list(other)) == 1


def test_there_is_an_example_of_each_class_and_it_is_answered_from_its_own_pixels() -> None:
    with loading(lambda: IMAGES) as (loader, go_on):
        go_on.set()
        answers = Answers(classifier(0.9), loader)
        examples = answers.examples()
        assert not isinstance(examples, str)
        assert [name for _, name in examples] == list(synthetic.CLASS_NAMES)
        *_, last = answers.to_example(2, "me")
        loader.neighbours()
        assert last.split("<img")[1] == answer(examples[2][0], classifier(0.9), NEIGHBOURS).split("<img")[1]


def test_without_training_images_the_reason_is_given(tmp_path: Path) -> None:
    with loading(lambda: "Name them with --data.") as (loader, _):
        answers = Answers(classifier(0.9), loader)
        assert answers.examples() == "Name them with --data."
        *_, last = answers.to_picture(saved(tmp_path), "me")
        assert "Name them with --data." in text(last)


def test_a_failure_to_read_the_images_leaves_the_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Images:
        raise OSError("the disk is gone")

    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with loading(fail) as (loader, _):
        answers = Answers(classifier(0.9), loader)
        assert "could not be read" in str(answers.examples())
        *_, last = answers.to_picture(saved(tmp_path), "me")
        assert "T-shirt/top" in last
    assert [type(one.exc_value) for one in seen] == [OSError]


def test_a_picture_that_cannot_be_read_is_named_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"no picture")
    with loading(lambda: IMAGES) as (loader, _):
        (html,) = Answers(classifier(0.9), loader).to_picture(tmp_path / "secret.png", "me")
    assert 'role="alert"' in html
    assert "The picture" in text(html)
    assert str(tmp_path) not in html
