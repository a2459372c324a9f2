from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fmnist.data import synthetic
from fmnist.data.cleaning import CaughtPictures
from fmnist.data.images import SIDE, Images
from search.errors import SearchError
from search.report.sheet import CAUGHT_SIDE, EXAMPLE_SIDE, MISSING, WIDTH, draw_sheet
from tests.search.sample import caught, cleaned

NOTHING: dict[str, CaughtPictures] = {}


def images(counts: list[int], names: list[str] | None = None) -> Images:
    """Return `counts[i]` images of class i with all pixels of grey 100 + i."""
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.broadcast_to((labels + 100).astype(np.uint8)[:, None, None], (len(labels), SIDE, SIDE))
    return Images(pixels, labels, tuple(names or [f"class {i}" for i in range(len(counts))]))


def pictures(count: int, height: int = SIDE, width: int = SIDE, grey: int = 60) -> CaughtPictures:
    return CaughtPictures(
        np.full((count, height, width), grey, np.uint8), None, tuple(f"row {i}" for i in range(count))
    )


def drawn(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def pixels_of(sheet: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(axis=2).sum())


def examples_of(sheet: NDArray[np.uint8], grey: int, side: int) -> float:
    """Return the number of pictures of that grey; letters and edges have a few pixels of any grey."""
    return round(pixels_of(sheet, (grey,) * 3) / (side - 2) ** 2, 1)


def test_each_class_has_a_row_of_examples(tmp_path: Path) -> None:
    draw_sheet(images([30, 3, 0, 12]), NOTHING, tmp_path / "new" / "sheet.png")
    sheet = drawn(tmp_path / "new" / "sheet.png")
    assert sheet.shape[1] == WIDTH
    assert [examples_of(sheet, 100 + i, EXAMPLE_SIDE) for i in range(4)] == [12, 3, 0, 12]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]


def test_classes_come_largest_first_and_no_more_than_twenty(tmp_path: Path) -> None:
    draw_sheet(images([1 + i for i in range(25)]), NOTHING, tmp_path / "sheet.png")
    sheet = drawn(tmp_path / "sheet.png")
    assert [i for i in range(25) if examples_of(sheet, 100 + i, EXAMPLE_SIDE) >= 1] == list(range(5, 25))
    first, last = (np.argwhere((sheet == 100 + i).all(axis=2))[:, 0].mean() for i in (24, 5))
    assert first < last


def test_examples_are_spread_over_the_class(tmp_path: Path) -> None:
    greys = np.arange(100, 223).astype(np.uint8)
    pixels = np.broadcast_to(greys[:, None, None], (len(greys), SIDE, SIDE))
    draw_sheet(Images(pixels, np.zeros(len(greys), np.int64), ("only",)), NOTHING, tmp_path / "sheet.png")
    sheet = drawn(tmp_path / "sheet.png")
    shown = [grey for grey in greys.tolist() if examples_of(sheet, grey, EXAMPLE_SIDE) >= 1]
    assert len(shown) == 12
    assert (shown[0], shown[-1]) == (100, 222)
    assert set(np.diff(shown)) <= {11, 12}


def test_caught_images_are_below_and_missing_pixels_are_red(tmp_path: Path) -> None:
    missing = np.zeros((1, SIDE, SIDE), np.bool_)
    missing[0, 5:15, 5:15] = True
    catches = {
        "missing_pixels": CaughtPictures(np.full((1, SIDE, SIDE), 60, np.uint8), missing, ("row 1",)),
        "leaks": pictures(2, grey=61),
    }
    draw_sheet(images([1]), catches, tmp_path / "sheet.png")
    sheet = drawn(tmp_path / "sheet.png")
    in_pictures = sheet[np.argwhere((sheet == 60).all(axis=2))[:, 0].min() :]
    assert pixels_of(in_pictures, MISSING) == 100 * (CAUGHT_SIDE // SIDE) ** 2
    assert examples_of(sheet, 61, CAUGHT_SIDE) == 2
    draw_sheet(images([1]), {}, tmp_path / "clean.png")
    assert len(drawn(tmp_path / "clean.png")) < len(sheet)


def test_a_rule_has_at_most_eight_pictures_and_an_empty_one_none(tmp_path: Path) -> None:
    draw_sheet(images([1]), {"blank": pictures(9), "leaks": pictures(0)}, tmp_path / "sheet.png")
    draw_sheet(images([1]), {"blank": pictures(8)}, tmp_path / "same.png")
    assert examples_of(drawn(tmp_path / "sheet.png"), 60, CAUGHT_SIDE) == 8
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "same.png").read_bytes()


@pytest.mark.parametrize(
    ("height", "width", "share"), [(28, 28, 1.0), (200, 100, 0.5), (10, 1000, 0.01), (14, 42, 1 / 3)]
)
def test_images_of_any_size_fit(tmp_path: Path, height: int, width: int, share: float) -> None:
    draw_sheet(images([1]), {"blank": pictures(4, height, width)}, tmp_path / "sheet.png")
    assert examples_of(drawn(tmp_path / "sheet.png"), 60, CAUGHT_SIDE) == pytest.approx(4 * share, abs=0.25)


def test_a_report_adds_counts_and_actions(tmp_path: Path) -> None:
    catches = {"leaks": pictures(2)}
    for name, report in (
        ("with", cleaned(caught("leaks", 200, 150))),
        ("more", cleaned(caught("leaks", 201, 150))),
        ("without", None),
    ):
        draw_sheet(images([1]), catches, tmp_path / name, report)
    assert len({(tmp_path / name).read_bytes() for name in ("with", "more", "without")}) == 3


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_sheet(synthetic.train(), {"leaks": pictures(3)}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(SearchError, match=r"file/sheet\.png must be writable: .*name another file"):
        draw_sheet(images([1]), NOTHING, tmp_path / "file" / "sheet.png")
    (tmp_path / "folder" / "sheet.png").mkdir(parents=True)
    with pytest.raises(SearchError, match="must be writable"):
        draw_sheet(images([1]), NOTHING, tmp_path / "folder" / "sheet.png")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["sheet.png"]


anything = st.text(alphabet=st.characters(), max_size=60)  # also lone surrogates, which file names may contain


@given(st.lists(anything, min_size=2, max_size=4), st.lists(anything, min_size=1, max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_names_can_be_drawn(tmp_path: Path, classes: list[str], rows: list[str]) -> None:
    catch = CaughtPictures(np.zeros((len(rows), SIDE, SIDE), np.uint8), None, tuple(rows))
    draw_sheet(images([1] * len(classes), classes), {"blank": catch}, tmp_path / "sheet.png")
    assert drawn(tmp_path / "sheet.png").shape[1] == WIDTH
