"""The page's description of the model, as HTML with escaped names. No torch."""

import json
from html import escape
from pathlib import Path
from typing import Any

from fmnist.classifier import Classifier
from search.report.page.tables import brief
from search.study.paths import METRICS
from search.terminal.wording import f1, visible

MOST_NAMES = 20  # of classes


def about(model: Path, classifier: Classifier) -> list[str]:
    """Return the model's path, score and classes, and a warning if it was trained on synthetic images."""
    names = [brief(name) for name in classifier.class_names]
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    lines = [
        f"{escape(visible(str(model)))}: {len(names)} classes{_score(model)}.",
        f"It knows {escape(', '.join([*names[:MOST_NAMES], *more]))}; it names one of them whatever it sees.",
    ]
    if classifier.data == "synthetic":
        lines.append("<strong>This model was trained on synthetic images; it does not know real garments.</strong>")
    return lines


def _score(model: Path) -> str:
    metrics = _metrics(model)
    if not isinstance(macro_f1 := metrics.get("macro_f1"), float):
        return ""
    match metrics.get("interval"):
        case [float(low), float(high)]:
            interval = f" (95 % interval of the mean over seeds {f1(low)} to {f1(high)})"
        case _:
            interval = ""
    return f", test macro F1 {f1(macro_f1)}{interval}"


def _metrics(model: Path) -> dict[str, Any]:
    try:
        metrics = json.loads((model / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a single .onnx file has no metrics
        return {}
    return metrics if isinstance(metrics, dict) else {}
