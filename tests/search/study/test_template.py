import re
from pathlib import Path

import pytest

from fmnist.config import knob_fields
from search.errors import SearchError
from search.study.shipped import shipped_studies
from search.study.spec import load_spec
from search.study.template import write_template
from tests.search.tiny import Say

VALUED = re.compile(r"^# (\w+ = \S)")


@pytest.mark.parametrize("base", shipped_studies())
def test_the_file_is_the_base_whether_its_lines_are_comments_or_not(base: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    write_template(file, base)
    other = {"name": "mine", "description": f"based on {base}"}
    assert load_spec(str(file)) == load_spec(base).model_copy(update=other)
    text = file.read_text(encoding="utf-8")
    bare = [VALUED.sub(r"\1", line) for line in text.splitlines()]
    file.write_text("\n".join(bare), encoding="utf-8")
    found, given = load_spec(str(file)), load_spec(base)
    assert found.knobs == {name: given.knobs.get(name, field.default) for name, field in knob_fields().items()}
    assert (found.search, found.budget, found.limits, found.confirm, found.final, found.seed) == (
        given.search, given.budget, given.limits, given.confirm, given.final, given.seed,
    )  # fmt: skip


def test_a_base_in_another_folder_is_found_from_the_new_file(tmp_path: Path) -> None:
    for folder in ("mine", "yours"):
        (tmp_path / folder).mkdir()
    write_template(tmp_path / "yours" / "theirs.toml", "sprint")
    write_template(tmp_path / "mine" / "new.toml", str(tmp_path / "yours" / "theirs.toml"))
    assert load_spec(str(tmp_path / "mine" / "new.toml")).knobs == load_spec("sprint").knobs


def test_nothing_is_overwritten(say: Say, tmp_path: Path) -> None:
    code, output, _ = say("new", "mine.toml", "--from", "quick")
    assert (code, "fmnist-search run mine.toml --dry-run" in output) == (0, True)
    before = (tmp_path / "mine.toml").read_bytes()
    code, _, errors = say("new", "mine.toml")
    assert (code, "is there already" in errors) == (2, True)
    assert (tmp_path / "mine.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "base", "says"),
    [
        ("mine", "quick", r"must have a name that ends in \.toml, got 'mine'"),
        ("none/mine.toml", "quick", "cannot be written: No such file or directory"),
        ("mine.toml", "quik", "Did you mean 'quick'"),
    ],
)
def test_a_wrong_file_or_base_is_refused(file: str, base: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=says):
        write_template(tmp_path / file if "/" in file or file.endswith(".toml") else Path(file), base)
    assert not list(tmp_path.iterdir())
