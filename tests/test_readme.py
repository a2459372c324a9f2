"""The README says what is so: its commands, options and the study it shows exist as it writes them."""

import re
import tomllib
from importlib.resources import files
from pathlib import Path

import typer

from search.cli import app

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = {command.name: command for command in typer.main.get_command(app).commands.values()}  # type: ignore[attr-defined]


def test_every_command_in_the_readme_exists_and_every_command_is_in_it() -> None:
    assert set(re.findall(r"`fmnist-search ([a-z]+)", README)) == set(COMMANDS)


def test_every_option_in_the_readme_is_one_of_some_command() -> None:
    options = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", README)) <= options | {"--help"}


def test_the_study_in_the_readme_is_the_one_that_ships() -> None:
    shown = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert tomllib.loads(shown[1]) == tomllib.loads((files("studies") / "quick.toml").read_text(encoding="utf-8"))


def test_the_knob_in_the_readme_is_declared_so() -> None:
    shown = re.search(r"^dropout: Annotated.*$", README, re.MULTILINE)
    assert shown is not None
    assert shown[0] in (files("fmnist") / "config.py").read_text(encoding="utf-8")


def test_the_tests_that_show_a_promise_are_there() -> None:
    named = set(re.findall(r"`((?:\.\./)*(?:\w+/)*test_\w+\.py)`", README))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (Path(__file__).parent / "search" / name).exists()] == []
