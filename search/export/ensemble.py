"""Export of the networks of all final seeds as one ONNX file, which averages their probabilities."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmnist.checkpoint import Checkpoint
from fmnist.scoring import as_input
from search.export.ensemble_card import write_ensemble_card
from search.export.export import (
    LABELS,
    Announce,
    ExportReport,
    captured,
    exporters_quiet,
    load_final,
    measured,
    predicted_by,
    require_free,
    written,
)
from search.export.formats import ENSEMBLE
from search.export.model_card import CARD, ModelFacts
from search.export.onnx_export import about_model, to_onnx
from search.study.ensemble import averaged
from search.study.paths import METRICS

FILES = {ENSEMBLE, LABELS, METRICS, CARD}


class Ensemble(nn.Module):
    """The networks with their preprocessing, and the mean of their probabilities."""

    def __init__(self, checkpoints: Sequence[Checkpoint]) -> None:
        super().__init__()
        self.members = nn.ModuleList(checkpoint.model for checkpoint in checkpoints)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: uint8 [N, side, side], or in colour [N, side, side, 3] -> probabilities [N, classes]."""
        inputs = as_input(images)
        return torch.stack([torch.softmax(member(inputs), dim=1) for member in self.members]).mean(dim=0)


def export_ensemble(
    folders: Sequence[Path], to: Path, *, test_pixels: NDArray[np.uint8], facts: ModelFacts, announce: Announce
) -> ExportReport:
    """Export the networks in `folders` as one file to `to`, with its own card, replacing an earlier such export.

    Args:
        folders: The checkpoints of all final runs of `facts`, in their order.
        facts: With the ensemble's score in `final.ensemble`, and its own calibration error.

    Shape: test_pixels [N, side, side], or in colour [N, side, side, 3], on which the file is compared with the mean of
    PyTorch's probabilities.
    Raises: FmnistError if a checkpoint cannot be loaded; SearchError if `to` is not an export of an ensemble or cannot
    be written, a checkpoint is another model, or the file differs from PyTorch. `to` is then unchanged.
    """
    start = time.perf_counter()
    require_free(to, FILES)
    runs = facts.final.runs
    checkpoints = [load_final(folder, facts, run) for folder, run in zip(folders, runs, strict=True)]
    answers = [predicted_by(*member, test_pixels) for member in zip(checkpoints, folders, strict=True)]
    expected = averaged(np.stack(answers)).astype(np.float32)
    about = {"ensemble": json.dumps({"members": len(runs), "seeds": [run.seed for run in runs]})}
    with written(to) as fresh:
        (fresh / LABELS).write_text(json.dumps(checkpoints[0].class_names, indent=2) + "\n", encoding="utf-8")
        with exporters_quiet():
            program = captured(Ensemble(checkpoints), checkpoints[0].config.size)
            model = to_onnx(program, about_model(checkpoints[0], facts) | about)
        (fresh / ENSEMBLE).write_bytes(model.SerializeToString())
        parities, _, latencies = measured(fresh, (ENSEMBLE,), expected, test_pixels, None, announce)
        write_ensemble_card(fresh, facts, parities[0], latencies)
    return ExportReport(to, tuple(parities), None, tuple(latencies), time.perf_counter() - start)
