"""Pictures of one network, as PNG: how it learned, what it takes for what, and where it is sure and wrong. No torch."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fmnist.metrics import Ints
from search.report.page.paths import TrialPath
from search.report.page.tables import brief
from search.study.predictions import Predictions, surest_mistakes
from search.terminal.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito's palette, told apart by the colour-blind.
ACCENT, ALARM, INK, MUTED, FAINT, PAPER = "#0072b2", "#d55e00", "#18181b", "#71717a", "#d4d4d8", "#ffffff"
DPI = 110
MISTAKES, COLUMNS = 24, 6
MOST_CLASSES = 30  # whose names and figures fit a matrix
Curve = Sequence[dict[str, float | int | None]]


def learning_curve(number: int, curve: Curve, paths: Sequence[TrialPath]) -> bytes:
    """The trial's score after each epoch, the study's other trials behind it, and below its losses."""
    figure = _figure(7, 6)
    score, loss = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    for path in paths:
        if path.number != number and path.curve:
            score.plot(*zip(*path.curve, strict=True), color=FAINT, linewidth=1)
    epochs = [row["number"] for row in curve]
    score.plot(
        epochs,
        [row["macro_f1"] for row in curve],
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
        [row["train_loss"] for row in curve],
        color=ACCENT,
        linestyle="--",
        label="training, augmented and smoothed",
    )
    loss.plot(epochs, [row["valid_loss"] for row in curve], color=ACCENT, marker="o", markersize=4, label="validation")
    loss.set_ylabel("loss")
    loss.set_xlabel("epoch")
    loss.xaxis.get_major_locator().set_params(integer=True)
    for axes in (score, loss):
        _plain(axes)
        axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def confusion(labels: Ints, predicted: Ints, names: Sequence[str], split: str) -> bytes:
    """How many images of each true class (row) the network takes for each class (column)."""
    from matplotlib import colormaps

    classes = len(names)
    counts = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = min(14.0, 3 + 0.5 * classes)
    figure = _figure(side, side)
    axes = figure.subplots()
    is_right = np.eye(classes, dtype=bool)
    # Mistakes in a colour of their own, and strong: a tenth of a class is many.
    shown = np.minimum(1, shares * np.where(is_right, 0.4, 6))
    axes.imshow(np.where(is_right[:, :, None], colormaps["Blues"](shown), colormaps["Oranges"](shown)))
    if classes <= MOST_CLASSES:
        ticks = [_plain_text(brief(name)) for name in names]
        axes.set_xticks(range(classes), ticks, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), ticks)
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = PAPER if shown[i, j] > 0.6 else INK
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_title(f"{counted(len(labels), f'{split} image')}: true class down, predicted class across", fontsize=10)
    axes.tick_params(length=0)
    return _png(figure)


def mistakes(found: Predictions, pixels: NDArray[np.uint8], names: Sequence[str], split: str) -> bytes | None:
    """The images that the network names with most probability and wrongly; None where it makes no mistake.

    Shape: pixels [N, 28, 28].
    """
    surest = surest_mistakes(found, MISTAKES)
    if not surest:
        return None
    rows = -(-len(surest) // COLUMNS)
    figure = _figure(10, 1.95 * rows + 0.5)
    figure.suptitle(f"The {counted(len(surest), f'{split} image')} that it is surest and wrong about", fontsize=11)
    for axes in figure.subplots(rows, COLUMNS, squeeze=False).flat:
        axes.axis("off")
    for axes, one in zip(figure.axes, surest, strict=False):
        axes.imshow(pixels[one.row], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        true, predicted = _plain_text(brief(names[one.true])), _plain_text(brief(names[one.predicted]))
        axes.set_title(f"{true}\ntaken for {predicted} ({one.confidence:.0%})", fontsize=8, color=INK)
    return _png(figure)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # half a second to import, and who only asks what is drawn needs none of it

    return Figure((width, height), layout="constrained")


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.6)
    axes.tick_params(colors=MUTED)


def _plain_text(name: str) -> str:
    return name.replace("$", r"\$")  # else the beginning of a formula to Matplotlib


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # of names in Chinese and others: they are boxes here
        figure.savefig(file, format="png", dpi=DPI, facecolor=PAPER)
    return file.getvalue()
