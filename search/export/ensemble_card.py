"""The description of an exported ensemble: MODEL_CARD.md for people and metrics.json for programs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.export.formats import ENSEMBLE
from search.export.latency import Latency
from search.export.model_card import CARD, ModelFacts, file_rows, latency_facts, render, tested_on
from search.export.parity import Parity
from search.study.paths import METRICS
from search.study.records import EnsembleScore


def write_ensemble_card(folder: Path, facts: ModelFacts, parity: Parity, latencies: Sequence[Latency]) -> None:
    """Write MODEL_CARD.md and metrics.json of the ensemble to `folder`; `facts.final.ensemble` must be there."""
    final, score = facts.final, facts.final.ensemble
    assert score is not None, "the caller has the score of the ensemble"
    metrics = json.dumps(_metrics(facts, score, parity, latencies), indent=2, allow_nan=False)
    (folder / METRICS).write_text(metrics + "\n", encoding="utf-8")
    text = render(
        "ENSEMBLE_CARD.md.j2",
        facts,
        score=score,
        file=file_rows([parity], None, latencies)[0],
        compared=parity.images,
        speed=latency_facts(latencies),
        loaded=ENSEMBLE,
        parameters=score.members * final.parameters,
        flops=score.members * final.flops,
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def _metrics(facts: ModelFacts, score: EnsembleScore, parity: Parity, latencies: Sequence[Latency]) -> dict[str, Any]:
    """Return the metrics; all but `members` are of the ensemble as a whole."""
    final = facts.final
    return {
        "kind": "ensemble",
        **tested_on(facts),
        "macro_f1": score.macro_f1,
        "accuracy": score.accuracy,
        "interval": [score.low, score.high],
        "level": final.level,
        "calibration_error": facts.calibration_error,
        "members": [{"seed": run.seed, "macro_f1": run.macro_f1, "accuracy": run.accuracy} for run in final.runs],
        "parameters": score.members * final.parameters,
        "flops": score.members * final.flops,
        "bytes": parity.bytes,
        "parity": [parity.as_json()],
        "latency": latency_facts(latencies),
    }
