"""Ten classes of garments drawn by code, for trying things out without Fashion-MNIST.

The images are silhouettes with random cuts and details, rotated, scaled and shifted, with varying texture and
brightness, and some are partly covered. On the 6,000 training and 1,000 test images a linear model reaches a macro F1
of 0.69, a convnet of two stages 0.91 in 2 epochs and 0.96 in 8: hard enough that hyperparameters matter, easy enough
to learn in seconds. Drawing takes about 1 s on one core.
"""

from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fmnist.data.images import Images
from fmnist.size import SIDE

SYNTHETIC = "synthetic"  # the name of the data set
CLASS_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
TRAIN_IMAGES, TEST_IMAGES = 6_000, 1_000
OVERSAMPLING = 3  # drawn this many times larger, then averaged

Points = list[tuple[float, float]]  # x to the right, y down, the garment within -1 .. 1


class Stroke(NamedTuple):
    """An area to fill or, with a width, a line to draw."""

    points: Points
    tone: float  # 0 .. 1, of the brightness of the garment
    width: float = 0.0  # of the half side


Garment = list[Stroke]  # in the order of drawing


@cache
def train() -> Images:
    """Return the 6,000 training images, the same on every call."""
    return draw(TRAIN_IMAGES, seed=60_000)


@cache
def test() -> Images:
    """Return the 1,000 test images, drawn from another seed than the training images."""
    return draw(TEST_IMAGES, seed=10_000)


def draw(count: int, *, seed: int) -> Images:
    """Draw `count` images, the ten classes in turn; the same for the same seed.

    Shape: pixels uint8 [count, 28, 28].
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(CLASS_NAMES)
    garments = _deformed([GARMENTS[label](rng) for label in labels], rng)
    return Images(_photographed(np.stack([_rasterised(strokes) for strokes in garments]), rng), labels, CLASS_NAMES)


def _deformed(garments: list[Garment], rng: Generator) -> list[Garment]:
    """Rotate, scale, shift and perhaps mirror each garment, and move every corner slightly."""
    n = len(garments)
    angle = rng.normal(0, 0.16, n)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    scale = rng.uniform(0.6, 0.95, (n, 2)) * np.stack([rng.choice((-1, 1), n), np.ones(n)], axis=1)
    shift = rng.uniform(-0.2, 0.2, (n, 2))
    owner = np.repeat(np.arange(n), [sum(len(stroke.points) for stroke in garment) for garment in garments])
    corners = np.array([point for garment in garments for stroke in garment for point in stroke.points])
    corners = (
        np.einsum("ci,cij->cj", corners * scale[owner], rotation[owner])
        + shift[owner]
        + rng.normal(0, 0.02, corners.shape)
    )
    moved = iter([(x, y) for x, y in corners.tolist()])
    return [
        [stroke._replace(points=list(islice(moved, len(stroke.points)))) for stroke in garment] for garment in garments
    ]


def _rasterised(garment: Garment) -> NDArray[np.uint8]:
    half = SIDE * OVERSAMPLING / 2
    canvas = Image.new("L", (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for points, tone, width in garment:
        corners = [(half + half * x, half + half * y) for x, y in points]
        if width:
            pen.line(corners, fill=round(255 * tone), width=max(1, round(half * width)), joint="curve")
        else:
            pen.polygon(corners, fill=round(255 * tone))
    return np.asarray(canvas.reduce(OVERSAMPLING))


def _photographed(drawn: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Add texture, folds, brightness and noise, and cover parts of some images. Shape: [N, 28, 28]."""
    n = len(drawn)
    brightness, weave, fold, grain = (
        rng.uniform((0.35, 0.0, 0.0, 0.01), (1.0, 0.35, 0.3, 0.08), (n, 4)).astype(np.float32).T[:, :, None, None]
    )
    cloth = 1 + weave * _waves(n, rng, 0.6, 2.6) + fold * _waves(n, rng, 0.1, 0.4)
    noise = 255 * grain * rng.standard_normal(drawn.shape, dtype=np.float32) * (drawn > 0)
    pixels: NDArray[np.float32] = drawn * brightness * cloth * ~_covered(n, rng) + noise
    return np.clip(pixels, 0, 255).round().astype(np.uint8)


def _waves(n: int, rng: Generator, low: float, high: float) -> NDArray[np.float32]:
    """Return a plane sine wave for each image, of `low` to `high` radians a pixel, in a random direction.

    Shape: [N, 28, 28].
    """
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    direction, rate, phase = (
        rng.uniform((0, low, 0), (np.pi, high, 2 * np.pi), (n, 3)).astype(np.float32).T[:, :, None, None]
    )
    wave: NDArray[np.float32] = np.sin(rate * np.cos(direction) * x + rate * np.sin(direction) * y + phase)
    return wave


def _covered(n: int, rng: Generator) -> NDArray[np.bool_]:
    """Return the pixels to cover: a rectangle in every fifth image on average. Shape: [N, 28, 28]."""
    position = np.arange(SIDE)
    start = rng.uniform(-4, SIDE - 4, (2, n, 1))
    length = rng.uniform(4, 11, (2, n, 1)) * (rng.random((n, 1)) < 0.2)
    columns, rows = (position >= start) & (position < start + length)
    covered: NDArray[np.bool_] = rows[:, :, None] & columns[:, None, :]
    return covered


def _mirrored(half: Points) -> Points:
    """Return the closed outline whose right side, from top to bottom, is `half`."""
    return half + [(-x, y) for x, y in reversed(half)]


def _top(rng: Generator, *, sleeve: tuple[float, float], hem: float, tone: float, flare: float = 0.0) -> Garment:
    """Draw a body down to `hem` with two sleeves whose length is within `sleeve` (0 to 1, of an arm)."""
    length = rng.uniform(*sleeve)
    reach, drop = rng.uniform(0.25, 0.5), rng.uniform(1.1, 1.35)
    waist, hem_at = rng.uniform(0.38, 0.5), hem + rng.uniform(-0.08, 0.08)
    cuff = (0.52 + reach * length, -0.68 + drop * length)
    half = [
        (rng.uniform(0.12, 0.26), -0.85),
        (0.52, -0.74),
        (cuff[0] + 0.12, cuff[1] + 0.06),
        (cuff[0] - 0.12, cuff[1] + 0.14),
        (waist, -0.28),
        (waist + flare, hem_at),
    ]
    return [Stroke(_mirrored(half), tone)]


def _neckline(rng: Generator) -> Stroke:
    depth = rng.uniform(-0.78, -0.55)
    return Stroke([(-0.17, -0.87), (-0.09, depth), (0.09, depth), (0.17, -0.87)], 0.0)


def _t_shirt(rng: Generator) -> Garment:
    strokes = [*_top(rng, sleeve=(0.12, 0.45), hem=0.72, tone=0.85), _neckline(rng)]
    if rng.random() < 0.35:  # a print on the chest
        side = rng.uniform(0.12, 0.25)
        strokes.append(
            Stroke([(-side, -0.3), (side, -0.3), (side, side - 0.1), (-side, side - 0.1)], rng.uniform(0.3, 1))
        )
    return strokes


def _trouser(rng: Generator) -> Garment:
    hip, ankle, gap = rng.uniform(0.3, 0.42), rng.uniform(0.3, 0.5), rng.uniform(0.04, 0.16)
    crotch = rng.uniform(-0.4, -0.1)
    right = [(hip - 0.04, -0.92), (hip, crotch), (ankle, 0.92), (gap, 0.92)]
    return [Stroke([*right, (0.0, crotch), *[(-x, y) for x, y in reversed(right)]], 0.8)]


def _pullover(rng: Generator) -> Garment:
    strokes = [*_top(rng, sleeve=(0.8, 1.0), hem=0.7, tone=0.85), _neckline(rng)]
    hem = rng.uniform(0.6, 0.66)
    return [*strokes, Stroke([(-0.42, hem), (0.42, hem)], 0.6, 0.05)]


def _dress(rng: Generator) -> Garment:
    shoulder, waist, hem = rng.uniform(0.22, 0.38), rng.uniform(0.18, 0.32), rng.uniform(0.3, 0.65)
    half = [(0.12, -0.95), (shoulder, -0.93), (shoulder - 0.02, -0.55), (waist, -0.2), (hem, 0.95)]
    strokes = [Stroke(_mirrored(half), 0.85), _neckline(rng)]
    if rng.random() < 0.4:  # short sleeves
        strokes.append(Stroke([(shoulder - 0.1, -0.93), (shoulder + 0.2, -0.6), (shoulder + 0.05, -0.5)], 0.85))
        strokes.append(Stroke([(0.1 - shoulder, -0.93), (-shoulder - 0.2, -0.6), (-shoulder - 0.05, -0.5)], 0.85))
    return strokes


def _coat(rng: Generator) -> Garment:
    strokes = _top(rng, sleeve=(0.85, 1.0), hem=0.92, tone=0.75, flare=0.05)
    lapel = rng.uniform(-0.45, -0.15)
    front = Stroke([(0.0, lapel), (rng.uniform(-0.05, 0.05), 0.95)], 0.2, 0.06)
    return [*strokes, Stroke([(-0.2, -0.88), (0.0, lapel), (0.2, -0.88)], 0.2, 0.08), front]


def _shirt(rng: Generator) -> Garment:
    strokes = _top(rng, sleeve=(0.35, 1.0), hem=0.75, tone=0.85)
    collar = Stroke([(-0.2, -0.88), (0.0, rng.uniform(-0.7, -0.6)), (0.2, -0.88)], 0.3, 0.06)
    buttons = [Stroke([(0.0, y), (0.0, y + 0.06)], 0.2, 0.07) for y in np.linspace(-0.5, 0.6, rng.integers(4, 7))]
    return [*strokes, collar, *buttons]


def _sandal(rng: Generator) -> Garment:
    heel, ankle = rng.uniform(0.0, 0.4), rng.uniform(-0.45, -0.05)
    arch = rng.uniform(0.0, 0.25)
    sole = Stroke(
        [(-0.92, 0.6), (-0.2, 0.6), (0.35, 0.6 - 0.8 * heel), (0.88, 0.58 - heel)], 0.9, rng.uniform(0.1, 0.18)
    )
    block = Stroke([(0.65, 0.6 - heel), (0.92, 0.55 - heel), (0.86, 0.68), (0.7, 0.68)], 0.8)
    toes = Stroke(
        [(-0.8, 0.6), (-0.6, arch + 0.15), (-0.3, arch), (-0.1, 0.6)], rng.uniform(0.5, 0.9), rng.uniform(0.08, 0.16)
    )
    ring = Stroke([(0.9, 0.55 - heel), (0.85, ankle), (0.3, ankle + 0.12), (0.35, 0.55 - heel)], 0.75, 0.09)
    instep = Stroke([(-0.3, arch), (0.3, ankle + 0.12)], 0.7, 0.09)
    return [sole, block, toes, *([ring] if rng.random() < 0.7 else []), *([instep] if rng.random() < 0.5 else [])]


def _sneaker(rng: Generator) -> Garment:
    height, toe = rng.uniform(-0.45, -0.1), rng.uniform(0.05, 0.25)
    upper = [
        (-0.92, 0.4),
        (-0.88, toe),
        (-0.4, toe - 0.1),
        (0.05, height),
        (0.4, height + 0.1),
        (0.85, height - 0.05),
        (0.9, 0.4),
    ]
    laces = [
        Stroke([(x, toe - 0.12 - x / 3), (x + 0.14, toe + 0.06 - x / 3)], 0.35, 0.05) for x in (-0.35, -0.2, -0.05)
    ]
    stripe = Stroke([(0.25, height + 0.15), (rng.uniform(-0.1, 0.3), 0.35)], rng.uniform(0.2, 1), 0.09)
    return [Stroke(upper, 0.75), *laces, stripe, Stroke([(-0.92, 0.46), (0.9, 0.46)], rng.uniform(0.3, 1), 0.14)]


def _bag(rng: Generator) -> Garment:
    width, top, taper = rng.uniform(0.6, 0.9), rng.uniform(-0.35, 0.0), rng.uniform(-0.15, 0.15)
    grip, rise = rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.55)
    handle = [(-grip, top), (-0.7 * grip, top - rise), (0.7 * grip, top - rise), (grip, top)]
    body = [(-width + taper, top), (width - taper, top), (width, 0.75), (-width, 0.75)]
    flap = [(-width + taper, top + 0.05), (0.0, rng.uniform(top + 0.05, 0.4)), (width - taper, top + 0.05)]
    return [Stroke(handle, 0.8, 0.09), Stroke(body, 0.8), Stroke(flap, rng.uniform(0.3, 0.8), 0.06)]


def _ankle_boot(rng: Generator) -> Garment:
    shaft, heel = rng.uniform(-0.9, -0.45), rng.uniform(0.05, 0.35)
    front = rng.uniform(-0.1, 0.15)
    upper = [
        (-0.9, 0.7),
        (-0.85, 0.4),
        (front - 0.15, 0.15),
        (front, shaft),
        (0.75, shaft),
        (0.8, 0.7 - heel),
        (0.3, 0.7),
    ]
    block = [(0.45, 0.7 - heel), (0.82, 0.6 - heel), (0.8, 0.82), (0.5, 0.82)]
    return [Stroke(upper, 0.75), Stroke(block, 0.6), Stroke([(-0.9, 0.75), (0.3, 0.75)], rng.uniform(0.3, 0.9), 0.09)]


GARMENTS: tuple[Callable[[Generator], Garment], ...] = (
    _t_shirt,
    _trouser,
    _pullover,
    _dress,
    _coat,
    _sandal,
    _shirt,
    _sneaker,
    _bag,
    _ankle_boot,
)
