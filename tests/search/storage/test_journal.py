"""The journal keeps what it has acknowledged, whatever the disk does and whenever its process is killed."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.errors import SearchError
from search.storage.journal import ROOM, Journal, Operation, read_journal
from tests.search.storage.faults import fill, small_disk

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
OPERATIONS = st.builds(Operation, st.text(), st.lists(VALUES, max_size=4).map(tuple))
ONE = Operation("set_trial_user_attr", (7, "seed", 3))


def new_journal(path: Path) -> Journal:
    return Journal(path, study="tiny", identity="a1")


def operations_in(path: Path) -> tuple[Operation, ...]:
    kept = read_journal(path)
    assert kept is not None
    assert (kept.study, kept.identity) == ("tiny", "a1")
    return kept.operations


@given(before=st.lists(OPERATIONS, max_size=3), after=st.lists(OPERATIONS, max_size=5))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_appended_after_it_was_emptied_is_read_in_its_order(
    before: list[Operation], after: list[Operation], tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    with new_journal(path) as journal:
        for operation in before:
            journal.append(operation)
        journal.clear()
        assert operations_in(path) == ()
        for operation in after:
            journal.append(operation)
        assert operations_in(path) == tuple(after)
        assert len(journal) == len(after)


def append_times(journal: Journal, operation: Operation, count: int) -> None:
    for _ in range(count):
        journal.append(operation)


def test_an_empty_journal_is_gone_at_the_end_and_another_stays(tmp_path: Path) -> None:
    with new_journal(tmp_path / "empty.jsonl"), new_journal(tmp_path / "full.jsonl") as journal:
        journal.append(ONE)
    assert [path.name for path in tmp_path.iterdir()] == ["full.jsonl"]
    assert operations_in(tmp_path / "full.jsonl") == (ONE,)


def test_wherever_a_kill_cuts_the_last_line_those_before_it_stand(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with new_journal(path) as journal:
        journal.append(ONE)
        whole = path.read_bytes().rstrip(b" ")
        journal.append(Operation("set_trial_user_attr", (7, "reason", "é\n")))
        both = path.read_bytes().rstrip(b" ")
    for end in range(len(whole), len(both)):
        path.write_bytes(both[:end].ljust(ROOM))
        assert operations_in(path) == (ONE,)
    header = both.index(b"\n")
    for end in range(header + 1):
        path.write_bytes(both[:end])
        assert read_journal(path) is None


def test_wherever_a_kill_cuts_its_emptying_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with new_journal(path) as journal:
        for _ in range(2):
            journal.append(ONE)
        written = path.read_bytes()
    start, end = written.index(b"\n") + 1, written.rindex(b"\n") + 1
    for blanks in range(1, end - start + 1):
        path.write_bytes(written[:start] + b" " * blanks + written[start + blanks :])
        assert operations_in(path) == ()


@pytest.mark.parametrize(
    "line", [b"nonsense", b"{}", b"[1]", b'{"name": "x"}', b'{"name": "x", "arguments": 3}', b"\xff"]
)
def test_a_damaged_line_is_refused_with_its_number(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with new_journal(path) as journal:
        journal.append(ONE)
    path.write_bytes(path.read_bytes().rstrip(b" ") + line + b"\n")
    with pytest.raises(
        SearchError, match=r"journal\.jsonl' is damaged at line 3.*Correct the line, or delete the file"
    ):
        read_journal(path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"journal": 2, "study": "tiny", "id": "a1"}) + "\n")
    with pytest.raises(SearchError, match="has format 2, this version reads 1"):
        read_journal(path)


def test_what_an_earlier_run_left_is_never_written_over(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.jsonl") as journal:
        journal.append(ONE)
    with pytest.raises(FileExistsError):
        new_journal(tmp_path / "journal.jsonl")
    assert operations_in(tmp_path / "journal.jsonl") == (ONE,)


@pytest.mark.process
def test_a_full_disk_does_not_take_the_journals_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, new_journal(disk / "journal.jsonl") as journal:
        filling = fill(disk)
        note = Operation("set_trial_user_attr", (7, "note", "x" * 1000))
        kept = ROOM // 1100
        append_times(journal, note, kept)
        with pytest.raises(OSError, match="No space left"):
            append_times(journal, note, kept)
        before = len(journal)
        assert operations_in(disk / "journal.jsonl") == (note,) * before
        filling.unlink()
        journal.append(ONE)  # over the line that did not fit
        assert operations_in(disk / "journal.jsonl") == (*(note,) * before, ONE)


@pytest.mark.process
def test_without_room_no_journal_is_begun(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        with pytest.raises(
            SearchError, match=r"needs 1 MiB and cannot be created: No space left on device\. Free space there"
        ):
            new_journal(disk / "studies" / "journal.jsonl")
        assert not list(disk.rglob("*.jsonl"))
