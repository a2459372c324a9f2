"""The winner of a study as a study of its own. No torch."""

from collections.abc import Mapping
from typing import Final, Literal

from optuna.study import StudyDirection

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.storage.trial_record import TrialRecord
from search.study.records import Confirmation
from search.study.spec import StudySpec, pinned_spec
from search.study.study import Study
from search.study.trials import best_complete

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
    if study.optuna.directions != [StudyDirection.MAXIMIZE]:
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
