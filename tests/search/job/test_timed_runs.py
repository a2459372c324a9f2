"""Whole jobs within their minutes, through the real command, also killed."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from search.report.render import read_report, to_markdown
from search.storage.opening import open_storage
from search.storage.trial_record import CONFIG
from search.study.records import Decision, Final, Timing
from search.study.study import Study, load_study
from tests.search.tiny import DEADLINE, NAME, RUN, TOML, start_command, wait_for_line

pytestmark = [pytest.mark.slow, pytest.mark.process]
MINUTES = ("--minutes", "30s", "--trials", "50")
# Seconds, because the images are few; and a search also where the machine is busy.
SHORT = {"search.job.minutes.AROUND": 2.0, "search.job.minutes.LEAST_TRIALS": 1.0}


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    return start_command(folder, *RUN, *options, constants=SHORT)


def ended(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (0, "")
    return output


def end_in_its_search(folder: Path, by: signal.Signals) -> None:
    (folder / "tiny.toml").write_text(TOML, encoding="utf-8")
    process = started(folder, *MINUTES)
    wait_for_line(process, "trial 0")
    os.killpg(process.pid, by)
    process.communicate(timeout=DEADLINE)


def study_in(folder: Path) -> Study:
    return load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), NAME, folder / "studies")


def test_a_killed_job_keeps_its_minutes_and_its_plan(tmp_path: Path) -> None:
    end_in_its_search(tmp_path, signal.SIGKILL)
    before = study_in(tmp_path)
    planned, first = before.spec, before.read_all(Decision)
    assert planned.budget.minutes == pytest.approx(1 / 2)
    assert [decision.text.startswith("30 s for the whole job: ") for decision in first] == [True]

    output = ended(started(tmp_path))  # no --minutes: it keeps those that it began with
    study = study_in(tmp_path)
    assert study.spec.budget == planned.budget
    assert study.spec.epochs == planned.epochs
    assert study.spec.search.minutes == planned.search.minutes
    timing, final = study.read(Timing), study.read(Final)
    assert timing is not None
    assert final is not None
    assert final.config.epochs == study.spec.final.epochs
    decisions = study.read_all(Decision)
    assert [*decisions[:1]] == [*first]
    moments = [decision.seconds for decision in decisions]
    assert moments == sorted(moments)
    assert moments[-1] < timing.job
    assert timing.job > timing.total
    report = to_markdown(read_report(study))
    assert "How the minutes were divided" in report
    assert all(decision.text in report for decision in decisions)
    assert "until the report" in report
    assert decisions[-1].text[:20] in output


def test_with_more_minutes_a_job_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    end_in_its_search(tmp_path, signal.SIGINT)
    before = study_in(tmp_path).spec
    ended(started(tmp_path, "--minutes", "45s"))
    study = study_in(tmp_path)
    assert study.spec.budget.minutes == pytest.approx(0.75)
    assert study.spec.epochs == before.epochs
    assert len({trial.system_attrs[CONFIG]["epochs"] for trial in study.trials()}) == 1
