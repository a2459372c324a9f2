"""The whole job through the real command: its files, its records, its kills and its budget."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path
from socket import create_server
from time import monotonic, sleep
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from fmnist.data import synthetic
from search.cli.main import main
from search.errors import SearchError
from search.export.formats import FORMATS
from search.report.calibration import calibration
from search.storage.opening import open_storage
from search.study.lock import sole_run
from search.study.paths import HOME
from search.study.records import Final, Opening
from search.study.study import Study, load_study
from tests.search.tiny import DEADLINE, NAME, RUN, TOML, run_command, start_command, surroundings, wait_for_line

pytestmark = pytest.mark.slow
EXPORTED = {*FORMATS.values(), "config.json", "labels.json", "metrics.json", "MODEL_CARD.md"}


def study_in(folder: Path) -> Study:
    return load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), NAME)


def openings(folder: Path) -> list[Opening]:
    return [Opening(**entry) for entry in study_in(folder).optuna.user_attrs["openings"]]


def say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """Exit code, output and errors of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["fmnist-search", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FMNIST_DATA", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_a_seed_that_pauses_for_another_has_the_figures_of_one_that_does_not(tmp_path: Path) -> None:
    figures = []
    for seeds in (2, 3):
        (tmp_path / "turns.toml").write_text(TOML.replace("seeds = 1\nepochs = 2", f"seeds = {seeds}\nepochs = 4"))
        name = f"seeds-{seeds}"
        done = run_command(tmp_path, "run", "turns.toml", "--data", "synthetic", "--workers", "2", "--name", name)
        assert done.returncode == 0, done.stderr
        assert ("seed 2001 paused" in done.stdout) == (seeds == 3)
        report = json.loads((tmp_path / "studies" / name / "report.json").read_text())
        figures.append([(run["seed"], run["macro_f1"]) for run in report["final"]["runs"]])
    assert figures[0] == figures[1][:2]


def test_one_command_does_the_whole_job(whole: Path) -> None:
    study, output = study_in(whole), (whole / "output.txt").read_text()
    assert [trial.state for trial in study.optuna.trials] == [TrialState.COMPLETE] * 3
    assert [(opening.by, opening.trial) for opening in openings(whole)] == [("final", study.read(Final).trial)]  # type: ignore[union-attr]
    folder = whole / "studies" / NAME
    assert {path.name for path in (folder / "export").iterdir()} == EXPORTED
    assert {"report.md", "report.json", "report.html"} <= {path.name for path in folder.iterdir()}
    assert "Test macro F1" in output
    assert "Traceback" not in (whole / "errors.txt").read_text()
    with sqlite3.connect(whole / "studies" / "fmnist.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_the_score_is_the_same_in_study_report_and_export(whole: Path) -> None:
    final = study_in(whole).read(Final)
    assert final is not None
    folder = whole / "studies" / NAME
    exported = json.loads((folder / "export" / "metrics.json").read_text())["macro_f1"]
    assert exported == pytest.approx(final.runs[0].macro_f1)
    assert json.loads((folder / "report.json").read_text())["final"]["mean"] == final.mean
    assert 0.3 < final.mean < 1
    assert final.low <= final.mean <= final.high


def test_synthetic_figures_say_so(whole: Path) -> None:
    for text in ((whole / "output.txt").read_text(), (whole / "studies" / NAME / "report.md").read_text()):
        assert "these figures are not Fashion-MNIST's" in text


def test_the_same_command_again_shows_the_result_and_changes_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        say(monkeypatch, capsys, *RUN)[0] == 0
    )  # once, for the folder is a copy, and its study.json tells where the database is
    trials, opened, export = study_in(finished).trials(), openings(finished), _contents(finished / "studies" / NAME)
    code, output, _ = say(monkeypatch, capsys, *RUN)
    assert code == 0
    assert "Test macro F1" in output
    assert study_in(finished).trials() == trials
    assert openings(finished) == opened
    assert _contents(finished / "studies" / NAME) == export


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_study_is_not_searched_further(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = say(monkeypatch, capsys, *RUN, "--trials", "4")
    assert code == 2
    assert "finished with 3 trials and its test split was opened; 4 trials were requested" in errors
    assert "--name" in errors
    assert len(study_in(finished).optuna.trials) == 3
    assert study_in(finished).spec.search.trials == 3


def test_report_and_status_show_the_study(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished / "studies" / NAME
    before = (folder / "report.json").read_bytes()
    (folder / "report.json").unlink()
    code, output, _ = say(monkeypatch, capsys, "report")
    assert code == 0
    assert "Test macro F1" in output
    assert (folder / "report.json").read_bytes() == before
    code, output, _ = say(monkeypatch, capsys, "status")
    assert code == 0
    assert [word in output for word in (NAME, "finished", "3/3")] == [True] * 3


def test_status_lists_studies_that_others_made(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna.create_study(study_name="foreign", storage=open_storage("sqlite:///studies/fmnist.db", create=False))
    code, output, _ = say(monkeypatch, capsys, "status")
    assert code == 0
    assert "foreign" in output
    assert NAME in output


def test_the_best_configuration_can_be_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, toml, _ = say(monkeypatch, capsys, "best")
    assert code == 0
    Path("best.toml").write_text(toml)
    code, output, _ = say(monkeypatch, capsys, "run", "best.toml", "--data", "synthetic", "--dry-run")
    assert code == 0
    assert "the configuration is fixed" in output


def test_export_writes_all_files(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = say(monkeypatch, capsys, "export", "--to", "out/model")
    assert (code, errors) == (0, "")
    assert {path.name for path in Path("out/model").iterdir()} == EXPORTED


def test_an_export_tells_budget_calibration_and_int8_and_opens_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = Path("studies") / NAME, openings(finished)
    code, output, errors = say(monkeypatch, capsys, "export", "--to", "out", "--format", "onnx-int8")
    assert (code, errors) == (0, "")
    assert "model.int8.onnx: " in output
    assert openings(finished) == before
    told = json.loads(Path("out/metrics.json").read_text())
    assert (told["budget"]["trials"], told["budget"]["confirmed"], told["budget"]["fresh_seeds"]) == (3, 2, 1)
    assert told["budget"]["all_seconds"] > told["budget"]["search_seconds"] > 0
    assert told["int8"]["macro_f1"] == pytest.approx(told["macro_f1"] + told["int8"]["macro_f1_difference"])
    kept = np.load(folder / "final" / "predictions.npz", allow_pickle=False)
    sure, likeliest = kept["probabilities"][0].max(axis=1), kept["probabilities"][0].argmax(axis=1)
    assert told["calibration_error"] == calibration(sure, likeliest == kept["labels"]).error

    (folder / "final" / "predictions.npz").unlink()  # then what needs labels is left out
    assert say(monkeypatch, capsys, "export", "--to", "out", "--format", "onnx-int8")[0] == 0
    told = json.loads(Path("out/metrics.json").read_text())
    assert (told["int8"]["macro_f1"], told["calibration_error"]) == (None, None)
    assert told["int8"]["share_otherwise"] < 0.1
    assert openings(finished) == before


def test_predict_names_garments(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(2):
        Image.fromarray(synthetic.test().pixels[index]).save(f"{index}.png")
    export = Path("studies") / NAME / "export"
    code, output, _ = say(monkeypatch, capsys, "predict", export, "0.png", "1.png", "--json")
    assert code == 0
    found: list[dict[str, Any]] = json.loads(output)
    assert [list(entry) for entry in found] == [["file", "predictions"]] * 2
    assert [entry["file"] for entry in found] == ["0.png", "1.png"]
    for entry in found:
        assert [list(guess) for guess in entry["predictions"]] == [["label", "probability"]] * 3
        chances = [guess["probability"] for guess in entry["predictions"]]
        assert chances == sorted(chances, reverse=True)
        assert 0 < sum(chances) <= 1 + 1e-6
        assert {guess["label"] for guess in entry["predictions"]} <= set(synthetic.CLASS_NAMES)
    code, output, _ = say(monkeypatch, capsys, "predict", export, "0.png")
    assert code == 0
    assert output.startswith(f"0.png: {found[0]['predictions'][0]['label']}")


def test_predict_refuses_what_it_cannot_read(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export = Path("studies") / NAME / "export"
    Path("notes.png").write_text("no picture")
    for arguments in ((export, "absent.png"), (export, "notes.png"), ("nowhere", "notes.png")):
        code, _, errors = say(monkeypatch, capsys, "predict", *arguments)
        assert code == 2
        assert errors.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in errors


def test_evaluate_agrees_with_the_study_and_is_recorded(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export = Path("studies") / NAME / "export"
    expected = json.loads((export / "metrics.json").read_text())["macro_f1"]
    code, output, _ = say(monkeypatch, capsys, "evaluate", export, "--data", "synthetic", "--study", NAME)
    assert code == 0
    assert f"Macro F1 {expected:.4f}" in output
    assert [opening.by for opening in openings(finished)] == ["final", "evaluate"]


def test_plain_onnx_runtime_runs_the_export_on_raw_images(finished: Path) -> None:
    np.save("images.npy", synthetic.test().pixels)
    code = (
        "import json, sys, numpy, onnxruntime\n"
        f"session = onnxruntime.InferenceSession('studies/{NAME}/export/model.onnx', "
        "providers=['CPUExecutionProvider'])\n"
        "(found,) = session.run(None, {session.get_inputs()[0].name: numpy.load('images.npy')})\n"
        "print(json.dumps(found.argmax(axis=1).tolist()))\n"
        "sys.exit(bool({'search', 'fmnist', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    truth = synthetic.test().labels
    final = study_in(finished).read(Final)
    assert final is not None
    assert float((np.array(json.loads(done.stdout)) == truth).mean()) == pytest.approx(final.runs[0].accuracy)


def test_the_dashboard_serves_the_study_on_loopback_only(finished: Path) -> None:
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start_command(finished, "dashboard", "--port", str(port))
    try:
        wait_for_line(server, f"http://127.0.0.1:{port}/")
        assert NAME in _fetched(server, f"http://127.0.0.1:{port}/api/studies")
        assert "<html" in _fetched(server, f"http://127.0.0.1:{port}/dashboard").lower()
        listening = [
            line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
        ]
        assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
    finally:
        server.kill()
        server.communicate()


def _fetched(server: subprocess.Popen[str], url: str) -> str:
    end = monotonic() + DEADLINE
    while server.poll() is None and monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except ConnectionRefusedError:
            sleep(0.05)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            sleep(0.05)
    raise AssertionError(f"no answer from {url}")


def test_interrupted_and_killed_the_study_still_ends_with_its_exact_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.toml").write_text(TOML.replace("epochs = 2", "epochs = 4", 1))
    monkeypatch.chdir(tmp_path)
    # Ctrl-C reaches the whole process group, here while the workers still start.
    process = start_command(tmp_path, *RUN)
    wait_for_line(process, "Search: 3 trials")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (130, "")
    assert "To resume, run the same command again" in output
    assert {trial.state for trial in study_in(tmp_path).optuna.trials} <= {
        TrialState.WAITING
    }  # none, if it came before the first was asked for

    process = start_command(tmp_path, *RUN)
    wait_for_line(process, "epoch 1/4")
    # The lock alone, not the command: until that has measured its estimate, the search might be over.
    told = f"Another run is at work on the study '{NAME}': process {process.pid} on "
    with pytest.raises(SearchError, match=told), sole_run((HOME / NAME), NAME):
        pytest.fail("the first run holds it")
    process.kill()
    process.communicate()
    assert TrialState.RUNNING in {trial.state for trial in study_in(tmp_path).optuna.trials}

    done = run_command(tmp_path, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    study = study_in(tmp_path)
    assert [(trial.number, trial.state) for trial in study.optuna.trials] == [
        (number, TrialState.COMPLETE) for number in range(3)
    ]
    assert len(openings(tmp_path)) == 1


def test_a_second_interrupt_ends_at_once() -> None:
    code = (
        "import os, signal\n"
        "from search.job.interrupt import Interrupt\n"
        "with Interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], env=surroundings(), check=False).returncode == 130
