"""A search that begins with earlier studies, or with configurations of one's own."""

from pathlib import Path
from typing import Any

import pytest

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.job.interrupt import Interrupt
from search.job.prior import require_configs, take_prior
from search.job.progress.base import Progress
from search.job.search import optimize
from search.report.facts import read_report
from search.report.render import to_markdown
from search.study.known import known
from search.study.records import Opening, PriorRecord
from search.study.spec import StudySpec
from search.study.study import Study
from tests.search.tiny import CLASSES, DATA, Inline, in_database, stage, tiny_spec

RATES = {"low": 0.0001, "high": 0.03, "log": True}


class Told(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str, *, is_alarm: bool = False) -> None:  # noqa: ARG002
        self.said.append(text)


def frozen(name: str, *, prior: dict[str, Any] | None = None, **knobs: Any) -> StudySpec:
    spec = tiny_spec(trials=5, sampler="gp", pruner="freeze-thaw", **{"epochs": 3, "learning_rate": RATES, **knobs})
    return StudySpec.parse(spec.model_dump() | {"name": name, "prior": prior or {}}, context=name)


def searched(study: Study, spec: StudySpec) -> list[str]:
    told = Told()
    optimize(stage(study, spec, Inline(), told, Interrupt()), CLASSES)
    return told.said


def test_the_trials_of_an_earlier_study_are_a_guess(tmp_path: Path) -> None:
    first = frozen("first", epochs=4, depth=2)
    searched(in_database(tmp_path, first), first)
    second = frozen("second", prior={"studies": ["first"]})
    study = in_database(tmp_path, second)
    prior = take_prior(study, second, print)
    assert prior is not None
    assert len(prior) == 1
    said = searched(study, second)
    assert "The search begins with 5 trials of 'first'." in said
    assert len(study.trials()) == 5


@pytest.mark.parametrize("images", ["Fashion-MNIST", "drawn"])
@pytest.mark.parametrize("where", ["never", "fashion-mnist", "always"])
def test_shipped_searches_are_a_guess_where_they_are_wanted(tmp_path: Path, where: str, images: str) -> None:
    spec = frozen("own", prior={"known": where})
    study = in_database(tmp_path, spec, DATA.model_copy(update={"name": images}))
    said = searched(study, spec)
    begun = f"The search begins with {known().trainings} trainings that ship with the package."
    is_used = where == "always" or (where == "fashion-mnist" and images == "Fashion-MNIST")
    assert (begun in said) == is_used
    assert ("The model of the search began with earlier trainings" in to_markdown(read_report(study))) == is_used


def test_a_shipped_study_may_have_another_pruner_and_begins_with_nothing(tmp_path: Path) -> None:
    spec = frozen("own", prior={"known": "fashion-mnist"}).overridden(pruner="percentile")
    study = in_database(tmp_path, spec, DATA.model_copy(update={"name": "Fashion-MNIST"}))
    assert not any("ship with" in line for line in searched(study, spec))
    with pytest.raises(SearchError, match="freeze-thaw"):
        spec.overridden(known="always")


def test_the_shipped_searches_are_of_their_spaces() -> None:
    for search in known().searches:
        space = search.space
        for training in search.trainings:
            assert training.knobs.keys() == space.knobs.keys()
            assert 1 <= len(training.f1) <= search.epochs
            assert all(0 <= f1 <= 1 for f1 in training.f1)
            TrialConfig.model_validate(space.pinned | training.knobs)


def test_the_report_names_the_earlier_studies(tmp_path: Path) -> None:
    first = frozen("first")
    searched(in_database(tmp_path, first), first)
    second = frozen("second", prior={"studies": ["first"]})
    study = in_database(tmp_path, second)
    searched(study, second)
    assert "The model of the search began with earlier trainings: first: 5." in to_markdown(read_report(study))


@pytest.mark.parametrize(("name", "says"), [("nothing", "must name earlier studies"), ("second", "its own prior")])
def test_a_prior_that_is_not_there_is_refused(tmp_path: Path, name: str, says: str) -> None:
    spec = frozen("second", prior={"studies": [name]})
    study = in_database(tmp_path, spec)
    with pytest.raises(SearchError, match=says):
        searched(study, spec)


def test_a_prior_without_an_epoch_is_refused(tmp_path: Path) -> None:
    in_database(tmp_path, frozen("first"))
    spec = frozen("second", prior={"studies": ["first"]})
    with pytest.raises(SearchError, match="has no trial with an epoch"):
        searched(in_database(tmp_path, spec), spec)


@pytest.mark.parametrize("pruner", ["none", "freeze-thaw"])
def test_ones_own_configurations_come_first(tmp_path: Path, pruner: str) -> None:
    own = [{"filters": 8, "learning_rate": 0.01}, {"filters": 4}]
    spec = frozen("own", prior={"configs": own}).overridden(pruner=pruner)
    study = in_database(tmp_path, spec)
    searched(study, spec)
    params = [trial.params for trial in study.trials()]
    assert params[0] == own[0]
    assert params[1]["filters"] == 4
    assert len(params) == 5
    searched(study, spec)
    assert len(study.trials()) == 5, "they are enqueued once"


def test_configurations_outside_the_space_are_refused() -> None:
    spec = frozen("own", prior={"configs": [{"filters": 8}, {"filters": 5, "width": 3}]})
    with pytest.raises(SearchError) as refused:
        require_configs(spec)
    assert "prior.configs entry 2: filters must be one of 4, 8, got 5" in str(refused.value)
    assert "prior.configs entry 2: there is no knob 'width'" in str(refused.value)


def test_only_freeze_thaw_has_a_model_for_earlier_studies() -> None:
    with pytest.raises(SearchError, match="freeze-thaw"):
        tiny_spec().overridden(prior=["first"])
    given = frozen("second").overridden(prior=["first,other", "third"])
    assert given.prior.studies == ("first", "other", "third")


def test_openings_of_the_same_test_split_are_carried_along(tmp_path: Path) -> None:
    data = DATA.model_copy(update={"test_fingerprint": "same"})
    opening = Opening(at="2026-01-01T00:00:00+00:00", by="final", trial=0)
    for number, name in enumerate(("first", "second", "third")):
        spec = frozen(name, prior={"studies": [("first", "second")[number - 1]]} if number else {})
        study = in_database(tmp_path, spec, data)
        searched(study, spec)
        study.append(opening)
    prior = study.read(PriorRecord)
    assert prior is not None
    assert prior.openings == {"second": 2}
    assert read_report(in_database(tmp_path, spec, data)).prior == prior
    markdown = to_markdown(read_report(study))
    assert "Before this study, in those that it began with: second: twice." in markdown
    other = frozen("other", prior={"studies": ["first"]})
    elsewhere = in_database(tmp_path, other, DATA)
    take_prior(elsewhere, other, print)
    assert elsewhere.read(PriorRecord) == PriorRecord(trainings={"first": 5})
