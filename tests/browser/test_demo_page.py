"""`fmnist-search demo` in a browser: the page shows the predictions of `predict`."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from fmnist.checkpoint import save_checkpoint
from fmnist.config import TrialConfig
from fmnist.data import synthetic
from fmnist.network import build
from tests.browser.chromium import DESK, PHONE, overflow
from tests.browser.conftest import NAME, Open
from tests.search.tiny import run_command, start_command, surroundings, wait_for_line

ERRORS = ("error",)  # the drawing library logs warnings about its own code


@contextmanager
def shown(folder: Path, *arguments: str) -> Iterator[str]:
    """Start the demo in that folder and yield its address."""
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start_command(folder, "demo", *arguments, "--port", str(port))
    try:
        yield re.findall(r"http://[^/]+", wait_for_line(server, "http://"))[0]
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def address(reviewed: Path) -> Iterator[str]:
    with shown(reviewed) as address:
        yield address


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A large picture of a garment, dark on white, as in a shop."""
    pixels = synthetic.draw(1, seed=5).pixels[0]
    Image.fromarray(255 - np.kron(pixels, np.ones((9, 9), np.uint8))).save(tmp_path / "garment.png")
    return tmp_path / "garment.png"


def upload(page: Page, file: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(file)


def probabilities(page: Page) -> dict[str, float]:
    page.locator(".answer .name").wait_for()
    rows = page.locator(".answer .classes li").all()
    return {
        row.locator("span").first.inner_text(): float(row.locator(".share").get_attribute("data-probability") or "nan")
        for row in rows
    }


@pytest.mark.parametrize(("width", "dark"), [(DESK, False), (PHONE, True)])
def test_a_picture_has_the_probabilities_that_predict_gives(
    address: str, reviewed: Path, picture: Path, look: Open, width: int, dark: bool
) -> None:
    page = look(address, width=width, dark=dark, kinds=ERRORS)
    upload(page, picture)
    shown_labels = probabilities(page)
    expected = json.loads(run_command(reviewed, "predict", f"studies/{NAME}/export", picture, "--json").stdout)[0][
        "predictions"
    ]
    assert [(name, pytest.approx(value)) for name, value in list(shown_labels.items())[:3]] == [
        (label["label"], label["probability"]) for label in expected
    ]
    page.locator(".answer .near img").nth(7).wait_for()  # after the probabilities
    assert page.locator(".answer .near img").count() == 8
    seen = page.locator(".answer .seen img")
    assert seen.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [84, 84]
    assert seen.evaluate("(image) => getComputedStyle(image).imageRendering") == "pixelated"
    assert "trained on synthetic images" in page.inner_text("body")
    assert overflow(page) <= 0


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_an_example_is_answered_and_nothing_moves(address: str, look: Open, width: int) -> None:
    page = look(address, width=width, kinds=ERRORS)
    page.locator(".examples img").nth(9).wait_for()
    before = places(page)
    page.locator(".examples button").nth(3).click()
    assert len(probabilities(page)) == 5
    page.locator(".answer .near img").nth(7).wait_for()
    assert places(page) == before
    sources = [image.get_attribute("src") for image in page.locator(".answer img").all()]
    assert sources.count(sources[0]) == 1, "the picture is not its own neighbour"
    assert overflow(page) <= 0


def places(page: Page) -> list[list[float]]:
    """Where the parts of the page are."""
    parts = ".examples, .asked, .answer, .answer h2, .answer .near"
    found: list[list[float]] = page.evaluate(
        f"[...document.querySelectorAll('{parts}')].map((part) => part.getBoundingClientRect())"
        ".map((box) => [box.left, box.top + scrollY])"
    )
    return found


def test_a_drawing_like_no_training_image_is_unsure(address: str, look: Open) -> None:
    page = look(address, kinds=ERRORS)
    draw(page, (50, -50), (50, 60), (-50, 60), (30, 0), (-50, -50))
    page.get_by_text("Unsure. ").wait_for()
    assert page.locator(".answer .name").inner_text().endswith("?")


def test_it_speaks_of_a_shops_own_classes(tmp_path: Path, look: Open) -> None:
    config = TrialConfig(depth=1, filters=4)
    save_checkpoint(tmp_path / "mugs", build(config, 2), config, ("mug", "vase"), origin={"data": "shop"})
    with shown(tmp_path, "mugs") as address:
        page = look(address, kinds=ERRORS)
        page.get_by_text("No examples. The training images of the model are unknown").wait_for()
        text = page.inner_text("body")
        assert "mug, vase" in text
        assert not re.search("garment|shirt|fashion", text, re.IGNORECASE)


def test_a_drawing_is_classified(address: str, look: Open) -> None:
    page = look(address, kinds=ERRORS)
    draw(page, (50, -50), (50, 60), (-50, 60))
    assert sum(probabilities(page).values()) <= 1.001
    assert page.locator(".answer .seen img").count() == 1


def draw(page: Page, *corners: tuple[int, int]) -> None:
    """Draw a line through the corners, which are pixels from the middle."""
    page.locator(".examples img").nth(9).wait_for()  # after them nothing moves
    page.get_by_role("tab", name="Draw").click()
    page.locator("button[aria-label=Brush].highlight").wait_for()
    canvas = page.locator("canvas").first
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 50, y - 50)
    page.mouse.down()
    for step in corners:
        page.mouse.move(x + step[0], y + step[1], steps=8)
    page.mouse.up()


def test_an_unusable_picture_is_an_error_on_the_page(address: str, tmp_path: Path, look: Open) -> None:
    (tmp_path / "blank.png").touch()
    Image.new("L", (60, 60), 255).save(tmp_path / "blank.png")
    page = look(address, kinds=ERRORS)
    upload(page, tmp_path / "blank.png")
    alert = page.get_by_role("alert").filter(
        has_text="The picture shows nothing darker than its light ground (grey 255 of 255). Take another picture."
    )
    alert.wait_for()
    assert str(tmp_path) not in alert.inner_text()


def test_an_onnx_file_alone_compares_pixels(reviewed: Path, picture: Path, look: Open) -> None:
    with shown(reviewed, f"studies/{NAME}/export/model.onnx", "--data", "synthetic") as address:
        page = look(address, kinds=ERRORS)
        upload(page, picture)
        assert len(probabilities(page)) == 5
        page.locator(".answer").get_by_text("pixel by pixel").wait_for()  # after the probabilities


@pytest.mark.process
def test_ctrl_c_ends_it_and_a_taken_port_is_replaced(reviewed: Path) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_command(reviewed, "demo", NAME, "--port", str(port))
        try:
            assert f":{port}/" not in wait_for_line(process, "http://")
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, output + errors
    assert "Traceback" not in output + errors


@pytest.mark.process
def test_ctrl_c_while_the_event_loop_is_built_ends_it_without_a_traceback(reviewed: Path) -> None:
    code = (
        "import asyncio, signal, sys\n"
        "class Slow(asyncio.SelectorEventLoop):\n"
        "    def _make_self_pipe(self):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        super()._make_self_pipe()\n"
        "asyncio.SelectorEventLoop = Slow\n"
        "from uvicorn import Config\n"
        "Config.get_loop_factory = lambda self: Slow\n"
        "sys.argv = ['fmnist-search', 'demo']\n"
        "from search.cli.main import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=reviewed, env=surroundings(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Ended."
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_without_gradio_one_message_says_how_to_install_it(reviewed: Path) -> None:
    code = (
        "import sys; sys.modules['gradio'] = None; sys.argv = ['fmnist-search', 'demo']; from search.cli.main "
        "import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=reviewed, env=surroundings(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'fmnist-search[demo]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.process
def test_without_a_study_or_a_model_it_is_refused(tmp_path: Path) -> None:
    for arguments, says in (((), "There is no database"), (("nowhere",), "nowhere")):
        done = run_command(tmp_path, "demo", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
        assert says in done.stderr
