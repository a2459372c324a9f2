import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

import fmnist
from fmnist.config import TrialConfig

ROOM = Path(fmnist.__file__).parent
CONFIG = ROOM / "config.py"


def read_from_config(tree: ast.AST) -> set[str]:
    """Each x that is read as `config.x` or `<anything>.config.x`."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Name("config") | ast.Attribute(attr="config"), name, ast.Load()):
                names.add(name)
    return names


def read_by_properties(tree: ast.AST) -> dict[str, set[str]]:
    """The names x that each property of TrialConfig reads as `self.x`, by property."""
    names = {}
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name, decorator_list=[ast.Name("property")]):
                attributes = (child for child in ast.walk(node) if isinstance(child, ast.Attribute))
                names[name] = {
                    attribute.attr
                    for attribute in attributes
                    if isinstance(attribute.value, ast.Name) and attribute.value.id == "self"
                }
    return names


def read_anywhere(sources: Iterable[str], config: str) -> set[str]:
    read = set().union(*(read_from_config(ast.parse(source)) for source in sources))
    properties = read_by_properties(ast.parse(config))
    return read.union(*(fields for name, fields in properties.items() if name in read))


@pytest.fixture(scope="module")
def read() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in ROOM.rglob("*.py") if path != CONFIG)
    return read_anywhere(sources, CONFIG.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TrialConfig.model_fields)
def test_every_knob_is_read(name: str, read: set[str]) -> None:
    assert name in read, f"{name!r} is a field of TrialConfig that nothing in fmnist/ reads as config.{name}"


def test_an_unused_knob_is_detected() -> None:
    properties = "@property\ndef widths(self): return self.filters\n@property\ndef area(self): return self.side"
    assert read_anywhere(["f(config.depth, self.config.l2, config.widths)"], properties) == {
        "depth",
        "l2",
        "widths",
        "filters",
    }
    assert read_anywhere(["config.depth = 3", "model.depth", "'config.depth'  # config.depth"], properties) == set()
