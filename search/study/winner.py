"""The winner of a study as a study of its own. No torch."""

from collections.abc import Mapping
from typing import Final, Literal

from optuna.study import StudyDirection

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.storage.foreign import SPEC
from search.storage.trial_record import TrialRecord
from search.study.front import LatencyModel
from search.study.records import Confirmation, DataRecord
from search.study.sections import LimitsSection
from search.study.spec import StudySpec, pinned_spec
from search.study.study import Study
from search.study.trials import best_complete, complete_trials, value_of

NONE = Confirmation(candidates=())
WINNER: Final = "winner"
BEST_TRIAL: Final = "best trial"
Standing = Literal["winner", "best trial"]
Standings = Mapping[int, Standing]  # number of a trial -> what it is


def standings(winner: int | None, best: int | None) -> Standings:
    """Map the numbers of the confirmed winner and the search's best trial to these words, the winner first.

    Where one trial is both, it is the winner.
    """
    words: dict[int, Standing] = {} if winner is None else {winner: WINNER}
    if best is not None:
        words.setdefault(best, BEST_TRIAL)
    return words


def standings_in(study: Study) -> Standings:
    """Return the standings of the study's trials.

    Raises: SearchError if this version cannot read the study's confirmation.
    """
    if SPEC not in study.attributes and study.optuna.directions != [StudyDirection.MAXIMIZE]:
        return {}  # another program's study, whose values are no scores
    confirmation, best = study.read(Confirmation), best_complete(study.trials())
    return standings(confirmation.winner if confirmation else None, best.number if best else None)


def winning_spec(study: Study) -> StudySpec:
    """Return a study that trains the winner without a search.

    Raises: SearchError if no trial is complete, or another program added the best one.
    """
    spec = study.spec
    number, config = winner(study)
    subject = "The winner" if is_confirmed(study) else f"Trial {number}, the best trial so far and not confirmed,"
    other = study.other_toolkit
    caution = f" Found by version {other} of fmnist-search, in which some knobs had another meaning." if other else ""
    return pinned_spec(f"{study.name}-best", config, spec, f"{subject} of the study {study.name}.{caution}")


def spec_of_trial(study: Study, number: int) -> StudySpec:
    """Return a study that trains the configuration of a trial without a search.

    Raises: SearchError if another program added the trial.
    """
    config = _configuration(study, number)[1]
    return pinned_spec(f"{study.name}-trial-{number}", config, study.spec, f"Trial {number} of the study {study.name}.")


def spec_within(study: Study, limits: LimitsSection) -> StudySpec:
    """Return a study that trains the best configuration within the limits without a search.

    It is the best candidate on fresh seeds, if the best complete trial there is a candidate, and otherwise that trial.

    Raises: SearchError if no complete trial is within the limits.
    """
    from search.study.costs import costs_of  # imports torch
    from search.study.limits import constraints_of, over

    data, spec, latency = study.read(DataRecord), study.spec, study.read(LatencyModel)
    if limits.max_latency_ms is not None and latency is None:
        why = "has not measured it yet" if "latency_ms" in spec.search.against else "does not search against latency_ms"
        raise SearchError(
            f"The study {study.name!r} {why}, so the latency of its networks is not known. Give --max-flops instead, "
            "or run a study with --against latency_ms."
        )
    means = {one.trial: one.mean for one in (study.read(Confirmation) or NONE).candidates if one.runs}
    values, excesses = dict[int, float](), list[float]()  # values best first
    for trial in complete_trials(study):
        if data is None or TrialRecord(trial).config is None:
            continue
        config = spec.final.deployed(_configuration(study, trial.number)[1])
        excess = constraints_of(limits, config, len(data.class_names))
        if latency is not None:
            (milliseconds,) = costs_of(("latency_ms",), config, len(data.class_names), latency)
            excess |= over(milliseconds, limits)
        excesses.append(max(excess.values()))
        if excesses[-1] <= 0:
            values[trial.number] = value_of(trial) or 0.0
    asked = ", ".join(f"{name} {limit:,}" for name, limit in limits.model_dump(exclude_none=True).items())
    if not values:
        nearest = f"; the nearest one is {min(excesses):.0%} over" if excesses else ""
        raise SearchError(f"No complete trial of the study {study.name!r} is within {asked}{nearest}.")
    best, basis = next(iter(values)), f"{next(iter(values.values())):.4f} in the search, not confirmed"
    if best in means:
        best = max(means.keys() & values.keys(), key=lambda number: means[number])
        basis = f"{means[best]:.4f} on fresh seeds"
    subject = f"Trial {best} of the study {study.name}: the best within {asked}, {basis}."
    return pinned_spec(f"{study.name}-trial-{best}", _configuration(study, best)[1], spec, subject)


def is_confirmed(study: Study) -> bool:
    """Whether the confirm stage has chosen the study's winner."""
    confirmation = study.read(Confirmation)
    return confirmation is not None and confirmation.winner is not None


def winner(study: Study) -> tuple[int, TrialConfig]:
    """Return number and configuration of the confirmed winner, or else of the best trial so far.

    Raises: SearchError if no trial is complete, or another program added the best one.
    """
    confirmation = study.read(Confirmation)
    if confirmation is None or confirmation.winner is None:
        return best_trial(study)
    return _configuration(study, confirmation.winner)


def best_trial(study: Study) -> tuple[int, TrialConfig]:
    """Return number and configuration of the best trial of the search.

    Raises: SearchError if no trial is complete, or another program added the best one.
    """
    best = best_complete(study.trials())
    if best is None:
        raise SearchError(f"The study {study.name!r} has no complete trial yet, so no best configuration.")
    return _configuration(study, best.number)


def _configuration(study: Study, number: int) -> tuple[int, TrialConfig]:
    config = TrialRecord(study.trials()[number]).config
    if config is None:
        raise SearchError(
            f"Trial {number} of the study {study.name!r} was added by another program: it holds no configuration."
        )
    return number, TrialConfig.parse(config, context=f"trial {number}")
