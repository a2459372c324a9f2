"""The facts on an exported model, gathered from its study for the card; the test split is not opened."""

from optuna.trial import TrialState

from search.export.model_card import Budget, ModelFacts
from search.report.calibration import calibration, error_without, fitted_on
from search.study.ownership import identity_of
from search.study.predictions import Predictions
from search.study.records import Confirmation, DataRecord, Environment, Final, Timing
from search.study.study import Study
from search.study.trials import finished_trials


def read_facts(study: Study, final: Final, data: DataRecord, tested: Predictions | None, toml: str) -> ModelFacts:
    """Read the facts for the card."""
    environments, temperature = study.read_all(Environment), final.temperature
    return ModelFacts(
        study=study.name,
        data=data,
        final=final,
        environment=environments[-1] if environments else None,
        toml=toml,
        other_toolkit=study.other_toolkit,
        budget=_budget(study) if final.trial is not None else None,
        identity=identity_of(study),
        calibration_error=calibration(tested.confidence, tested.is_right).error if tested else None,
        error_without_temperature=error_without(temperature, tested) if tested and temperature else None,
        fitted_on=fitted_on(final.trial, _fresh_seeds(study, final.trial)) if temperature else None,
    )


def _fresh_seeds(study: Study, trial: int | None) -> int:
    candidates = (study.read(Confirmation) or Confirmation(candidates=())).candidates
    return next((len(candidate.runs) for candidate in candidates if candidate.trial == trial), 0)


def _budget(study: Study) -> Budget:
    trials, spec = finished_trials(study), study.spec
    states = [trial.state for trial in trials]
    timing = study.read(Timing) or Timing()
    confirmation = study.read(Confirmation) or Confirmation(candidates=())
    return Budget(
        trials=len(trials),
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        sampler=spec.search.sampler,
        pruner=spec.search.pruner,
        confirmed=len(confirmation.candidates),
        fresh_seeds=max((len(candidate.runs) for candidate in confirmation.candidates), default=0),
        search_seconds=timing.search,
        all_seconds=timing.total,
    )
