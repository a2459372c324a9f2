"""All studies of a storage on one table."""

from collections import Counter
from collections.abc import Sequence

import optuna
import rich.table
from optuna.trial import TrialState
from rich import box
from rich.console import Console

from search.records import Confirmation, Final
from search.study import FINISHED, complete_trials, read, study_spec
from search.wording import f1


def print_status(studies: Sequence[optuna.Study], console: Console) -> None:
    """A line a study is on `console`: its stage, its trials, the best value of its search and its final score."""
    table = rich.table.Table(box=box.SIMPLE_HEAD)
    for heading in ("study", "stage", "trials", "running", "best in search", "test macro F1"):
        table.add_column(heading, justify="left" if heading in ("study", "stage") else "right")
    for study in studies:
        table.add_row(*_row(study))
    console.print(table)


def _row(study: optuna.Study) -> tuple[str, ...]:
    states = Counter(trial.state for trial in study.get_trials(deepcopy=False))
    done = sum(states[state] for state in FINISHED)
    planned = study_spec(study).search.trials if "spec" in study.user_attrs else None  # None where others made it
    best, final = complete_trials(study)[:1], read(study, "final", Final)
    spread = f" ± {f1(final.sd)}" if final and final.sd is not None else ""
    return (
        study.study_name,
        _stage(study, final, planned is not None and done >= planned),
        f"{done}/{planned or '-'}",
        str(states[TrialState.RUNNING] + states[TrialState.WAITING]),
        f1(best[0].value) if best else "-",
        f1(final.mean) + spread if final else "-",
    )


def _stage(study: optuna.Study, final: Final | None, searched: bool) -> str:
    if final is not None:
        return "finished"
    confirmation = read(study, "confirmation", Confirmation)
    if confirmation is not None:
        return "final training" if confirmation.winner is not None else "confirm"
    return "searched" if searched else "search"
