"""What a study knows of the model that it exports, gathered for its card; the test split is not opened for it."""

import zipfile
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState

from fmnist.metrics import Ints
from search.calibration import calibration
from search.errors import SearchError
from search.model_card import Budget, ModelFacts
from search.records import Confirmation, DataRecord, Environment, Final, Timing
from search.study import finished_trials, read, study_folder, study_spec


@dataclass(frozen=True, eq=False)
class Tested:
    """What the exported model answered when the test split was opened, with the labels.

    Shape: labels [N], probabilities [N, C].
    """

    labels: Ints
    probabilities: NDArray[np.float32]


def read_tested(study: optuna.Study, final: Final) -> Tested | None:
    """The answers that the study kept at its end; None where that file is gone.

    Raises: SearchError where the file is not that of the study's final model.
    """
    path = study_folder(study.study_name) / "final" / "predictions.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:  # of a damaged file, NumPy leaves its own open
            labels, probabilities = kept["labels"], kept["probabilities"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise SearchError(f"{path} must hold the final answers; it cannot be read: {error}. Delete it, to export without them.") from None
    if (
        probabilities.shape != (len(final.runs), final.test_images, len(final.classes))
        or labels.shape != (final.test_images,)
        or not set(np.unique(labels)) <= set(range(len(final.classes)))
    ):
        raise SearchError(f"{path} must hold the answers of the study's {len(final.runs)} final models. Delete it, to export without them.")
    seeds = [run.seed for run in final.runs]
    return Tested(labels, probabilities[seeds.index(final.exported_seed)])


def read_facts(study: optuna.Study, final: Final, data: DataRecord, tested: Tested | None, toml: str) -> ModelFacts:
    """All that the card says."""
    environments = study.user_attrs.get("environments", [])
    return ModelFacts(
        study=study.study_name,
        data=data,
        final=final,
        environment=Environment.model_validate(environments[-1], strict=False) if environments else None,
        toml=toml,
        budget=_budget(study) if final.trial is not None else None,
        calibration_error=_calibration_error(tested) if tested else None,
    )


def _calibration_error(tested: Tested) -> float:
    sure, likeliest = tested.probabilities.max(axis=1), tested.probabilities.argmax(axis=1)
    return calibration(sure, likeliest == tested.labels).error


def _budget(study: optuna.Study) -> Budget:
    trials, spec = finished_trials(study), study_spec(study)
    states = [trial.state for trial in trials]
    timing = read(study, "timing", Timing) or Timing()
    confirmation = read(study, "confirmation", Confirmation) or Confirmation(candidates=())
    return Budget(
        trials=len(trials),
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        sampler=spec.search.sampler,
        pruner=spec.search.pruner,
        confirmed=len(confirmation.candidates),
        fresh_seeds=max((len(one.runs) for one in confirmation.candidates), default=0),
        search_seconds=timing.search,
        all_seconds=timing.search + timing.confirm + timing.finalize,
    )
