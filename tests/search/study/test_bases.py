from pathlib import Path

import pytest

from search.errors import SearchError
from search.study.spec import load_spec
from tests.search.study.test_spec import VALID


def study(folder: Path, **texts: str) -> str:
    """Write the files, and return the path of the last one."""
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return str(folder / f"{name}.toml")


def test_a_study_takes_from_its_base_what_it_does_not_say(tmp_path: Path) -> None:
    mine = load_spec(study(tmp_path, mine='base = "quick"\n[search]\ntrials = 4\n[knobs]\nfilters = [16, 32]'))
    quick = load_spec("quick")
    assert (mine.name, mine.description, mine.search.trials) == ("mine", "based on quick", 4)
    assert (mine.search.sampler, mine.confirm, mine.final) == (quick.search.sampler, quick.confirm, quick.final)
    assert mine.knobs == quick.knobs | {"filters": [16, 32]}


def test_bases_are_found_beside_their_file_and_may_have_bases(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    study(tmp_path, first=VALID, second='base = "first.toml"\nseed = 7\n[knobs]\ndepth = 2')
    mine = load_spec(study(tmp_path / "deep", third='base = "../second.toml"\n[final]\nseeds = 5'))
    first = load_spec(str(tmp_path / "first.toml"))
    assert (mine.seed, mine.knobs["depth"], mine.final.seeds, mine.confirm) == (7, 2, 5, first.confirm)
    assert mine.description == "based on second"


def test_a_range_replaces_the_whole_entry_of_the_base(tmp_path: Path) -> None:
    mine = load_spec(study(tmp_path, first=VALID, mine='base = "first.toml"\n[knobs]\nl2 = { low = 0, high = 0.1 }'))
    assert mine.knobs["l2"] == {"low": 0, "high": 0.1}


def test_what_the_base_tries_first_gives_way_to_the_files_own_knobs(tmp_path: Path) -> None:
    mine = load_spec(study(tmp_path, mine='base = "auto"\n[knobs]\nfilters = 64\nl2 = { low = 0.001, high = 0.1 }'))
    (first,) = mine.prior.configs
    (given,) = load_spec("auto").prior.configs
    assert first == {name: value for name, value in given.items() if name != "filters"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"mine": 'base = "quik"'}, r"mine\.toml, base: No study named 'quik' ships .*Did you mean 'quick'\?"),
        ({"mine": 'base = "none.toml"'}, r"The study file .* cannot be read: No such file"),
        ({"mine": "base = 3"}, r"mine\.toml: base must be the name of a shipped study, or the path of a file, got 3"),
        ({"mine": 'base = "mine.toml"'}, r"mine\.toml, base: .*leads back"),
        ({"a": 'base = "b.toml"', "b": 'base = "a.toml"'}, r"a\.toml, base: .*'b\.toml' leads back"),
        ({"a": "[search]\ntrials = 0", "mine": 'base = "a.toml"'}, r"^a\.toml: search\.trials must be"),
        ({"mine": 'base = "quick"\nknobs = 3'}, r"^mine\.toml: "),
        ({"mine": 'base = "quick"\n[knobs]\ndropout = 2'}, r"^mine\.toml, \[knobs\]: dropout must be"),
        ({"mine": '[search]\ntrials = 1\nbase = "quick"'}, r"base.*It belongs|unknown.*base"),
    ],
)
def test_a_wrong_base_is_refused(files: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=says):
        load_spec(study(tmp_path, **files))
