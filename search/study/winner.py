"""The winner of a study as a study of its own. No torch."""

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.storage.trial_record import TrialRecord
from search.study.records import Confirmation
from search.study.spec import StudySpec, pinned_spec
from search.study.study import Study
from search.study.trials import complete_trials


def winning_spec(study: Study) -> StudySpec:
    """A study that trains the winner without a search.

    Raises: SearchError where no trial is complete, or another program made the best one.
    """
    spec = study.spec
    number, config = winner(study)
    said = "The winner" if is_confirmed(study) else f"Trial {number}, the best so far and not confirmed,"
    return pinned_spec(f"{study.name}-best", config, spec, f"{said} of the study {study.name}.")


def is_confirmed(study: Study) -> bool:
    """Whether the study has chosen its winner, after the search and the confirm stage."""
    confirmation = study.read(Confirmation)
    return confirmation is not None and confirmation.winner is not None


def winner(study: Study) -> tuple[int, TrialConfig]:
    """The winning trial's number and configuration: confirmed if it is, else the best of the search so far.

    Raises: SearchError where no trial is complete, or another program made the best one.
    """
    confirmation = study.read(Confirmation)
    if confirmation is None or confirmation.winner is None:
        return best_trial(study)
    return _configuration(study, confirmation.winner)


def best_trial(study: Study) -> tuple[int, TrialConfig]:
    """The best trial of the search, by its one score: its number and configuration.

    Raises: SearchError where no trial is complete, or another program made the best one.
    """
    complete = complete_trials(study)
    if not complete:
        raise SearchError(f"The study {study.name!r} has no complete trial yet, so no best configuration.")
    return _configuration(study, complete[0].number)


def _configuration(study: Study, number: int) -> tuple[int, TrialConfig]:
    config = TrialRecord(study.trials()[number]).config
    if config is None:
        raise SearchError(
            f"Trial {number} of the study {study.name!r} was added by another program: it holds no configuration."
        )
    return number, TrialConfig.parse(config, where=f"trial {number}")
