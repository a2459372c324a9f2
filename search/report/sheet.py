"""A data set on one picture: what its classes look like, and what cleaning caught. No torch."""

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
from fmnist.data.images import SIDE, Images
from search.errors import SearchError
from search.report.data_tables import rule_in_words
from search.terminal.wording import counted

# All lengths in pixels.
WIDTH, MARGIN, GAP = 900, 24, 4
NAMES = 138  # width of what stands left of the pictures
EXAMPLE, EXAMPLES = 2 * SIDE, 12  # side and number of a class's examples
FIND, FINDS = 3 * SIDE, 8  # of what a rule caught
CLASSES = 20
HEADING, BODY, SMALL = 18, 13, 10  # sizes of letters
INK, FAINT, EDGE, MISSING, PAPER = (24, 24, 27), (113, 113, 122), (212, 212, 216), (225, 29, 72), (255, 255, 255)

Colour = tuple[int, int, int]
Line = tuple[str, int, Colour]  # text, size of its letters, colour


def draw_sheet(
    train: Images, caught: Mapping[str, CaughtPictures], path: Path, report: CleaningReport | None = None
) -> None:
    """A PNG at `path` shows examples of each class and, below, the first images that each rule caught as they were
    read.

    With `report` it also says how many each rule caught and what became of them. Pixels that were missing are red.
    Raises: SearchError where it cannot be written; what was there before is still there then.
    """
    sheet = _stacked([_space(MARGIN), *_class_rows(train), *_caught_rows(caught, report), _space(MARGIN - GAP)])
    drawn = BytesIO()
    sheet.save(drawn, format="PNG", optimize=True)
    try:
        write_in_place(path, drawn.getvalue())
    except OSError as error:
        raise SearchError(
            f"{path} must be writable: {error.strerror or error}. Free space there, or name another file."
        ) from error


def _class_rows(train: Images) -> Iterator[Image.Image]:
    sizes = np.bincount(train.labels, minlength=len(train.class_names))
    largest_first = np.argsort(-sizes, kind="stable")
    yield _heading(f"{counted(len(train), 'training image')} of {len(sizes)} classes")
    for label in largest_first[:CLASSES]:
        rows = np.flatnonzero(train.labels == label)
        spread = np.linspace(0, len(rows) - 1, min(len(rows), EXAMPLES)).round().astype(int)
        pictures = [_fitted(train.pixels[row], None, EXAMPLE) for row in rows[spread]]
        lines = [(train.class_names[label], BODY, INK), (counted(len(rows), "image"), SMALL, FAINT)]
        yield _row(lines, pictures, EXAMPLE, EXAMPLES)
    if (more := len(sizes) - CLASSES) > 0:
        yield _note(
            f"and {more} more {'class' if more == 1 else 'classes'}, with {sizes[largest_first[CLASSES:]].sum():,} "
            "images"
        )


def _caught_rows(caught: Mapping[str, CaughtPictures], report: CleaningReport | None) -> Iterator[Image.Image]:
    shown = {rule: found for rule, found in caught.items() if found.names}
    if not shown:
        return
    yield _space(MARGIN)
    yield _heading("What cleaning found")
    if any(found.missing is not None and found.missing.any() for found in shown.values()):
        yield _note("Images as they were read. Pixels that were missing are red.", MISSING)
    for rule, found in shown.items():
        gaps = found.missing if found.missing is not None else [None] * len(found.names)
        pictures = [_fitted(pixels, gap, FIND) for pixels, gap in zip(found.pixels, gaps, strict=True)][:FINDS]
        yield _row(_said(rule, report), pictures, FIND, FINDS, found.names[:FINDS])


def _said(rule: str, report: CleaningReport | None) -> list[Line]:
    lines: list[Line] = [(rule_in_words(rule), BODY, INK), (rule, SMALL, FAINT)]
    for one in report.caught if report else ():
        if one.rule == rule:
            where = ", ".join(
                f"{count:,} in {split}" for count, split in ((one.train, "train"), (one.test, "test")) if count
            )
            lines += [(where, SMALL, INK), (one.action, SMALL, FAINT)]
    return lines


def _row(
    lines: Sequence[Line], pictures: Sequence[Image.Image], side: int, most: int, names: Sequence[str] = ()
) -> Image.Image:
    """Lines of text, and right of them up to `most` pictures of `side` pixels, with their names below."""
    strip = _space(side + GAP + (SMALL + 2 * GAP if names else 0))
    draw, left = ImageDraw.Draw(strip), MARGIN + NAMES
    step = (WIDTH - MARGIN - left + GAP) / most
    wrapped = [line for whole in lines for line in _wrapped(whole)]
    top = max(0, (side - sum(size + GAP for _, size, _ in wrapped)) // 2)
    for text, size, colour in wrapped:
        draw.text((MARGIN, top), _shortened(text, size, NAMES - 2 * GAP), fill=colour, font=_font(size))
        top += size + GAP
    for i, picture in enumerate(pictures):
        strip.paste(picture, (left + round(i * step), 0))
    for i, name in enumerate(names):
        text = _shortened(name, SMALL, side, keep_end=True)
        draw.text((left + round(i * step) + side / 2, side + GAP), text, fill=FAINT, font=_font(SMALL), anchor="ma")
    return strip


def _fitted(pixels: NDArray[np.uint8], missing: NDArray[np.bool_] | None, side: int) -> Image.Image:
    """The image in a square: pixels stay sharp where it is enlarged, and are averaged where it is larger than the
    square.
    """
    colours = np.repeat(pixels[:, :, None], 3, axis=2)
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
    """At most two lines, broken where a word begins; the second may still be too long."""
    text, size, colour = line
    words = text.split(" ")
    fits = (
        n for n in range(len(words), 0, -1) if _font(size).getlength(_printable(" ".join(words[:n]))) <= NAMES - 2 * GAP
    )
    whole = next(fits, len(words))  # a first word that is too long stays where it is
    return [(" ".join(part), size, colour) for part in (words[:whole], words[whole:]) if part]


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _shortened(text: str, size: int, width: int, *, keep_end: bool = False) -> str:
    """As much of `text` as `width` pixels hold, on one line; with `keep_end`, what is cut is in its middle."""
    whole = _printable(text)
    for kept in range(len(whole), 0, -1):
        end = kept // 2 if keep_end else 0
        short = whole if kept == len(whole) else f"{whole[: kept - end].rstrip()}…{whole[len(whole) - end :]}"
        if _font(size).getlength(short) <= width:
            return short
    return "…"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own font has no letter beyond ASCII; this one writes Latin, Greek, Cyrillic and Arabic.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
