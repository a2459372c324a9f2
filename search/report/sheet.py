"""A picture of a data set: examples of each class, and the images that cleaning caught. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fmnist.atomic import write_in_place
from fmnist.data.cleaning import CaughtPictures, CleaningReport
from fmnist.data.images import Images
from fmnist.size import SIDE
from search.errors import SearchError
from search.report.data_tables import rule_in_words
from search.terminal.wording import counted

# All lengths in pixels.
WIDTH, MARGIN, GAP = 900, 24, 4
TEXT_WIDTH = 138  # of the column to the left of the pictures
EXAMPLE_SIDE, EXAMPLES_SHOWN = 2 * SIDE, 12  # of each class
CAUGHT_SIDE, CAUGHT_SHOWN = 3 * SIDE, 8  # of each rule
CLASSES_SHOWN = 20
HEADING, BODY, SMALL = 18, 13, 10  # sizes of letters
INK, FAINT, EDGE, MISSING, PAPER = (24, 24, 27), (113, 113, 122), (212, 212, 216), (225, 29, 72), (255, 255, 255)

Colour = tuple[int, int, int]
Line = tuple[str, int, Colour]  # text, size of its letters, colour


def draw_sheet(
    train: Images, caught: Mapping[str, CaughtPictures], path: Path, report: CleaningReport | None = None
) -> None:
    """Write a PNG with examples of each class and the first images that each rule caught, as they were read.

    With `report`, the picture also states how many images each rule caught and what was done with them. Missing
    pixels are red.
    Raises: SearchError if the file cannot be written; an earlier file at `path` is then unchanged.
    """
    sheet = _stacked([_space(MARGIN), *_class_rows(train), *_caught_rows(caught, report), _space(MARGIN - GAP)])
    png = BytesIO()
    sheet.save(png, format="PNG", optimize=True)
    try:
        write_in_place(path, png.getvalue())
    except OSError as error:
        raise SearchError(
            f"{path} must be writable: {error.strerror or error}. Free space there, or name another file."
        ) from error


def _class_rows(train: Images) -> Iterator[Image.Image]:
    sizes = np.bincount(train.labels, minlength=len(train.class_names))
    largest_first = np.argsort(-sizes, kind="stable")
    yield _heading(f"{counted(len(train), 'training image')} of {len(sizes)} classes")
    for label in largest_first[:CLASSES_SHOWN]:
        rows = np.flatnonzero(train.labels == label)
        spread = np.linspace(0, len(rows) - 1, min(len(rows), EXAMPLES_SHOWN)).round().astype(int)
        pictures = [_fitted(train.pixels[row], None, EXAMPLE_SIDE) for row in rows[spread]]
        lines = [(train.class_names[label], BODY, INK), (counted(len(rows), "image"), SMALL, FAINT)]
        yield _row(lines, pictures, EXAMPLE_SIDE, EXAMPLES_SHOWN)
    if (hidden := len(sizes) - CLASSES_SHOWN) > 0:
        yield _note(
            f"and {hidden} more {'class' if hidden == 1 else 'classes'}, with "
            f"{sizes[largest_first[CLASSES_SHOWN:]].sum():,} images"
        )


def _caught_rows(caught: Mapping[str, CaughtPictures], report: CleaningReport | None) -> Iterator[Image.Image]:
    shown = {rule: pictures for rule, pictures in caught.items() if pictures.names}
    if not shown:
        return
    yield _space(MARGIN)
    yield _heading("What cleaning found")
    if any(pictures.missing is not None and pictures.missing.any() for pictures in shown.values()):
        yield _note("Images as they were read. Missing pixels are red.", MISSING)
    for rule, pictures in shown.items():
        gaps = pictures.missing if pictures.missing is not None else [None] * len(pictures.names)
        squares = [_fitted(pixels, gap, CAUGHT_SIDE) for pixels, gap in zip(pictures.pixels, gaps, strict=True)][
            :CAUGHT_SHOWN
        ]
        yield _row(_rule_lines(rule, report), squares, CAUGHT_SIDE, CAUGHT_SHOWN, pictures.names[:CAUGHT_SHOWN])


def _rule_lines(rule: str, report: CleaningReport | None) -> list[Line]:
    lines: list[Line] = [(rule_in_words(rule), BODY, INK), (rule, SMALL, FAINT)]
    for caught in report.caught if report else ():
        if caught.rule == rule:
            counts = ", ".join(
                f"{count:,} in {split}" for count, split in ((caught.train, "train"), (caught.test, "test")) if count
            )
            lines += [(counts, SMALL, INK), (caught.action, SMALL, FAINT)]
    return lines


def _row(
    lines: Sequence[Line], pictures: Sequence[Image.Image], side: int, most: int, names: Sequence[str] = ()
) -> Image.Image:
    """Draw lines of text and, to their right, up to `most` pictures of `side` pixels, with their names below."""
    strip = _space(side + GAP + (SMALL + 2 * GAP if names else 0))
    draw, left = ImageDraw.Draw(strip), MARGIN + TEXT_WIDTH
    step = (WIDTH - MARGIN - left + GAP) / most
    wrapped = [line for whole in lines for line in _wrapped(whole)]
    top = max(0, (side - sum(size + GAP for _, size, _ in wrapped)) // 2)
    for text, size, colour in wrapped:
        draw.text((MARGIN, top), _shortened(text, size, TEXT_WIDTH - 2 * GAP), fill=colour, font=_font(size))
        top += size + GAP
    for i, picture in enumerate(pictures):
        strip.paste(picture, (left + round(i * step), 0))
    for i, name in enumerate(names):
        text = _shortened(name, SMALL, side, keep_end=True)
        draw.text((left + round(i * step) + side / 2, side + GAP), text, fill=FAINT, font=_font(SMALL), anchor="ma")
    return strip


def _fitted(pixels: NDArray[np.uint8], missing: NDArray[np.bool_] | None, side: int) -> Image.Image:
    """Scale the image to fit a square: enlarged pixels stay sharp, pixels of a larger image are averaged."""
    colours = np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels.copy()
    if missing is not None:
        colours[missing] = MISSING
    picture = Image.fromarray(colours)
    scale = side / max(picture.size)
    size = [max(1, round(length * (int(scale) or scale))) for length in picture.size]
    square = Image.new("RGB", (side, side), PAPER)
    scaled = picture.resize((size[0], size[1]), Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
    square.paste(scaled, ((side - size[0]) // 2, (side - size[1]) // 2))
    ImageDraw.Draw(square).rectangle((0, 0, side - 1, side - 1), outline=EDGE)
    return square


def _heading(text: str) -> Image.Image:
    return _note(text, INK, HEADING)


def _note(text: str, colour: Colour = FAINT, size: int = SMALL + 1) -> Image.Image:
    strip = _space(size + 3 * GAP)
    ImageDraw.Draw(strip).text((MARGIN, 0), text, fill=colour, font=_font(size))
    return strip


def _space(height: int) -> Image.Image:
    return Image.new("RGB", (WIDTH, height), PAPER)


def _stacked(strips: Sequence[Image.Image]) -> Image.Image:
    sheet, top = _space(sum(strip.height for strip in strips)), 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def _wrapped(line: Line) -> list[Line]:
    """Break the text between words into at most two lines; the second may still be too long."""
    text, size, colour = line
    words = text.split(" ")
    room = TEXT_WIDTH - 2 * GAP
    fitting = (n for n in range(len(words), 0, -1) if _font(size).getlength(_printable(" ".join(words[:n]))) <= room)
    first = next(fitting, len(words))  # a first word that is too long is not broken
    return [(" ".join(part), size, colour) for part in (words[:first], words[first:]) if part]


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _shortened(text: str, size: int, width: int, *, keep_end: bool = False) -> str:
    """Shorten `text` to `width` pixels, at the end or, with `keep_end`, in the middle."""
    whole = _printable(text)
    for length in range(len(whole), 0, -1):
        end = length // 2 if keep_end else 0
        short = whole if length == len(whole) else f"{whole[: length - end].rstrip()}…{whole[len(whole) - end :]}"
        if _font(size).getlength(short) <= width:
            return short
    return "…"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's default font is ASCII only; this one has Latin, Greek, Cyrillic and Arabic letters.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
