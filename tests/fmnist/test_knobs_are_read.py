import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

import fmnist
from fmnist.config import TrialConfig

ROOM = Path(fmnist.__file__).parent
CONFIG = ROOM / "config.py"


def read_of_config(tree: ast.AST) -> set[str]:
    """Every x that is read as `config.x` or `<anything>.config.x`."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Name("config") | ast.Attribute(attr="config"), name, ast.Load()):
                found.add(name)
    return found


def read_by_properties(tree: ast.AST) -> dict[str, set[str]]:
    """Property of TrialConfig -> every x that it reads as `self.x`."""
    found = {}
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name, decorator_list=[ast.Name("property")]):
                inside = (part for part in ast.walk(node) if isinstance(part, ast.Attribute))
                found[name] = {
                    part.attr for part in inside if isinstance(part.value, ast.Name) and part.value.id == "self"
                }
    return found


def read_anywhere(sources: Iterable[str], config: str) -> set[str]:
    read = set().union(*(read_of_config(ast.parse(source)) for source in sources))
    properties = read_by_properties(ast.parse(config))
    return read.union(*(fields for name, fields in properties.items() if name in read))


@pytest.fixture(scope="module")
def read() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in ROOM.rglob("*.py") if path != CONFIG)
    return read_anywhere(sources, CONFIG.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TrialConfig.model_fields)
def test_every_knob_is_read_by_the_code_it_turns(name: str, read: set[str]) -> None:
    assert name in read, f"{name!r} is a field of TrialConfig that nothing in fmnist/ reads as config.{name}"


def test_the_rule_sees_a_dead_knob() -> None:
    properties = "@property\ndef widths(self): return self.filters\n@property\ndef area(self): return self.side"
    assert read_anywhere(["f(config.depth, self.config.l2, config.widths)"], properties) == {
        "depth",
        "l2",
        "widths",
        "filters",
    }
    assert read_anywhere(["config.depth = 3", "model.depth", "'config.depth'  # config.depth"], properties) == set()
