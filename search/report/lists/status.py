"""The studies of a storage with their stage and best scores."""

from collections import Counter
from collections.abc import Sequence

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.errors import SearchError
from search.report.lists.answer import Answer, Facts, Value
from search.storage.trial_record import TrialRecord
from search.study.budget import is_searched
from search.study.records import Confirmation, Final, Timing
from search.study.study import Study
from search.study.trials import FINISHED, value_of
from search.terminal.table import Table
from search.terminal.wording import duration, f1

KEYS = (
    *("study", "stage", "done", "budget", "refused", "running", "waiting", "best", "best_trial"),
    *("final", "final_sd", "final_low", "final_high", "ensemble", "seconds"),
)
UNREADABLE = "unreadable"  # the stage of a study with records of another version


def status(studies: Sequence[Study]) -> Answer:
    """Return a row for each study: stage, trials, best search value, final score with its interval, and time."""
    rows = [_row(study) for study in studies]
    if not rows:
        return Answer([Table("Studies", caption="None yet. `fmnist-search run` makes one.")], KEYS, rows)
    counts = [key for key in ("refused", "running", "waiting") if any(row[key] for row in rows)]
    ensembles = ["ensemble"] if any(row.get("ensemble") for row in rows) else []
    heads = {key: key for key in ("study", "stage", "trials", *counts, "best", "final", *ensembles, "seconds")} | {
        "final": "test macro F1",
        "seconds": "time",
    }
    cells = [
        (
            str(row["study"]),
            str(row["stage"]),
            f"{row['done']}/{row.get('budget') or '-'}",
            *(str(row[key]) for key in counts),
            f1(_number(row["best"])),
            _final(row),
            *(f1(_number(row.get(key))) for key in ensembles),
            _time(row),
        )
        for row in rows
    ]
    caption = "Best: validation macro F1 of one seed. Time: wall clock of search, confirm and final, over all runs."
    if ensembles:
        caption += " Ensemble: test macro F1 of the networks of all final seeds, averaged; it is no single network."
    if UNREADABLE in {row["stage"] for row in rows}:
        caption += " An unreadable study has records that this version cannot read."
    spare = tuple(
        map(list(heads).index, ("trials", "best", "final", "stage", "seconds", *ensembles, *reversed(counts)))
    )
    return Answer([Table("Studies", tuple(heads.values()), cells, caption, frozenset({0, 1}), spare=spare)], KEYS, rows)


def _row(study: Study) -> Facts:
    trials = [trial for trial in study.trials() if TrialRecord(trial).foreign is None]
    states = Counter(trial.state for trial in trials)
    refused = sum(TrialRecord(trial).is_refused for trial in trials if trial.state in FINISHED)
    done = sum(states[state] for state in FINISHED) - refused
    best = _best(study, trials)
    facts: dict[str, Value] = {
        "study": study.name,
        "done": done,
        "refused": refused,
        "running": states[TrialState.RUNNING],
        "waiting": states[TrialState.WAITING],
        "best": value_of(best) if best else None,
        "best_trial": best.number if best else None,
    }
    try:
        return facts | _records(study)
    except SearchError:
        return facts | {"stage": UNREADABLE}


def _records(study: Study) -> dict[str, Value]:
    spec = study.spec if "spec" in study.attributes else None  # another program's study has none
    budget = spec.trials if spec else None
    final, timing = study.read(Final), study.read(Timing)
    return {
        "stage": _stage(study, final, spec is not None and is_searched(study, spec)),
        "budget": budget,
        "final": final.mean if final else None,
        "final_sd": final.sd if final else None,
        "final_low": final.low if final else None,
        "final_high": final.high if final else None,
        "ensemble": final.ensemble.macro_f1 if final and final.ensemble else None,
        "seconds": timing.total if timing else None,
    }


def _best(study: Study, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    scored = [trial for trial in trials if trial.state == TrialState.COMPLETE and value_of(trial) is not None]
    if not scored:
        return None
    # Another program's study may minimise.
    sign = -1 if study.optuna.directions[0] == StudyDirection.MINIMIZE else 1
    return max(scored, key=lambda trial: sign * (value_of(trial) or 0.0))


def _stage(study: Study, final: Final | None, searched: bool) -> str:
    if final is not None:
        return "finished"
    confirmation = study.read(Confirmation)
    if confirmation is None or not searched:  # with a larger budget the search goes on, and its candidates are kept
        return "searched" if searched else "search"
    return "final training" if confirmation.winner is not None else "confirm"


def _number(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _final(row: Facts) -> str:
    final, low, high = (_number(row.get(key)) for key in ("final", "final_low", "final_high"))
    return "-" if final is None else f"{f1(final)} [{f1(low)}, {f1(high)}]"


def _time(row: Facts) -> str:
    seconds = _number(row.get("seconds"))
    return "-" if seconds is None else duration(seconds)
