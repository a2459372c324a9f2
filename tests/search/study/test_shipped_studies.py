import sys
from pathlib import Path

import optuna
import pytest

from fmnist.config import TrialConfig
from fmnist.network import describe
from search.cli.main import main
from search.study.shipped import shipped_studies
from search.study.spec import load_spec
from tests.search.tiny import CLASSES


def test_the_promised_studies_ship() -> None:
    assert {
        "auto",
        "quick",
        "baseline",
        "improved",
        "compact",
        "under-25k",
        "under-100k",
        "under-300k",
        "sprint",
        "standard",
        "thorough",
    } <= set(shipped_studies())


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_can_be_searched(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    assert spec.description
    study = optuna.create_study(direction="maximize", sampler=spec.make_sampler(seed=0), pruner=spec.make_pruner())
    for _ in range(20 if spec.space.knobs else 1):
        config = spec.space.suggest(study.ask())
        assert TrialConfig.parse(config.model_dump(), context=name) == config
        assert describe(config, CLASSES).parameters > 0


@pytest.mark.parametrize("name", ["baseline", "improved", "sprint"])
def test_a_study_of_one_configuration_searches_nothing(name: str) -> None:
    spec = load_spec(name)
    assert (spec.search.trials, spec.space.points) == (1, 1)


@pytest.mark.parametrize("name", shipped_studies())
def test_a_study_that_augments_also_mirrors_and_shifts(name: str) -> None:
    """In version 0.1 `augmentation` did all three."""
    space = load_spec(name).space
    given = space.pinned.keys() | space.knobs.keys()
    assert not {"augmentation", "flip", "shift"} & given or {"augmentation", "flip", "shift"} <= given


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_says_what_it_will_cost(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["fmnist-search", "run", name, "--dry-run", "--data", "synthetic", "--device", "cpu"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    cost = "for the whole job" if load_spec(name).budget.minutes else "Estimate"
    assert cost in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.iterdir())
