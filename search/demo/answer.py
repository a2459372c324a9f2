"""The page's answer to a picture, as self-contained HTML with escaped names. No torch.

All states of the answer have the same parts of the same height, so that nothing on the page moves.
"""

from html import escape
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from fmnist.classifier import Classifier, top
from fmnist.data.images import Images
from fmnist.neighbours import Neighbours
from search.report.page.pictures import as_address
from search.report.page.tables import brief
from search.terminal.wording import counted, visible

SHOWN, NEAREST = 5, 8
SURE = 0.7  # of a class; below it, the answer names the classes that have as much together, up to MOST_NAMED
MOST_NAMED = 3
STYLE = """
.answer { display: flex; flex-direction: column; gap: 1rem; }
.answer h2 { font-size: 1rem; font-weight: 600; margin: 0 0 0.5rem; }
.answer p { margin: 0; }
.answer .head { min-height: 5.5rem; }
.answer .name { font-size: 1.75rem; font-weight: 650; line-height: 1.2; }
.answer .unsure { border-left: 4px solid #d55e00; padding-left: 0.75rem; margin-top: 0.25rem; line-height: 1.35; }
.answer .seen { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
.answer img, .answer .blank { border-radius: 6px; display: block; }
.answer img { image-rendering: pixelated; }
.answer .blank { background: var(--border-color-primary); opacity: 0.5; }
.answer .seen img, .answer .seen .blank { width: 168px; height: 168px; }
.answer ul, .answer li { list-style: none; margin: 0; padding: 0; }
.answer .classes { flex: 1 1 220px; }
.answer .classes ul { min-height: 9.5rem; }
.answer .classes li { display: grid; grid-template-columns: minmax(6rem, 40%) 1fr 3.5rem; gap: 0.75rem;
  height: 1.9rem; align-items: center; }
.answer .classes li span:first-child { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.answer .track { background: var(--border-color-primary); border-radius: 4px; height: 0.6rem; overflow: hidden; }
.answer .track span { display: block; height: 100%; background: #0072b2; }
.answer .share { text-align: right; font-variant-numeric: tabular-nums; }
.answer .near { display: flex; flex-wrap: wrap; gap: 0.75rem; }
.answer .near li { width: 84px; height: 114px; font-size: 0.8rem; line-height: 1.25; overflow: hidden;
  overflow-wrap: anywhere; }
.answer .near img, .answer .near .blank { width: 84px; height: 84px; margin-bottom: 0.25rem; }
.answer .note { font-size: 0.85rem; opacity: 0.75; }
"""
_BLANK = '<span class="blank"></span>'
_BLANK_NEAR = f'<ul class="near" aria-hidden="true">{f"<li>{_BLANK}</li>" * NEAREST}</ul>'


def empty() -> str:
    """Return the answer before there is a picture."""
    return _blank("Drop a picture on the left, draw one, or choose an example.", kind="note")


def fault(text: str) -> str:
    """Return the answer to a picture that cannot be read."""
    return _blank(text, kind="unsure", role="alert")


def answer(pixels: NDArray[np.uint8], classifier: Classifier, neighbours: Neighbours | str | None) -> str:
    """Return the prediction with the nearest training images, or why there are none; None if they are not ready.

    Shape: pixels [side, side], in colour [side, side, 3].
    """
    best = top(classifier.probabilities(pixels[None])[0], classifier.class_names, SHOWN)
    nearest, is_far, note = _nearest(pixels, neighbours)
    doubts = [*_between(best), *(["It is unlike the training images."] if is_far else [])]
    doubt = f'<p class="unsure">Unsure. {" ".join(map(_text, doubts))}</p>' if doubts else ""
    return _panel(
        f'<p class="name">{_text(brief(best[0][0]))}{"?" if doubts else ""}</p>{doubt}',
        _picture(pixels, f"the picture in {len(pixels)} by {len(pixels)} pixels"),
        "".join(_share(*label) for label in best),
        f'{nearest}<p class="note">{_text(note)}</p>',
    )


def _between(best: list[tuple[str, float]]) -> list[str]:
    """Return a sentence with the classes that it is between, or none if the model is sure of the first."""
    if best[0][1] >= SURE:
        return []
    together = accumulate(probability for _, probability in best)
    needed = next((count for count, share in enumerate(together, start=1) if share >= SURE), len(best))
    if needed > MOST_NAMED:
        return ["It may be one of several classes."]
    return [f"It may be {' or '.join(brief(name) for name, _ in best[:needed])}."]


def _nearest(pixels: NDArray[np.uint8], neighbours: Neighbours | str | None) -> tuple[str, bool, str]:
    """Return the nearest images as HTML, whether they are far, and a note."""
    if neighbours is None:
        return _BLANK_NEAR, False, "The training images are being read."
    if isinstance(neighbours, str):
        return "", False, neighbours
    images, is_far = neighbours.nearest(pixels, NEAREST)
    method = "by the features before the network's last layer" if neighbours.are_features else "pixel by pixel"
    items = "".join(
        f'<li title="{_text(name)}">{_picture(image, name)}{_text(name)}</li>'
        for image, name in zip(images.pixels, class_names_of(images), strict=True)
    )
    total = counted(len(neighbours.images), "training image")
    return f'<ul class="near">{items}</ul>', is_far, f"Of {total}, {method}; a picture is not its own neighbour."


def class_names_of(images: Images) -> list[str]:
    """Return the class of each image, in brief."""
    return [brief(images.class_names[label]) for label in images.labels]


def _blank(text: str, kind: str, role: str = "status") -> str:
    return _panel(f'<p class="{kind}" role="{role}">{_text(text)}</p>', _BLANK, "", _BLANK_NEAR)


def _panel(head: str, seen: str, classes: str, near: str) -> str:
    return (
        f'<div class="answer"><div class="head">{head}</div>'
        f'<div class="seen"><div><h2>What the model sees</h2>{seen}</div>'
        f'<div class="classes"><h2>How sure it is</h2><ul>{classes}</ul></div></div>'
        f"<div><h2>Nearest training images</h2>{near}</div></div>"
    )


def _share(name: str, probability: float) -> str:
    return (
        f'<li><span title="{_text(brief(name))}">{_text(brief(name))}</span>'
        f'<span class="track"><span style="width: {100 * probability:.1f}%"></span></span>'
        f'<span class="share" data-probability="{probability!r}">{probability:.1%}</span></li>'
    )


def _picture(pixels: NDArray[np.uint8], description: str) -> str:
    return f'<img src="{as_address(pixels)}" alt="{_text(description)}">'


def _text(text: str) -> str:
    return escape(visible(text))
