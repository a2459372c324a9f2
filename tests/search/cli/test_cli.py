import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import optuna
import pytest
import torch
import typer.main

from fmnist.checkpoint import save_checkpoint
from fmnist.config import TrialConfig
from fmnist.network import build
from search.cli.main import app
from tests.search.tiny import Say, command, surroundings

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
TINY = ("run", "tiny.toml", "--data", "synthetic")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_shows_an_example(name: str, say: Say) -> None:
    code, output, _ = say(name, "--help")
    assert code == 0
    assert f"Example: fmnist-search {name}" in output


@pytest.mark.process
def test_help_lists_every_command_without_importing_torch() -> None:
    code = (
        "import sys; from search.cli.main import main; sys.argv[1:] = ['--help']\ntry: main()\nfinally: assert "
        "'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], env=surroundings(), capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "quik"), "Did you mean 'quick'?"),
        (("run", "absent.toml"), "'absent.toml' cannot be read"),
        ((*TINY, "--set", "dropout"), "--set takes knob=value"),
        ((*TINY, "--set", "droput=0.1"), "Did you mean 'dropout'?"),
        ((*TINY, "--name", "../up"), "--name must be 1 to 100 of the characters"),
        ((*TINY, "--device", "tpu"), "must be cpu, cuda"),
        ((*TINY, "--gpus-per-trial", "0"), "--gpus-per-trial can only be used with --executor ray"),  # a 0 is a value
        (("run", "tiny.toml", "--data", "nowhere"), "nowhere does not exist. Check the path."),
        ((*TINY, "--storage", "nonsense"), "it is not a URL"),
        (("report",), "There is no database at 'studies/fmnist.db'"),
        (("status",), "There is no database"),
        (("best",), "There is no database"),
        (("export",), "There is no database"),
        (("export", "--format", "onx"), "Did you mean 'onnx'?"),
        (("dashboard",), "There is no database"),
        (("report", "--storage", "sqlite:///tiny.toml"), "file is not a database"),
        (("evaluate", "nowhere", "--data", "synthetic"), "nowhere"),
    ],
)
def test_a_users_error_is_one_clean_message_and_exit_code_2(arguments: tuple[str, ...], says: str, say: Say) -> None:
    code, _, errors = say(*arguments)
    assert code == 2
    assert errors.startswith("Error: ")
    assert says in errors
    assert "Traceback" not in errors


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_an_absent_device_is_an_error_and_never_replaced(say: Say) -> None:
    code, output, errors = say(*TINY, "--device", "cuda")
    assert code == 2
    assert "'cuda' is not present here. Present: cpu" in errors
    assert not output


@pytest.mark.process
def test_a_users_error_leaves_the_real_command_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        command("run", "quik"), cwd=tmp_path, env=surroundings(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: No study named 'quik'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--trials", "0"),
        ("run", "--wrong"),
        ("run", "--search-minutes", "nan"),
        ("fly",),
        ("dashboard", "--port", "0"),
        ("predict",),
    ],
)
def test_a_wrong_option_is_exit_code_2(arguments: tuple[str, ...], say: Say) -> None:
    code, _, errors = say(*arguments)
    assert code == 2
    assert "Usage" in errors


def test_a_dry_run_shows_plan_and_cost_and_leaves_nothing_behind(say: Say, tmp_path: Path) -> None:
    code, output, errors = say(*TINY, "--workers", "2", "--dry-run", "--trials", "7")
    assert (code, errors) == (0, "")
    for part in (
        "tiny-synthetic",
        "7 trials of 2 epochs, random, nothing pruned",
        "filters 4, 8; learning_rate 0.003 to 0.01 log",
        "2 workers",
        "Estimate",
    ):
        assert part in output
    assert "Nothing was started." in output
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_the_plan_names_minutes_and_limits(say: Say) -> None:
    code, output, _ = say(*TINY, "--dry-run", "--search-minutes", "5", "--max-params", "90000")
    assert code == 0
    assert "5 min 00 s of trials of 2 epochs, at most 3" in output
    assert "max_params 90,000" in output


FROM_NOTHING = (*TINY, "--sampler", "gp", "--pruner", "freeze-thaw", "--from", "nothing")


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_an_earlier_study_that_is_not_there_is_refused_and_nothing_is_left(
    options: tuple[str, ...], say: Say, tmp_path: Path
) -> None:
    code, _, errors = say(*FROM_NOTHING, *options)
    assert code == 2
    assert "nothing" in errors
    assert not (tmp_path / "studies").exists()


def test_a_dry_run_checks_the_storage(say: Say) -> None:
    code, _, errors = say(*TINY, "--dry-run", "--storage", "sqlite:///tiny.toml")
    assert code == 2
    assert "file is not a database" in errors


def test_a_setting_reaches_the_plan(say: Say) -> None:
    changes = ("filters=4", "dropout=0.0,0.5", "bs=32")
    code, output, _ = say(*TINY, "--dry-run", *(part for one in changes for part in ("--set", one)), "--name", "other")
    assert code == 0
    assert "dropout* 0, 0.5; learning_rate 0.003 to 0.01 log (* changed for this run)" in output
    assert "filters=4, batch_size=32, changed for this run" in output
    assert "other" in output


def test_a_file_that_hardly_describes_its_network_is_told_of_the_defaults(say: Say, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[search]\ntrials = 2\n[knobs]\nfilters = [4, 8]\nepochs = 1")
    output = say("run", "mine.toml", "--data", "synthetic", "--dry-run")[1]
    assert "Defaults  depth=2, batch_norm=false, head=flatten, optimizer=adam, learning_rate=0.001" in output
    (tmp_path / "mine.toml").write_text('base = "auto"\n[knobs]\nfilters = [16, 32]')
    assert "Defaults" not in say("run", "mine.toml", "--data", "synthetic", "--dry-run")[1]


def test_what_a_study_tries_first_gives_way_to_a_setting(say: Say) -> None:
    options = ("--data", "synthetic", "--dry-run", "--set", "filters=4", "--set", "flip=alternate,false")
    code, output, errors = say("run", "auto", *options)
    assert (code, errors) == (0, "")
    first = next(line for line in output.splitlines() if line.startswith("Prior"))
    assert "first depth=4, blocks=1, growth=1.6" in first
    assert "flip" not in output.split("first depth=4")[1].split("Confirm")[0]


@pytest.mark.process
def test_sampler_and_pruner_reach_the_plan_and_make_another_study(say: Say) -> None:
    code, output, _ = say(*TINY, "--dry-run", "--sampler", "tpe", "--pruner", "median")
    assert code == 0
    assert "tpe, pruned by median" in output
    assert say(*TINY)[0] == 0
    code, _, errors = say(*TINY, "--sampler", "tpe")
    assert code == 2
    assert "+search.sampler = 'tpe'" in errors
    assert "Give --name for a new study" in errors


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.json", b'{"format": 1', "config.json must be JSON"),
        ("config.json", b'{"a":' * 5000, "config.json must be JSON"),
        ("config.json", b"[NaN]", "the content must be a section"),
        ("config.json", b"\xff" * 2**21, "must be at most 1,048,576 bytes"),
        ("model.safetensors", b"\xff" * 100, "must have the SHA-256"),
    ],
)
def test_a_model_that_was_damaged_is_one_clean_message(
    file: str, content: bytes, says: str, say: Say, tmp_path: Path
) -> None:
    config = TrialConfig(depth=1, filters=4, head="max")
    save_checkpoint(tmp_path / "model", build(config, 2), config, ("a", "b"), origin={})
    (tmp_path / "model" / file).write_bytes(content)
    for arguments in (("predict", "model", "shoe.png"), ("evaluate", "model", "--data", "synthetic")):
        code, output, errors = say(*arguments)
        assert (code, output) == (2, "")
        assert errors.startswith(f"Error: model/{file}")
        assert says in errors
        assert errors.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", COMMANDS)
def test_h_is_help_which_names_arguments_plainly(name: str, say: Say) -> None:
    assert say(name, "-h") == say(name, "--help")
    _, output, _ = say(name, "-h")
    assert not set("{}<>") & set(output.partition("\nArguments:\n")[2].partition("\nOptions:\n")[0])
    params = typer.main.get_command(app).commands[name].params  # type: ignore[attr-defined]
    arguments = [
        one.metavar if one.required else f"[{one.metavar}]" for one in params if one.param_type_name == "argument"
    ]
    assert output.splitlines()[0] == " ".join([f"Usage: fmnist-search {name} [OPTIONS]", *arguments])


def test_the_list_of_commands_is_whole_on_a_narrow_terminal(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "65")
    code, output, _ = say("-h")
    listed = output.partition("Commands:")[2].splitlines()[1:]
    assert (code, [line.split()[0] for line in listed]) == (0, list(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.process
def test_the_version_is_that_of_the_package_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from search.cli.main import main; sys.argv[1:] = ['--version']\n"
        "try: main()\nfinally: assert not {'torch', 'optuna', 'numpy', 'sqlalchemy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=surroundings(), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"fmnist-search {version('fmnist-search')}\n", "")


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments", [("trials", "going"), ("trials", "going", "--json"), ("report", "going"), ("--help",)]
)
def test_nobody_who_reads_the_output_ends_it_quietly(arguments: tuple[str, ...], listed: Say, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command(*arguments),
        cwd=tmp_path,
        env=surroundings(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.process
@pytest.mark.parametrize("name", ["demo", "export"])
def test_a_study_that_is_not_finished_is_so_by_the_command_that_began_it(name: str, listed: Say) -> None:
    arguments = ("export", "going", "--data", "synthetic") if name == "export" else ("demo",)
    code, _, errors = listed(*arguments)
    assert code == 2
    assert "Run the command that started it again to finish it" in errors


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((*TINY, "--test", ""), "--test"),
        ((*TINY, "--name", ""), "--name"),
        ((*TINY, "--name="), "--name"),
        ((*TINY, "--data", ""), "--data"),
        (("data", ""), "an argument"),
        (("data", "synthetic", "--sheet", ""), "--sheet"),
        (("data", "synthetic", "--save", ""), "--save"),
        (("report", ""), "an argument"),
        (("status", "--storage", ""), "--storage"),
        (("predict", "", "x.png"), "an argument"),
    ],
)
def test_an_empty_value_is_refused_and_not_taken_for_none(
    arguments: tuple[str, ...], named: str, say: Say, tmp_path: Path
) -> None:
    code, output, errors = say(*arguments)
    assert (code, output) == (2, "")
    assert "must not be empty" in errors
    assert named in errors
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.process
@pytest.mark.parametrize("variable", ["FMNIST_STORAGE", "FMNIST_STUDIES"])
def test_the_environment_says_where_studies_are(variable: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    url = f"sqlite:///{tmp_path}/elsewhere/fmnist.db"
    optuna.create_study(study_name="mine", storage=url, direction="maximize")
    environment = surroundings(**{variable: url if variable == "FMNIST_STORAGE" else str(tmp_path / "elsewhere")})

    def printed(*arguments: str) -> str:
        return subprocess.run(
            arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert "mine" in printed(*command("status"))
    assert printed(sys.executable, "-c", "import search; print(search.load('mine').name)") == "mine\n"
