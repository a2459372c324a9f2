"""optuna-dashboard on a study over HTTP: notes, artifacts, its port, and a run at the same time."""

import io
import json
import re
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.error import HTTPError

import numpy as np
import optuna
import pytest
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import RDBStorage
from PIL import Image

from search.dashboard.annotate import annotate
from search.dashboard.notes import study_note
from search.dashboard.server import open_server
from search.job.progress.base import Progress
from search.job.search import optimize
from search.report.facts import read_report
from search.storage.opening import open_storage
from search.storage.trial_record import LINE
from search.study.records import Confirmation, Final
from search.study.study import Study, load_study
from search.study.trials import complete_trials
from tests.search.sample import finished_study
from tests.search.tiny import (
    CLASSES,
    NAME,
    RUN,
    TOML,
    Inline,
    Say,
    in_database,
    run_command,
    stage,
    start_command,
    tiny_spec,
    wait_for_line,
)

pytestmark = pytest.mark.slow
Serve = Callable[..., "Dashboard"]


class Dashboard:
    """A dashboard process and requests to it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = start_command(folder, "dashboard", *arguments)
        self.line = wait_for_line(self.process, "http://")
        self.address = re.findall(r"http://\S+", self.line)[0]
        self.origin = re.findall(r"http://[^/]+", self.line)[0]

    def bytes_at(self, path: str, **headers: str) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(self.origin + path, headers=headers), timeout=30) as answer:
            return bytes(answer.read())

    def at(self, path: str) -> Any:
        return json.loads(self.bytes_at(path))

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output + errors


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Dashboard] = []

    def start(folder: Path, *arguments: str) -> Dashboard:
        started.append(Dashboard(folder, *(arguments or ("--port", str(free_port())))))
        return started[-1]

    yield start
    for dashboard in started:
        dashboard.process.kill()
        dashboard.process.communicate()


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def study_in(folder: Path) -> Study:
    return load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), NAME)


def winner_of(folder: Path) -> int:
    confirmation = study_in(folder).read(Confirmation)
    assert confirmation is not None
    assert confirmation.winner is not None
    return confirmation.winner


def trials_of(page: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {trial["number"]: trial for trial in page["trials"]}


def artifacts_of(dashboard: Dashboard, page: dict[str, Any], trial: int | None = None) -> dict[str, bytes]:
    folder = "/artifacts/1/" if trial is None else f"/artifacts/1/{page['trial_id']}/"
    return {
        artifact["filename"]: dashboard.bytes_at(folder + artifact["artifact_id"]) for artifact in page["artifacts"]
    }


def test_the_notes_have_the_result_a_link_to_the_winner_and_scores_of_each_class(whole: Path, serve: Serve) -> None:
    page = serve(whole).at("/api/studies/1")
    final, winner = study_in(whole).read(Final), winner_of(whole)
    assert final is not None
    note = page["note"]["body"]
    assert f"Test macro F1 {final.mean:.4f}" in note
    assert f"The winner is [trial {winner}](/dashboard/studies/1/trials?numbers={winner})" in note
    assert "these figures are not Fashion" in note
    for number, trial in trials_of(page).items():
        body = trial["note"]["body"]
        assert body.startswith(f"# Trial {number}, ")
        assert ("the winner" in body) == (number == winner)
        rows = re.findall(
            r"^\| (.+?) \| [\d.]+ \| [\d.]+ \| \*?([\d.]+)\*? \| \d+ \|$", body.replace("\\.", "."), re.MULTILINE
        )
        assert len(rows) == len(final.classes)
        assert np.mean([float(f1) for _, f1 in rows]) == pytest.approx(trial["values"][0], abs=1e-4)
        assert all(f"| {param['name']} |" in body for param in trial["params"])


def test_the_user_attributes_of_a_trial_fit_a_line(whole: Path, serve: Serve) -> None:
    for trial in trials_of(serve(whole).at("/api/studies/1")).values():
        attributes = {attribute["key"]: attribute["value"] for attribute in trial["user_attrs"]}
        assert {"parameters", "flops", "seed", "seconds"} <= attributes.keys()
        assert max(map(len, attributes.values())) <= LINE


@pytest.mark.filterwarnings("ignore:PedAnova")
def test_the_note_names_what_the_importances_of_the_dashboard_and_of_the_report_are_from(tmp_path: Path) -> None:
    study = finished_study()
    (line,) = [line for line in study_note(read_report(study), 1, []).splitlines() if "Importance" in line]
    assert "PED-ANOVA" in line
    assert "random forest (mean decrease of impurity)" in line
    storage = RDBStorage(f"sqlite:///{tmp_path}/studies.db")
    optuna.create_study(storage=storage, study_name=study.name, direction="maximize").add_trials(study.optuna.trials)
    shown = in_dashboard(storage, "/api/studies/1/param_importances")["param_importances"][0]
    expected = get_param_importances(
        study.optuna, evaluator=PedAnovaImportanceEvaluator(), target=lambda trial: -trial.values[0]
    )
    assert {one["name"]: one["importance"] for one in shown} == pytest.approx(expected)


def in_dashboard(storage: RDBStorage, path: str) -> Any:
    with open_server(storage, "127.0.0.1", free_port()) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=60) as answer:
            return json.load(answer)


def test_the_winner_has_its_pictures_and_the_models_files(whole: Path, serve: Serve) -> None:
    dashboard, winner = serve(whole), winner_of(whole)
    page = dashboard.at("/api/studies/1")
    artifacts = artifacts_of(dashboard, trials_of(page)[winner], winner)
    pictures = {name for name in artifacts if name.endswith(".png")}
    own = {"learning-curve.png", "validation-confusion.png", "validation-mistakes.png"}
    assert pictures == own | {"test-confusion.png", "test-mistakes.png"}
    for name in pictures:
        with Image.open(io.BytesIO(artifacts[name])) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").tobytes())) > 20
    for path in (whole / "studies" / NAME / "export").iterdir():
        assert artifacts[path.name] == path.read_bytes()
    for number, trial in trials_of(page).items():
        assert number == winner or {artifact["filename"] for artifact in trial["artifacts"]} == own
    of_study = artifacts_of(dashboard, page)
    assert of_study["report.html"] == (whole / "studies" / NAME / "report.html").read_bytes()
    assert b"[knobs]" in of_study[f"{NAME}-best.toml"]


def test_a_taken_port_is_replaced_and_ctrl_c_ends_it(whole: Path, serve: Serve) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        dashboard = serve(whole, NAME, "--port", str(port))
        assert dashboard.origin != f"http://127.0.0.1:{port}"
        assert dashboard.address.endswith("/dashboard/studies/1")
        assert b"<html" in dashboard.bytes_at("/dashboard").lower()
    code, output = dashboard.end()
    assert code == 0
    assert "Traceback" not in output


def test_open_opens_the_studys_page_in_the_browser(
    whole: Path, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    dashboard = serve(whole, NAME, "--port", str(free_port()), "--open")
    assert b"<html" in dashboard.bytes_at("/dashboard").lower()  # it answers once the browser is opened
    assert (tmp_path / "opened").read_text().strip() == dashboard.address


def test_requests_for_another_host_name_are_refused(whole: Path, serve: Serve) -> None:
    dashboard = serve(whole)
    assert b"<html" in dashboard.bytes_at("/dashboard", Host=f"localhost:{dashboard.origin.rpartition(':')[2]}").lower()
    for host in ("evil.example:8080", "evil.example", "127.0.0.1.evil.example:80"):
        with pytest.raises(HTTPError, match="403"):
            dashboard.bytes_at("/api/studies", Host=host)


@pytest.mark.parametrize("artifact", ["00000000-0000-0000-0000-000000000000", "abc"])
def test_an_unknown_artifact_is_not_found(artifact: str, whole: Path, serve: Serve) -> None:
    with pytest.raises(HTTPError, match="404"):
        serve(whole).bytes_at(f"/artifacts/1/{artifact}")


def test_an_address_of_another_machine_is_refused(finished: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    code, _, errors = say("dashboard", "--host", "192.0.2.1")
    assert code == 2
    assert errors.startswith("Error: The page must be able to listen on 192.0.2.1:8080")


def test_edited_notes_stay_and_the_others_are_updated(finished: Path, serve: Serve) -> None:
    dashboard = serve(finished)
    page = dashboard.at("/api/studies/1")
    edited, other = sorted(trials_of(page))[:2]
    trial = trials_of(page)[edited]
    edit = json.dumps({"body": "my own words", "version": trial["note"]["version"] + 1}).encode()
    request = urllib.request.Request(
        f"{dashboard.origin}/api/studies/1/{trial['trial_id']}/note",
        edit,
        {"Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=30).close()
    study = study_in(finished)
    study.optuna.set_user_attr(
        "spec", study.optuna.user_attrs["spec"] | {"description": "another description"}
    )  # so that the note changes
    before = artifacts_of(dashboard, page)
    done = run_command(finished, *RUN)
    assert done.returncode == 0, done.stderr
    again = serve(finished).at("/api/studies/1")
    assert trials_of(again)[edited]["note"]["body"] == "my own words"
    assert trials_of(again)[other]["note"]["body"] == trials_of(page)[other]["note"]["body"]
    assert "another description" in again["note"]["body"]
    assert {artifact["artifact_id"] for artifact in again["artifacts"]} == {
        artifact["artifact_id"] for artifact in page["artifacts"]
    }
    assert before.keys() == {artifact["filename"] for artifact in again["artifacts"]}


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[set[str]]]:
    """A folder with a study of seven trials, and the trial states in the dashboard after each line of its run."""
    folder, states = tmp_path_factory.mktemp("longer"), []
    (folder / "tiny.toml").write_text(TOML.replace("trials = 3", "trials = 7"))
    run = start_command(folder, *RUN)
    wait_for_line(run, "epoch 1/2")
    dashboard = Dashboard(folder, "--port", str(free_port()))
    try:
        assert run.stdout is not None
        for _ in run.stdout:
            states.append({trial["state"] for trial in dashboard.at("/api/studies/1")["trials"]})
        assert run.wait() == 0, run.stderr.read() if run.stderr else ""
    finally:
        for process in (run, dashboard.process):
            process.kill()
            process.communicate()
    return folder, states


def test_it_can_be_read_during_a_run(longer: tuple[Path, list[set[str]]]) -> None:
    _, states = longer
    assert any({"Running", "Complete"} <= shown for shown in states)
    assert states[-1] == {"Complete"}


def test_predictions_are_stored_for_the_best_trials_only_and_a_note_names_a_damaged_file(
    longer: tuple[Path, list[set[str]]], serve: Serve
) -> None:
    folder, best = longer[0] / "studies" / NAME / "validation", complete_trials(study_in(longer[0]))[:5]
    assert {path.name for path in folder.iterdir()} == {f"trial-{trial.number}.npz" for trial in best}
    (folder / f"trial-{best[0].number}.npz").write_bytes(b"damaged")
    done = run_command(longer[0], *RUN)
    assert done.returncode == 0, done.stderr
    trials = trials_of(serve(longer[0]).at("/api/studies/1"))
    assert "were not stored" in trials[best[0].number]["note"]["body"]
    assert "Each class" in trials[best[1].number]["note"]["body"]


def test_a_file_that_cannot_be_written_ends_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study, told = in_database(tmp_path, tiny_spec(trials=1)), list[str]()
    optimize(stage(study, tiny_spec(trials=1), Inline(), Progress()), CLASSES)
    study.folder.mkdir(parents=True, exist_ok=True)
    (study.folder / "artifacts").write_text("a file where the folder of artifacts should be")
    annotate(study, None, announce=told.append)
    (message,) = told
    assert message.startswith("optuna-dashboard will not show all of the study: ")


def test_a_page_for_localhost_refuses_other_names(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db", create=True)
    with open_server(storage.backend, "localhost", free_port()) as server:
        answers = list[str]()
        application = server.get_app()
        assert application is not None
        for host in ("localhost:8080", "evil.example:8080"):
            environ: dict[str, Any] = {"HTTP_HOST": host, "REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies"}
            environ |= {"wsgi.input": io.BytesIO()}
            application(environ, lambda status, *_: answers.append(status))  # type: ignore[arg-type,return-value]
        assert answers[1] == "403 Forbidden"
        assert answers[0] != "403 Forbidden"
