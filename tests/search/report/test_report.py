import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.errors import SearchError
from search.report.render import escaped, headline, read_report, to_json, to_markdown, warnings, write_report
from search.report.tables import tables
from search.study.records import Confirmation, Opening, SearchEnd, Timing
from search.study.study import Study
from tests.search.sample import (
    candidate,
    caught,
    cells,
    cleaned,
    data,
    environment,
    final,
    finished_study,
    remember,
    terminal,
    trial,
)


@pytest.fixture
def study() -> Study:
    return Study(optuna.create_study(study_name="quick", direction="maximize"))


@pytest.fixture
def finished() -> Study:
    return finished_study()


def test_the_headline_of_a_finished_study(finished: Study) -> None:
    assert headline(read_report(finished)) == (
        "Test macro F1 0.9430 ± 0.0008 over 3 seeds, 95 % interval [0.9391, 0.9470] on 10,000 test images; the test "
        "split was opened once."
    )
    assert warnings(read_report(finished)) == []


def test_headlines_of_an_unfinished_study(study: Study) -> None:
    assert headline(read_report(study)).startswith("No score yet")
    study.optuna.add_trial(trial(0.91))
    assert "trial 0, validation macro F1 0.9100, not confirmed" in headline(read_report(study))
    remember(study, confirmation=Confirmation(candidates=(candidate(0, 0.91, 0.90, 0.902),), winner=0))
    assert "The winner is trial 0, validation macro F1 0.9010 over 2 fresh seeds" in headline(read_report(study))
    remember(study, final=final(0.9))
    assert headline(read_report(study)).startswith("Test macro F1 0.9000 over 1 seed, 95 % interval")


def test_a_trial_over_a_limit_is_never_the_best(study: Study) -> None:
    study.optuna.add_trial(create_trial(value=0.99, constraints={"parameters": 1.0}))
    assert headline(read_report(study)).startswith("No score yet")
    study.optuna.add_trial(trial(0.5))
    assert [row.number for row in read_report(study).best] == [1, 0]
    assert cells(study, "best")["state"] == ("complete", "over limit")


def test_warnings(finished: Study) -> None:
    opening = Opening(at="2025-01-02", by="evaluate", trial=2)
    remember(
        finished,
        openings=[opening, opening],
        environments=[environment(), environment(commit="fff", device="H200")],
        final=final(0.98),
    )
    leak, twice, differ = warnings(read_report(finished))
    assert "leak" in leak
    assert "opened twice" in twice
    assert "2 runs of this study differ in commit, device" in differ
    remember(finished, data=data("synthetic"))
    assert warnings(read_report(finished))[0] == "Synthetic data: these figures are not Fashion-MNIST's."


def test_only_fashion_mnist_can_be_too_good(finished: Study) -> None:
    remember(
        finished,
        final=final(0.99),
        data=data("shop.csv", cleaning=cleaned(caught("leaks", 7), caught("duplicates", 3))),
    )
    assert warnings(read_report(finished)) == []
    assert headline(read_report(finished)).startswith("Test macro F1 0.9900 over 1 seed, 95 % interval")


def test_images_found_and_kept_are_warned_of(finished: Study) -> None:
    report = cleaned(caught("duplicates", 12, action="kept"), caught("leaks", 7, 7, action="kept"))
    remember(finished, data=data("shop.csv", cleaning=report))
    leak, copies = warnings(read_report(finished))
    assert leak == "Also in the test split, and kept: 7 training images. The test score is too high."
    assert copies.startswith("Copies of other training images, and kept: 12.")
    assert leak in terminal(finished, 200)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b*c", r"a\|b\*c"),
        ("learning_rate", "learning_rate"),
        ("_x_ __y__", r"\_x\_ \_\_y\_\_"),
        ("[a](b) [0.1, 0.2]", r"\[a]\(b) [0.1, 0.2]"),
        ("a [b][c] [d]: e", r"a [b]\[c] [d]\: e"),
        ("# a #", r"\# a #"),
        ("1. a 2. b", r"1\. a 2. b"),
        ("    - a", r"\- a"),
        ("$a$ <script>", r"\$a\$ &lt;script>"),
        ("a\x1b[31m\u202eb\u2028c\x85", "a\ufffd[31m\ufffdb c"),
        ("`a` ~b~ &lt; <c>", r"\`a\` \~b\~ \&lt; &lt;c>"),
        ("a\nb\\", r"a b\\"),
    ],
)
def test_markdown_shows_the_text_unchanged(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_the_terminal_shows_all_tables_within_80_columns(finished: Study) -> None:
    text = terminal(finished)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for title in [table.title for table in tables(read_report(finished))]:
        assert title in text


def test_markdown_escapes_characters_that_break_a_table(finished: Study) -> None:
    text = to_markdown(read_report(finished))
    assert "below the median \\| epoch 4 (2)" in text
    assert "| **950** |" in text
    assert "| *102* |" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_json_has_null_for_figures_that_are_not_finite(finished: Study) -> None:
    finished.optuna.add_trial(trial(0.99, seconds=math.nan))
    report = json.loads(to_json(read_report(finished)), parse_constant=pytest.fail)
    assert report["best"][0]["seconds"] is None
    assert report["optimism"]["trial"] == 1
    assert report["states"]["pruned_because"] == {"below the median | epoch 4": 2, "diverged": 1}
    assert list(report) == [
        "study", "spec", "data", "final", "front", "diverged", "latency", "confirmed", "winner", "dropped", "optimism",
        "chosen", "wider", "ablation", "best", "states", "importances", "prior", "extensions", "search_end",
        "decisions", "timing", "environments", "openings",
    ]  # fmt: skip


def test_means_of_longer_trainings_are_not_compared_with_the_search(finished: Study) -> None:
    spec = finished.spec.model_dump(mode="json")
    spec["confirm"]["epochs"] = finished.spec.epochs + 5
    finished.optuna.set_user_attr("spec", spec)
    report = read_report(finished)
    assert report.optimism is None
    assert f"Each was trained {finished.spec.epochs + 5} epochs here" in to_markdown(report)
    spec["confirm"]["epochs"] = finished.spec.epochs
    finished.optuna.set_user_attr("spec", spec)
    assert read_report(finished).optimism is not None


def test_an_early_end_says_what_it_saved(finished: Study) -> None:
    finished.write(Timing(search=100.0))
    spec = finished.spec.overridden(trials=13, search_minutes=5.0).model_dump(mode="json")
    finished.optuna.set_user_attr("spec", spec)
    finished.write(SearchEnd(reason="nothing to gain", trials=13, minutes=5.0, unused=3))
    text = to_markdown(read_report(finished))
    saved = "ended by itself after 1 min 40 s, with 3 trials and 3 min 20 s of its budget unused: nothing to gain"
    assert saved in text
    finished.write(SearchEnd(reason="no trial can be completed", trials=13, minutes=5.0))
    assert "The search ended after 1 min 40 s: no trial can be completed." in to_markdown(read_report(finished))
    finished.write(SearchEnd(reason="nothing to gain", trials=12, minutes=5.0, unused=3))
    assert "nothing to gain" not in to_markdown(read_report(finished)), "a larger search is under way"


def test_a_database_gives_the_same_report_as_memory(finished: Study, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.copy_study(from_study_name="quick", from_storage=finished.optuna._storage, to_storage=database)
    assert read_report(Study(optuna.load_study(study_name="quick", storage=database))) == read_report(finished)


def test_written_files_replace_older_ones_and_leave_nothing_else(finished: Study, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "quick"
    for _ in range(2):
        paths = write_report(read_report(finished), folder)
    assert paths == (folder / "report.md", folder / "report.json")
    assert sorted(folder.iterdir()) == sorted(paths)
    assert paths[0].read_text(encoding="utf-8") == to_markdown(read_report(finished))
    assert json.loads(paths[1].read_text(encoding="utf-8"))["study"] == "quick"


def test_a_record_of_another_version_is_one_clean_error(study: Study) -> None:
    study.optuna.set_user_attr("openings", [{"at": "2025-01-01", "by": 1, "trial": None, "new": 1}])
    with pytest.raises(SearchError, match=r"record 'openings\.0\.by' cannot be read.*got 1\."):
        read_report(study)


anything = st.builds(
    trial,
    st.floats(0, 1),
    st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED]),
    st.integers(2, 4),
    reason=st.text(max_size=20),
    seconds=st.floats(0, 1e6),
) | st.sampled_from(
    [trial(None, state) for state in (TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL, TrialState.PRUNED)]
)
scores = st.lists(st.floats(0, 1), max_size=3)
records = st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from(
            [data(), data("synthetic"), data("a|b.csv", cleaning=cleaned(caught("leaks", 3, 1, "row 1")))]
        ),
        "environments": st.lists(st.builds(environment, commit=st.none() | st.text(max_size=5)), max_size=3),
        "confirmation": st.builds(
            lambda runs, winner: Confirmation(
                candidates=tuple(candidate(i, 0.9, *run) for i, run in enumerate(runs)), winner=winner
            ),
            st.lists(scores, max_size=3),
            st.none() | st.integers(0, 2),
        ),
        "final": scores.filter(bool).map(lambda seeds: final(*seeds)),
        "openings": st.lists(st.just(Opening(at="2025-01-01", by="final", trial=None)), max_size=3),
        "timing": st.builds(Timing, search=st.floats(0, 1e7)),
    },
)


@given(st.lists(anything, max_size=8), records)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_study_in_any_state_can_be_reported(trials: list[FrozenTrial], records: dict[str, Any]) -> None:
    study = Study(optuna.create_study(direction="maximize"))
    study.optuna.add_trials(trials)
    remember(study, **records)
    report = read_report(study)
    assert terminal(study)
    assert to_markdown(report).startswith("# ")
    assert json.loads(to_json(report), parse_constant=pytest.fail)["states"]["complete"] == report.states.complete


@pytest.mark.process
def test_reporting_does_not_import_torch() -> None:
    code = "import sys, search.report.render; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
