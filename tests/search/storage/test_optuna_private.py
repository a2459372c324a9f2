"""What is used of Optuna's private names is there, in the form in which it is used: a release that changes one is known
here by its name.
"""

import inspect
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.samplers import GPSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from search.storage import optuna_private
from search.storage.optuna_private import (
    SCHEMA,
    CachedStorage,
    SearchSpaceTransform,
    StudyInfo,
    VersionManager,
    create_scoped_session,
    enqueued_values,
    pop_waiting,
    set_trial_system_attr,
    storage_of,
    stored,
    study_id,
    trial_id,
    wait_again,
    with_id,
)

MODELS = {  # columns that are read and written
    "StudyModel": {"study_id", "study_name"},
    "StudyUserAttributeModel": {"study_id", "key", "value_json"},
    "TrialIntermediateValueModel": {"trial_id", "step", "intermediate_value", "intermediate_value_type"},
    "TrialModel": {"trial_id", "study_id", "number", "state", "datetime_start", "datetime_complete"},
    "TrialParamModel": {"trial_id", "param_name", "param_value", "distribution_json"},
    "TrialSystemAttributeModel": {"trial_id", "key", "value_json"},
    "TrialUserAttributeModel": {"trial_id", "key", "value_json"},
    "TrialValueModel": {"trial_id", "objective", "value", "value_type"},
}
ARGUMENTS = [  # method -> its arguments, as they are given or overridden here
    (CachedStorage.__init__, ["self", "backend"]),
    (CachedStorage._add_trials_to_cache, ["self", "study_id", "trials"]),
    (CachedStorage._get_cached_trial, ["self", "trial_id"]),
    (CachedStorage._read_trials_from_remote_storage, ["self", "study_id"]),
    (
        RDBStorage._set_trial_param,
        ["self", "trial_id", "param_name", "param_value_internal", "distribution", "previous_distribution"],
    ),
    (RDBStorage._get_trials, ["self", "study_id", "states", "included_trial_ids", "trial_id_greater_than"]),
    (RDBStorage._get_prepared_new_trial, ["self", "study_id", "template_trial", "session"]),
    (TPESampler._sample, ["self", "study", "trial", "search_space"]),
    (TPESampler._get_internal_repr, ["self", "trials", "search_space", "study"]),
    (TPESampler._get_params, ["self", "trial", "study"]),
    (optuna.Study._get_trials, ["self", "deepcopy", "states", "use_cache"]),
    (create_scoped_session, ["scoped_session", "ignore_integrity_error"]),
]


@pytest.mark.parametrize("name", MODELS)
def test_the_tables_have_the_columns(name: str) -> None:
    assert MODELS[name] <= set(getattr(optuna_private, name).__table__.columns.keys())


@pytest.mark.parametrize(("method", "arguments"), ARGUMENTS, ids=lambda part: getattr(part, "__qualname__", ""))
def test_the_methods_take_the_arguments(method: object, arguments: list[str]) -> None:
    assert list(inspect.signature(method).parameters) == arguments  # type: ignore[arg-type]


def test_a_cached_storage_has_the_attributes() -> None:
    with_cache = CachedStorage(RDBStorage("sqlite://"))
    assert isinstance(with_cache._backend, RDBStorage)
    assert with_cache._studies == {}
    assert with_cache._trial_id_to_study_id_and_number == {}
    assert StudyInfo().trials == {}
    assert StudyInfo().unfinished_trial_ids == set()
    with_cache._backend.engine.dispose()


def test_a_gp_sampler_has_the_number_of_random_trials() -> None:
    assert GPSampler(n_startup_trials=7)._n_startup_trials == 7


def test_the_known_schema_is_that_of_this_optuna_and_needs_no_alembic() -> None:
    backend = RDBStorage("sqlite://")
    assert backend.get_head_version() == backend.get_current_version() == SCHEMA
    backend.engine.dispose()


def test_another_schema_is_refused_by_optuna(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    RDBStorage(url).engine.dispose()
    with closing(sqlite3.connect(tmp_path / "studies.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    with pytest.raises(RuntimeError, match="optuna storage upgrade"):
        RDBStorage(url)


def test_a_version_manager_checks_the_tables() -> None:
    backend = RDBStorage("sqlite://")
    manager = VersionManager(backend.url, backend.engine, backend.scoped_session)
    manager.check_table_schema_compatibility()
    backend.engine.dispose()


def test_a_transform_goes_to_the_unit_cube_and_back() -> None:
    space: dict[str, optuna.distributions.BaseDistribution] = {"x": optuna.distributions.FloatDistribution(1, 3)}
    transform = SearchSpaceTransform(space, transform_0_1=True)
    assert transform.transform({"x": 2.0}).tolist() == [0.5]


def test_trials_wait_and_are_popped(tmp_path: Path) -> None:
    backend = RDBStorage(f"sqlite:///{tmp_path}/studies.db")
    study = optuna.create_study(storage=backend)
    study.enqueue_trial({"x": 0.5})
    trial = pop_waiting(study)
    assert trial is not None
    assert pop_waiting(study) is None
    assert enqueued_values(stored(trial)) == {"x": 0.5}
    set_trial_system_attr(trial, "key", [1])
    assert stored(trial).system_attrs["key"] == [1]
    assert storage_of(study).get_trial(trial_id(trial)).state == TrialState.RUNNING
    assert storage_of(study).get_study_name_from_id(study_id(study)) == study.study_name
    wait_again(study, trial)
    assert study.trials[0].state == TrialState.WAITING
    assert enqueued_values(stored(study.ask())) == {"x": 0.5}
    assert enqueued_values(stored(study.ask())) is None
    backend.engine.dispose()


def test_a_trial_can_stand_for_another_one() -> None:
    trial = with_id(create_trial(state=TrialState.FAIL), 7, 2)
    assert (trial.number, trial_id(trial)) == (2, 7)
