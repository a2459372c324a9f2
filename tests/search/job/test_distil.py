"""A final stage with teachers and students: who learns from whom, what is kept of it, and what is told of it."""

import json
import signal
from collections.abc import Collection, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch

from fmnist.checkpoint import load_checkpoint, save_checkpoint
from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint
from fmnist.data.sources import Source
from fmnist.metrics import bootstrap_interval, macro_f1
from fmnist.network import build, describe
from fmnist.predict import predict
from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, Finished, Task
from search.job.estimate import estimate
from search.job.final import DivergedWinnerError, final_folder, has_models, make_final
from search.job.interrupt import Interrupt, InterruptedRunError
from search.job.place import Place
from search.job.progress.base import Progress
from search.job.teachers import DivergedStudentError, teacher_folder
from search.report.render import headline, read_report
from search.report.tables import tables
from search.storage.opening import open_storage
from search.study.records import Final, FinalTraining, FinalTrainings
from search.study.spec import StudySpec, pinned_spec
from search.study.study import Study, load_study
from tests.fmnist.data.prepared import prepared
from tests.search.job.test_final import CONFIG, NAMES, SECONDS, WINNER, Saves, images, in_memory, openings
from tests.search.tiny import (
    CPU,
    DATA,
    DEADLINE,
    NAME,
    RUN,
    TOML,
    Inline,
    InterruptAfter,
    run_command,
    stage,
    start_command,
    tiny_spec,
    wait_for_line,
)

CHANGES = {"filters": 8, "epochs": 5, "mirror": True}
STUDENT = CONFIG.model_copy(update=CHANGES)
WHOLE = (
    TOML.replace("[final]\nseeds = 1\nepochs = 2", "[final]\nseeds = 2\nepochs = 2\ndistil = true")
    + "\n[final.student]\nfilters = 4\nepochs = 4\n\n[limits]\nmax_params = 10000\n"
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Twelve test images; what is written goes to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return prepared(tmp_path / "data", images(2, 2, 2, 2, seed=0), images(5, 4, 2, 1, seed=1))


class Teaches(Saves):
    """An executor whose trainings end at once; a student's checkpoint names its teachers, as a worker writes it."""

    def __init__(self, *, diverging: Collection[int] = ()) -> None:
        super().__init__(diverging=diverging)

    def _train(self, task: Task) -> Iterator[Event]:
        if task.seed in self.diverging:
            yield Failed(task.key, "diverged", "diverged: loss nan", SECONDS)
            return
        yield EpochEnd(task.key, CurvePoint(task.config.epochs, 0.5, None, None, None, 1.0), 1.0)
        assert task.checkpoint
        seals = [load_checkpoint(folder).seal for folder in task.teachers]
        save(task.checkpoint, task.seed, task.config, seals)
        yield Finished(task.key, SECONDS)


def save(folder: Path, seed: int, config: TrialConfig, teachers: list[str]) -> None:
    torch.manual_seed(seed)
    save_checkpoint(folder, build(config, len(NAMES)), config, NAMES, origin={"teachers": teachers} if teachers else {})


def distilling(*, seeds: int = 2, student: dict[str, Any] | None = None, **sections: Any) -> StudySpec:
    final = {"seeds": seeds, "distil": True, **({"student": student} if student is not None else {})}
    return StudySpec.parse(tiny_spec().model_dump() | {"final": final, **sections}, context="tiny")


def finalized(study: Study, source: Source, executor: Inline, spec: StudySpec | None = None) -> Final:
    spec = spec or distilling(student=CHANGES)
    return make_final(stage(study, spec, executor, Progress(), Interrupt()), WINNER, source)


def interrupted(study: Study, source: Source, *, trainings: int) -> None:
    interrupt = Interrupt()
    with pytest.raises(InterruptedRunError):
        make_final(
            stage(study, distilling(student=CHANGES), Teaches(), InterruptAfter(interrupt, trainings), interrupt),
            WINNER,
            source,
        )


def kept(study: Study) -> tuple[list[int], list[int]]:
    """The seeds of the teachers and of the students that are trained."""
    record = study.read(FinalTrainings) or FinalTrainings()
    return [run.seed for run in record.teachers], [run.seed for run in record.runs]


def test_students_with_fresh_seeds_learn_from_all_teachers(source: Source) -> None:
    study, executor = in_memory(), Teaches()
    finalized(study, source, executor)
    folders = tuple(teacher_folder(study, seed) for seed in (2000, 2001))
    assert folders[0] == Path("studies/tiny/final/teachers/seed-2000")
    assert executor.trained == [
        *(
            Task(
                f"teacher, seed {seed}",
                CONFIG,
                seed,
                "full",
                teacher_folder(study, seed),
                Path(f"studies/tiny/running/teacher-seed-{seed}.safetensors"),
            )
            for seed in (2000, 2001)
        ),
        *(
            Task(
                f"student, seed {seed}",
                STUDENT,
                seed,
                "full",
                final_folder(study, seed),
                Path(f"studies/tiny/running/student-seed-{seed}.safetensors"),
                teachers=folders,
            )
            for seed in (4000, 4001)
        ),
    ]
    assert kept(study) == ([2000, 2001], [4000, 4001])
    assert openings(study) == [("final", 6)]


def test_without_changes_a_student_is_like_its_teachers(source: Source) -> None:
    executor = Teaches()
    finalized(in_memory(), source, executor, distilling(seeds=1))
    teacher, student = executor.trained
    assert teacher.config == student.config == CONFIG
    finalized(Study(in_memory().optuna, Path("other")), source, again := Teaches(), distilling(seeds=1, student={}))
    assert again.trained[1].config == CONFIG


def test_students_are_the_result_and_teachers_stand_apart(source: Source) -> None:
    study = in_memory()
    final, test = finalized(study, source, Teaches()), source.test()

    def answers(folders: list[Path]) -> Any:
        return np.stack([predict(load_checkpoint(folder), test.pixels, CPU) for folder in folders])

    students = answers([final_folder(study, seed) for seed in (4000, 4001)])
    teachers = answers([teacher_folder(study, seed) for seed in (2000, 2001)])
    assert (final.config, final.exported_seed, has_models(study)) == (STUDENT, 4000, True)
    assert (final.parameters, final.flops) == (describe(STUDENT, 4).parameters, describe(STUDENT, 4).flops)
    assert [(run.seed, run.folder) for run in final.runs] == [(4000, "final/seed-4000"), (4001, "final/seed-4001")]
    assert final.teachers is not None
    assert (final.teachers.config, final.teachers.parameters) == (CONFIG, describe(CONFIG, 4).parameters)
    assert [run.folder for run in final.teachers.runs] == ["final/teachers/seed-2000", "final/teachers/seed-2001"]
    assert [run.checkpoint for run in final.teachers.runs] == [
        load_checkpoint(teacher_folder(study, seed)).seal for seed in (2000, 2001)
    ]
    for told, networks in ((final, students), (final.teachers, teachers)):
        f1s = [macro_f1(test.labels, row, 4) for row in networks.argmax(axis=2)]
        assert [run.macro_f1 for run in told.runs] == pytest.approx(f1s)
        assert told.mean == pytest.approx(fmean(f1s))
        assert (told.low, told.high) == bootstrap_interval(test.labels, networks.argmax(axis=2), 4)
        assert told.ensemble is not None
        together = networks.mean(axis=0, dtype=np.float64).argmax(axis=1)
        assert told.ensemble.macro_f1 == pytest.approx(macro_f1(test.labels, together, 4))
    assert study.read(Final) == final
    assert finalized(study, source, again := Teaches()) == final
    assert again.trained == []


def test_the_report_tells_teachers_from_students(source: Source) -> None:
    study = in_memory()
    final = finalized(study, source, Teaches())
    assert final.teachers is not None
    report = read_report(study)
    shown = {table.id: table for table in tables(report)}
    assert [row[0] for row in shown["final"].rows] == ["4000", "4001"]
    assert [row[0] for row in shown["teachers"].rows] == ["2000", "2001"]
    assert "Students of the teachers below" in shown["final"].caption
    assert "which are not the result" in shown["teachers"].caption
    assert f"The 2 teachers alone: {final.teachers.mean:.4f}" in headline(report)
    study.write(final.model_copy(update={"teachers": None}))
    plain = read_report(study)
    assert "teachers" not in headline(plain)
    assert "teachers" not in {table.id for table in tables(plain)}


@pytest.mark.parametrize(
    ("trainings", "before", "rest"),
    [
        (2, ([2000], []), [2001, 4000, 4001]),
        (3, ([2000, 2001], []), [4000, 4001]),
        (4, ([2000, 2001], [4000]), [4001]),
    ],
)
def test_after_an_interruption_only_what_is_missing_is_trained(
    trainings: int, before: tuple[list[int], list[int]], rest: list[int], source: Source
) -> None:
    study, again = in_memory(), Teaches()
    interrupted(study, source, trainings=trainings)
    assert kept(study) == before
    assert openings(study) == []
    finalized(study, source, again)
    assert [task.seed for task in again.trained] == rest
    assert kept(study) == ([2000, 2001], [4000, 4001])


def test_where_a_teacher_was_changed_it_and_its_students_are_trained_again(source: Source) -> None:
    study, again = in_memory(), Teaches()
    interrupted(study, source, trainings=4)
    save(teacher_folder(study, 2001), 99, CONFIG, [])
    finalized(study, source, again)
    assert [task.seed for task in again.trained] == [2001, 4001]  # the same seed gives the same teacher again

    study, again = Study(in_memory().optuna, Path("other")), Teaches()
    interrupted(study, source, trainings=4)
    save(teacher_folder(study, 2001), 99, CONFIG, [])  # another teacher, which the record now names
    seal = load_checkpoint(teacher_folder(study, 2001)).seal
    record = study.read(FinalTrainings)
    assert record is not None
    other = FinalTraining(seed=2001, seconds=1.0, checkpoint=seal)
    study.write(record.model_copy(update={"teachers": (record.teachers[0], other)}))
    finalized(study, source, again)
    assert [task.seed for task in again.trained] == [4000, 4001]


def test_a_student_that_diverges_is_an_error_of_its_own_and_the_winner_stays(source: Source) -> None:
    study, again = in_memory(), Teaches()
    with pytest.raises(DivergedStudentError) as raised:
        finalized(study, source, Teaches(diverging={4001}))
    assert not isinstance(raised.value, DivergedWinnerError)
    said = str(raised.value)
    assert said.startswith(
        "The student diverged: diverged: loss nan, in the final training with seed 4001. The winner and its teachers "
        "are kept, and the test split was not opened."
    )
    assert "`fmnist-search best tiny > mine.toml`, set a lower learning_rate under [final.student]" in said
    assert openings(study) == []
    assert kept(study) == ([2000, 2001], [4000])
    finalized(study, source, again)
    assert [task.seed for task in again.trained] == [4001]


def test_a_teacher_that_diverges_is_the_winners_fault(source: Source) -> None:
    executor = Teaches(diverging={2001})
    with pytest.raises(DivergedWinnerError, match="seed 2001"):
        finalized(in_memory(), source, executor)
    assert [task.seed for task in executor.trained] == [2000, 2001]


def test_the_second_round_and_its_teachers_count_in_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.job.estimate.measure_speed", lambda *_, **__: 1000.0)
    place = Place(CPU, 1, 1, None, None)

    def seconds(spec: StudySpec) -> float:
        return estimate(spec, place, data=DATA, images=500).final

    alone = seconds(distilling(seeds=3).model_copy(update={"final": tiny_spec().final}))
    like, longer = seconds(distilling(seeds=3)), seconds(distilling(seeds=3, student={"epochs": 4}))
    assert like == pytest.approx(3 * alone)  # each student takes its own training, and three forward passes of three
    assert longer == pytest.approx(5 * alone)
    monkeypatch.setattr("search.job.estimate.memory_of_each", lambda *_: 200_000_000)
    with pytest.raises(SearchError, match="A training of this study takes at least"):
        seconds(distilling(student={"filters": 512, "batch_size": 4096}))


def test_a_winner_as_a_study_keeps_how_it_teaches() -> None:
    spec = distilling(student=CHANGES)
    pinned = pinned_spec("mine", CONFIG, spec, "mine")
    assert pinned.final == spec.final
    assert "[final.student]\nfilters = 8\nmirror = true\nepochs = 5" in pinned.to_toml()


def study_in(folder: Path) -> Study:
    return load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), NAME)


@pytest.mark.process
@pytest.mark.slow
def test_killed_between_teachers_and_students_a_run_goes_on_and_exports_the_student(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(WHOLE)
    process = start_command(tmp_path, *RUN)
    wait_for_line(process, "student, seed 4000, epoch 1/4")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE)
    before = study_in(tmp_path).read(FinalTrainings)
    assert before is not None
    assert [run.seed for run in before.teachers] == [2000, 2001]
    done = run_command(tmp_path, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "teacher, seed" not in done.stdout
    assert "2 teachers of 2 epochs, then 2 students with filters=4, epochs=4" in done.stdout
    study = study_in(tmp_path)
    after, final = study.read(FinalTrainings), study.read(Final)
    assert after is not None
    assert final is not None
    assert after.teachers == before.teachers
    assert len(study.optuna.user_attrs["openings"]) == 1
    folder = tmp_path / "studies" / NAME
    student = load_checkpoint(folder / "export")
    assert student.origin["teachers"] == [run.checkpoint for run in after.teachers]
    assert (student.config.filters, student.config.epochs, student.origin["seed"]) == (4, 4, 4000)
    assert final.teachers is not None
    metrics = json.loads((folder / "export" / "metrics.json").read_text())
    assert metrics["macro_f1"] == final.runs[0].macro_f1
    assert metrics["teachers"]["mean"] == final.teachers.mean
    card = (folder / "export" / "MODEL_CARD.md").read_text()
    assert "The scored networks are students. The 2 teachers alone: " in card
    assert "Knowledge distillation: in place of the labels, the training used the mean of the probabilities" in card
    assert "Teachers, on the test split" in (folder / "report.html").read_text()
    assert all(trial.constraints["max_params"] <= 0 for trial in study.optuna.trials)
    assert not list((folder / "running").glob("*"))
    ensemble = run_command(tmp_path, "export", "--ensemble")
    assert ensemble.returncode == 0, ensemble.stderr
    assert "The 2 teachers alone" in (folder / "ensemble" / "MODEL_CARD.md").read_text()
    again = run_command(tmp_path, "evaluate", folder / "final" / "teachers" / "seed-2000")
    assert "Recorded as an opening of the test split in the study" in again.stdout


@pytest.mark.process
@pytest.mark.slow
def test_a_student_that_diverges_ends_the_run_with_what_to_change(tmp_path: Path) -> None:
    hot = 'optimizer = "adam"\nlearning_rate = 1.0\nl2 = 1.0\nbatch_norm = false\nbeta2 = 0.5\ndepth = 4\nblocks = 4'
    (tmp_path / "tiny.toml").write_text(WHOLE.replace("filters = 4\nepochs = 4", hot).partition("[limits]")[0])
    done = run_command(tmp_path, *RUN)
    assert done.returncode == 2, done.stdout
    assert "Error: The student diverged: diverged: mean training loss" in done.stderr
    assert f"`fmnist-search best {NAME} > mine.toml`" in done.stderr
    study = study_in(tmp_path)
    assert study.read(Final) is None
    assert "openings" not in study.optuna.user_attrs
    assert study.optuna.user_attrs["confirmation"]["winner"] is not None
    assert study.optuna.user_attrs["confirmation"]["dropped"] == []
