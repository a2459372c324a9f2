"""Several runs on one study: real processes in folders of their own, on real servers; some are killed, stopped or come
late.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from fmnist.data.sources import find_source
from search.errors import AnotherRunError, SearchError
from search.job.extend import extend
from search.job.interrupt import Interrupt
from search.job.objective import note_start
from search.job.progress.base import Progress
from search.job.search import optimize, put_back
from search.storage.opening import open_storage
from search.storage.optuna_private import create_scoped_session
from search.storage.sharing import OWNER, NoRoomError, TakenOverError, state_and_owner
from search.storage.trial_record import CONFIG, CURVE
from search.study.coordinators import joined, take_back
from search.study.front import read_front
from search.study.holder import COORDINATOR, Holder, this_process
from search.study.lock import noted_run
from search.study.records import Opening, Timing
from search.study.study import Study, create_study, load_study
from search.study.timing import timed
from search.study.trials import under_way
from tests.search.job.test_kills import retrained
from tests.search.storage.faults import Clock, start_with
from tests.search.storage.mariadb import MariaDB, mariadb
from tests.search.storage.postgres import Postgres, connections_closed, postgres
from tests.search.tiny import CLASSES, DATA, NAME, TOML, Inline, run_command, stage, tiny_spec, wait_for_line

pytestmark = pytest.mark.cluster

TRIALS = 10
RUN = ("run", "tiny.toml", "--data", "synthetic", "--workers", "2", "--trials", str(TRIALS), "--storage")
UNSEEN = 6.0  # seconds instead of two minutes
IMPATIENT = {
    "search.storage.sharing.HELD_SECONDS": 3,
    "search.study.lock.UNSEEN_SECONDS": UNSEEN,
    "search.study.timing.NOTE_SECONDS": 0.5,
    "search.job.loop.NOTE_SECONDS": 0.5,
}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def mysql() -> Iterator[MariaDB]:
    with mariadb() as server:
        yield server


@pytest.fixture(autouse=True)
def _connections_end_with_their_test() -> Iterator[None]:
    with connections_closed():
        yield


@pytest.fixture(autouse=True)
def _nothing_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.storage.own_trials.STALE_SECONDS", 0.0)


@pytest.fixture
def url(postgresql: Postgres) -> str:
    return postgresql.url(postgresql.new_database())


@pytest.fixture(params=["postgresql", "mysql"])
def each_url(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue(request.param)
    return server.url(server.new_database()) if isinstance(server, Postgres) else server.new_database()


@contextmanager
def runs(url: str, tmp_path: Path) -> Iterator["Runs"]:
    """Whatever happens, all processes are gone afterwards."""
    with ExitStack() as stack:
        yield Runs(url, tmp_path, stack)


class Runs:
    def __init__(self, url: str, root: Path, stack: ExitStack) -> None:
        self._url, self._root, self._stack, self._count = url, root, stack, 0

    def begin(self, *more: str) -> "subprocess.Popen[str]":
        """One more run, in a folder of its own."""
        process = start_with(self.folder(), IMPATIENT, *RUN, self._url, *more)
        self._stack.callback(_end, process)
        return process

    def folder(self) -> Path:
        self._count += 1
        folder = self._root / f"run-{self._count}"
        folder.mkdir()
        # Epochs that are long enough for something to happen in them.
        (folder / "tiny.toml").write_text(TOML.replace("epochs = 2\ndepth", "epochs = 3\ndepth"))
        return folder


def _end(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def assert_exact(url: str, *, trials: int = TRIALS) -> Study:
    """Its budget, each trial once and as an undisturbed training; one confirmation, one look at the test split."""
    study = load_study(open_storage(url, create=False), NAME)
    assert [(trial.number, trial.state) for trial in study.optuna.trials] == [
        (number, TrialState.COMPLETE) for number in range(trials)
    ]
    assert (
        len({str(trial.system_attrs[CONFIG]) + str(trial.user_attrs["seed"]) for trial in study.optuna.trials})
        == trials
    )
    source = find_source("synthetic", announce=lambda _: None)
    for trial in study.optuna.trials:
        curve = [point["macro_f1"] for point in trial.system_attrs[CURVE]]
        assert curve == list(trial.intermediate_values.values()) == retrained(source, trial)
    assert len(study.optuna.user_attrs["openings"]) == 1
    assert study.optuna.user_attrs["final"]["trial"] == study.optuna.user_attrs["confirmation"]["winner"]
    return study


@pytest.mark.slow
def test_four_coordinators_share_one_budget_exactly(url: str, tmp_path: Path) -> None:
    with runs(url, tmp_path) as run:
        ended = [(process.communicate(), process.returncode) for process in [run.begin() for _ in range(4)]]
    assert [code for _, code in ended] == [0] * 4, [errors for (_, errors), _ in ended]
    texts = [output for (output, _), _ in ended]
    (leader,) = [text for text in texts if "Opening the test split, once." in text]
    assert "Exporting to" in leader
    assert all(
        "The search is over: " in text and "This run's part is done" in text for text in texts if text is not leader
    )
    assert any("at work on this study: process " in text for text in texts)
    assert all(f"Search: {TRIALS} of {TRIALS} trials (" in text for text in texts)
    study = assert_exact(url)
    owners = {trial.system_attrs[OWNER] for trial in study.optuna.trials}
    assert len(owners) > 1
    assert len(study.optuna.user_attrs["environments"]) == 4
    assert len(list(tmp_path.glob("*/studies/*/export/model.onnx"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("against", [(), ("--against", "parameters")], ids=["one result", "front"])
def test_paused_trials_are_shared_and_those_of_a_killed_coordinator_continue(
    each_url: str, against: tuple[str, ...], tmp_path: Path
) -> None:
    with runs(each_url, tmp_path) as run:
        first, second, third = [run.begin("--sampler", "gp", "--pruner", "freeze-thaw", *against) for _ in range(3)]
        wait_for_line(first, ", epoch 1/")
        os.killpg(first.pid, signal.SIGKILL)
        ended = [(process.communicate(), process.returncode) for process in (second, third)]
    assert [code for _, code in ended] == [0, 0], ended
    study = load_study(open_storage(each_url, create=False), NAME)
    trials = study.optuna.trials
    assert len(trials) <= TRIALS
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    source = find_source("synthetic", announce=lambda _: None)
    for trial in trials:
        values = list(trial.intermediate_values.values())
        assert values == retrained(source, trial)[: len(values)]
        assert (trial.state == TrialState.COMPLETE) == (len(values) == 3)
    assert len(study.optuna.user_attrs["openings"]) == 1
    assert bool(read_front(study)) == bool(against)


@pytest.mark.slow
def test_a_killed_coordinators_trials_go_on_elsewhere_and_latecomers_help(each_url: str, tmp_path: Path) -> None:
    with runs(each_url, tmp_path) as run:
        first, second = run.begin(), run.begin()
        wait_for_line(first, ", epoch 1/")
        os.killpg(first.pid, signal.SIGKILL)
        os.kill(second.pid, signal.SIGSTOP)  # so that the search is not over before the late one has begun
        late = run.begin()
        wait_for_line(late, "Search: ")
        os.kill(second.pid, signal.SIGCONT)
        ended = [(process.communicate(), process.returncode) for process in (second, late)]
    assert [code for _, code in ended] == [0, 0], ended
    study = assert_exact(each_url)
    (killed,) = [
        key
        for key in study.optuna.user_attrs
        if key.startswith(COORDINATOR) and study.optuna.user_attrs[key]["process"] == first.pid
    ]
    assert not study.optuna.user_attrs[killed]["is_over"]


@pytest.mark.slow
def test_a_coordinator_that_was_stopped_finds_its_trials_gone_and_goes_on(url: str, tmp_path: Path) -> None:
    with runs(url, tmp_path) as run:
        stopped = run.begin()
        wait_for_line(stopped, ", epoch 1/")
        os.kill(stopped.pid, signal.SIGSTOP)  # not its worker, which trains to the end and has much to tell
        other = run.begin()
        output, errors = other.communicate()
        assert other.returncode == 0, errors
        assert "Opening the test split, once." in output
        os.kill(stopped.pid, signal.SIGCONT)
        output, errors = stopped.communicate()
    assert stopped.returncode == 0, errors
    assert "put back: this run was not seen for a while, and another one took it over" in output
    assert "The search is over: another run has brought the study to its end. This run's part is done" in output
    assert_exact(url)


@pytest.mark.slow
def test_what_an_interrupted_coordinator_puts_back_is_taken_up_by_another(url: str, tmp_path: Path) -> None:
    with runs(url, tmp_path) as run:
        first, second = run.begin(), run.begin()
        wait_for_line(first, ", epoch 1/")
        first.send_signal(signal.SIGINT)
        assert first.wait() == 130
        output, errors = second.communicate()
        assert second.returncode == 0, output + errors
        output, errors = run.begin().communicate()  # in a folder that has no models
    assert "the test split was opened once" in " ".join(output.split()), output + errors
    assert "on the machine that finished the study: " in " ".join(output.split())
    assert errors == ""
    assert_exact(url)


@pytest.mark.slow
def test_a_run_that_asks_for_something_else_is_refused(url: str, tmp_path: Path) -> None:
    with runs(url, tmp_path) as run:
        first = run.begin()
        wait_for_line(first, ", epoch 1/")
        os.kill(first.pid, signal.SIGSTOP)
        other = run_command(run.folder(), *RUN, url, "--trials", "17")
    assert other.returncode == 2
    told = f"those at work on '{NAME}' have search.trials = {TRIALS}, this one 17. They are: process {first.pid} on "
    assert told in other.stderr


# From here on in this process, where each call of another() is a run of its own as far as the server knows.


def another(url: str) -> Study:
    return create_study(open_storage(url, create=True), tiny_spec(), DATA)


class Run(optuna.Study):
    """A run's study, whose trials have a configuration from their first moment on: without one they are another
    program's.
    """

    def ask(self, *arguments: Any, **options: Any) -> optuna.Trial:
        trial = super().ask(*arguments, **options)
        trial.set_user_attr("config", {})
        return trial


@contextmanager
def taking_part(url: str) -> Iterator[Study]:
    study = another(url)
    study.optuna.__class__ = Run
    with joined(study, tiny_spec(), lambda _: None):
        yield study


def seen(study: Study, **changes: object) -> None:
    """The study's coordinators are on another machine, and were seen as `changes` says."""
    for key, kept in study.optuna.user_attrs.items():
        if key.startswith(COORDINATOR):
            study.optuna.set_user_attr(
                key, kept | {"host": "elsewhere", "token": "another", "pid_space": None} | changes
            )


def test_no_trial_begins_beyond_the_budget_and_one_over_a_limit_is_not_counted(each_url: str) -> None:
    with taking_part(each_url) as one, taking_part(each_url) as two:
        trials = [one.optuna.ask(), two.optuna.ask(), one.optuna.ask()]
        for study in (one, two):
            with pytest.raises(NoRoomError):
                study.optuna.ask()
        trials[1].set_user_attr("refused", True)
        two.optuna.tell(trials[1], state=TrialState.PRUNED)
        assert one.optuna.ask().number == 3
        with pytest.raises(NoRoomError):
            two.optuna.ask()


def test_a_trial_that_waits_goes_to_one_run_only(each_url: str) -> None:
    with taking_part(each_url) as one, taking_part(each_url) as two:
        trial = one.optuna.ask()
        trial.suggest_int("filters", 1, 9)
        put_back(one)
        assert one.optuna.get_trials(deepcopy=False)[0].state == TrialState.WAITING
        assert one.optuna._pop_waiting_trial_id() == trial._trial_id
        assert two.optuna._pop_waiting_trial_id() is None


def test_a_run_that_was_stopped_in_a_transaction_does_not_block_the_others(
    each_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.storage.sharing.HELD_SECONDS", 1)
    with taking_part(each_url) as one, taking_part(each_url) as two:
        trial = one.optuna.ask()
        assert one.storage.share
        with suppress(StorageInternalError), create_scoped_session(one.storage.backend.scoped_session) as session:
            state_and_owner(session, trial._trial_id)  # locks the trial's row, and is not heard of for a while
            assert two.storage.release(trial._trial_id, one.storage.share.owner)
        assert two.optuna.ask().number == trial.number


def test_every_write_to_a_trial_that_changed_hands_is_refused_and_leaves_no_trace(each_url: str) -> None:
    with taking_part(each_url) as one, taking_part(each_url) as two:
        trial = one.optuna.ask()
        trial.report(0.5, step=1)
        seen(one, seen="2026-01-01T00:00:00+00:00")
        take_back(two)
        taken = two.optuna.ask()
        assert taken.number == trial.number
        for write in (
            lambda: trial.report(0.1, step=2),
            lambda: trial.set_user_attr("curve", []),
            lambda: one.optuna.tell(trial, 0.1),
        ):
            with pytest.raises(TakenOverError):
                write()
        two.optuna.tell(taken, 0.9)
        (found,) = another(each_url).optuna.trials
        assert (found.state, found.value, found.intermediate_values) == (TrialState.COMPLETE, 0.9, {1: 0.5})
        assert "curve" not in found.user_attrs


def test_a_run_whose_trial_was_taken_over_and_ended_sees_its_end(each_url: str) -> None:
    with taking_part(each_url) as one, taking_part(each_url) as two:
        trial = one.optuna.ask()
        seen(one, seen="2026-01-01T00:00:00+00:00")
        take_back(two)
        two.optuna.tell(two.optuna.ask(), 0.9)
        one.optuna.get_trials(deepcopy=False)
        with pytest.raises(TakenOverError):
            trial.report(0.1, step=1)
        assert [found.state for found in one.optuna.trials] == [TrialState.COMPLETE]


def test_a_trial_may_be_taken_over_while_it_is_proposed(each_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with taking_part(each_url) as one, taking_part(each_url) as two:

        def stand_still(trial: optuna.Trial, *arguments: Any) -> int:
            if trial.number == 0:
                seen(one, seen="2026-01-01T00:00:00+00:00")
                take_back(two)
                two.optuna.tell(two.optuna.ask(), 0.9)
            return note_start(trial, *arguments)

        monkeypatch.setattr("search.job.loop.note_start", stand_still)
        with Interrupt() as interrupt:
            optimize(stage(one, tiny_spec(), Inline(), Progress(), interrupt), CLASSES)
        assert [trial.state for trial in two.optuna.trials] == [TrialState.COMPLETE] * 3
        assert two.optuna.trials[0].value == 0.9


def test_trials_of_the_living_are_left_alone(each_url: str) -> None:
    with taking_part(each_url) as one, taking_part(each_url) as two:
        one.optuna.ask()
        seen(one)
        take_back(two)
        assert two.optuna.trials[0].state == TrialState.RUNNING


def test_one_run_brings_the_study_to_its_end_and_is_taken_for_dead_after_a_while(each_url: str) -> None:
    one, two = another(each_url), another(each_url)
    with noted_run(one):
        about = {"host": "elsewhere", "process": 7, "token": "another", "pid_space": None}
        one.optuna.set_user_attr("holder", one.optuna.user_attrs["holder"] | about)
        with pytest.raises(AnotherRunError, match="process 7 on elsewhere"), noted_run(two):
            pytest.fail("it is held")
        with pytest.raises(SearchError, match="process 7 on elsewhere"), taking_part(each_url):
            pytest.fail("the search is over")
        one.optuna.set_user_attr("holder", one.optuna.user_attrs["holder"] | {"seen": "2026-01-01T00:00:00+00:00"})
        with noted_run(two):
            assert Holder.model_validate(two.optuna.user_attrs["holder"]).process == os.getpid()


def test_notes_of_several_runs_are_all_kept_and_their_time_counts_once(
    each_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = another(each_url), another(each_url)
    clock = Clock()
    monkeypatch.setattr("search.study.timing.time", SimpleNamespace(monotonic=clock.time))
    with timed(one, "search"), timed(two, "search"):
        for study in (one, two, one):
            study.append(Opening(at="2025-01-01", by="evaluate", trial=None))
        clock.sleep(100)
    assert len(another(each_url).read_all(Opening)) == 3
    spent = another(each_url).read(Timing)
    assert spent is not None
    assert spent.search == 100


def test_a_run_that_stands_still_with_the_lock_loses_it(each_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.storage.sharing.HELD_SECONDS", 1)
    one, two = another(each_url), another(each_url)
    with one.locked(), two.locked():
        one.optuna.set_user_attr("key", 1)
    with one.locked():  # as ever after it
        one.optuna.set_user_attr("key", 2)
    assert two.optuna.user_attrs["key"] == 2


def test_coordinators_that_begin_together_propose_different_configurations(each_url: str) -> None:
    with taking_part(each_url) as one:
        seen(one)
        with taking_part(each_url) as two:
            assert tiny_spec().space.suggest(one.optuna.ask()) != tiny_spec().space.suggest(two.optuna.ask())


def test_a_study_is_not_extended_while_another_run_is_at_work_on_it(url: str) -> None:
    spec, wider = tiny_spec(trials=3), tiny_spec(trials=3, filters=[4, 8, 12])
    study = create_study(open_storage(url, create=True), spec, DATA)
    elsewhere = this_process().model_copy(update={"token": "another", "process": 1, "pid_space": None})
    study.write(elsewhere, key=COORDINATOR + "other")
    with pytest.raises(SearchError, match="1 run at work on the study 'tiny'"):
        extend(open_storage(url, create=False), wider, DATA)
    study.write(elsewhere.model_copy(update={"is_over": True}), key=COORDINATOR + "other")
    told = extend(open_storage(url, create=False), wider, DATA)
    assert told == "The space is changed: filters 4, 8, 12 (before 4, 8)."
    with pytest.raises(SearchError, match="Another run has just extended the study"), joined(study, spec, print):
        pass


def test_a_trial_that_no_run_has_begun_keeps_no_search_waiting() -> None:
    study = Study(optuna.create_study(study_name="waiting"))
    study.optuna.enqueue_trial({"x": 1})
    running = study.optuna.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    study.optuna.enqueue_trial({"x": 2})
    assert under_way(study, (TrialState.RUNNING, TrialState.WAITING)) == [running.number]
    assert [trial.number for trial in study.trials((TrialState.WAITING,))] == [1]
