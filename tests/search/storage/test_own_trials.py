"""What OwnTrials remembers is what stands in the database, for whoever else reads it."""

from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.job.search import put_back
from search.storage.opening import open_storage
from search.study.study import Study

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("suggest"), st.sampled_from("abc")),
        st.tuples(st.just("choose"), st.sampled_from("xy")),
        st.tuples(st.just("report"), st.integers(1, 5)),
        st.tuples(st.just("note"), st.sampled_from("pq")),
        st.tuples(st.just("constrain"), st.sampled_from("uv")),
    ),
    max_size=12,
)


@pytest.fixture(autouse=True)
def _nothing_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.storage.own_trials.STALE_SECONDS", 0.0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/trials.db"


def own_study(url: str, name: str = "s") -> optuna.Study:
    storage = open_storage(url, create=True)
    return optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)


def in_the_database(url: str, name: str = "s") -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=RDBStorage(url)).get_trials()


def act(trial: optuna.Trial, steps: list[tuple[str, str | int]]) -> None:
    for verb, what in steps:
        match verb:
            case "suggest":
                trial.suggest_float(str(what), 0.1, 10, log=True)
            case "choose":
                trial.suggest_categorical(str(what), [1, 2, 3])
            case "report" if what not in trial.storage.get_trial(trial._trial_id).intermediate_values:
                trial.report(0.5 + int(what) / 100, step=int(what))
                trial.should_prune()
            case "note":
                trial.set_user_attr(str(what), {"nested": [1, 2, len(trial.params)]})
            case "constrain":
                trial.storage.set_trial_system_attr(trial._trial_id, str(what), [0.5])


@pytest.mark.slow
@given(trials=st.lists(STEPS, min_size=1, max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_trials_read_the_same_from_memory_and_from_the_database(
    trials: list[list[tuple[str, str | int]]], url: str
) -> None:
    name = f"study {len(optuna.get_all_study_names(open_storage(url, create=True)))}"
    study = own_study(url, name)
    running = [study.ask() for _ in trials]
    for trial, steps in zip(running, trials, strict=True):
        act(trial, steps)
    assert study.get_trials() == in_the_database(url, name)  # still running
    for trial in running:
        assert study._storage.get_trial(trial._trial_id) == in_the_database(url, name)[trial.number]
        study.tell(trial, 0.5 + trial.number)
    assert study.get_trials() == in_the_database(url, name)
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * len(running)


def test_parameters_are_in_the_database_with_the_next_note(url: str) -> None:
    trial = own_study(url).ask()
    value = trial.suggest_float("a", 0, 1)
    assert in_the_database(url)[0].params == {}
    trial.set_user_attr("seed", 3)
    (found,) = in_the_database(url)
    assert found.params == {"a": value}
    assert found.user_attrs == {"seed": 3}


def test_a_parameter_of_another_kind_than_before_is_refused_as_optuna_does(url: str) -> None:
    study = own_study(url)
    first, second = study.ask(), study.ask()
    first.suggest_float("a", 0, 1)
    first.set_user_attr("seed", 1)
    with pytest.raises(ValueError, match="Cannot set different distribution kind"):
        second.suggest_int("a", 0, 1)


def test_what_optuna_is_given_is_a_copy(url: str) -> None:
    study = own_study(url)
    trial = study.ask()
    trial.report(0.5, step=1)
    study._storage.get_trial(trial._trial_id).intermediate_values[2] = 0.7
    assert study._storage.get_trial(trial._trial_id).intermediate_values == {1: 0.5}


def test_a_trial_that_another_process_enqueued_is_asked_for_next(url: str) -> None:
    study = own_study(url)
    study.tell(study.ask(), 0.5)
    optuna.load_study(study_name="s", storage=RDBStorage(url)).enqueue_trial({"a": 0.25})
    assert study.ask().suggest_float("a", 0, 1) == 0.25


def test_a_trial_put_back_keeps_what_it_had_and_goes_on(url: str) -> None:
    trial = own_study(url).ask()
    value = trial.suggest_float("a", 0, 1)
    trial.report(0.5, step=1)
    again = own_study(url)
    put_back(Study(again))
    resumed = again.ask()
    assert resumed.number == trial.number
    assert resumed.suggest_float("a", 0, 1) == value
    resumed.report(0.6, step=2)
    assert in_the_database(url)[0].intermediate_values == {1: 0.5, 2: 0.6}


def test_a_sqlite_file_is_in_wal_mode_and_not_flushed_at_every_write(url: str) -> None:
    with open_storage(url, create=True).engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
