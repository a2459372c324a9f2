from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from fmnist.config import TrialConfig
from fmnist.data.sources import Source
from search.errors import SearchError
from search.executors import Event, Failed, Finished, Task
from search.executors.capacity import threads_of_each
from search.job.confirm import confirm, drop_winner
from search.job.final import DivergedWinnerError, make_final
from search.job.interrupt import Interrupt, InterruptedRunError
from search.job.loop import TIME_IS_UP
from search.job.progress.base import Progress
from search.job.search import optimize, put_back
from search.report.render import read_report, warnings
from search.storage.trial_record import CONFIG, CURVE
from search.study.budget import is_searched
from search.study.records import Candidate, Confirmation, FinalTrainings, Opening, Timing
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import complete_trials
from tests.search.tiny import CLASSES, Inline, InterruptAfter, in_database, stage, tiny_spec

SYNTHETIC = Source("synthetic", None)


def in_memory(spec: StudySpec) -> Study:
    return Study(
        optuna.create_study(
            study_name=spec.name, direction="maximize", sampler=optuna.samplers.RandomSampler(seed=spec.seed)
        )
    )


def searched(study: Study, spec: StudySpec, executor: Inline | None = None) -> Study:
    optimize(stage(study, spec, executor or Inline(), Progress(), Interrupt()), CLASSES)
    return study


class TwoWorkers(Inline):
    """Two workers of one thread."""

    def threads_of_each(self, count: int) -> list[int | None]:
        return threads_of_each(count, 2, 1)


@pytest.mark.parametrize(
    ("trials", "limits", "threads"),
    [(1, {}, 2), (2, {}, None), (3, {}, None), (1, {"max_latency_ms": 1e6}, None)],
)
def test_a_search_of_fewer_trials_than_workers_divides_the_cores(
    trials: int, limits: dict[str, Any], threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.executors.capacity.cores", lambda: 2)
    executor, spec = TwoWorkers(2), tiny_spec(trials=trials).overridden(**limits)
    study = Study(optuna.create_study(direction="maximize"))
    optimize(stage(study, spec, executor, Progress(), Interrupt()), CLASSES)
    assert {task.threads for task in executor.trained} == {threads}


def interrupted(study: Study, spec: StudySpec, *, epochs: int) -> Study:
    interrupt = Interrupt()
    with pytest.raises(InterruptedRunError):
        optimize(stage(study, spec, Inline(), InterruptAfter(interrupt, epochs), interrupt), CLASSES)
    return study


class Seen(Progress):
    """Remembers whose epochs were shown."""

    def __init__(self) -> None:
        self.labels: set[str] = set()

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:  # noqa: ARG002
        self.labels.add(label)


def confirmed(study: Study, spec: StudySpec, executor: Inline, progress: Progress | None = None) -> Candidate:
    return confirm(stage(study, spec, executor, progress or Progress(), Interrupt()))


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.optuna.trials]


@pytest.mark.parametrize("places", [1, 3])
def test_the_budget_is_exact(places: int) -> None:
    spec = tiny_spec(trials=4)
    study = searched(in_memory(spec), spec, Inline(places))
    assert states(study) == ["COMPLETE"] * 4
    assert [trial.number for trial in study.optuna.trials] == [0, 1, 2, 3]
    assert is_searched(study, spec)
    searched(study, spec)
    assert len(study.optuna.trials) == 4
    more = tiny_spec(trials=5)
    assert not is_searched(study, more)
    assert len(searched(study, more).optuna.trials) == 5


def test_a_trial_keeps_its_curve_its_size_and_its_value() -> None:
    spec = tiny_spec(trials=1)
    (trial,) = searched(in_memory(spec), spec).optuna.trials
    assert [point["number"] for point in trial.system_attrs[CURVE]] == [1, 2]
    assert trial.value == trial.system_attrs[CURVE][-1]["macro_f1"] == trial.intermediate_values[2]
    assert trial.user_attrs["seconds"] > 0
    assert trial.user_attrs["parameters"] > 0


def test_a_grid_ends_when_every_point_was_tried() -> None:
    spec = tiny_spec(trials=10, sampler="grid", learning_rate=[0.003, 0.01], epochs=1)
    study = in_memory(spec)
    study.optuna.sampler = spec.make_sampler(seed=0)
    assert spec.trials == 4
    searched(study, spec)
    assert len({tuple(trial.params.items()) for trial in study.optuna.trials}) == len(study.optuna.trials) == 4


def test_an_interrupted_trial_comes_back_as_itself(tmp_path: Path) -> None:
    spec = tiny_spec(trials=2, epochs=3)
    whole = searched(in_database(tmp_path / "whole", spec), spec)
    study = interrupted(in_database(tmp_path / "cut", spec), spec, epochs=2)
    assert states(study) == ["WAITING"]
    assert not is_searched(study, spec)
    again = searched(in_database(tmp_path / "cut", spec), spec)
    assert states(again) == ["COMPLETE"] * 2
    one, other = whole.optuna.trials[0], again.optuna.trials[0]
    assert (one.number, one.params, one.value) == (other.number, other.params, other.value)
    assert one.intermediate_values == other.intermediate_values
    assert one.user_attrs["seed"] == other.user_attrs["seed"]


def test_a_trial_that_a_killed_run_left_running_is_taken_first() -> None:
    spec = tiny_spec(trials=2)
    study = in_memory(spec)
    left = study.optuna.ask()
    config = spec.space.suggest(left)
    executor = Inline()
    searched(study, spec, executor)
    assert states(study) == ["COMPLETE"] * 2
    assert (executor.trained[0].key, executor.trained[0].config) == ("trial 0", config)


def test_put_back_leaves_finished_trials_alone() -> None:
    study = in_memory(tiny_spec())
    done, _running = study.optuna.ask(), study.optuna.ask()
    study.optuna.tell(done, 0.5)
    put_back(study)
    assert states(study) == ["COMPLETE", "WAITING"]


def test_the_pruner_ends_a_trial_and_the_reason_is_kept() -> None:
    spec = tiny_spec(trials=2, epochs=50)
    study = in_memory(spec)
    study.optuna.pruner = optuna.pruners.ThresholdPruner(lower=2.0, n_warmup_steps=2)
    searched(study, spec)
    assert states(study) == ["PRUNED"] * 2
    assert {trial.user_attrs["reason"] for trial in study.optuna.trials} == {"none after epoch 2"}
    assert all(len(trial.system_attrs[CURVE]) == 2 for trial in study.optuna.trials)


def test_divergence_prunes_with_its_reason_and_counts() -> None:
    spec = tiny_spec(trials=2, learning_rate=1.0, batch_norm=False, head="flatten", pool="after")
    study = searched(in_memory(spec), spec)
    assert states(study) == ["PRUNED"] * 2
    assert all(trial.user_attrs["reason"].startswith("diverged") for trial in study.optuna.trials)


def test_no_training_is_done_twice() -> None:
    spec = tiny_spec(trials=5, learning_rate=[0.01], epochs=1)
    executor = Inline(places=2)
    searched(in_memory(spec), spec, executor)
    assert len({(task.config.model_dump_json(), task.seed) for task in executor.trained}) == 5


def test_when_the_minutes_are_up_running_trials_end_pruned() -> None:
    spec = tiny_spec(trials=3, minutes=1 / 60, epochs=1000)
    study = searched(in_memory(spec), spec)
    assert states(study) == ["PRUNED"]
    assert study.optuna.trials[0].user_attrs["reason"] == TIME_IS_UP
    assert is_searched(study, spec)


def test_what_a_worker_still_says_of_a_trial_whose_time_was_up_is_nothing_to_the_confirm_stage() -> None:
    spec = tiny_spec(trials=1)
    study = searched(in_memory(spec), spec)
    executor = Inline(places=2)
    searched(study, tiny_spec(trials=3, minutes=1 / 60, epochs=1000), executor)
    assert states(study) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert executor.running() == ["trial 1", "trial 2"]  # each ends after its epoch
    shown = Seen()
    winner = confirmed(study, spec, executor, shown)
    assert winner.trial == 0
    assert shown.labels == {f"trial 0, seed {run.seed}" for run in winner.runs}


def test_minutes_are_counted_over_all_runs() -> None:
    spec = tiny_spec(trials=3, minutes=1.0)
    study = in_memory(spec)
    study.write(Timing(search=59.0))
    assert not is_searched(study, spec)
    study.write(Timing(search=60.0))
    assert is_searched(study, spec)
    study.optuna.enqueue_trial({}, user_attrs={"config": {}})  # one of a run that ended
    assert not is_searched(study, spec)
    searched(study, spec)
    assert states(study) == ["PRUNED"]  # it would wait for ever
    assert study.optuna.trials[0].user_attrs["reason"] == TIME_IS_UP


def test_trials_put_back_that_a_lower_budget_leaves_out_end_with_that_reason() -> None:
    study = in_memory(tiny_spec())
    searched(study, tiny_spec(trials=1))
    study.optuna.enqueue_trial({})
    searched(study, tiny_spec(trials=1))
    assert states(study) == ["COMPLETE", "PRUNED"]
    assert study.optuna.trials[1].user_attrs["reason"] == "the study's budget of trials is used up"


def test_candidates_are_trained_on_fresh_seeds_and_the_best_mean_wins() -> None:
    spec = tiny_spec(trials=3).model_copy(
        update={"confirm": tiny_spec().confirm.model_copy(update={"top": 2, "seeds": 2})}
    )
    study, executor = searched(in_memory(spec), spec), Inline()
    winner = confirmed(study, spec, executor)
    assert [task.seed for task in executor.trained] == [1000, 1000, 1001, 1001]
    assert len(winner.runs) == 2
    again = Inline()
    assert confirmed(study, spec, again) == winner
    assert not again.trained


class Diverges(Inline):
    """Trainings of which `wrong` is true leave the road."""

    def __init__(self, wrong: Callable[[Task], bool], places: int = 1) -> None:
        super().__init__(places)
        self.wrong = wrong

    def _train(self, task: Task) -> Iterator[Event]:
        if self.wrong(task):
            yield Failed(task.key, "diverged", "diverged: mean training loss nan", 0.1)
        else:
            yield from super()._train(task)


def three_candidates() -> tuple[StudySpec, Study, list[int]]:
    """A searched study of three, two of which are confirmed with two seeds each; its trials, best first."""
    spec = tiny_spec(trials=3, epochs=1)
    spec = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"top": 2, "seeds": 2})})
    study = searched(in_memory(spec), spec)
    return spec, study, [trial.number for trial in complete_trials(study)]


@pytest.mark.parametrize("places", [1, 4])
def test_a_candidate_that_diverges_leaves_its_place_to_the_next_best_trial(places: int) -> None:
    spec, study, (best, second, third) = three_candidates()
    executor = Diverges(lambda task: task.key == f"trial {best}, seed 1001", places)
    winner = confirmed(study, spec, executor)
    assert winner.trial in (second, third)
    kept = study.read(Confirmation)
    assert kept is not None
    assert {candidate.trial: len(candidate.runs) for candidate in kept.candidates} == {second: 2, third: 2}
    report = read_report(study)
    assert report.winner == winner.trial
    says = (
        f"Trial {best} was trained again and is no longer a candidate: diverged: mean training loss nan, with seed "
        "1001."
    )
    assert says in warnings(report)
    again = Inline()
    assert confirmed(study, spec, again) == winner
    assert not again.trained


def test_where_every_candidate_diverges_the_error_says_so_and_what_to_do() -> None:
    spec, study, _ = three_candidates()
    for executor in (Diverges(lambda _: True), Inline()):
        with pytest.raises(
            SearchError,
            match=r"Every complete trial diverged .* Search a narrower learning_rate in a new study",
        ):
            confirmed(study, spec, executor)
    assert not executor.trained


@pytest.mark.parametrize("places", [1, 3])
def test_a_winner_whose_final_training_diverges_is_replaced_before_the_test_split_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, study, _ = three_candidates()
    winner = confirmed(study, spec, Inline())
    executor = Diverges(lambda task: task.seed == 2001, places)
    with pytest.raises(DivergedWinnerError, match="in the final training with seed 2001"):
        make_final(stage(study, spec, executor, Progress(), Interrupt()), winner, SYNTHETIC)
    assert not executor.running()
    assert "openings" not in study.optuna.user_attrs
    drop_winner(study, winner, "diverged")
    other = confirmed(study, spec, Inline())
    assert other.trial != winner.trial
    final = make_final(stage(study, spec, Inline(), Progress(), Interrupt()), other, SYNTHETIC)
    assert (final.trial, len(final.runs)) == (other.trial, 3)


@pytest.mark.parametrize(
    ("minutes", "says"),
    [(None, r"all ended early\. Raise --trials"), (1.0, r"its minutes are used up\. Raise --search-minutes")],
)
def test_where_no_trial_was_completed_the_next_step_fits(minutes: float | None, says: str) -> None:
    spec = tiny_spec(minutes=minutes)
    study = in_memory(spec)
    study.write(Timing(search=60.0))
    with pytest.raises(SearchError, match=says):
        confirmed(study, spec, Inline())


def test_the_snapshot_of_a_pruned_trial_that_its_worker_kept_late_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keeps(Inline):
        def _train(self, task: Task) -> Iterator[Event]:
            for event in super()._train(task):
                if isinstance(event, Finished) and task.snapshot:
                    task.snapshot.parent.mkdir(parents=True, exist_ok=True)
                    task.snapshot.touch()
                yield event

    monkeypatch.chdir(tmp_path)
    spec = tiny_spec(trials=2, epochs=2)
    study = in_memory(spec)
    study.optuna.pruner = optuna.pruners.ThresholdPruner(lower=2.0)  # no macro F1 is as high
    searched(study, spec, Keeps(places=2))
    assert states(study) == ["PRUNED"] * 2
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_search_that_went_on_is_confirmed_with_its_new_best_trials() -> None:
    spec = tiny_spec(trials=2, epochs=1)
    study = searched(in_memory(spec), spec)
    confirmed(study, spec, Inline())
    best = optuna.trial.create_trial(value=0.99, user_attrs={"config": {"filters": 16, "epochs": 1}})
    study.optuna.add_trial(best)
    executor = Inline()
    confirmed(study, spec, executor)
    assert {task.config.filters for task in executor.trained} == {16}  # the others kept their seeds


def test_final_checkpoints_of_an_earlier_winner_are_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tiny_spec(trials=2, epochs=1, filters=[4, 8])
    study = searched(in_memory(spec), spec)
    one, other = (Candidate(trial=number, config=config_of(study, number), search_value=0.5) for number in (0, 1))
    interrupt = Interrupt()
    with pytest.raises(InterruptedRunError):
        make_final(stage(study, spec, Inline(), InterruptAfter(interrupt, 2), interrupt), one, SYNTHETIC)
    kept = study.read(FinalTrainings)
    assert kept is not None
    assert len(kept.runs) == 1
    same, changed, again = Inline(), Inline(), Interrupt()
    with pytest.raises(InterruptedRunError):
        make_final(stage(study, spec, same, InterruptAfter(again, 1), again), one, SYNTHETIC)
    assert [task.seed for task in same.trained] == [2001]
    final = make_final(stage(study, spec, changed, Progress(), Interrupt()), other, SYNTHETIC)
    assert [task.seed for task in changed.trained] == [2000, 2001, 2002]
    assert final.config == other.config
    assert [Opening(**entry).by for entry in study.optuna.user_attrs["openings"]] == ["final"]


def config_of(study: Study, number: int) -> TrialConfig:
    return TrialConfig.parse(
        study.optuna.trials[number].system_attrs[CONFIG] | {"dropout": number / 10}, context="trial"
    )


class WithoutAPlaceAtFirst(Inline):
    """As a cluster that has lost its nodes, until others join."""

    calls = 0

    def free(self) -> int:
        return super().free() if self.calls > 3 else 0

    def events(self, timeout: float) -> list[Event]:
        self.calls += 1
        return super().events(timeout)


def test_a_search_waits_for_a_place_to_train_in() -> None:
    spec = tiny_spec(trials=2)
    assert states(searched(in_memory(spec), spec, WithoutAPlaceAtFirst())) == ["COMPLETE"] * 2


def test_a_search_without_a_place_ends_when_its_minutes_are_up() -> None:
    spec = tiny_spec(trials=2, minutes=0.01)
    executor = WithoutAPlaceAtFirst()
    executor.calls = -1_000_000_000
    assert states(searched(in_memory(spec), spec, executor)) == []
