"""Pictures of a trial as PNG: its learning curve, its confusion matrix and its surest mistakes. No torch."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fmnist.curve import CurvePoint
from fmnist.metrics import Ints
from fmnist.size import SIDE
from search.report.page.paths import TrialPath
from search.report.page.tables import brief
from search.study.predictions import Predictions, surest_mistakes
from search.terminal.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion are from Okabe and Ito's palette, which colour-blind people can tell apart.
ACCENT, ALARM, INK, MUTED, FAINT, PAPER = "#0072b2", "#d55e00", "#18181b", "#71717a", "#d4d4d8", "#ffffff"
DPI = 110
MISTAKES, COLUMNS = 24, 6
CELL = (38, 36)  # rows and columns of pixels for one mistake of 28 x 28 pixels and its title; larger ones in ratio
MOST_CLASSES = 30  # with more, names and figures do not fit the matrix


def learning_curve(number: int, curve: Sequence[CurvePoint], paths: Sequence[TrialPath]) -> bytes:
    """Draw the trial's score after each epoch, with the other trials in the background, and its losses below."""
    figure = _figure(7, 6)
    score, loss = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    for path in paths:
        if path.number != number and path.curve:
            score.plot(*zip(*path.curve, strict=True), color=FAINT, linewidth=1)
    epochs = [point.number for point in curve]
    score.plot(
        epochs,
        [point.macro_f1 for point in curve],
        color=ACCENT,
        marker="o",
        markersize=4,
        linewidth=2,
        label=f"trial {number}",
    )
    score.plot([], color=FAINT, linewidth=1, label="the other trials")
    score.set_ylabel("validation macro F1")
    loss.plot(
        epochs,
        [point.train_loss for point in curve],
        color=ACCENT,
        linestyle="--",
        label="training, augmented and smoothed",
    )
    loss.plot(epochs, [point.valid_loss for point in curve], color=ACCENT, marker="o", markersize=4, label="validation")
    loss.set_ylabel("loss")
    loss.set_xlabel("epoch")
    loss.xaxis.get_major_locator().set_params(integer=True)
    for axes in (score, loss):
        _plain(axes)
        axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def confusion(labels: Ints, predicted: Ints, names: Sequence[str], split: str) -> bytes:
    """Draw the number of images of each true class (row) that are predicted as each class (column)."""
    from matplotlib import colormaps

    classes = len(names)
    counts = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = min(14.0, 3 + 0.5 * classes)
    figure = _figure(side, side)
    axes = figure.subplots()
    is_right = np.eye(classes, dtype=bool)
    # Mistakes have a separate, stronger colour: a tenth of a class is a lot.
    shades = np.minimum(1, shares * np.where(is_right, 0.4, 6))
    axes.imshow(np.where(is_right[:, :, None], colormaps["Blues"](shades), colormaps["Oranges"](shades)))
    if classes <= MOST_CLASSES:
        ticks = [_plain_text(brief(name)) for name in names]
        axes.set_xticks(range(classes), ticks, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), ticks)
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = PAPER if shades[i, j] > 0.6 else INK
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_title(f"{counted(len(labels), f'{split} image')}: true class down, predicted class across", fontsize=10)
    axes.tick_params(length=0)
    return _png(figure)


def mistakes(predictions: Predictions, pixels: NDArray[np.uint8], names: Sequence[str], split: str) -> bytes | None:
    """Draw the mistakes with the highest probability; None if there is no mistake.

    Shape: pixels [N, side, side], in colour [N, side, side, 3].
    """
    surest = surest_mistakes(predictions, MISTAKES)
    if not surest:
        return None
    rows, side = -(-len(surest) // COLUMNS), pixels.shape[1]
    tall, wide = (length * side // SIDE for length in CELL)
    # All images in one: with axes of its own for each, the layout takes a second and a half.
    canvas = np.full((rows * tall, COLUMNS * wide, *pixels.shape[3:]), 255, dtype=np.uint8)
    figure = _figure(10, 1.95 * rows + 0.5)
    axes = figure.subplots()
    axes.axis("off")
    for index, mistake in enumerate(surest):
        bottom, left = (index // COLUMNS + 1) * tall, index % COLUMNS * wide + (wide - side) // 2
        canvas[bottom - side : bottom, left : left + side] = pixels[mistake.row]
        true, predicted = _plain_text(brief(names[mistake.true])), _plain_text(brief(names[mistake.predicted]))
        title = f"{true}\npredicted as {predicted} ({mistake.confidence:.0%})"
        axes.text(
            left + side / 2, bottom - side - 1.5 * side / SIDE, title, fontsize=8, color=INK, ha="center", va="bottom"
        )
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(f"The {counted(len(surest), f'{split} image')} with the surest mistakes", fontsize=11)
    return _png(figure)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # half a second to import, and not needed if all pictures exist

    return Figure((width, height), layout="constrained")


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.6)
    axes.tick_params(colors=MUTED)


def _plain_text(name: str) -> str:
    return name.replace("$", r"\$")  # Matplotlib would start a formula


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Chinese and other letters that the font does not have are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="png", dpi=DPI, facecolor=PAPER)
    return file.getvalue()
