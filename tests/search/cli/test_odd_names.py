"""Names that a stranger chose: of classes, studies and files. They are shown, and do nothing."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # which Rich brings along
from PIL import Image

from fmnist.checkpoint import save_checkpoint
from fmnist.config import TrialConfig
from fmnist.network import build
from search.export.model_card import write_card
from search.export.parity import Parity
from search.report.render import read_report, to_markdown
from search.study.study import Study
from search.terminal.wording import visible
from tests.fmnist.data.forms import COLUMNS, TRAIN
from tests.search.export.test_export import RICH, facts_of
from tests.search.sample import cleaned, data, environment, final, finished_study, remember, terminal
from tests.search.tiny import TOML, Say, run_command

ODD = (
    "a|b",
    "<script>alert(1)</script>",
    "../../x",
    "`tick`",
    "[x](javascript:alert(1))",
    "[red]",
    "[/x]",
    "![i](http://e.vil/i.png)",
    "# head",
    "1. one",
    "&lt;b&gt; $x$ *y* __z__ ~~q~~",
)
VILE = (
    "\x1b[2J\x1b]0;title\x07",
    "a\nb\r\n\nc",
    "\u202eevil",
    "x" * 10_000,
    "\u2028- y\x00",
    "    code",
    "| --: |",
    "",
)
ABOUT = environment()
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
LIVE = {"html_block", "html_inline", "link_open", "image", "s_open", "em_open", "blockquote_open", "ordered_list_open"}


def live(markdown: str) -> list[str]:
    """What in that text is more than text: the kinds of its elements."""
    tokens = READER.parse(markdown)
    return sorted(
        token.type
        for token in [*tokens, *(child for one in tokens for child in one.children or ())]
        if token.type in LIVE
    )


def read_tables(markdown: str) -> list[list[list[str]]]:
    """The texts of each table's rows, as a browser shows them."""
    found: list[list[list[str]]] = []
    inside = False
    for token in READER.parse(markdown):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            inside = True
        elif token.type == "inline" and inside:
            found[-1][-1].append("".join(child.content for child in token.children or ()))
            inside = False
    return found


def report_with(names: Sequence[str], study: Study) -> str:
    old = final(0.943, 0.944)
    classes = [one.model_copy(update={"name": name}) for one, name in zip(old.classes, names, strict=True)]
    remember(
        study, final=old.model_copy(update={"classes": tuple(classes)}), data=data(names[0], class_names=tuple(names))
    )
    remember(
        study, environments=[environment(command=f"run {names[0]}", device=names[1], versions={"python": names[2]})]
    )
    return to_markdown(read_report(study))


def shown(name: str) -> str:
    return visible(name).replace("\n", " ").strip()


names = st.lists(
    st.sampled_from([*ODD, *VILE]) | st.text(st.sampled_from("ab1 .)|\\`*_~<>&[]()!#+-=:$\n\x1b"), max_size=12),
    min_size=10,
    max_size=10,
)


@pytest.mark.slow
@given(names)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_report_shows_any_name_as_text(names: list[str]) -> None:
    plain, odd = report_with([f"class {i}" for i in range(10)], finished_study()), report_with(names, finished_study())
    assert live(odd) == live(plain)
    expected, found = (next(table for table in read_tables(text) if table[0][0] == "class") for text in (plain, odd))
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    assert [row[0] for row in found[1:]] == [shown(name) for name in names]


@pytest.mark.slow
@given(names)
@example(["a", " ", *"abcdefgh"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_model_card_shows_any_name_as_text(tmp_path: Path, names: list[str]) -> None:
    plain, odd = card(tmp_path, [f"class {i}" for i in range(10)]), card(tmp_path, names)
    assert live(odd) == live(plain)
    for head in ("class", "knob", "file"):
        expected, found = (next(table for table in read_tables(text) if table[0][0] == head) for text in (plain, odd))
        assert [row[1:] for row in found] == [row[1:] for row in expected]
    about = read_tables(odd)[-1]
    assert [about[1][1], about[2][1], about[4][1]] == [
        f"{ABOUT.at}, {shown(names[0])}".strip(),
        shown(names[1]) or "none",
        shown(names[4]),
    ]
    assert [row[0] for row in read_tables(odd)[1][1:]] == [shown(name) for name in names]


def card(folder: Path, names: Sequence[str]) -> str:
    facts = facts_of(RICH)
    classes = tuple(one.model_copy(update={"name": name}) for one, name in zip(facts.final.classes, names, strict=True))
    about = environment(
        command=names[0],
        commit=names[1],
        device=names[2],
        processor=names[3],
        platform=names[4],
        versions={"python": names[5]},
    )
    facts = type(facts)(
        names[6],
        data(names[7], cleaning=cleaned(), path=f"/home/{names[8]}.csv"),
        facts.final.model_copy(update={"classes": classes}),
        about,
        "x = 1",
    )
    write_card(folder, facts, [Parity("model.onnx", 1, 10, 1e-6, 0, 0)])
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8").split("\n---\n", 1)[1]


def test_a_terminal_shows_any_name_and_obeys_none() -> None:
    study = finished_study()
    report_with([*ODD[:7], *VILE[:3]], study)
    text = terminal(study, 200)
    assert text.replace("\n", "").isprintable()
    for name in (*ODD[:7], "\ufffd[2J", "\ufffdevil"):
        assert name in text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = TrialConfig(depth=1, filters=4, head="max")
    save_checkpoint(tmp_path / "model", build(config, len(ODD)), config, ODD, origin={})
    return tmp_path / "model"


def test_predict_shows_names_as_they_are(say: Say, tmp_path: Path, model: Path) -> None:
    picture = tmp_path / "[red]\x1b[2J\u202e.png"
    Image.fromarray(TRAIN.pixels[0]).save(picture)
    code, output, errors = say("predict", model, picture)
    assert (code, errors) == (0, "")
    assert "[red]\ufffd[2J\ufffd.png: " in output
    assert output.removesuffix("\n").isprintable()
    assert len([name for name in ODD if name in output]) == 3


def write_odd(path: Path) -> Path:
    """The training images with odd class names, as a table."""
    rows = [
        [ODD[label % 6], *pixels]
        for label, pixels in zip(TRAIN.labels, TRAIN.pixels.reshape(-1, 784).tolist(), strict=True)
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def test_messages_with_paths_and_classes_are_text(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "[" / "bold] [red]"
    folder.mkdir(parents=True)
    code, output, errors = say("data", write_odd(folder / "[link=x].csv"), "--save", folder / "\x1b[31mclean")
    assert (code, errors) == (0, "")
    for part in (*ODD[:6], "[/bold] [red]/\ufffd[31mclean/cleaned.npz"):
        assert part in output
    assert "\x1b" not in output
    code, _, errors = say("data", folder / "\x1b[2J[red].csv")
    assert (code, "\x1b" in errors) == (2, False)
    assert "[red].csv" in errors


@pytest.mark.process
def test_a_study_of_odd_classes_stays_in_its_folder_and_is_readable(say: Say, tmp_path: Path) -> None:
    write_odd(tmp_path / "[red]..csv")
    tiny = (
        TOML.replace("trials = 3", "trials = 1")
        .replace("epochs = 2", "epochs = 1")
        .replace("seeds = 1\n\n", "seeds = 0\n\n")
    )
    (tmp_path / "tiny.toml").write_text(tiny)
    done = run_command(tmp_path, "run", "tiny.toml", "--data", "[red]..csv", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.toml", "[red]..csv", "studies"}
    assert {path.name for path in (tmp_path / "studies").iterdir() if path.is_dir()} == {"tiny-red"}
    for file in ("report.md", "export/MODEL_CARD.md"):
        markdown = (tmp_path / "studies" / "tiny-red" / file).read_text(encoding="utf-8")
        rows = next(table for table in read_tables(markdown) if table[0][0] == "class")
        assert sorted(row[0] for row in rows[1:]) == sorted(ODD[:6])
        assert {len(row) for row in rows} == {5}
        assert not {"html_block", "html_inline", "link_open", "image"} & set(live(markdown))
    for arguments in (("report",), ("status",), ("evaluate", "studies/tiny-red/export", "--data", "[red]..csv")):
        code, output, errors = say(*arguments)
        assert (code, errors) == (0, "")
        assert arguments == ("status",) or all(name in output for name in ODD[:6]), output


@pytest.mark.process
@pytest.mark.parametrize("name", ["../../x", "..", "a/b", ".", "/", "[red]\x1b[2J/../../y"])
def test_a_study_of_another_program_cannot_lead_out_of_the_folder_of_studies(
    say: Say, tmp_path: Path, name: str
) -> None:
    (tmp_path / "here" / "studies").mkdir(parents=True)
    os.chdir(tmp_path / "here")  # which `say` puts back
    optuna.create_study(study_name=name, storage="sqlite:///studies/fmnist.db", direction="maximize")
    code, output, errors = say("report")
    assert code == 2
    assert errors.startswith("Error: To write its files, a study's name must be that of a folder")
    assert "\x1b" not in output + errors
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} <= {
        "tiny.toml", *(f"here/studies/fmnist.db{end}" for end in ("", "-wal", "-shm"))
    }  # fmt: skip
