"""A sender beside a job: trackers that fail, hang, or are late."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from optuna.trial import TrialState

import search.tracking.sender as module
from search.errors import SearchError
from search.storage.sharing import Share
from search.tracking.facts import Facts
from search.tracking.sender import Sender
from tests.search.tracking.tracked import ALL, ended, facts_of, study_in


class Memory:
    """A tracker that keeps names, raises its faults first, and waits in between until it may go on."""

    title, look = "Memory", "nowhere"

    def __init__(self, *faults: Exception, is_open: bool = True) -> None:
        self.names: list[str] = []
        self.faults = list(faults)
        self.asked, self.may_go_on = Event(), Event()
        if is_open:
            self.may_go_on.set()

    def send(self, facts: Facts) -> Iterator[None]:
        self.asked.set()
        self.may_go_on.wait()
        if self.faults:
            raise self.faults.pop(0)
        for training in facts.unsent(self.names):
            self.names.append(training.name)
            yield


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    monkeypatch.chdir(tmp_path)
    return facts_of(study_in(tmp_path))


def told(sender: Sender) -> list[tuple[str, bool]]:
    return [(each.text, each.is_alarm) for each in sender.told()]


def test_all_that_was_offered_is_sent_before_it_closes(facts: Facts) -> None:
    tracker = Memory()
    sender = Sender(tracker)
    sender.offer(facts)
    assert sender.close(pytest.fail, is_patient=True)
    assert set(tracker.names) == ALL
    assert told(sender) == []


def test_a_tracker_that_fails_says_so_once_and_gets_the_rest_at_the_end(facts: Facts) -> None:
    tracker = Memory(OSError(28, "No space left on device", "runs.db"), is_open=False)
    sender = Sender(tracker)
    sender.offer(facts)
    assert tracker.asked.wait(60)
    sender.offer(facts)
    tracker.may_go_on.set()
    assert sender.close(pytest.fail, is_patient=True)
    assert set(tracker.names) == ALL
    assert told(sender) == [
        (
            "Memory does not take the trainings: runs.db: No space left on device. The job goes on without it.",
            True,
        ),
        ("Memory takes the trainings again; none is lost.", False),
    ]


def test_a_tracker_that_keeps_failing_is_told_once_and_lacks_trainings(facts: Facts) -> None:
    broken = [SearchError("http://me:secret@there does not answer."), ValueError("other\nlines"), ValueError("more")]
    tracker = Memory(*broken, is_open=False)
    sender = Sender(tracker)
    sender.offer(facts)
    assert tracker.asked.wait(60)
    sender.offer(facts)
    tracker.may_go_on.set()
    assert not sender.close(pytest.fail, is_patient=True)
    assert tracker.names == []
    (said,) = told(sender)
    assert said[0].startswith("Memory does not take the trainings: http://me:***@there does not answer. The job")


def test_a_tracker_that_hangs_is_not_waited_for_without_end(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SILENT_SECONDS", "PATIENT_SECONDS", "HASTY_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    for is_patient in (True, False):
        tracker, announced = Memory(is_open=False), list[str]()
        sender = Sender(tracker)
        sender.offer(facts)
        assert tracker.asked.wait(60)
        assert not sender.close(announced.append, is_patient=is_patient)
        assert [text.partition(".")[0] for text in announced] == ["Waiting for Memory"] * is_patient
        tracker.may_go_on.set()


class Endless(Memory):
    """A tracker to which there is always more to send."""

    def send(self, facts: Facts) -> Iterator[None]:  # noqa: ARG002
        while True:
            self.asked.set()
            yield


def test_an_interrupted_run_does_not_wait_for_all_that_waits(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HASTY_SECONDS", 0.01)
    tracker = Endless()
    sender = Sender(tracker)
    sender.offer(facts)
    assert tracker.asked.wait(60)
    assert not sender.close(pytest.fail, is_patient=False)


def test_a_run_that_shares_its_study_sends_its_own_trials_and_at_the_end_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = study_in(tmp_path)
    for owner in ("me", "another"):
        study.optuna.add_trial(ended(TrialState.COMPLETE, 0.8, owner=owner))
    study.storage.share = Share("me", 10)
    assert set(facts_of(study, is_over=False, is_shared=True).names) == {"trial-004"}
    assert set(facts_of(study, is_over=True, is_shared=True).names) == ALL | {"trial-004", "trial-005"}
