import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from search.job.progress.base import Progress
from search.job.progress.display import Alarms, open_progress
from search.job.progress.lines import Lines
from search.job.progress.screen import MOST_SHOWN, Screen, panel
from search.job.progress.tally import Best, EndState, Outlook, Tally
from search.study.records import StageName
from search.terminal.wording import duration

KNOBS = {"depth": 3, "learning_rate": 0.006123, "flip": True}


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drawn(tally: Tally, now: float = 60.0, last: str = "") -> str:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, no_color=True, color_system=None)
    with console.capture() as capture:
        console.print(panel(tally, now, last))
    return capture.get()


def search(total: int = 10, done: int = 0, stage: StageName = "search") -> Tally:
    return Tally(stage, total, done, since=0.0)


def play(progress: Progress, clock: Clock) -> None:
    """A small study from its start to its end."""
    with progress:
        progress.begin("search", total=4, done=1)
        progress.started("trial 1", 2)
        progress.started("trial 2", 2)
        clock.now += 61
        progress.epoch("trial 1", 1, 0.81234, 1913.4)
        progress.epoch("trial 2", 1, 0.5, 1000.0)
        progress.ended("trial 2", "pruned", 0.5, "below the [median]", KNOBS)
        progress.epoch("trial 2", 2, 0.6, 1000.0)
        progress.epoch("trial 1", 2, 0.9, 1913.4)
        progress.ended("trial 1", "complete", 0.9, None, KNOBS)
        progress.started("trial 3", 2)
        progress.ended("trial 3", "failed", None, "the loss is NaN", KNOBS)
        progress.message("a [note] for all")
        progress.begin("final", total=1, done=0)
        progress.started("seed 2000", 1)
        progress.epoch("seed 2000", 1, None, 500.0)
        progress.ended("seed 2000", "complete", 0.94, None, {})


@pytest.mark.parametrize(
    ("terminal", "quiet", "kind"),
    [(True, False, Screen), (False, False, Lines), (True, True, Alarms), (False, True, Alarms)],
)
def test_the_console_decides_what_is_shown(terminal: bool, quiet: bool, kind: type) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal)
    assert type(open_progress(console, quiet=quiet)) is kind


def test_a_terminal_that_cannot_redraw_gets_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert type(open_progress(console, quiet=False)) is Lines


def test_quiet_prints_nothing_but_alarms(capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    progress = open_progress(Console(file=screen, force_terminal=True), quiet=True)
    play(progress, Clock())
    assert (screen.getvalue(), *capsys.readouterr()) == ("", "", "")
    progress.message("No trial is better than chance.", is_alarm=True)
    assert (screen.getvalue(), *capsys.readouterr()) == ("", "", "No trial is better than chance.\n")


def test_lines_are_a_readable_log() -> None:
    log, clock = io.StringIO(), Clock()
    play(open_progress(Console(file=log, width=40), quiet=False, clock=clock), clock)
    assert log.getvalue().splitlines() == [
        "0:00:00 Search: 4 trials, 1 of them done before.",
        "0:01:01 trial 1, epoch 1/2: F1 0.8123, 1,913 images/s",
        "0:01:01 trial 2, epoch 1/2: F1 0.5000, 1,000 images/s",
        "0:01:01 2/4 trial 2 pruned at F1 0.5000: below the [median]",
        "0:01:01 trial 1, epoch 2/2: F1 0.9000, 1,913 images/s",
        "0:01:01 3/4 trial 1 complete at F1 0.9000, the best so far: depth=3, learning_rate=0.00612, flip=true",
        "0:01:01 4/4 trial 3 failed: the loss is NaN",
        "0:01:01 a [note] for all",
        "0:01:01 Search: 4 of 4 trials (1 complete, 1 pruned, 1 failed) in 1 min 01 s; best trial 1 with 0.9000.",
        "0:01:01 Final training: 1 training.",
        "0:01:01 seed 2000, epoch 1/1: 500 images/s",
        "0:01:01 1/1 seed 2000 complete at F1 0.9400",
        "0:01:01 Final training: 1 of 1 training (1 complete) in 0 s.",
    ]


def test_the_screen_keeps_what_matters_above_itself() -> None:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=120, no_color=True, _environ={})
    play(open_progress(console, quiet=False, clock=clock), clock)
    text = screen.getvalue()
    for kept in (
        "trial 1 complete at F1 0.9000, the best so far: depth=3",
        "trial 3 failed: the loss is NaN",
        "a [note] for all",
        "Search: 4 of 4 trials (1 complete, 1 pruned, 1 failed) in 1 min 01 s; best trial 1 with 0.9000.",
        "Final training: 1 of 1 training",
    ):
        assert kept in text


def test_no_color_means_none() -> None:
    screen, clock = io.StringIO(), Clock()
    play(
        open_progress(Console(file=screen, force_terminal=True, _environ={"NO_COLOR": "1"}), quiet=False, clock=clock),
        clock,
    )
    assert "\x1b[3" not in screen.getvalue()
    assert "\x1b[9" not in screen.getvalue()


def test_the_panel_says_where_a_search_stands() -> None:
    tally = search(total=50, done=12)
    tally.started("trial 12", 10)
    tally.started("trial 13", 10)
    tally.epoch("trial 12", 5, 0.9123, 1000.0)
    tally.ended("trial 11", "complete", 0.93, KNOBS)
    tally.ended("trial 10", "pruned", 0.5, KNOBS)
    text = drawn(tally, last="trial 10 pruned")
    for part in (
        "search > confirm >", "14 of 50 trials done", "2 running, 1 complete, 1 pruned", "1,000 images/s",
        "epoch  5/10  F1 0.9123", "first epoch",
        "Best 0.9300, trial 11: depth=3, learning_rate=0.00612, flip=true", "Last trial 10 pruned",
        "1 min 00 s elapsed, about",
    ):  # fmt: skip
        assert part in text
    assert {len(line) for line in text.splitlines()} == {80}


def test_a_cluster_fits_24_lines() -> None:
    tally = search(total=1000)
    for i in range(300):
        tally.started(f"trial {i}", 100)
    tally.ended("trial 0", "complete", 0.9, {f"knob_number_{i}": 0.12345 for i in range(12)})
    text = drawn(tally, last="trial 7 pruned at F1 0.8012: below the median")
    assert f"and {299 - MOST_SHOWN} more" in text
    assert "299 running" in text
    assert len(text.splitlines()) <= 23


def test_speed_is_summed_over_running_trainings_only() -> None:
    tally = search()
    for label, speed in (("a", 100.0), ("b", 20.0)):
        tally.started(label, 10)
        tally.epoch(label, 1, 0.5, speed)
    assert tally.images_per_second == 120
    tally.ended("a", "pruned", 0.5, {})
    assert tally.images_per_second == 20


def test_time_left_follows_the_pace() -> None:
    tally = search(total=4)
    tally.started("a", 4)
    assert tally.seconds_left(10.0) is None
    assert "estimating the rest" in drawn(tally)
    tally.epoch("a", 1, 0.5, 1.0)
    tally.epoch("a", 2, 0.5, 1.0)
    assert tally.seconds_left(10.0) == pytest.approx(3.5 * 20)
    tally.ended("a", "complete", 0.5, {})
    assert tally.seconds_left(20.0) == pytest.approx(3 * 20)


def test_a_stage_that_ends_with_its_time_counts_without_a_total() -> None:
    tally = Tally("search", 1000, 3, since=0.0, seconds=120.0)
    assert tally.outset() == "Search: 2 min 00 s, 3 trials done before."
    assert tally.seconds_left(30.0) == 90
    tally.started("trial 3", 4)
    tally.ended("trial 3", "complete", 0.5, {})
    assert (tally.number(), tally.seconds_left(30.0), tally.share(30.0)) == ("4", 90, 0.25)
    assert "4 trials done" in drawn(tally)
    assert tally.summary(120.0) == "Search: 4 trials (1 complete) in 2 min 00 s; best trial 3 with 0.5000."


def test_a_stage_with_time_to_spare_ends_with_its_last_training() -> None:
    tally = Tally("search", 4, 0, since=0.0, seconds=1000.0)
    for label in ("a", "b", "c"):
        tally.started(label, 4)
        tally.ended(label, "complete", 0.5, {})
    assert (tally.share(30.0), tally.seconds_left(30.0)) == (0.75, 10)


def test_a_stage_past_its_time_is_nearly_over() -> None:
    tally = Tally("search", 4, 0, since=0.0, seconds=-5.0)
    assert (tally.outset(), tally.share(0.0), tally.seconds_left(1.0)) == ("Search: 0 s.", 1, 0)


def test_work_of_earlier_runs_is_not_pace() -> None:
    tally = search(total=4, done=2)
    assert tally.seconds_left(10.0) is None
    tally.started("a", 4)
    tally.epoch("a", 3, 0.5, 1.0)  # resumed after its second epoch
    assert tally.seconds_left(10.0) == pytest.approx(1.25 * 40)
    tally.epoch("a", 4, 0.5, 1.0)
    tally.ended("a", "complete", 0.5, {})
    assert tally.seconds_left(20.0) == pytest.approx(1 * 40)


def test_what_is_put_back_counts_as_never_started() -> None:
    tally = search(total=2)
    tally.started("a", 4)
    tally.epoch("a", 3, 0.5, 1.0)
    tally.ended("a", "put back", None, {})
    assert (tally.done, tally.position, tally.seconds_left(10.0)) == (0, 0, None)


@pytest.mark.parametrize("state", ["pruned", "failed", "put back"])
def test_only_a_complete_trial_is_the_best(state: EndState) -> None:
    tally = search()
    assert not tally.ended("a", state, 0.9, KNOBS)
    assert tally.best is None
    assert tally.ended("b", "complete", 0.5, KNOBS)
    assert not tally.ended("c", "complete", 0.5, KNOBS)
    assert not tally.ended("d", "complete", float("nan"), KNOBS)
    assert tally.best == Best("b", 0.5, KNOBS)


def test_the_best_of_earlier_runs_stays_until_beaten() -> None:
    tally = Tally("search", 10, 5, since=0.0, best=Best("trial 2", 0.9, KNOBS))
    assert not tally.ended("trial 6", "complete", 0.8, KNOBS)
    assert "Best 0.9000, trial 2: depth=3" in drawn(tally)
    assert tally.ended("trial 7", "complete", 0.91, KNOBS)


@pytest.mark.parametrize("stage", ["confirm", "final"])
def test_seeds_of_one_configuration_have_no_best(stage: Literal["confirm", "final"]) -> None:
    tally = search(stage=stage)
    assert not tally.ended("trial 3, seed 1001", "complete", 0.93, {})
    assert "Best" not in drawn(tally)


labels = st.sampled_from(["a", "b", "c"])
events: st.SearchStrategy[Callable[[Tally], object]] = st.one_of(
    st.builds(lambda label, epochs: lambda tally: tally.started(label, epochs), labels, st.integers(1, 5)),
    st.builds(
        lambda label, number, score: lambda tally: tally.epoch(label, number, score, 10.0),
        labels,
        st.integers(1, 5),
        st.none() | st.floats(0, 1),
    ),
    st.builds(
        lambda label, state, value: lambda tally: tally.ended(label, state, value, KNOBS),
        labels,
        st.sampled_from(["complete", "pruned", "failed", "put back"]),
        st.none() | st.floats(),
    ),
)


@given(st.lists(events, max_size=15), st.integers(0, 5), st.floats(0, 1e6))
def test_any_course_of_events_can_be_drawn(course: list[Any], total: int, now: float) -> None:
    tally = search(total=total)
    for event in course:
        event(tally)
    left = tally.seconds_left(now)
    assert left is None or left >= 0
    assert {len(line) for line in drawn(tally, now).splitlines()} == {80}
    assert tally.summary(now).startswith("Search: ")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (724, "12 min 04 s"), (7500, "2 h 05 min"), (97300, "1 d 03 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_job_is_left_what_the_later_stages_take() -> None:
    outlook = Outlook({"search": 100.0, "confirm": 50.0, "final": 200.0}, rest=30.0)
    tally = Tally("search", 4, 0, since=0.0, outlook=outlook)
    assert tally.job_left(10.0) is None, "nothing is known yet"
    tally.started("trial 0", 2)
    tally.epoch("trial 0", 1, 0.8, 500.0)
    assert tally.job_left(20.0) == pytest.approx(140 + 250 + 30)
    final = Tally("final", 3, 0, since=0.0, outlook=outlook)
    final.started("seed 2000", 2)
    final.epoch("seed 2000", 1, None, 500.0)
    assert final.job_left(10.0) == pytest.approx(50 + 30)
    timed = Tally("search", 4, 0, since=100.0, outlook=replace(outlook, left=600.0), expected=110.0)
    assert timed.job_left(160.0) == 550.0


def test_the_screen_shows_what_is_expected_now_of_the_later_stages() -> None:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, _environ={})
    with open_progress(console, quiet=False, clock=clock) as progress:
        assert isinstance(progress, Screen)
        progress.expect(Outlook({"search": 40.0, "final": 100.0}, rest=20.0))
        progress.begin("search", total=4, done=0)
        progress.started("trial 0", 2)
        clock.now += 10
        progress.ended("trial 0", "complete", 0.9, None, {})
        progress._live.refresh()
        progress.expect(Outlook({"search": 40.0, "final": 300.0}, rest=60.0))
        progress._live.refresh()
    text = screen.getvalue()
    assert text.index("of the job 2 min 30 s") < text.index("of the job 6 min 30 s")


def test_the_screen_says_which_step_of_the_job_it_is_at_and_how_much_is_left() -> None:
    tally = Tally("confirm", 4, 0, since=0.0, outlook=Outlook({"confirm": 50.0, "final": 200.0}, 30.0))
    tally.started("trial 0, seed 1000", 2)
    tally.epoch("trial 0, seed 1000", 1, 0.8, 500.0)
    text = drawn(tally)
    assert "search > confirm > final > test > report > export" in text
    assert "1 min 00 s elapsed, about 7 min 00 s left, of the job 10 min 50 s" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "Ablation" in drawn(search(stage="ablate"))


def test_a_step_without_trainings_turns_a_sign() -> None:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, _environ={})
    with open_progress(console, quiet=False, clock=clock) as progress:
        progress.begin("final", total=1, done=0)
        progress.step("export")
        clock.now += 12
        assert isinstance(progress, Screen)
        progress._live.refresh()
        progress.begin("ablate", total=1, done=0)
    text = screen.getvalue()
    assert "search > confirm > final > test > report > export  12 s" in text
    assert "Final training: 0 of 1 training in 0 s." in text
