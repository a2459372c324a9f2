"""README and docs say what is so: commands, options, links and the study they show exist as they write them."""

import ast
import json
import re
import shlex
import tomllib
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
import typer

from search.cli.main import app
from search.study.spec import load_spec
from tests.search.tiny import run_command

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `fmnist-search ([a-z]+[^`]*)` \| (.*) \|$", README, re.MULTILINE))  # usage -> what it does
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHIPPED = {file.name.removesuffix(".toml") for file in files("studies").iterdir() if file.name.endswith(".toml")}
COMMANDS = {command.name: command for command in typer.main.get_command(app).commands.values()}  # type: ignore[attr-defined]


def test_every_command_in_the_readme_exists_and_every_command_is_in_it() -> None:
    assert set(re.findall(r"`fmnist-search ([a-z]+)", README)) == set(COMMANDS)
    assert set(re.findall(r"`fmnist-search ([a-z]+)", DOCS)) == set(COMMANDS)


def parse(line: str) -> typer.Context:
    """What a command line says, up to where the shell takes its output elsewhere.

    Raises what a person would be told who gives it.
    """
    program, name, *arguments = shlex.split(re.split(r" [>|] ", line)[0])
    assert program == "fmnist-search"
    context: typer.Context = COMMANDS[name].make_context(name, arguments)
    return context


def stems(text: str) -> set[str]:
    return {
        word[:5]
        for word in re.findall(r"[a-z]{4,}", text.lower())
        if word not in ("with", "that", "their", "each", "whole", "from")
    }


@pytest.mark.process
@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_in_a_commands_help_is_one_that_it_takes(name: str) -> None:
    (example,) = re.findall(r"^\s*Example: (.*)$", COMMANDS[name].help or "", re.MULTILINE)
    assert example.split()[:2] == ["fmnist-search", name]
    parse(example)


def typed(page: Path) -> list[str]:
    """The commands of this program in a page's blocks of code."""
    blocks = "".join(BLOCK.findall(page.read_text(encoding="utf-8"))).replace("\\\n", "")
    return re.findall(r"^(?:\$ )?(fmnist-search .*)$", blocks, re.MULTILINE)


def studies_named(context: typer.Context) -> set[str]:
    """The studies and study files in the arguments of a command."""
    values = [context.params[one.name or ""] for one in context.command.params if one.metavar in ("STUDY", "STUDY...")]
    names = {name for value in values for name in ([value] if isinstance(value, str) else value or ())}
    return {name for name in names if not name.isdecimal()}  # `show 7` is a trial


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_in_a_pages_blocks_are_taken_and_name_studies_that_the_page_introduces(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    introduced = set(re.findall(r"`([\w.-]+)`", BLOCK.sub("", text))) | set(re.findall(r"--name ([\w-]+)", text))
    introduced |= {name.removesuffix(".toml") for name in introduced}  # a file's study has its name
    for line in typed(page):
        assert studies_named(parse(line)) <= introduced | SHIPPED, line


def test_most_pages_show_commands() -> None:
    assert sum(bool(typed(page)) for page in PAGES) >= 5


@pytest.mark.process
def test_an_example_that_is_wrong_would_be_seen() -> None:
    for line in (
        "fmnist-search status --jsn",
        "fmnist-search show auto seven",
        "fmnist-search compare",
        "fmnist-search best a b",
    ):
        with pytest.raises(Exception, match=r"(?i)no such option|valid integer|missing|unexpected"):
            parse(line)


@pytest.mark.parametrize("usage", ROWS)
def test_the_readme_names_the_arguments_of_a_command_and_says_what_its_help_says(usage: str) -> None:
    name = usage.split(maxsplit=1)[0]
    arguments = [one.metavar for one in COMMANDS[name].params if one.param_type_name == "argument"]
    assert re.findall(r"(?<!-)\b[A-Z]+(?:=[A-Z]+)?\b(?:\.\.\.)?", re.sub(r"--\w+ [A-Z]+", "", usage)) == arguments
    said = {each: (COMMANDS[each].help or "").splitlines()[0] for each in COMMANDS}
    shared = {each: len(stems(said[each]) & stems(ROWS[usage])) for each in COMMANDS}
    assert shared[name] >= 2, (said[name], ROWS[usage])
    assert shared[name] == max(shared.values()), shared


def test_every_option_in_readme_and_docs_is_one_of_some_command() -> None:
    options = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    of_a_benchmark = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(--[a-z-]+)", DOCS.replace(of_a_benchmark, ""))) <= options | {"--help"}


def test_the_study_in_the_docs_is_the_one_that_ships() -> None:
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^This is `quick` whole:\n\n```toml\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    assert tomllib.loads(shown) == tomllib.loads((files("studies") / "quick.toml").read_text(encoding="utf-8"))


def test_the_study_of_ones_own_in_the_docs_can_be_run(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r'```toml\n(base = "quick".*?)```', page, re.DOTALL)
    (tmp_path / "mine.toml").write_text(shown, encoding="utf-8")
    spec = load_spec(str(tmp_path / "mine.toml"))
    assert (spec.search.trials, spec.knobs["dropout"], spec.final) == (30, 0.1, load_spec("quick").final)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_pages_python_imports_is_there(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_steps_of_the_tutorial_are_all_tried_and_all_confirmed(tmp_path: Path) -> None:
    (shown,) = re.findall(r'```toml\n(base = "baseline".*?)```', TUTORIAL, re.DOTALL)
    (tmp_path / "steps.toml").write_text(shown, encoding="utf-8")
    spec = load_spec(str(tmp_path / "steps.toml"))
    assert len(spec.prior.configs) == spec.search.trials == spec.confirm.top
    assert [spec.space.errors(config) for config in spec.prior.configs] == [[]] * 7
    assert [config.keys() for config in spec.prior.configs] == [spec.space.distributions().keys()] * 7


@pytest.mark.process
def test_the_table_of_the_tutorial_has_what_it_says_to_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    exec(script.replace("find_source(None", 'find_source("synthetic"'), {})
    done = run_command(tmp_path, "data", "shop.csv", "--json")
    caught = {rule["rule"]: rule["train"] for rule in json.loads(done.stdout)["cleaning"]["caught"]}
    assert {rule for rule, images in caught.items() if images} == {
        "missing_labels",
        "missing_pixels",
        "conflicts",
        "duplicates",
    }
    assert len(list(Path("pictures").iterdir())) == 3


def test_the_diffs_in_contributing_lead_to_what_is_there() -> None:
    diffs = re.findall(r"^```diff\n(.*?)^```", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    files = [part for diff in diffs for part in re.split(r"^ # ", diff, flags=re.MULTILINE) if part]
    assert len(files) > 6
    for part in files:
        path, _, changes = part.partition("\n")
        added = "\n".join(line[1:] for line in changes.splitlines() if line.startswith("+"))
        assert added in (ROOT / path).read_text(encoding="utf-8"), path


def test_the_files_that_contributing_names_are_there() -> None:
    named = set(re.findall(r"`((?:fmnist|search|tests)/[\w./]*)`", CONTRIBUTING))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_tests_that_show_a_promise_are_there() -> None:
    named = set(
        re.findall(
            r"`((?:\.\./)*(?:\w+/)*test_\w+\.py)`", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
        )
    )
    assert len(named) > 10
    assert [name for name in sorted(named) if not (Path(__file__).parent / "search" / name).exists()] == []


def test_the_readme_is_a_front_door() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), target
            assert not heading or heading in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The ids that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
