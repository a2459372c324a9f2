"""The final stage: retrain the winner on train + validation with several seeds, then open the test split once.

With `distil`, the retrained networks teach as many students, and the test split is opened after these are trained; in a
search against costs, after the other points of the front are.

This is the only module that opens the test split, and each opening is recorded in the study before an image is scored.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from fmnist.atomic import write_in_place
from fmnist.checkpoint import CPU, Checkpoint, load_checkpoint
from fmnist.config import TrialConfig
from fmnist.cuda import release_memory
from fmnist.data.images import Images
from fmnist.data.sources import Source, fingerprint
from fmnist.data.splits import test_fingerprint, test_split
from fmnist.metrics import Scores, bootstrap_interval, score
from fmnist.predict import predict
from fmnist.scoring import BATCH
from search.errors import SearchError
from search.executors import Task
from search.job.point_finals import TrainedPoints, train_points, write_front
from search.job.scores import LEVEL, RESAMPLES, load_trained, probabilities_of, score_teachers, scored
from search.job.stage import Stage
from search.job.teachers import DivergedStudentError, teacher_folder
from search.job.trainings import train_all, turns_of, wide_tasks
from search.study.environment import now
from search.study.records import (
    Candidate,
    Confirmation,
    DataRecord,
    Final,
    FinalTraining,
    FinalTrainings,
    Opening,
    Teachers,
)
from search.study.study import Study

FIRST_SEED = 2000  # past the seeds of search and confirm
FIRST_STUDENT = 4000  # past those of the final trainings and of ablations


class DivergedWinnerError(SearchError):
    """A final training of the winner diverged, and would diverge again."""


def make_final(stage: Stage, winner: Candidate, source: Source, device: torch.device = CPU) -> Final:
    """Return the study's Final, or else train the winner, open the test split, score on `device` and store the Final.

    Raises: DivergedWinnerError or DivergedStudentError, before the test split is opened. InterruptedRunError.
    """
    study = stage.study
    if (final := study.read(Final)) is not None:
        return final
    teachers, trained = _retrain(stage, winner)
    points = train_points(stage, winner, FIRST_SEED)
    stage.progress.step("test")
    stage.progress.message("Opening the test split, once.")
    final = _test(study, winner, teachers, trained, points, source, device)
    release_memory(device)
    study.write(final)
    return final


def evaluate(
    checkpoint: Checkpoint, source: Source, studies: Sequence[Study] | None, device: torch.device
) -> tuple[Scores, tuple[float, float]]:
    """Return the network's test scores with their bootstrap interval; record the opening in the studies it concerns.

    Raises: SearchError if the data have other classes; then nothing was scored or recorded.
    """
    images = test_split(source)
    if images.class_names != checkpoint.class_names:
        raise SearchError(
            f"The data must have the model's classes {checkpoint.class_names}, got {images.class_names}. Name other "
            "data with --data."
        )
    _rehearse([checkpoint], device)
    for study in studies or ():
        if is_test_of(study, source):
            _note_opening(study, by="evaluate", trial=None)
    predictions = predict(checkpoint, images.pixels, device).argmax(axis=1)
    classes = len(images.class_names)
    interval = bootstrap_interval(images.labels, predictions[None], classes, resamples=RESAMPLES, level=LEVEL)
    return score(images.labels, predictions, classes), interval


def is_test_of(study: Study, source: Source) -> bool:
    """Whether the source's test images are the test split of the study."""
    data = study.read(DataRecord)
    if data is None:
        return False
    if data.test_fingerprint is None:  # a study of version 0.1
        return data.fingerprint == fingerprint(source.train())
    return data.test_fingerprint == test_fingerprint(source)


def final_folder(study: Study, seed: int) -> Path:
    """Return the folder of that final seed's checkpoint."""
    return study.folder / "final" / f"seed-{seed}"


def has_models(study: Study) -> bool:
    """Whether the final models of the finished study are in its folder on this machine."""
    final = study.read(Final)
    if final is None or not (folder := final_folder(study, final.exported_seed)).exists():
        return False
    seal = next(run.checkpoint for run in final.runs if run.seed == final.exported_seed)
    # With a study on a server, another machine may have retrained the models.
    return seal is None or seal == load_checkpoint(folder).seal


def _note_opening(study: Study, *, by: str, trial: int | None) -> None:
    study.append(Opening(at=now(), by=by, trial=trial))


def _retrain(stage: Stage, winner: Candidate) -> tuple[tuple[FinalTraining, ...], tuple[FinalTraining, ...]]:
    """Train the teachers, if the study distils, and then the networks that are the result; return both."""
    study, section = stage.study, stage.spec.final
    config = section.trained(winner.config)
    confirmation = study.read(Confirmation)
    temperature = confirmation.temperature if confirmation and confirmation.winner == winner.trial else None
    if not section.distil:
        return (), _train_round(stage, "runs", _tasks(stage, "", FIRST_SEED, config, final_folder, temperature))
    # A student learns from the scores of its teachers as they were trained, so these are not divided.
    teachers = _train_round(stage, "teachers", _tasks(stage, "teacher, ", FIRST_SEED, config, teacher_folder, None))
    folders = tuple(teacher_folder(study, run.seed) for run in teachers)
    student = section.deployed(winner.config)
    students = _tasks(stage, "student, ", FIRST_STUDENT, student, final_folder, temperature, folders)
    return teachers, _train_round(stage, "runs", students, [run.checkpoint for run in teachers])


def _tasks(
    stage: Stage,
    role: str,
    first_seed: int,
    config: TrialConfig,
    folder: Callable[[Study, int], Path],
    temperature: float | None,
    teachers: tuple[Path, ...] = (),
) -> list[Task]:
    study, spec = stage.study, stage.spec
    seeds = range(first_seed + spec.seed, first_seed + spec.seed + spec.final.seeds)
    keys = {seed: f"{role}seed {seed}" for seed in seeds}
    return [
        Task(
            key,
            config,
            seed,
            "full",
            folder(study, seed),
            study.snapshot(key),
            temperature=temperature,
            teachers=teachers,
        )
        for seed, key in keys.items()
    ]


def _train_round(
    stage: Stage, field: Literal["runs", "teachers"], tasks: Sequence[Task], teachers: Sequence[str | None] = ()
) -> tuple[FinalTraining, ...]:
    """Train the tasks that an earlier run has not trained, noting each in that field of FinalTrainings.

    `teachers` are the seals of the networks that teach them.
    """
    study, record = stage.study, stage.study.read(FinalTrainings) or FinalTrainings()
    earlier = {run.seed: run for run in getattr(record, field)}
    done = {
        task.seed: earlier[task.seed]
        for task in tasks
        if task.seed in earlier and _is_trained(task, earlier[task.seed], teachers)
    }

    def keep(task: Task, _: float | None, seconds: float) -> None:
        assert task.checkpoint is not None
        seal = load_checkpoint(task.checkpoint).seal
        done[task.seed] = FinalTraining(seed=task.seed, seconds=seconds, checkpoint=seal, threads=wide.get(task.key))
        study.write(record.model_copy(update={field: tuple(done.values())}))

    def drop(task: Task, reason: str) -> None:
        diverged.append(f"{reason}, in the final training with seed {task.seed}")

    diverged: list[str] = []
    wide = wide_tasks(stage, tasks)
    missing = [task for task in tasks if task.seed not in done]
    if missing:
        stage.progress.begin("final", total=len(tasks), done=len(done))
        train_all(stage, "final", missing, keep, drop, all_or_none=True, wide=wide, turns=turns_of(stage, tasks))
    if diverged:
        raise DivergedStudentError(study.name, diverged[0]) if teachers else DivergedWinnerError(diverged[0])
    return tuple(done[task.seed] for task in tasks)


def _is_trained(task: Task, run: FinalTraining, teachers: Sequence[str | None]) -> bool:
    # A search that resumed after an interruption may have another winner than the one trained before; and another study
    # may have written to the folder in the meantime.
    if task.checkpoint is None or not task.checkpoint.exists():
        return False
    checkpoint = load_checkpoint(task.checkpoint)
    is_taught = checkpoint.origin.get("teachers", []) == list(teachers)
    is_wanted = checkpoint.config == task.config and checkpoint.origin.get("temperature") == task.temperature
    return is_wanted and is_taught and run.checkpoint in (None, checkpoint.seal)


def _test(
    study: Study,
    winner: Candidate,
    teachers: tuple[FinalTraining, ...],
    trained: tuple[FinalTraining, ...],
    points: TrainedPoints,
    source: Source,
    device: torch.device,
) -> Final:
    checkpoints = [load_trained(final_folder(study, run.seed), run) for run in trained]
    taught_by = [load_trained(teacher_folder(study, run.seed), run) for run in teachers]
    of_points = points.load(study)
    _rehearse([*checkpoints, *taught_by, *chain(*of_points.values())], device)
    _require_room(study, len(checkpoints) + sum(map(len, of_points.values())))
    _note_opening(study, by="final", trial=winner.trial)
    images = test_split(source)
    final = scored(study.folder, winner.trial, trained, checkpoints, images, device)
    if points.against:
        write_front(study, final, points, of_points, images, device)
    return final.model_copy(update={"teachers": _scored_teachers(teachers, taught_by, images, device)})


def _scored_teachers(
    trained: tuple[FinalTraining, ...], checkpoints: list[Checkpoint], images: Images, device: torch.device
) -> Teachers | None:
    if not trained:
        return None
    probabilities = probabilities_of(checkpoints, images, device)
    config = checkpoints[0].config
    return score_teachers(config, trained, images.labels, probabilities, resamples=RESAMPLES, level=LEVEL)


BYTES = 8  # of a label, and more than of a probability


def _require_room(study: Study, networks: int) -> None:
    """Fail, if at all, for want of room for the predictions, before an opening of the test split is recorded."""
    data, probe = study.read(DataRecord), study.folder / "final" / "room"
    if data is None or data.test is None:  # begun by an earlier version
        return
    size = networks * data.test * (len(data.class_names) + 1) * BYTES
    try:
        write_in_place(probe, bytes(size))
        probe.unlink()
    except OSError as error:
        raise SearchError(
            f"The predictions on the test split take {size / 2**20:.1f} MiB in {study.folder}, which cannot be "
            f"written: {error.strerror or error}. Free space there, and run the same command again. No opening of the "
            "test split is recorded."
        ) from None


def _rehearse(checkpoints: list[Checkpoint], device: torch.device) -> None:
    """Run out of GPU memory, if at all, before an opening of the test split is recorded."""
    if device.type == "cpu":
        return
    try:
        for checkpoint in checkpoints:
            predict(checkpoint, np.zeros((BATCH, *checkpoint.config.size.shape), np.uint8), device)
    except torch.OutOfMemoryError as error:
        raise SearchError(
            f"Scoring needs more memory than is free on {device}: {str(error).splitlines()[0]} Free memory, or run the "
            "same command with --device cpu. No opening of the test split is recorded."
        ) from None
