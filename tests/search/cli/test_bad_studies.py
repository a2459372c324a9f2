"""A study that is not valid never starts: whatever is wrong in its file is exit code 2 and one clean message."""

import copy
import datetime
import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmnist.errors import FmnistError
from search.study.shipped import shipped_studies
from search.study.spec import load_spec
from tests.search.tiny import TOML, Say, command, surroundings

STUDIES = [TOML, *((files("studies") / f"{name}.toml").read_text(encoding="utf-8") for name in shipped_studies())]
DRY_RUN = ("run", "mine.toml", "--data", "synthetic", "--dry-run")
FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

toml_values = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.sampled_from(
        [
            0,
            -1,
            10**30,
            10**4000,
            float("nan"),
            float("inf"),
            -0.0,
            1e308,
            "",
            "search",
            "tpee",
            "../../x",
            "\u202e\x1b[31m\n",
            "x" * 5000,
        ]
    )
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.sampled_from([None, datetime.UTC])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["low", "high", "step", "log", "trials", "x y"]), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(
    ["trails", "dropuot", "serch", "seed", "knobs", "search", "depth", "low", "a b", "\u202e\n", "x" * 2000, ""]
)


def mutated(spec: dict[str, Any], chance: st.DataObject) -> dict[str, Any]:
    """With one key deleted, renamed or added, or one value replaced by any that TOML can hold."""
    place = spec = copy.deepcopy(spec)
    while (
        isinstance(inner := place[chance.draw(st.sampled_from(sorted(place)))], dict)
        and inner
        and chance.draw(st.integers(0, 3))
    ):
        place = inner
    name = chance.draw(st.sampled_from(sorted(place)))
    match chance.draw(st.sampled_from(["delete", "rename", "replace", "replace", "add"])):
        case "delete":
            del place[name]
        case "rename":
            place[chance.draw(keys)] = place.pop(name)
        case "replace":
            place[name] = chance.draw(toml_values)
        case "add":
            place[chance.draw(keys)] = chance.draw(toml_values)
    return spec


def is_refused(say: Say, folder: Path, data: bytes) -> bool:
    """Whether the command refuses that file, cleanly if it does; either way it has left nothing behind."""
    (folder / "mine.toml").write_bytes(data)
    try:
        load_spec(str(folder / "mine.toml")).space.distributions()
    except FmnistError:
        code, output, errors = say(*DRY_RUN)
        assert (code, output) == (2, "")
        assert errors.startswith("Error: ")
        assert "mine.toml" in errors
        assert errors.replace("\n", "").isprintable()
        assert len(errors.splitlines()) <= 42
        assert max(map(len, errors.splitlines())) < 800
        assert {path.name for path in folder.iterdir()} == {"tiny.toml", "mine.toml"}
        return True
    return False


@pytest.mark.slow
@given(st.data(), st.sampled_from(STUDIES))
@FUZZ
def test_a_changed_key_or_value_is_refused_or_still_a_study(
    say: Say, tmp_path: Path, chance: st.DataObject, text: str
) -> None:
    spec = mutated(tomllib.loads(text), chance)
    is_refused(say, tmp_path, tomli_w.dumps(spec).encode())


@pytest.mark.slow
@given(st.data(), st.sampled_from(STUDIES))
@FUZZ
def test_damaged_bytes_are_refused_or_still_a_study(say: Say, tmp_path: Path, chance: st.DataObject, text: str) -> None:
    data = text.encode()
    start = chance.draw(st.integers(0, len(data)))
    end = min(len(data), start + chance.draw(st.integers(0, 30)))
    odd = st.sampled_from(
        [
            b"[" * 5000,
            b"a." * 5000,
            b"{a=" * 5000,
            b"\xff",
            b"\xef\xbb\xbf",
            b"\r",
            b"\r\n",
            b"\x00",
            b"9" * 5000,
            b'"',
            b"'''",
            b"= nan #",
        ]
    )
    line = chance.draw(st.sampled_from(data.splitlines(keepends=True)))
    new = chance.draw(st.binary(max_size=8) | odd | st.just(line))
    is_refused(say, tmp_path, data[:start] + new + (b"" if chance.draw(st.integers(0, 3)) == 0 else data[end:]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe[\x00s\x00",
        b"#" * 100_000,
        b"[search]\ntrials = 0x" + b"f" * 5000,
        b"[[search]]\ntrials = 1\n",
        b"search.trials = nan\n",
        b"[search]\ntrials = 1\ntrials = 2\n",
        b"[search]\ntrials = 1\n[knobs]\ndropout" + b".low" * 99 + b" = 1\n",
        TOML.replace("epochs", "epohcs").encode(),
    ],
)
def test_a_file_that_is_no_study_is_refused(say: Say, tmp_path: Path, data: bytes) -> None:
    assert is_refused(say, tmp_path, data)


def test_all_that_is_wrong_is_said_at_once(say: Say, tmp_path: Path) -> None:
    wrong = (
        TOML.replace("trials = 3", 'trials = "3"')
        .replace('"random"', '"randon"')
        .replace("depth = 1", "depth = 9")
        .replace("[final]", "[finale]")
    )
    assert is_refused(say, tmp_path, wrong.encode())
    *lines, last = say(*DRY_RUN)[2].removeprefix("Error: ").splitlines()
    assert [*lines, last] == [
        "mine.toml, [knobs]: depth must be a whole number from 1 to 4, got 9.",
        "mine.toml: search.trials must be a whole number from 1 to 1000000, got '3'. Write it without quotes.",
        "mine.toml: search.sampler must be 'tpe', 'gp', 'cmaes', 'random', 'grid' or 'nsga2', got 'randon'. Did you "
        "mean 'random'?",
        "mine.toml: unknown key 'finale'. Did you mean 'final'?",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + TOML.encode(),
        TOML.replace("\n", "\r\n").encode(),
        TOML.replace("[search]\ntrials = 3", "[search] # a comment\n'trials' = 0x3").encode(),
        b"search.trials = 1\nknobs = { filters = 4, depth = 1, batch_size = 256 }\n",
    ],
)
def test_a_file_that_only_looks_odd_is_a_study(say: Say, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mine.toml").write_bytes(data)
    code, output, errors = say(*DRY_RUN)
    assert (code, errors) == (0, "")
    assert "Nothing was started." in output
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.toml", "mine.toml"}


@pytest.mark.process
@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_the_real_command_starts_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "mine.toml").write_bytes(
        b"[search]\ntrials = 1\n[knobs]\ndropout = { low = 0x" + b"f" * 5000 + b", high = 1 }\n"
    )
    given = command("run", "mine.toml", "--data", "synthetic", *options)
    done = subprocess.run(given, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: mine.toml, [knobs]: dropout.low must be a number")
    assert len(done.stderr.splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
