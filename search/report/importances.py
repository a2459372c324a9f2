"""What the score of a study depends on: the importances of its knobs."""

import math
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.samplers.inside import inside
from search.storage.trial_record import TrialRecord
from search.study.chance import nothing_learned
from search.study.record import Record
from search.study.records import DataRecord
from search.study.study import Study
from search.study.trials import value_of

EVALUATOR = "a random forest (mean decrease of impurity)"
ENOUGH_FOR_IMPORTANCES = 4  # complete trials; with fewer, a random forest only fits noise
SAME_SCORE = 1e-6  # with a smaller spread of values, there is no variation to explain


class Importances(Record):
    """The share of the score's variation that each knob explains, largest first; or why there is none."""

    shares: dict[str, float]
    absent: str | None


def read_importances(study: Study, trials: Sequence[FrozenTrial], data: DataRecord | None) -> Importances:
    """Return the importances of the study's knobs, or why there are none."""
    scored = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and math.isfinite(value_of(trial) or 0.0)
        and TrialRecord(trial).outside is None
    ]
    absent = _why_no_importances(scored, data)
    return Importances(shares={} if absent else _shares(study), absent=absent)


def _why_no_importances(scored: Sequence[FrozenTrial], data: DataRecord | None) -> str | None:
    if len(scored) < ENOUGH_FOR_IMPORTANCES:
        return f"{len(scored)} of the {ENOUGH_FOR_IMPORTANCES} complete trials that importances need"
    values = [value_of(trial) or 0.0 for trial in scored]
    if data is not None and nothing_learned(max(values), data):
        return "no trial is better than random answers"
    if max(values) - min(values) < SAME_SCORE:
        return "every complete trial scored the same"
    shared = optuna.search_space.intersection_search_space(list(scored))
    if not any(len({trial.params[name] for trial in scored}) > 1 for name in shared):
        return "no knob varies over all complete trials"
    return None


def _shares(study: Study) -> dict[str, float]:
    # Mean decrease of impurity uses every complete trial. PED-ANOVA, Optuna's default, uses the best tenth, which is
    # two of 20 trials; fANOVA raises an error if its trees have nothing to split. Both suit larger studies.
    evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(
        inside(study.optuna), evaluator=evaluator, target=lambda trial: trial.values[0]
    )
    return {name: float(share) for name, share in shares.items()}
