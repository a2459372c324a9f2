import json
import math
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from search.errors import SearchError
from search.samplers.names import Pruner, Sampler
from search.storage.opening import open_storage
from search.storage.trial_record import FOREIGN, REFUSED
from search.study.holder import Holder, is_numbered_here, is_this_process, this_process
from search.study.paths import HOME, snapshot_path
from search.study.records import DataRecord, Opening, Timing
from search.study.spec import StudySpec
from search.study.study import TOOLKIT, Study, create_study, load_study
from search.study.timing import timed
from search.study.trials import complete_trials, constraints_of, finished_trials, foreign_trials, value_of
from tests.search.tiny import DATA, in_database, tiny_spec


def refusal(folder: Path, spec: StudySpec, data: DataRecord = DATA) -> str:
    with pytest.raises(SearchError) as caught:
        create_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), spec, data)
    return str(caught.value)


def storage_refusal(url: str, *, create: bool) -> str:
    with pytest.raises(SearchError) as caught:
        open_storage(url, create=create)
    return str(caught.value)


def search(study: Study, spec: StudySpec, trials: int) -> list[dict[str, object]]:
    """What the sampler proposes, with a value that is quick to compute."""
    found = []
    for _ in range(trials):
        trial = study.optuna.ask()
        config = spec.space.suggest(trial)
        trial.set_user_attr("config", config.model_dump())
        for epoch in range(1, config.epochs + 1):
            trial.report(config.learning_rate * epoch, step=epoch)
        state = TrialState.PRUNED if trial.should_prune() else TrialState.COMPLETE
        study.optuna.tell(trial, None if state == TrialState.PRUNED else config.learning_rate, state=state)
        found.append(trial.params)
    return found


def test_a_new_database_is_in_wal_mode_in_a_folder_made_for_it(tmp_path: Path) -> None:
    in_database(tmp_path, tiny_spec())
    with sqlite3.connect(tmp_path / "studies" / "fmnist.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_resumed_study_keeps_trials_spec_and_data(tmp_path: Path) -> None:
    spec = tiny_spec(trials=4)
    before = search(in_database(tmp_path, spec), spec, 3)
    again = in_database(tmp_path, spec)
    assert [trial.params for trial in again.optuna.trials] == before
    assert again.spec == spec
    assert again.read(DataRecord) == DATA
    assert again.optuna.direction == optuna.study.StudyDirection.MAXIMIZE


def test_budgets_and_the_description_may_change(tmp_path: Path) -> None:
    in_database(tmp_path, tiny_spec(trials=4))
    spec = tiny_spec(trials=9, minutes=2.0).model_copy(update={"description": "changed"})
    assert in_database(tmp_path, spec).spec == spec


@pytest.mark.parametrize(
    ("spec", "removed", "added"),
    [
        (tiny_spec(depth=2), "-knobs.depth = 1", "+knobs.depth = 2"),
        (tiny_spec(filters=8), "-knobs.filters = [4, 8]", "+knobs.filters = 8"),
        (tiny_spec().overridden(seed=5), "-seed = 0", "+seed = 5"),
        (tiny_spec(sampler="tpe"), "-search.sampler = 'random'", "+search.sampler = 'tpe'"),
        (
            tiny_spec(learning_rate={"low": 0.001, "high": 0.03, "log": True}),
            "-knobs.learning_rate.low = 0.003",
            "+knobs.learning_rate.low = 0.001",
        ),
    ],
)
def test_another_set_up_is_refused_with_what_differs(tmp_path: Path, spec: StudySpec, removed: str, added: str) -> None:
    in_database(tmp_path, tiny_spec())
    lines = refusal(tmp_path, spec).splitlines()
    assert lines[0].startswith("The study 'tiny' exists with another set-up. Give --name")
    assert [line.strip() for line in lines[1:]] == ["--- in the storage", "+++ asked for", removed, added]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"name": "Fashion-MNIST", "fingerprint": "0123456789abcdef"},
            "training images: drawn had the fingerprint 5e0a",
        ),
        ({"test_fingerprint": "0123456789abcdef"}, "test images: drawn had the fingerprint 7e57"),
    ],
)
def test_other_data_are_refused_with_both_fingerprints(changes: dict[str, str], says: str, tmp_path: Path) -> None:
    kept = DATA.model_copy(update={"test_fingerprint": "7e57"})
    create_study(open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=True), tiny_spec(), kept)
    refused = refusal(tmp_path, tiny_spec(), kept.model_copy(update=changes))
    assert f"made on other {says}" in refused
    assert "has 0123456789abcdef. Give --name for a new study" in refused


@pytest.mark.parametrize(("made_by", "shown"), [("0.0.9", "0.0"), ("2.4.1", "2")])
def test_a_study_of_a_toolkit_whose_trials_may_differ_is_refused(made_by: str, shown: str, tmp_path: Path) -> None:
    in_database(tmp_path, tiny_spec()).optuna.set_user_attr(TOOLKIT, made_by)
    present = ".".join(version("fmnist-search").split(".")[:2])
    lines = [line.strip() for line in refusal(tmp_path, tiny_spec()).splitlines()]
    assert lines[1:] == ["--- in the storage", "+++ asked for", f"-toolkit = '{shown}'", f"+toolkit = '{present}'"]


def test_a_study_of_another_release_of_the_same_version_goes_on(tmp_path: Path) -> None:
    major, minor, *_ = version("fmnist-search").split(".")
    in_database(tmp_path, tiny_spec()).optuna.set_user_attr(TOOLKIT, f"{major}.{minor}.99")
    assert in_database(tmp_path, tiny_spec()).optuna.user_attrs[TOOLKIT] == version("fmnist-search")


def test_a_study_made_by_other_means_is_refused(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=True)
    Study(optuna.create_study(study_name="tiny", storage=storage)).optuna.add_trial(create_trial(value=0.5))
    assert "was not made by fmnist-search" in refusal(tmp_path, tiny_spec())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "it is not a URL"),
        ("", "it is not a URL"),
        ("oracle9://host/db", "oracle9"),
        ("sqlite:////proc/no/such.db", "/proc/no/such.db"),
        ("postgresql://user:secret@host:port/db", "it is not a URL"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused_without_its_password(url: str, says: str) -> None:
    message = storage_refusal(url, create=True)
    assert says in message
    assert "such as sqlite:///studies/fmnist.db" in message
    assert "secr" not in message
    assert len(message.splitlines()) == 1


@pytest.mark.process
def test_a_server_that_cannot_be_reached_is_refused_without_its_password() -> None:
    message = storage_refusal("postgresql+psycopg://user:secret@127.0.0.1:1/db", create=True)
    assert "'postgresql+psycopg://user:***@127.0.0.1:1/db' cannot be opened: " in message
    assert "Start the server, or correct host and port in --storage." in message
    assert "secr" not in message
    assert len(message.splitlines()) == 1


def test_a_missing_database_is_refused_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "studies" / "fmnist.db"
    message = storage_refusal(f"sqlite:///{path}", create=False)
    assert message.startswith(f"There is no database at '{path}'.")
    assert not path.parent.exists()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    assert "file is not a database" in storage_refusal(f"sqlite:///{tmp_path / 'notes.txt'}", create=False)
    assert "cannot be opened" in storage_refusal(f"sqlite:///{tmp_path}", create=False)


def test_an_empty_storage_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/fmnist.db", create=True)
    with pytest.raises(SearchError, match="holds no study yet"):
        load_study(storage, None)
    create_study(storage, tiny_spec(), DATA)
    with pytest.raises(SearchError, match=r"no study named 'tini'\. Did you mean 'tiny'\?"):
        load_study(storage, "tini")
    assert load_study(storage, "tiny").optuna.study_name == "tiny"


def test_without_a_name_the_study_that_ran_last_is_loaded(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/fmnist.db", create=True)
    first, second = (create_study(storage, tiny_spec().overridden(name=name), DATA) for name in ("first", "second"))
    assert load_study(storage, None).optuna.study_name in ("first", "second")
    noon = datetime(2025, 1, 1, 12)
    for hours, study in enumerate((first, second, first)):
        started = noon + timedelta(hours=hours)
        trial = create_trial(value=0.5)
        trial.datetime_start, trial.datetime_complete = started, started + timedelta(minutes=5)
        study.optuna.add_trial(trial)
        assert load_study(storage, None).optuna.study_name == study.optuna.study_name


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_every_sampler_searches(sampler: str) -> None:
    spec = tiny_spec(trials=6, sampler=sampler, filters=[4, 8, 12, 16], learning_rate=[0.001, 0.01])
    study = Study(optuna.create_study(direction="maximize", sampler=spec.make_sampler(seed=3)))
    assert len(search(study, spec, 6)) == 6
    assert all(
        spec.space.grid()[name].count(value) for trial in study.optuna.trials for name, value in trial.params.items()
    )


@pytest.mark.parametrize("pruner", get_args(Pruner))
def test_every_pruner_judges(pruner: str) -> None:
    spec = tiny_spec(sampler="gp" if pruner == "freeze-thaw" else "random", pruner=pruner, epochs=3)
    study = Study(optuna.create_study(direction="maximize", pruner=spec.make_pruner()))
    search(study, spec, 8)
    assert len(complete_trials(study)) >= 1
    assert all(trial.state.is_finished() for trial in study.optuna.trials)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_a_resumed_search_does_not_repeat_its_first_configurations(sampler: str, tmp_path: Path) -> None:
    spec = tiny_spec(trials=6, sampler=sampler)
    rates = [params["learning_rate"] for _ in range(2) for params in search(in_database(tmp_path, spec), spec, 2)]
    assert len(set(rates)) == 4


def test_the_same_seed_proposes_the_same_configurations() -> None:
    spec = tiny_spec(trials=9, sampler="tpe")
    one, two, other = (
        search(Study(optuna.create_study(direction="maximize", sampler=spec.make_sampler(seed=seed))), spec, 6)
        for seed in (0, 0, 1)
    )
    assert one == two
    assert one != other


def test_finished_trials_are_those_that_count(tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec())
    ours: dict[str, Any] = {"user_attrs": {"config": {}}}
    study.optuna.add_trials(
        create_trial(state=state, value=0.5 if state == TrialState.COMPLETE else None, **ours) for state in TrialState
    )
    study.optuna.add_trial(create_trial(value=0.9, **ours))
    study.optuna.add_trial(create_trial(value=0.95))
    assert {trial.state for trial in finished_trials(study)} == {
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
    }
    assert [trial.value for trial in complete_trials(study)] == [0.9, 0.5]


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec())
    assert study.read(Timing) is None
    study.write(Timing(search=1.5))
    study.append(Opening(at="2025-01-01", by="final", trial=1))
    study.append(Opening(at="2025-01-02", by="evaluate", trial=None))
    again = in_database(tmp_path, tiny_spec())
    assert again.read(Timing) == Timing(search=1.5)
    assert [(opening.by, opening.trial) for opening in again.read_all(Opening)] == [("final", 1), ("evaluate", None)]


def test_a_stage_is_timed_however_it_ends(tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec())
    study.write(Timing(search=100.0, confirm=7.0))
    with pytest.raises(ValueError, match="stop"), timed(study, "search"):
        raise ValueError("stop")
    found = study.read(Timing)
    assert found is not None
    assert found.search > 100.0
    assert found.confirm == 7.0


def test_a_stage_that_is_killed_has_noted_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study.timing.NOTE_SECONDS", 0.0)
    study = in_database(tmp_path, tiny_spec())
    with timed(study, "search") as note_time:
        note_time()
        # What another process would find now, were this one killed.
        found = in_database(tmp_path, tiny_spec()).read(Timing)
    assert found is not None
    assert found.search > 0


@pytest.mark.process
def test_plain_optuna_loads_the_study_without_this_package(tmp_path: Path) -> None:
    spec = tiny_spec(pruner="hyperband")
    values = [trial["learning_rate"] for trial in search(in_database(tmp_path, spec), spec, 3)]
    code = (
        "import json, sys, optuna\n"
        f"study = optuna.load_study(study_name='tiny', storage='sqlite:///{tmp_path}/studies/fmnist.db')\n"
        "print(json.dumps([trial.params['learning_rate'] for trial in study.trials]))\n"
        "study.ask().suggest_float('learning_rate', 0.003, 0.03, log=True)\n"
        "sys.exit(bool({'search', 'fmnist', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", code], cwd="/", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == values


def test_the_files_of_a_study_lie_in_a_folder_of_its_name() -> None:
    assert snapshot_path(HOME / "tiny", "trial 3, seed 1000") == Path(
        "studies/tiny/running/trial-3-seed-1000.safetensors"
    )


def test_a_finished_study_keeps_what_it_was_made_with(tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec(trials=4))
    assert (study.optuna.metric_names, study.optuna.user_attrs[TOOLKIT]) == (["macro F1"], version("fmnist-search"))
    study.optuna.set_user_attr("final", {})
    again = in_database(tmp_path, tiny_spec(trials=9))
    assert again.spec == tiny_spec(trials=4)


def test_a_study_that_was_killed_between_its_first_two_writes_goes_on(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=True)
    Study(optuna.create_study(study_name="tiny", storage=storage, direction="maximize"))
    assert in_database(tmp_path, tiny_spec()).spec == tiny_spec()


@pytest.mark.parametrize("directions", [[StudyDirection.MINIMIZE], [StudyDirection.MAXIMIZE] * 2])
def test_a_study_that_is_after_something_else_is_refused(directions: list[StudyDirection], tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=True)
    study = Study(optuna.create_study(study_name="tiny", storage=storage, directions=directions))
    assert "was not made by fmnist-search. Give --name" in refusal(tmp_path, tiny_spec())
    with pytest.raises(SearchError, match=r"'tiny' was not made by fmnist-search: it holds no spec\."):
        _ = study.spec


def test_a_study_whose_trial_is_under_way_ran_last(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/fmnist.db", create=True)
    first, second = (create_study(storage, tiny_spec().overridden(name=name), DATA) for name in ("first", "second"))
    for study, state, hour in (
        (first, TrialState.COMPLETE, 11),
        (second, TrialState.COMPLETE, 12),
        (first, TrialState.RUNNING, 13),
    ):
        trial = create_trial(state=state, value=0.5 if state == TrialState.COMPLETE else None)
        trial.datetime_start = datetime(2025, 1, 1, hour)
        trial.datetime_complete = datetime(2025, 1, 1, hour, 30) if state == TrialState.COMPLETE else None
        study.optuna.add_trial(trial)
    assert load_study(storage, None).optuna.study_name == "first"


def test_complete_trials_are_sorted_down_to_those_that_are_worth_nothing() -> None:
    study = Study(optuna.create_study(direction="maximize"))
    study.optuna.add_trials(create_trial(value=value) for value in (0.0, 0.4, 0.0, 0.9))
    assert [trial.number for trial in complete_trials(study)] == [3, 1, 0, 2]


def test_trials_over_a_limit_and_of_other_programs_count_nowhere() -> None:
    study = Study(optuna.create_study(direction="maximize"))
    for attributes in ({}, {REFUSED: "too large"}, {FOREIGN: "added"}, {"reason": "diverged"}):
        study.optuna.add_trial(create_trial(state=TrialState.PRUNED, user_attrs=attributes))
    assert [trial.number for trial in finished_trials(study)] == [0, 3]
    assert [trial.number for trial in foreign_trials(study)] == [2]


def test_a_trial_has_one_value_or_none() -> None:
    study = Study(optuna.create_study(direction="maximize"))
    study.optuna.add_trials(create_trial(value=value) for value in (0.5, 0.0))
    study.optuna.add_trials(
        [create_trial(state=TrialState.RUNNING), create_trial(state=TrialState.PRUNED, value=math.nan)]
    )
    assert [value_of(trial) for trial in study.optuna.trials] == [0.5, 0.0, None, None]
    several = Study(optuna.create_study(directions=["maximize", "minimize"]))
    several.optuna.add_trial(create_trial(values=[0.5, 0.2]))
    assert value_of(several.optuna.trials[0]) is None


def test_constraints_are_those_with_names_or_where_there_are_none_all() -> None:
    study = Study(optuna.create_study())
    named, numbered, free = study.optuna.ask(), study.optuna.ask(), study.optuna.ask()
    for key, share in (("max_params", 0.25), ("max_size", -0.5), ("0", 0.25), ("1", -0.5)):
        named.set_constraint(key, share)
    for key, share in (("0", 0.1), ("1", -0.2)):
        numbered.set_constraint(key, share)
    for trial in (named, numbered, free):
        study.optuna.tell(trial, 0.5)
    assert [constraints_of(trial) for trial in study.optuna.trials] == [
        {"max_params": 0.25, "max_size": -0.5},
        {"0": 0.1, "1": -0.2},
        {},
    ]


@pytest.mark.parametrize("is_kept", [True, False])
def test_records_and_lists_of_them_are_the_same_in_memory_and_in_a_database(is_kept: bool, tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec()) if is_kept else Study(optuna.create_study(study_name="tiny"))
    with study.locked():
        study.write(Timing(search=1.5))
        study.append(Opening(at="2025-01-01", by="final", trial=1))
        study.append(Opening(at="2025-01-02", by="evaluate", trial=None))
    assert study.read(Timing) == Timing(search=1.5)
    assert [opening.by for opening in study.read_all(Opening)] == ["final", "evaluate"]


def test_a_process_is_told_from_others_by_its_token_and_its_number_by_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this = this_process()
    assert (this.host, this.process, this.is_over, this.since <= this.seen) == (
        socket.gethostname(),
        os.getpid(),
        False,
        True,
    )
    assert (this_process(is_over=True).is_over, this_process(since="2025").since) == (True, "2025")
    assert is_this_process(this)
    assert this_process().token == this.token
    assert not is_this_process(this.model_copy(update={"token": "another"}))
    assert not is_this_process(this.model_copy(update={"token": None}))

    def is_here(**changes: Any) -> bool:
        return is_numbered_here(this_process().model_copy(update=changes))

    if Path("/proc/self/ns/pid").exists():
        assert is_here()
        assert is_here(host="renamed")  # the boot and the namespace are the same
    assert not is_here(pid_space="of another boot")
    monkeypatch.setattr("search.study.holder.PROC", tmp_path / "nowhere")  # as on macOS
    assert this_process().pid_space is None
    assert is_here()
    assert not is_here(host="another")
    (tmp_path / "hidden" / "self").mkdir(parents=True)
    monkeypatch.setattr("search.study.holder.PROC", tmp_path / "hidden")  # as in a sandbox
    assert is_here()
    assert not is_here(pid_space=None)


def test_the_time_of_a_stage_is_noted_now_and_then_and_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("search.study.timing.time.monotonic", lambda: clock[0])
    study = Study(optuna.create_study(study_name="tiny"))

    def after(seconds: float, note: Callable[[], None]) -> float | None:
        clock[0] += seconds
        note()
        found = study.read(Timing)
        return found.search if found else None

    with timed(study, "search") as note:
        assert after(5.0, note) is None  # more than five seconds since the last note
        assert after(0.5, note) == 5.5
        assert after(5.0, note) == 5.5
        with timed(study, "search") as beside:  # a second run of the same study, which begins later
            assert after(1.0, beside) == 5.5
            assert after(5.0, beside) == 11.5
        assert after(1.0, note) == 17.5
    assert study.read(Timing) == Timing(search=17.5)
    with timed(study, "search"), timed(study, "confirm"):
        clock[0] += 2.0
    assert study.read(Timing) == Timing(search=19.5, confirm=2.0)


@pytest.mark.parametrize("changes", [{"is_over": True}, {"token": "another"}, {}])
def test_only_a_run_that_is_at_work_shows_itself(changes: dict[str, Any], tmp_path: Path) -> None:
    study, long_ago = in_database(tmp_path, tiny_spec()), "2025-01-01T00:00:00+00:00"
    before = this_process(since=long_ago).model_copy(update={"seen": long_ago, **changes})
    study.write(before)
    with timed(study, "search"):
        pass
    after = study.read(Holder)
    assert after is not None
    assert after.since == long_ago
    assert (after == before) == bool(changes)
