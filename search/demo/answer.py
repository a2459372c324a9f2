"""The page's answer to a picture, as self-contained HTML with escaped names. No torch."""

from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist.classifier import Classifier, top
from fmnist.data.images import Images
from fmnist.errors import FmnistError
from fmnist.neighbours import Neighbours
from search.report.page.pictures import as_address
from search.report.page.tables import brief
from search.terminal.wording import counted, visible

SHOWN, NEAREST = 5, 8
STYLE = """
.answer { display: flex; flex-direction: column; gap: 1.25rem; }
.answer h2 { font-size: 1rem; font-weight: 600; margin: 0 0 0.5rem; }
.answer p { margin: 0 0 0.5rem; }
.answer .name { font-size: 1.75rem; font-weight: 650; line-height: 1.2; }
.answer .seen { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
.answer img { image-rendering: pixelated; border-radius: 6px; display: block; }
.answer .seen img { width: 168px; height: 168px; }
.answer ul { list-style: none; margin: 0; padding: 0; }
.answer .classes { flex: 1 1 220px; }
.answer .classes li { display: grid; grid-template-columns: minmax(6rem, 40%) 1fr 3.5rem; gap: 0.75rem;
  padding: 0.2rem 0; }
.answer .classes li { align-items: center; }
.answer .track { background: var(--border-color-primary); border-radius: 4px; height: 0.6rem; overflow: hidden; }
.answer .track span { display: block; height: 100%; background: #0072b2; }
.answer .share { text-align: right; font-variant-numeric: tabular-nums; }
.answer .near { display: flex; flex-wrap: wrap; gap: 0.75rem; }
.answer .near li { width: 84px; font-size: 0.8rem; line-height: 1.25; overflow-wrap: anywhere; }
.answer .near img { width: 84px; height: 84px; margin-bottom: 0.25rem; }
.answer .note { font-size: 0.85rem; opacity: 0.75; }
.answer .wrong { border-left: 4px solid #d55e00; padding-left: 0.75rem; }
"""


def empty() -> str:
    """Return the text that is shown before there is a picture."""
    return '<div class="answer"><p class="note">Drop a picture of a garment on the left, or draw one.</p></div>'


def answer(path: Path, classifier: Classifier, neighbours: Neighbours | str) -> str:
    """Return the prediction for the picture at `path` with the nearest training images, or why there are none.

    A picture that cannot be read gives an error message.
    """
    try:
        pixels = classifier.read(path)
    except FmnistError as error:
        fault = _text(str(error).replace(str(path), "The picture"))
        return f'<div class="answer" role="alert"><p class="wrong">{fault}</p></div>'
    probabilities = classifier.probabilities(pixels[None])[0]
    best = top(probabilities, classifier.class_names, SHOWN)
    return (
        f'<div class="answer"><div><p class="name">{_text(brief(best[0][0]))}</p>'
        f'<div class="seen"><div><h2>What the model sees</h2>{_picture(pixels, "the picture in 28 by 28 pixels")}</div>'
        f'<div class="classes"><h2>How sure it is</h2><ul>{"".join(_share(*label) for label in best)}</ul></div>'
        "</div></div>"
        f"<div><h2>Nearest training images</h2>{_near(pixels, neighbours)}</div></div>"
    )


def _share(name: str, probability: float) -> str:
    return (
        f"<li><span>{_text(brief(name))}</span>"
        f'<span class="track"><span style="width: {100 * probability:.1f}%"></span></span>'
        f'<span class="share" data-probability="{probability!r}">{probability:.1%}</span></li>'
    )


def _near(pixels: NDArray[np.uint8], neighbours: Neighbours | str) -> str:
    if isinstance(neighbours, str):
        return f'<p class="note">{_text(neighbours)}</p>'
    images = neighbours.nearest(pixels, NEAREST)
    method = "by the features before the network's last layer" if neighbours.are_features else "pixel by pixel"
    items = "".join(
        f"<li>{_picture(image, name)}{_text(name)}</li>"
        for image, name in zip(images.pixels, _names(images), strict=True)
    )
    total = counted(len(neighbours.images), "training image")
    return f'<ul class="near">{items}</ul><p class="note">Of {total}, {method}.</p>'


def _names(images: Images) -> list[str]:
    return [brief(images.class_names[label]) for label in images.labels]


def _picture(pixels: NDArray[np.uint8], description: str) -> str:
    return f'<img src="{as_address(pixels)}" alt="{_text(description)}">'


def _text(text: str) -> str:
    return escape(visible(text))
