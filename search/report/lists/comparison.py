"""The answer of `fmnist-search compare`."""

from dataclasses import asdict

from pydantic import JsonValue

from fmnist.knobs import Choice
from fmnist.metrics import Difference
from search.report.comparison import Comparison, Tested
from search.report.comparison_tables import differences_table, scores_table, spaces_table
from search.report.lists.answer import Answer, Facts

KEYS = (
    *("study", "final", "final_sd", "final_low", "final_high", "level", "seeds"),
    *("difference", "difference_low", "difference_high"),
    *("parameters", "flops", "training_seconds", "seconds", "test_images"),
    *("confirmed", "confirmed_sd", "confirmed_seeds", "best", "optimism"),
    *("trials", "openings", "file_bytes", "latency_ms", "job_seconds"),
)


def comparison_answer(comparison: Comparison) -> Answer:
    """Return the scores, the differences from the first study, and how the spaces differ."""
    pairs = zip(comparison.studies, (None, *comparison.differences), strict=True)
    rows = [_row(study, difference) for study, difference in pairs]
    tables = [scores_table(comparison), differences_table(comparison), spaces_table(comparison)]
    document: list[dict[str, JsonValue]] = [
        {**row, "knobs": {name: _knob(study, name) for name in comparison.differing_knobs}}
        for study, row in zip(comparison.studies, rows, strict=True)
    ]
    return Answer(tables, KEYS, rows, document)


def _row(study: Tested, difference: Difference | None) -> Facts:
    final, records, exported = study.final, study.records, study.exported
    confirmed, optimism, states = records.confirmed, records.optimism, records.states
    return {
        "study": study.name,
        "final": final.mean,
        "final_sd": final.sd,
        "final_low": final.low,
        "final_high": final.high,
        "level": final.level,
        "seeds": len(final.runs),
        "difference": difference.value if difference else None,
        "difference_low": difference.low if difference else None,
        "difference_high": difference.high if difference else None,
        "parameters": final.parameters,
        "flops": final.flops,
        "training_seconds": sum(run.seconds for run in final.runs),
        "seconds": records.timing.total,
        "test_images": final.test_images,
        "confirmed": confirmed.mean if confirmed else None,
        "confirmed_sd": confirmed.sd if confirmed else None,
        "confirmed_seeds": confirmed.seeds if confirmed else 0,
        "best": records.best,
        "optimism": optimism.difference if optimism else None,
        "trials": states.complete + states.pruned + states.failed,
        "openings": len(records.openings),
        "file_bytes": exported.bytes if exported else None,
        "latency_ms": exported.milliseconds if exported else None,
        "job_seconds": records.timing.job or None,
    }


def _knob(study: Tested, name: str) -> dict[str, JsonValue]:
    """Return the winner's value and what it was searched in: a list, or a range; None if it is pinned."""
    searched: JsonValue = None
    if (knob := study.space.knobs.get(name)) is not None:
        searched = [*knob.options] if isinstance(knob, Choice) else asdict(knob)
    return {"value": study.value_of(name), "searched": searched}
