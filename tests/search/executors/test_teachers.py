"""A worker that trains a student: under its teachers, from its snapshot, on another node."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fmnist.checkpoint import load_checkpoint, save_checkpoint
from fmnist.config import TrialConfig
from fmnist.data import synthetic
from fmnist.data.sources import Source
from fmnist.errors import FmnistError
from fmnist.network import build
from fmnist.train import fit
from search.executors import Failed, Finished, Resumed, SnapshotSaved, Task
from search.executors.capacity import least_memory
from search.executors.ray_worker import Carried, Trainer
from search.executors.teachers import files_of
from search.executors.training import Setup, events_of, load_material
from tests.search.tiny import CPU, PINNED, small_source

TEACHER = TrialConfig.parse(PINNED | {"filters": 8, "epochs": 1}, context="teacher")
STUDENT = TrialConfig.parse(PINNED | {"epochs": 3}, context="student")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return small_source(tmp_path_factory.mktemp("images"))


@pytest.fixture
def teachers(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "first", tmp_path / "second"
    for seed, folder in enumerate(folders):
        save(folder, seed)
    return folders


def save(folder: Path, seed: int, names: tuple[str, ...] = synthetic.CLASS_NAMES) -> None:
    torch.manual_seed(seed)
    save_checkpoint(folder, build(TEACHER, len(names)), TEACHER, names, origin={})


def setup_of(source: Source) -> Setup:
    return Setup(source, split_seed=0, device="cpu", threads=torch.get_num_threads(), snapshot_seconds=0.0)


def student(teachers: tuple[Path, ...], folder: Path) -> Task:
    return Task("student", STUDENT, 5, "full", folder / "student", folder / "snapshot", teachers=teachers)


def events(task: Task, source: Source, *, stop_after: int = 100) -> list[Any]:
    """What a worker tells of the task, in this process; it is asked to end after so many epochs."""
    setup, asked = setup_of(source), iter(range(1, 1000))
    return list(events_of(task, setup, load_material(setup), lambda _: "end" if next(asked) >= stop_after else None))


def test_a_student_is_taught_and_its_checkpoint_names_its_teachers(
    source: Source, teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    assert isinstance(events(student(teachers, tmp_path), source)[-1], Finished)
    checkpoint, loaded = load_checkpoint(tmp_path / "student"), [load_checkpoint(folder) for folder in teachers]
    assert checkpoint.config == STUDENT
    assert checkpoint.origin["teachers"] == [teacher.seal for teacher in loaded]
    *_, last = fit(STUDENT, source.train(), None, seed=5, device=CPU, teachers=[teacher.model for teacher in loaded])
    expected = last.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in checkpoint.model.state_dict().items())


def test_a_training_without_teachers_names_none(source: Source, tmp_path: Path) -> None:
    events(student((), tmp_path), source)
    assert "teachers" not in load_checkpoint(tmp_path / "student").origin


def test_a_snapshot_is_resumed_under_the_same_teachers_only(
    source: Source, teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    task = student(teachers, tmp_path)
    snapshot = tmp_path / "snapshot"

    def resumed(task: Task) -> list[Any]:
        return [event for event in events(task, source, stop_after=1) if isinstance(event, Resumed)]

    assert any(isinstance(event, SnapshotSaved) for event in events(task, source, stop_after=2))
    kept = snapshot.read_bytes()
    assert resumed(task)
    for others in (teachers[:1], (teachers[1], teachers[0]), ()):
        snapshot.write_bytes(kept)
        assert not resumed(replace(task, teachers=others))
    save(teachers[1], seed=9)
    snapshot.write_bytes(kept)
    assert not resumed(task)


@pytest.mark.parametrize("fault", ["classes", "missing"])
def test_a_teacher_that_cannot_teach_is_one_clear_error(
    fault: str, source: Source, teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    if fault == "classes":
        save(teachers[1], 0, ("Bag", "Coat"))
    else:
        (teachers[1] / "model.safetensors").unlink()
    (end,) = events(student(teachers, tmp_path), source)
    assert isinstance(end, Failed)
    assert end.kind == "error"
    says = {"classes": "A teacher must know the classes of the images, ", "missing": "must be readable: "}[fault]
    assert says in end.reason
    assert str(teachers[1]) in end.reason


def test_teachers_travel_to_another_node_with_the_task(
    source: Source, teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    setup = setup_of(source)
    material = load_material(setup)
    worker = Trainer(setup, material.splits, material.full(), material.origin)
    files = [files_of(folder) for folder in teachers]
    seals = [load_checkpoint(folder).seal for folder in teachers]
    for folder in teachers:  # which the node does not have
        folder.rename(folder.with_suffix(".gone"))
    told: Iterator[Any] = worker.train(student((), tmp_path), None, True, files)
    (checkpoint,) = [event for event in told if isinstance(event, Carried) and event.kind == "checkpoint"]
    (tmp_path / "carried").mkdir()
    for name, content in checkpoint.files.items():
        (tmp_path / "carried" / name).write_bytes(content)
    assert load_checkpoint(tmp_path / "carried").origin["teachers"] == seals
    with pytest.raises(FmnistError, match=r"The teacher in .*first must be readable: No such file"):
        files_of(teachers[0])


@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_teachers_take_memory(device: torch.device) -> None:
    wide = TEACHER.model_copy(update={"filters": 256, "blocks": 2})
    alone, taught, twice = (
        least_memory(STUDENT, 10, 60_000, device, mixed=False, teachers=[wide] * count) for count in (0, 1, 2)
    )
    assert alone < taught < twice
