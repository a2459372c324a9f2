import optuna
import pytest
from optuna.trial import TrialState

from fmnist.config import TrialConfig
from fmnist.network import describe
from search.job.objective import Objective, note_start
from search.storage.trial_record import CONFIG
from search.study.spec import StudySpec
from tests.search.tiny import CLASSES, CPU, SPLITS, tiny_spec


def optimized(spec: StudySpec, pruner: optuna.pruners.BasePruner | None = None, *, trials: int = 3) -> optuna.Study:
    study = optuna.create_study(
        direction="maximize", sampler=spec.make_sampler(seed=0), pruner=pruner if pruner else optuna.pruners.NopPruner()
    )
    study.optimize(Objective(spec.space, SPLITS, CPU, seed=spec.seed), n_trials=trials)
    return study


def test_optunas_own_loop_maximises_the_last_epochs_macro_f1() -> None:
    study = optimized(tiny_spec())
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    for trial in study.trials:
        assert list(trial.intermediate_values) == [1, 2]
        assert trial.value == trial.intermediate_values[2]
        config = TrialConfig.parse(trial.system_attrs[CONFIG], context="trial")
        assert {name: getattr(config, name) for name in trial.params} == trial.params
        network = describe(config, CLASSES)
        assert (trial.user_attrs["parameters"], trial.user_attrs["flops"]) == (network.parameters, network.flops)


def test_the_pruner_ends_a_trial_after_its_epoch() -> None:
    study = optimized(tiny_spec(), optuna.pruners.ThresholdPruner(lower=2.0))
    assert [(trial.state, list(trial.intermediate_values)) for trial in study.trials] == [(TrialState.PRUNED, [1])] * 3


def test_the_last_epoch_is_never_pruned() -> None:
    study = optimized(tiny_spec(epochs=1), optuna.pruners.ThresholdPruner(lower=2.0))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3


def test_divergence_prunes_with_its_reason() -> None:
    (trial,) = optimized(tiny_spec(learning_rate=1.0, batch_norm=False, head="flatten", pool="after"), trials=1).trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"].startswith("diverged: mean training loss")


def test_what_the_limits_forbid_is_pruned_untrained_with_its_constraint() -> None:
    spec = tiny_spec(filters=[8]).overridden(max_params=100)
    study = optuna.create_study(direction="maximize", sampler=spec.make_sampler(seed=0))
    study.optimize(Objective(spec.space, SPLITS, CPU, limits=spec.limits), n_trials=1)
    (trial,) = study.trials
    assert (trial.state, trial.intermediate_values, trial.user_attrs["refused"]) == (TrialState.PRUNED, {}, True)
    assert trial.constraints["max_params"] == trial.user_attrs["parameters"] / 100 - 1 > 0
    assert trial.user_attrs["reason"].endswith("over 100")


def test_a_network_that_is_too_slow_is_pruned_untrained() -> None:
    spec = tiny_spec().overridden(max_latency_ms=0.001)
    study = optuna.create_study(direction="maximize", sampler=spec.make_sampler(seed=0))
    study.optimize(Objective(spec.space, SPLITS, CPU, limits=spec.limits), n_trials=1)
    (trial,) = study.trials
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {})
    assert trial.constraints["max_latency_ms"] > 0


def test_what_is_within_the_limits_is_trained_and_carries_them() -> None:
    spec = tiny_spec(epochs=1).overridden(max_params=1_000_000)
    study = optuna.create_study(direction="maximize", sampler=spec.make_sampler(seed=0))
    study.optimize(Objective(spec.space, SPLITS, CPU, limits=spec.limits), n_trials=1)
    assert study.trials[0].state == TrialState.COMPLETE
    assert -1 < study.trials[0].constraints["max_params"] < 0


def test_an_enqueued_trial_that_is_not_of_the_space_is_pruned_with_its_reason() -> None:
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"filters": 5})
    study.optimize(Objective(tiny_spec().space, SPLITS, CPU), n_trials=1)
    assert study.trials[0].state == TrialState.PRUNED
    assert study.trials[0].user_attrs["reason"] == "filters must be one of 4, 8, got 5"


def test_the_same_seed_gives_the_same_values() -> None:
    one, two = (optimized(tiny_spec(epochs=1)) for _ in range(2))
    assert [trial.value for trial in one.trials] == [trial.value for trial in two.trials]
    other = optimized(tiny_spec(epochs=1).overridden(seed=7), trials=1)
    assert other.trials[0].params == one.trials[0].params
    assert other.trials[0].value != one.trials[0].value


def test_a_configuration_met_again_gets_another_seed() -> None:
    study = optimized(tiny_spec(epochs=1, learning_rate=0.01, filters=[4]).overridden(seed=5))
    assert [trial.user_attrs["seed"] for trial in study.trials] == [5, 6, 7]
    assert len({trial.value for trial in study.trials}) > 1


@pytest.mark.parametrize("failed", [0, 1])
def test_no_two_trials_that_count_share_configuration_and_seed(failed: int) -> None:
    study, config = optuna.create_study(direction="maximize"), TrialConfig()
    side_by_side = [study.ask(), study.ask()]
    seeds = [note_start(trial, config, 0, CLASSES) for trial in side_by_side]
    study.tell(side_by_side[failed], state=TrialState.FAIL)
    assert note_start(study.ask(), config, 0, CLASSES) not in seeds[1 - failed : 2 - failed]


def test_a_trial_that_starts_again_keeps_its_seed() -> None:
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    assert [note_start(trial, TrialConfig(), 4, CLASSES) for _ in range(2)] == [4, 4]


def test_a_trial_that_was_enqueued_with_a_seed_gets_its_configuration() -> None:
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({}, user_attrs={"seed": 5, "note": "copied from another trial"})
    note_start(study.ask(), TrialConfig(), 0, CLASSES)
    assert study.trials[0].system_attrs[CONFIG] == TrialConfig().model_dump()
    assert study.trials[0].user_attrs["seed"] == 0


def test_a_configuration_that_an_earlier_version_stored_is_met_again() -> None:
    study, config = optuna.create_study(direction="maximize"), TrialConfig()
    trial, network = study.ask(), describe(config, CLASSES)
    earlier = {name: value for name, value in config.model_dump().items() if name not in ("side", "class_weights")}
    stored = {"config": earlier, "seed": 4, "parameters": network.parameters, "flops": network.flops}
    for name, value in stored.items():
        trial.set_user_attr(name, value)
    assert note_start(study.ask(), config, 4, CLASSES) == 5
