"""Change the space of a study whose search has begun; it keeps its trials, and goes on in the new space."""

from importlib.metadata import version
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.storage.foreign import SPEC
from search.storage.optuna_private import trial_id
from search.storage.own_trials import OwnTrials
from search.storage.trial_record import OUTSIDE, TrialRecord, text_attributes
from search.study.coordinators import require_no_run
from search.study.drift import require_same_data
from search.study.environment import now
from search.study.extension import Extension, require_extensible, space_changes
from search.study.records import Confirmation, DataRecord, Final, SearchEnd
from search.study.space import Space, distribution
from search.study.spec import StudySpec
from search.study.study import TOOLKIT, Study, load_study
from search.terminal.wording import counted

Parameters = dict[str, tuple[float, BaseDistribution]]


def check_extension(study: Study, spec: StudySpec, data: DataRecord) -> None:
    """Require that the study can go on with the space of `spec`.

    Raises: SearchError with the reason.
    """
    if study.read(Final) is not None and space_changes(study.spec.space, spec.space):
        from_it = f" --from {study.name}" if spec.search.pruner == "freeze-thaw" else ""
        raise SearchError(
            f"The study {study.name!r} is finished and its test split was opened: choosing again after the test would "
            f"bias its score. Search the new space as a new study: leave out --extend, and give --name NAME{from_it}."
        )
    toolkit = version("fmnist-search")
    require_extensible(study.spec, spec, made_by=study.attributes.get(TOOLKIT, toolkit), version=toolkit)
    if stored := study.read(DataRecord):
        require_same_data(study.name, stored, data)


def extend(storage: OwnTrials, spec: StudySpec, data: DataRecord) -> str | None:
    """Give the study the space of `spec`, in one transaction; return what a person should know, None if nothing
    changes.

    Trials in the new space are from then on like those that the study would have had in it, with its parameters and
    ranges. The others keep theirs, are marked, and are no candidates.

    Raises: SearchError if the study cannot go on with it. StorageLostError.
    """
    study = load_study(storage, spec.name)
    with study.locked():
        check_extension(study, spec, data)
        changes = space_changes(study.spec.space, spec.space)
        if not changes:
            study.note_spec(spec)  # which may say the same in another way, or have another budget
            return None
        require_no_run(study)
        begun = [trial for trial in study.trials() if TrialRecord(trial).config is not None]
        reasons = {trial.number: "; ".join(spec.space.errors(_config(trial))) for trial in begun}
        outside = tuple(number for number, reason in reasons.items() if reason)
        extension = Extension(at=now(), trials=len(study.trials()), changes=changes, outside=outside)
        storage.change_trials(
            study.id,
            {trial_id(trial): _parameters(trial, spec.space) for trial in begun if not reasons[trial.number]},
            {(trial_id(trial), key): text for trial in begun for key, text in _outside(reasons[trial.number]).items()},
            _records(study, spec, extension),
        )
    return in_words(extension, len(begun))


def in_words(extension: Extension, begun: int) -> str:
    """Return what an extension changes, and how many of the trials that had `begun` it leaves out."""
    text = f"The space is changed: {'; '.join(extension.changes)}."
    if not extension.outside:
        return f"{text} All {counted(begun, 'trial')} so far lie in it." if begun > 1 else text
    numbers = ", ".join(map(str, extension.outside))
    return (
        f"{text} Outside it, and no candidates, are {len(extension.outside)} of {counted(begun, 'trial')}: {numbers}."
    )


def _config(trial: FrozenTrial) -> dict[str, Any]:
    config = TrialRecord(trial).config
    assert config is not None
    return TrialConfig.parse(config, context=f"trial {trial.number}").model_dump()


def _parameters(trial: FrozenTrial, space: Space) -> Parameters:
    config, distributions = _config(trial), {name: distribution(knob) for name, knob in space.knobs.items()}
    return {name: (each.to_internal_repr(config[name]), each) for name, each in distributions.items()}


def _outside(reason: str) -> dict[str, str | None]:
    return {**text_attributes(OUTSIDE, reason)} if reason else {OUTSIDE: None}


def _records(study: Study, spec: StudySpec, extension: Extension) -> dict[str, Any]:
    """Return the study's attributes that change; None for one that is deleted."""
    records = {
        SPEC: spec.model_dump(mode="json"),
        Extension.KEY: [one.model_dump(mode="json") for one in (*study.read_all(Extension), extension)],
        SearchEnd.KEY: None,  # it ended with nothing more to gain in the earlier space
    }
    if before := study.read(Confirmation):  # the winner is chosen again
        candidates = tuple(one for one in before.candidates if one.trial not in extension.outside)
        now_open = Confirmation(candidates=candidates, dropped=before.dropped)
        records[Confirmation.KEY] = now_open.model_dump(mode="json")
    return records
