"""The page of a study, written by the command where possible, and parsed as HTML."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from fmnist.data import splits, synthetic
from fmnist.data.arrays import write_npz
from fmnist.data.sources import find_source, fingerprint
from search.job.confirm import confirm
from search.job.final import make_final
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.report.confusion import hardest_pairs
from search.report.page.html import PAGE, read_facts, to_html
from search.report.page.missing import Missing
from search.report.page.paths import best_so_far, read_paths, rungs
from search.report.page.pictures import find_pixels
from search.report.render import headline, read_report, write_report
from search.report.tables import tables
from search.storage.opening import open_storage
from search.study.paths import HOME
from search.study.sections import FinalSection
from search.study.spec import load_spec
from search.study.study import Study, create_study
from search.terminal.wording import f1, visible
from tests.search.cli.test_odd_names import ODD, VILE
from tests.search.sample import SPACE, data, final, finished_study, remember, trial, whole_study
from tests.search.tiny import CLASSES, DATA, Inline, Say, stage, tiny_spec

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The parsed page: elements, attributes, the texts of tables, and the figures."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.code: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append("")
        elif tag == "code":
            self.code.append("")
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts[-1] += data
        elif "style" in self._open:
            self.styles[-1] += data
        elif "code" in self._open:
            self.code[-1] += data
        elif "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data
        else:
            self.text += data

    def table(self, head: str) -> list[list[str]]:
        """Return the rows of the first table whose first head is `head`."""
        return next(table[1:] for table in self.tables if table and table[0] and table[0][0] == head)

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        figures: dict[str, dict[str, Any]] = (
            json.loads(self.scripts[0], parse_constant=pytest.fail) if 'id="figures"' in self.html else {}
        )
        return figures

    @property
    def kinds(self) -> list[str]:
        return [tag for tag, _ in self.tags]


def page_of(study: Study) -> Page:
    return Page(to_html(read_facts(study)))


def assert_self_contained(page: Page) -> None:
    """Assert that the page loads nothing, runs only its own scripts, and has figures that are valid for Plotly."""
    assert len(page.html.encode()) < 8_000_000
    addresses = [
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "data")
    ]
    assert [address for address in addresses if not address.startswith(("#", "data:image/png;base64,"))] == []
    styles = page.styles + [attributes.get("style", "") for _, attributes in page.tags]
    assert not re.search(r"url\(|@import", " ".join(styles))
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert "link" not in page.kinds
    policy = next(
        attributes["content"]
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    places = [attributes["id"] for tag, attributes in page.tags if attributes.get("class") == "figure"]
    assert list(page.figures) == places
    for figure in page.figures.values():
        assert plotly.graph_objects.Figure(figure).data  # raises unless it matches Plotly's schema


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study of own data with odd class names, without an export."""
    folder = tmp_path_factory.mktemp("whole")
    train, test = (replace(synthetic.draw(images, seed=images), class_names=ODD[:10]) for images in (400, 300))
    write_npz(folder / "shop.npz", train, test)
    spec = tiny_spec(trials=2, epochs=1).model_copy(update={"final": FinalSection(seeds=2)})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        source = find_source("shop.npz", rules=spec.cleaning, announce=lambda _: None)
        about = {
            "fingerprint": fingerprint(source.train()),
            "test_fingerprint": splits.test_fingerprint(source),
            "class_names": ODD[:10],
        }
        record = DATA.model_copy(update={"name": "shop.npz", "path": source.path, **about})
        study = create_study(open_storage("sqlite:///studies/fmnist.db", create=True), spec, record)
        with Interrupt() as interrupt:
            optimize(stage(study, spec, Inline(), Progress(), interrupt), CLASSES)
            winner = confirm(stage(study, spec, Inline(), Progress(), interrupt))
            make_final(stage(study, spec, Inline(), Progress(), interrupt), winner, source)
        write_report(read_report(study), (HOME / study.optuna.study_name))
    return folder


@pytest.fixture
def finished(whole: Path, say: Say, tmp_path: Path) -> Path:  # `say` changes to the folder
    """A copy of its files in the current folder, with the page that the command writes; the data are not copied."""
    shutil.copytree(whole / "studies", tmp_path / "studies")
    folder = tmp_path / "studies" / "tiny"
    code, output, errors = say("report", "--html", folder / PAGE)
    assert (code, errors) == (0, "")
    assert output.endswith(f"studies/tiny/report.json, {folder / PAGE}\n")
    return folder


@pytest.fixture
def study() -> Study:
    return Study(optuna.create_study(study_name="quick", direction="maximize"))


def read_page(folder: Path) -> Page:
    return Page((folder / PAGE).read_text(encoding="utf-8"))


def test_the_page_of_a_finished_study_is_self_contained_and_complete(finished: Path) -> None:
    page = read_page(finished)
    assert_self_contained(page)
    assert page.kinds.count("img") == 40
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == [
        "winner",
        "result",
        "confirm",
        "search",
        "record",
        "again",
    ]
    assert len(page.figures) == 8  # calibration, candidates, curves, history, knobs together, two slices, timeline


def test_the_same_study_gives_the_same_page(say: Say, finished: Path) -> None:
    assert say("report", "--html", "out/again.html")[0] == 0
    assert Path("out/again.html").read_bytes() == (finished / PAGE).read_bytes()


def test_the_page_has_the_figures_of_the_json(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    page = read_page(finished)
    result = report["final"]
    classes = [
        [
            visible(record["name"]),
            f1(record["precision"]),
            f1(record["recall"]),
            f1(record["f1"]),
            str(record["images"]),
        ]
        for record in result["classes"]
    ]
    assert page.table("class") == classes
    assert [[f1(run["macro_f1"]), f1(run["accuracy"])] for run in result["runs"]] == [
        row[1:3] for row in page.table("seed")
    ]
    matrix = [[0 if cell == "·" else int(cell) for cell in row[1:]] for row in page.table("true \\ predicted")]
    assert matrix == result["confusion"]
    assert f1(result["mean"]) in page.text
    assert f"{f1(result['low'])} to {f1(result['high'])}" in page.text
    for record in report["best"]:
        assert f1(record["value"]) in next(row for row in page.table("trial") if row[0] == str(record["number"]))
    assert [row[1] for row in page.table("at")] == [record["by"] for record in report["openings"]]


def test_names_are_text_everywhere(finished: Path) -> None:
    page = read_page(finished)
    shown = {row[0] for row in page.table("class")}
    assert shown == set(ODD[:10])
    assert page.kinds.count("script") == 4
    assert "<script>alert" not in page.html
    assert "alert(1)" in page.html


def test_the_toml_runs_the_study_and_its_winner_again(say: Say, finished: Path, tmp_path: Path) -> None:
    again, winner = read_page(finished).code
    code, best, _ = say("best")
    assert (code, winner) == (0, best)
    (tmp_path / "again.toml").write_text(again)
    assert (
        load_spec("again.toml")
        == Study(optuna.load_study(study_name="tiny", storage="sqlite:///studies/fmnist.db")).spec
    )


def test_missing_or_changed_data_are_stated_in_place_of_the_pictures(say: Say, finished: Path, whole: Path) -> None:
    table, moved = whole / "shop.npz", whole / "kept.npz"
    table.replace(moved)
    try:
        assert say("report", "--html", "gone.html")[0] == 0
        train, test = (replace(synthetic.draw(images, seed=1), class_names=ODD[:10]) for images in (400, 300))
        write_npz(table, train, test)
        assert say("report", "--html", "other.html")[0] == 0
    finally:
        moved.replace(table)
    sentences = (("gone", "the data are not available here"), ("other", "have changed since the study used them"))
    for name, says in sentences:
        page = Page(Path(f"{name}.html").read_text(encoding="utf-8"))
        assert says in page.text
        assert "img" not in page.kinds
        assert "Expected calibration error" in page.text


def test_pictures_are_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMNIST_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("fmnist.data.sources.download", lambda: pytest.fail("a report fetches nothing"))
    missing = find_pixels(data(test_fingerprint="5e0b"), {})
    assert "the data are not available here: Fashion-MNIST is neither in" in str(missing)
    assert find_pixels(data(), {}) == Missing(
        "The study does not record which test images it saw, so none can be shown."
    )


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "not on this machine"),
        (lambda path: path.write_bytes(b"PK"), "its checksum differs"),
        (
            lambda path: np.savez(path, labels=np.zeros(3, np.int64), probabilities=np.ones((1, 3, 10))),
            "its checksum differs",
        ),
    ],
)
def test_without_predictions_the_page_says_why(say: Say, finished: Path, spoil: Any, says: str) -> None:
    spoil(finished / "final" / "predictions.npz")
    assert say("report", "--html", "page.html")[0] == 0
    page = Page(Path("page.html").read_text(encoding="utf-8"))
    assert says in page.text
    assert "Expected calibration error" not in page.text
    assert page.table("class")
    assert_self_contained(page)


@pytest.mark.process
def test_open_shows_the_page_of_the_studys_folder(say: Say, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def refuse(address: str) -> bool:
        opened.append(address)
        return False

    monkeypatch.setattr("webbrowser.open", refuse)
    code, output, _ = say("report", "--open")
    assert (code, opened) == (0, [(finished / PAGE).as_uri()])
    assert "No browser could be opened. Open" in output


def test_a_page_that_cannot_be_written_is_one_clean_error(say: Say, finished: Path) -> None:
    code, _, errors = say("report", "--html", "tiny.toml/page.html")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "page.html must be writable" in errors


def test_a_new_study_states_what_is_missing(study: Study) -> None:
    page = page_of(study)
    assert_self_contained(page)
    assert page.figures == {}
    for part in (
        "No score yet",
        "no final model yet",
        "No trial has finished an epoch",
        "No trial has a value",
        "No candidate was trained",
    ):
        assert part in page.text
    assert "was not made by fmnist-search" in page.text
    assert page.code == []


def test_the_toml_is_never_of_a_trial_of_another_program(say: Say, finished: Path) -> None:
    study = optuna.load_study(study_name="tiny", storage="sqlite:///studies/fmnist.db")
    study.set_user_attr("confirmation", {"candidates": []})
    best = study.best_trial.number
    study.add_trial(create_trial(value=0.999))
    assert say("report", "--html", "page.html")[0] == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert f"Trial {best}, the best trial so far and not confirmed, of the study tiny." in page
    assert "0.9990" not in page


def test_an_unfinished_study(study: Study) -> None:
    study.optuna.add_trials(
        [with_curve(0.9, 0.92, depth=2), with_curve(0.91, 0.93, depth=3), with_curve(0.5, state=TrialState.PRUNED)]
    )
    study.optuna.add_trial(trial(None, TrialState.RUNNING))
    remember(study, data=data())
    page = page_of(study)
    assert_self_contained(page)
    assert "The best trial so far is trial 1" in page.text
    assert "4 complete trials that importances need" in page.text
    assert page.table("trial")[:3] == [
        ["0", "complete", "0.9000, 0.9200"],
        ["1", "complete", "0.9100, 0.9300"],
        ["2", "pruned", "0.5000"],
    ]
    curves = page.figures["search-0-0"]
    assert [line["name"] for line in curves["data"]][-1] == "trial 1"
    assert {line["line"]["color"] for line in curves["data"] if line["name"] == "trial 2"} == {"var(--faint)"}
    assert [note["text"] for note in curves["layout"]["annotations"]] == ["1"]


def test_legends_tell_the_winner_from_the_best_trial() -> None:
    names = [line["name"] for line in page_of(finished_study()).figures["search-1-0"]["data"]]
    assert names[-2:] == ["best trial", "winner"]
    slices = [figure for name, figure in page_of(finished_study()).figures.items() if name.startswith("search-4-")]
    assert all({"winner", "best trial"} <= {line["name"] for line in figure["data"]} for figure in slices)
    assert "Knobs of the winner, trial 2" in page_of(finished_study()).text


def with_curve(
    *values: float, state: TrialState = TrialState.COMPLETE, depth: int = 2, **attributes: Any
) -> optuna.trial.FrozenTrial:
    params = {"depth": depth, "learning_rate": 0.001 * depth, "head": ("max", "avg")[depth % 2]}
    return create_trial(
        state=state,
        value=values[-1],
        params=params,
        distributions=SPACE,
        intermediate_values=dict(enumerate(values, start=1)),
        user_attrs=attributes,
    )


def test_a_study_without_a_search_says_so(study: Study) -> None:
    study.optuna.add_trial(create_trial(value=0.9, intermediate_values={1: 0.9}))
    page = page_of(study)
    assert_self_contained(page)
    assert "there was no search" in page.text
    assert "the study searches none" in page.text


def test_infeasible_trials_are_listed_with_their_limits(study: Study) -> None:
    over = create_trial(
        state=TrialState.PRUNED,
        constraints={"max_params": 0.5},
        system_attrs={"constraints": [0.5]},  # again, as the search loop writes it for optuna-dashboard
        user_attrs={"refused": True, "reason": "max_params 150, over 100"},
    )
    study.optuna.add_trials([over, trial(0.9)])
    study.optuna.set_user_attr("spec", {"limits": {"max_params": 100, "max_size": None}})
    page = page_of(study)
    assert "The study's limits: max_params 100. 1 infeasible trial." in page.text
    assert ["0", "max_params", "no", "-", "max_params 150, over 100"] in [row for table in page.tables for row in table]


def test_rungs_are_those_of_the_pruner_and_of_pruned_trials(study: Study) -> None:
    study.optuna.add_trials(
        [with_curve(0.5, 0.6, state=TrialState.PRUNED), with_curve(0.5, state=TrialState.PRUNED), with_curve(0.7, 0.8)]
    )
    levels = rungs(read_paths(study), {"search": {"pruner": "hyperband"}, "knobs": {"epochs": 10}})
    assert [(rung.epoch, rung.pruned) for rung in levels] == [(1, 1), (2, 1), (3, 0), (9, 0)]
    assert [
        rung.epoch for rung in rungs(read_paths(study), {"search": {"pruner": "median"}, "knobs": {"epochs": 10}})
    ] == [1, 2]


def test_only_complete_trials_within_the_limits_become_the_best(study: Study) -> None:
    study.optuna.add_trials(
        [
            trial(0.8),
            create_trial(value=0.99, constraints={"a": 1.0}),
            trial(0.7),
            trial(0.95, TrialState.PRUNED),
            trial(0.9),
        ]
    )
    assert best_so_far(read_paths(study)) == [(0, 0.8), (4, 0.9)]


def test_pairs_of_classes_are_counted_in_both_directions() -> None:
    pairs = hardest_pairs(final(0.9), 3)
    assert [tuple(pair) for pair in pairs] == [
        (6, 0, 102, 58),
        (4, 2, 61, 0),
        (9, 7, 3, 0),
    ]


names = st.lists(st.sampled_from([*ODD, *VILE]) | st.text(max_size=8), min_size=10, max_size=10)


@given(names)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_name_is_text(names: list[str]) -> None:
    plain, odd = named_page([f"class {i}" for i in range(10)]), named_page(names)
    assert odd.kinds.count("script") == plain.kinds.count("script")
    assert set(odd.kinds) == set(plain.kinds)
    assert [row[0] for row in odd.table("class")] == [visible(name) for name in names]
    assert_self_contained(odd)


def named_page(names: list[str]) -> Page:
    study, old = finished_study(), final(0.943, 0.944)
    classes = tuple(score.model_copy(update={"name": name}) for score, name in zip(old.classes, names, strict=True))
    remember(study, final=old.model_copy(update={"classes": classes}), data=data(names[0], class_names=tuple(names)))
    return page_of(study)


def test_very_many_classes_are_a_heatmap(study: Study) -> None:
    old, many = final(0.9), 40
    classes = tuple(old.classes[i % 10].model_copy(update={"name": f"class {i}"}) for i in range(many))
    remember(
        study,
        final=old.model_copy(update={"classes": classes, "confusion": tuple(tuple(range(many)) for _ in range(many))}),
    )
    page = page_of(study)
    assert_self_contained(page)
    assert [trace["type"] for figure in page.figures.values() for trace in figure["data"]] == ["heatmap"]


def test_a_logarithmic_slice_has_its_range_marked_at_its_ends_and_middle(study: Study) -> None:
    study.optuna.add_trials([with_curve(0.9, depth=2), with_curve(0.91, depth=4)])
    axes = [figure["layout"]["xaxis"] for figure in page_of(study).figures.values()]
    assert [axis["ticktext"] for axis in axes if axis.get("type") == "log"] == [["0.0003", "0.003", "0.03"]]


def test_parallel_axes_are_marked_with_their_values(study: Study) -> None:
    study.optuna.add_trials([with_curve(0.9, depth=2), with_curve(0.91, depth=3), with_curve(0.92, depth=4)])
    figure = page_of(study).figures["search-3-0"]
    marks = [(note["x"], note["y"], note["text"]) for note in figure["layout"]["annotations"]]
    assert marks == [
        (0, 0, "2"),
        (0, 1, "4"),
        (1, 0, "0.002"),
        (1, 1, "0.004"),
        (2, 0, "avg"),
        (2, 1, "max"),
        (3, 0, "0.9"),
        (3, 1, "0.92"),
    ]
    assert [line["y"][:3] for line in figure["data"]] == [
        [0, 0, 1],
        [0.5, pytest.approx(np.log(1.5) / np.log(2)), 0],  # the learning rate is on a logarithmic scale
        [1, 1, 1],
    ]


def test_every_table_of_the_report_is_in_the_page() -> None:
    study = whole_study()
    page, report = page_of(study), read_report(study)
    assert_self_contained(page)
    assert headline(report) in page.text
    shown = {cell for table in page.tables for row in table for cell in row}
    for table in tables(report):
        assert {
            visible(cell) for row in table.rows for cell in row if isinstance(cell, str) and cell.strip("·")
        } <= shown
    assert {table.id for table in tables(report)} <= {attributes.get("id") for _, attributes in page.tags}


def test_a_bar_is_drawn_and_a_class_named_with_blocks_is_text() -> None:
    page = named_page(["██", *(f"class {i}" for i in range(9))])
    assert [row[0] for row in page.table("class")][:2] == ["██", "class 0"]
    bars = [attributes["style"] for tag, attributes in page.tags if attributes.get("class") == "bar"]
    assert bars == [
        "width: 8.0em",
        "width: 3.0em",
        "width: 12.0em",
    ]  # 160 and 61 of 160 mistakes (3 are too few to draw), and an importance of 1


def test_the_title_of_a_table_is_only_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    study, other = whole_study(), " under another title"
    page = to_html(read_facts(study))
    monkeypatch.setattr(
        "search.report.page.blocks.tables",
        lambda report: [replace(table, title=table.title + other) for table in tables(report)],
    )
    renamed = to_html(read_facts(study))
    assert renamed.count(other) > 8
    assert renamed.replace(other, "") == page
