import math
import os
import random
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from search.errors import SearchError
from search.study.shipped import shipped_studies
from search.study.spec import StudySpec, load_spec, pinned_spec

VALID = """\
name = "mine"
description = "a study"
seed = 3
unlisted = "search"

[search]
trials = 12
minutes = 2.5
sampler = "gp"
pruner = "median"

[knobs]
epochs = 3
depth = [3, 4]
head = "max"
l2 = { low = 0.01, high = 0.1, log = true }
dropout = { low = 0.0, high = 0.6, step = 0.2 }
growth = "search"

[confirm]
top = 2
seeds = 1

[final]
seeds = 2
epochs = 4
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(text: str, folder: Path) -> str:
    with pytest.raises(SearchError) as caught:
        load_spec(written(folder, text))
    return str(caught.value)


def spec(**changes: Any) -> StudySpec:
    return StudySpec.parse({"name": "mine", "search": {"trials": 5}} | changes, context="mine.toml")


def test_a_file_is_read_as_it_states(tmp_path: Path) -> None:
    found = load_spec(written(tmp_path, VALID))
    assert (found.name, found.seed, found.epochs) == ("mine", 3, 3)
    assert (found.search.trials, found.search.minutes, found.search.sampler, found.search.pruner) == (
        12,
        2.5,
        "gp",
        "median",
    )
    assert (found.confirm.top, found.confirm.seeds, found.final.seeds, found.final.epochs) == (2, 1, 2, 4)
    assert found.space.pinned == {"epochs": 3, "head": "max"}
    assert "growth" in found.space.knobs
    assert "ema" in found.space.knobs  # unlisted, and so searched


def test_what_a_file_leaves_out_has_defaults(tmp_path: Path) -> None:
    found = load_spec(written(tmp_path, "[search]\ntrials = 4\n", "short.toml"))
    assert found.name == "short"  # the file's own
    assert (found.search.sampler, found.search.pruner, found.search.minutes) == ("tpe", "percentile", None)
    assert found.epochs == TrialConfig().epochs
    assert not found.space.knobs


def test_all_errors_are_reported_at_once_each_with_file_key_and_value(tmp_path: Path) -> None:
    lines = refusal(
        'seed = -1\n[search]\nsampler = "bayes"\ntrails = 4\n'
        "[knobs]\ndroput = 0.2\nl2 = 7\ndepth = [2, 9]\n[final]\nseeds = 0\n",
        tmp_path,
    ).splitlines()
    expected = [
        ("unknown knob 'droput'", "Did you mean 'dropout'?"),
        ("[knobs]: l2", "from 0 to 1", "got 7."),
        ("[knobs]: depth entry 2", "from 1 to 4", "got 9."),
        ("seed", "from 0 to 2147483647", "got -1."),
        ("search.trials is missing",),
        ("search.sampler", "'tpe', 'gp'", "got 'bayes'."),
        ("unknown key 'search.trails'", "Did you mean 'trials'?"),
        ("final.seeds", "from 1 to 1000", "got 0."),
    ]
    assert len(lines) == len(expected)
    for parts in expected:
        assert [line for line in lines if line.startswith("mine.toml") and all(part in line for part in parts)], parts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[search\ntrials = 1", "not valid TOML"),
        ("", "search is missing; it must be a section"),
        ("search = 5", "search must be a section with keys of its own, got 5."),
        ("search = [1]", "search must be a section with keys of its own, got [1]."),
        ("[[search]]\ntrials = 1", "got [{trials = 1}]. Write the section once, with its name in single brackets."),
        ("[search.trials]\nx = 1", "search.trials must be a whole number from 1 to 1000000, got {x = 1}."),
        ("knobs = 5\n[search]\ntrials = 1", "knobs must be a table, got 5."),
        ('name = "../up"\n[search]\ntrials = 1', "name must be 1 to 100 of the characters A-Z, a-z"),
        ('name = ""\n[search]\ntrials = 1', "name must be "),
        ('name = "a\\u001b[31m\\nb"\n[search]\ntrials = 1', r"got 'a\x1b[31m\nb'."),
        (f'name = "{"x" * 3000}"\n[search]\ntrials = 1', f"got '{'x' * 79}…."),
        ("description = 5\n[search]\ntrials = 1", "description must be a string in quotes, got 5."),
        (
            'unlisted = "serch"\n[search]\ntrials = 1',
            "unlisted must be 'default' or 'search', got 'serch'. Did you mean 'search'?",
        ),
        ("[search]\ntrials = 0", "search.trials must be a whole number from 1 to 1000000, got 0."),
        ("[search]\ntrials = 2.5", "got 2.5."),
        ("[search]\ntrials = true", "got true."),
        ('[search]\ntrials = "1"', "got '1'. Write it without quotes."),
        ("[search]\ntrials = inf", "got inf."),
        (f"[search]\ntrials = 0x{'f' * 5000}", "got a number of about 6000 digits."),
        (
            "[search]\ntrials = 1\nminutes = nan",
            "search.minutes must be a number, above 0 and at most 10000000, got nan.",
        ),
        (
            "[search]\ntrials = 1\nminutes = inf",
            "search.minutes must be a number, above 0 and at most 10000000, got inf.",
        ),
        ("[search]\ntrials = 2024-01-01", "got the date or time 2024-01-01."),
        ('[search]\ntrials = 1\nsampler = "tpee"', "'grid' or 'nsga2', got 'tpee'. Did you mean 'tpe'?"),
        ('[search]\ntrials = 1\nsampler = "TPE"', "Did you mean 'tpe'?"),
        (
            '[search]\ntrials = 1\npruner = "hyperbnd"',
            "'freeze-thaw' or 'none', got 'hyperbnd'. Did you mean 'hyperband'?",
        ),
        (
            "[search]\ntrials = 1\n[final]\nepochs = 5000",
            "final.epochs must be a whole number from 1 to 1000, got 5000.",
        ),
        (
            '[search]\ntrials = 1\n[cleaning]\nblank = "dorp"',
            "cleaning.blank must be 'drop' or 'keep', got 'dorp'. Did you mean 'drop'?",
        ),
        (
            '[search]\ntrials = 1\n[cleaning]\nclasses = ["a", 1]',
            "cleaning.classes entry 2 must be a string in quotes, got 1.",
        ),
        ('[search]\ntrials = 1\n[cleaning]\nclasses = ["a", "a"]', "names each class only once"),
        (
            '[search]\ntrials = 1\n[cleaning]\nrename = { "a b" = 1 }',
            "cleaning.rename.'a b' must be a string in quotes, got 1.",
        ),
        ("serch = 5\n[search]\ntrials = 1", "Did you mean 'search'?"),
        ("dropout = 0.1\n[search]\ntrials = 1", "unknown key 'dropout'. It belongs under [knobs]."),
        ("trials = 1", "unknown key 'trials'. It belongs under [search]."),
        (
            "[search]\ntrials = 1\nseed = 3",
            "unknown key 'search.seed'. It belongs at the top, before the first section.",
        ),
        ('[search]\ntrials = 1\n"\\u202e\\n" = 1', r"unknown key search.'\u202e\n'."),
        (f"[search]\ntrials = 1\n[knobs]\n{'dropout.' * 60}low.{'x.' * 30}y = 1", "dropout has an unknown 'dropout'"),
        (f"[search]\ntrials = {'9' * 5000}", "not valid TOML: a number has too many digits"),
        (f"x = {'[' * 5000}", "not valid TOML: lists or tables are nested too deeply"),
        (f"{'a.' * 5000}b = 1", "not valid TOML: a key must have at most 100 dots"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(text: str, says: str, tmp_path: Path) -> None:
    message = refusal(text, tmp_path)
    assert message.startswith("mine.toml")
    assert says in message
    assert message.replace("\n", "").isprintable()


def test_of_very_many_errors_the_first_are_named(tmp_path: Path) -> None:
    *_, last = lines = refusal(
        f"[search]\ntrials = 1\nx = 1\n[knobs]\ndropout = [{'7, ' * 2000}]", tmp_path
    ).splitlines()
    assert len(lines) == 41
    assert "1961 more errors" in last


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"#\xff\xfe\x00")
    (tmp_path / "large.toml").write_bytes(b"#" * 100_000)
    for name, says in {
        "absent.toml": "No such file or directory",
        "binary.toml": "it must be text in UTF-8, byte 2 is 0xff",
        "large.toml": "must be at most 65,536 bytes, got 100,000",
        "": "must be a file, got a folder",
    }.items():
        with pytest.raises(FmnistError, match=says):
            load_spec(f"{tmp_path}/{name}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("pipe.toml", "zero.toml"):
        with pytest.raises(FmnistError, match="must be a file, got a pipe, a socket or a device"):
            load_spec(str(tmp_path / name))


def test_a_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf" + VALID.replace("\n", "\r\n").encode())
    assert load_spec(str(tmp_path / "mine.toml")) == load_spec(written(tmp_path, VALID))


def test_an_unknown_shipped_study_is_refused_with_a_hint() -> None:
    with pytest.raises(SearchError, match=r"No study named 'quik' ships.*Did you mean 'quick'\?.*give its path"):
        load_spec("quik")


def test_without_a_name_the_default_study_is_read() -> None:
    assert load_spec(None) == load_spec("auto")
    assert "auto" in shipped_studies()


def test_the_command_line_overrides_budgets_seed_and_name() -> None:
    changed = spec().overridden(name="other", trials=9, search_minutes=1.5, seed=4, sampler="gp", pruner="none")
    assert (changed.name, changed.search.trials, changed.search.minutes, changed.seed) == ("other", 9, 1.5, 4)
    assert (changed.search.sampler, changed.search.pruner) == ("gp", "none")
    assert spec().overridden() == spec()


@pytest.mark.parametrize(
    ("setting", "entry"),
    [
        ("dropout=0.2", 0.2),
        ("batch_norm=true", True),
        ("depth=[2, 3]", [2, 3]),
        ("l2 = {low=0.001, high=0.1, log=true}", {"low": 0.001, "high": 0.1, "log": True}),
        ("head=max", "max"),
        ('head="max"', "max"),
        ('activation=["relu", "gelu"]', ["relu", "gelu"]),
        ("growth=search", "search"),
        ("activation=relu,silu", ["relu", "silu"]),
        ('activation="relu", "silu"', ["relu", "silu"]),
        ("depth=3,4", [3, 4]),
        ("flip=true, alternate", [True, "alternate"]),
        ("dropout=0..0.5", {"low": 0, "high": 0.5}),
        ("filters=24..64", {"low": 24, "high": 64, "step": 8}),
        ("filters=24..50", {"low": 24, "high": 50}),
        ("learning_rate=0.001..0.01", {"low": 0.001, "high": 0.01, "log": True}),
        ("depth = 2..4", {"low": 2, "high": 4}),
    ],
)
def test_a_setting_is_a_toml_value_or_a_bare_word(setting: str, entry: object) -> None:
    name = setting.partition("=")[0].strip()
    assert spec(knobs={name: 1} if name == "depth" else {}).overridden(settings=[setting]).knobs == {name: entry}


@pytest.mark.parametrize(
    ("short", "name"), [("lr", "learning_rate"), ("wd", "l2"), ("width", "filters"), ("bs", "batch_size")]
)
def test_usual_short_names_are_known(short: str, name: str) -> None:
    value = 64 if name in ("filters", "batch_size") else 0.5
    assert spec().overridden(settings=[f"{short}={value}"]).knobs[name] == value


def test_a_file_has_the_long_names(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"unknown knob 'lr'. Did you mean 'learning_rate'\?"):
        load_spec(written(tmp_path, VALID.replace("[knobs]", "[knobs]\nlr = 0.1")))


def test_a_range_keeps_the_scale_that_the_study_has() -> None:
    linear = spec(knobs={"learning_rate": {"low": 0.001, "high": 0.01}})
    assert linear.overridden(settings=["lr=0.001..0.1"]).knobs["learning_rate"] == {"low": 0.001, "high": 0.1}
    stepped = spec(knobs={"filters": {"low": 16, "high": 48, "step": 16}})
    assert stepped.overridden(settings=["width=16..64"]).knobs["filters"] == {"low": 16, "high": 64, "step": 16}


@pytest.mark.parametrize("setting", ["dropout", "=0.2", "dropout=", "dropout= ", ""])
def test_a_setting_without_knob_or_value_is_refused(setting: str) -> None:
    with pytest.raises(SearchError, match=r"--set takes knob=value, got .*For example"):
        spec().overridden(settings=[setting])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("droput=1", "unknown knob 'droput'. Did you mean 'dropout'?"),
        ("dropout=2", "dropout must be a number, at least 0 and below 1, got 2."),
        ("head=maxi", "got 'maxi'. Did you mean 'max'?"),
        ("depth=[2", "not valid TOML: Unclosed array"),
        ("depth=3,", "depth entry 2 must be a whole number"),
        ("depth=4..2", "depth.low must be below high"),
        ("depth=2..", "depth.high must be a whole number"),
        ("head=max..avg", "only numbers have a range"),
        ("dropout=0..2", "dropout.high must be a number, at least 0 and below 1, got 2."),
        ("learning_rat=0..1", "Did you mean 'learning_rate'?"),
        ("head=[max, avg]", "Words in lists and tables need quotes"),
        ("dropout={low=0.1, hihg=0.2}", "unknown 'hihg'. Did you mean 'high'?"),
    ],
)
def test_a_wrong_setting_is_refused_in_full(setting: str, says: str) -> None:
    with pytest.raises(SearchError) as caught:
        spec().overridden(settings=[setting])
    assert str(caught.value).startswith(f"--set {setting}: ")
    assert says in str(caught.value)


def test_a_setting_is_one_setting() -> None:
    with pytest.raises(SearchError, match="dropout must be a number"):
        spec().overridden(settings=['dropout=0.1\nhead="max"'])


def test_all_that_is_wrong_on_the_command_line_is_reported_at_once_by_its_option() -> None:
    with pytest.raises(SearchError) as caught:
        spec().overridden(
            settings=["droput=1", "head", "dropout=2"], name="../x", trials=0, seed=-1, search_minutes=math.inf
        )
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [
        "--set droput=1",
        "--set takes knob=value, got 'head'. For example",
        "--set dropout=2",
    ]
    assert [line.split(" must be ")[0] for line in lines[3:]] == [
        f"command line: {option}" for option in ("--name", "--seed", "--trials", "--search-minutes")
    ]


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"sampler": "tp"}, r"--sampler must be 'tpe', .* or 'nsga2', got 'tp'\. Did you mean 'tpe'\?"),
        ({"pruner": "halve"}, r"--pruner must be 'percentile', .* or 'none', got 'halve'\. Did you mean 'halving'\?"),
    ],
)
def test_a_sampler_or_pruner_that_is_none_is_refused_by_its_option(wishes: dict[str, str], says: str) -> None:
    with pytest.raises(SearchError, match=says):
        spec().overridden(sampler=wishes.get("sampler"), pruner=wishes.get("pruner"))


@pytest.mark.parametrize("key", ["unlisted", "seed", "search"])
def test_a_key_of_the_top_among_the_knobs_is_told_its_place(key: str) -> None:
    with pytest.raises(
        SearchError, match=rf"mine, \[knobs\]: unknown knob '{key}'\. It belongs at the top, before the first section\."
    ):
        StudySpec.parse({"name": "mine", "search": {"trials": 1}, "knobs": {key: "search", "depth": 2}}, context="mine")


STUDENT = VALID + "distil = true\n\n[final.student]\nfilters = 16\nepochs = 40\nmirror = true\nsmall_epochs = 0.0\n"


def test_a_student_is_the_winner_with_a_few_knobs_of_its_own(tmp_path: Path) -> None:
    read = load_spec(written(tmp_path, STUDENT))
    winner = TrialConfig(depth=3, filters=48, epochs=3)
    assert read.final.distil
    assert read.final.trained(winner) == winner.model_copy(update={"epochs": 4})
    assert read.final.deployed(winner) == winner.model_copy(update={"filters": 16, "epochs": 40, "mirror": True})
    assert read.model_dump()["final"]["student"] == {"filters": 16, "mirror": True, "small_epochs": 0.0, "epochs": 40}
    assert load_spec(written(tmp_path, read.to_toml())) == read
    assert StudySpec.model_validate(read.model_dump(mode="json")) == read
    assert read.overridden(seed=9).final == read.final


def test_without_a_student_the_result_is_like_the_winner(tmp_path: Path) -> None:
    winner = TrialConfig(filters=48)
    for text in (VALID, VALID + "distil = true\n\n[final.student]\nsmall_epochs = 0.0\n"):
        final = load_spec(written(tmp_path, text)).final
        assert final.deployed(winner) == winner.model_copy(update={"epochs": 4})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("filtres = 16", "unknown key 'final.student.filtres'. Did you mean 'filters'?"),
        ("filters = 2", "final.student.filters must be a whole number from 4 to 512, got 2."),
        ("filters = [16, 24]", "final.student.filters must be a whole number from 4 to 512, got [16, 24]."),
        ('mirror = "yes"', "final.student.mirror must be true or false, got 'yes'."),
        ('head = "maxx"', "final.student.head must be 'flatten', 'max' or 'avg', got 'maxx'. Did you mean 'max'?"),
        ("trials = 3", "unknown key 'final.student.trials'. It belongs under [search]."),
    ],
)
def test_a_wrong_student_is_refused(line: str, says: str, tmp_path: Path) -> None:
    text = VALID + f"distil = true\n\n[final.student]\n{line}\n"
    assert refusal(text, tmp_path) == f"mine.toml: {says}"


def test_a_student_without_distil_is_refused(tmp_path: Path) -> None:
    said = refusal(VALID + "\n[final.student]\nfilters = 16\n", tmp_path)
    assert said.startswith("mine.toml: final must be a section with distil = true if it has a student, got {")


@pytest.mark.parametrize(
    ("values", "is_refused"),
    [
        ({"knobs": {"small_epochs": 0.5}}, True),
        ({"unlisted": "search"}, True),
        ({"final": {"distil": True, "student": {"small_epochs": 0.3}}}, True),
        ({"knobs": {"small_epochs": "search"}, "final": {"distil": True, "student": {"small_epochs": 0.0}}}, False),
        ({"knobs": {"small_epochs": 0.5}, "final": {}}, False),
        ({}, False),
    ],
)
def test_a_student_sees_images_at_full_size_only(values: dict[str, Any], is_refused: bool) -> None:
    study = {"name": "mine", "search": {"trials": 3}, "final": {"distil": True}, **values}
    with pytest.raises(SearchError, match="small_epochs = 0 under its student") if is_refused else nullcontext():
        StudySpec.parse(study, context="mine.toml")


def test_a_key_that_two_sections_have_is_sent_to_both(tmp_path: Path) -> None:
    said = refusal("translate = 1\n" + VALID, tmp_path)
    assert said == "mine.toml: unknown key 'translate'. It belongs under [knobs] or under [final]."


def test_a_winner_becomes_a_study_of_one_trial() -> None:
    config = TrialConfig(depth=3, dropout=0.25, head="avg")
    pinned = pinned_spec("mine-best", config, spec(seed=8, final={"seeds": 5}), "Mine.")
    assert (pinned.search.trials, pinned.confirm.seeds, pinned.seed, pinned.final.seeds) == (1, 0, 8, 5)
    assert not pinned.space.knobs
    assert TrialConfig.model_validate(pinned.space.pinned) == config


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
specs = st.builds(
    spec,
    name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z"),
    description=texts,
    seed=st.integers(0, 2**31 - 1),
    unlisted=st.sampled_from(["default", "search"]),
    search=st.fixed_dictionaries(
        {
            "trials": st.integers(1, 10**6),
            "sampler": st.sampled_from(["tpe", "random"]),
            "pruner": st.sampled_from(["none", "halving"]),
        },
        optional={"minutes": st.floats(min_value=0, exclude_min=True, max_value=1e7)},
    ),
    knobs=st.fixed_dictionaries(
        {},
        optional={
            "epochs": st.integers(1, 1000),
            "dropout": st.floats(0, 1, exclude_max=True),
            "depth": st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True),
            "l2": st.floats(1e-9, 0.1).map(lambda low: {"low": low, "high": 0.5, "log": True}),
            "head": st.sampled_from(["max", "search", ["avg", "flatten"]]),
        },
    ),
    confirm=st.fixed_dictionaries({"top": st.integers(1, 9), "seeds": st.integers(0, 9)}),
    final=st.fixed_dictionaries({"seeds": st.integers(1, 9)}, optional={"epochs": st.integers(1, 99)}),
)


@given(specs)
@settings(max_examples=40, deadline=None)
def test_a_study_survives_its_own_toml(tmp_path_factory: pytest.TempPathFactory, found: StudySpec) -> None:
    assert load_spec(written(tmp_path_factory.mktemp("spec"), found.to_toml())) == found
    short = found.to_toml(is_short=True)
    read = load_spec(written(tmp_path_factory.mktemp("spec"), short))
    assert read.space.knobs == found.space.knobs
    assert TrialConfig.model_validate(read.space.pinned) == TrialConfig.model_validate(found.space.pinned)
    assert read.model_copy(update={"knobs": {}}) == found.model_copy(update={"knobs": {}})
    assert len(short) <= len(found.to_toml())


def test_the_short_form_of_a_winner_says_what_is_not_the_default() -> None:
    pinned = pinned_spec("mine-best", TrialConfig(depth=3, dropout=0.25), spec(), "Mine.")
    assert tomllib.loads(pinned.to_toml(is_short=True))["knobs"] == {"depth": 3, "dropout": 0.25}


fragments = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e999",
    "1e-320",
    "[]",
    "{}",
    '""',
    "true",
    "[[1]]",
    "low",
    "step = nan",
    "2020-01-01",
    "]",
    "=",
    "'",
    "\n",
]


@given(st.randoms(use_true_random=False), st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_a_study_or_one_clean_error(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random, damages: int
) -> None:
    text = VALID
    for _ in range(damages):
        start = chance.randrange(len(text))
        end = min(len(text), start + chance.randrange(6))
        text = text[:start] + chance.choice([*fragments, ""]) + text[end:]
    try:
        load_spec(written(tmp_path_factory.getbasetemp(), text)).space.distributions()
        message = "mine.toml"
    except SearchError as error:
        message = str(error)
    assert message.startswith("mine.toml")


values = st.sampled_from(
    [
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1",
        "2",
        "0.5",
        "1e-320",
        "1e308",
        "true",
        '"search"',
        "[]",
        "[1, 1.0]",
        "[[]]",
        "{}",
    ]
)


@given(
    st.sampled_from(list(TrialConfig.model_fields)),
    st.dictionaries(st.sampled_from(["low", "high", "log", "step", "lo"]), values),
    values,
)
@settings(max_examples=400, deadline=None)
def test_any_entry_of_a_knob_is_taken_or_refused(knob: str, table: dict[str, str], value: str) -> None:
    for entry in (value, "{" + ", ".join(f"{key} = {text}" for key, text in table.items()) + "}"):
        try:
            found = spec().overridden(settings=[f"{knob}={entry}"])
        except SearchError as error:
            named = str(error)
        else:
            (named,) = set(found.space.distributions()) | set(found.space.pinned)
        assert knob in named
