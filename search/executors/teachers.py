"""The teachers of a student: the checkpoints that its task names, as networks or as files for another machine."""

from collections.abc import Sequence
from pathlib import Path

from fmnist.checkpoint import Checkpoint, load_checkpoint
from fmnist.classifier import CHECKPOINT_FILES
from fmnist.errors import FmnistError

Files = dict[str, bytes]  # name -> content


def load_teachers(folders: Sequence[Path], class_names: tuple[str, ...]) -> tuple[Checkpoint, ...]:
    """Return the teachers in these folders, whose scores no temperature divides.

    Raises: FmnistError if a checkpoint cannot be loaded, or has other classes than the images.
    """
    teachers = tuple(load_checkpoint(folder) for folder in folders)
    for folder, teacher in zip(folders, teachers, strict=True):
        if teacher.class_names != class_names:
            raise FmnistError(
                f"A teacher must know the classes of the images, {class_names}, got {teacher.class_names} in {folder}. "
                "Delete the folder and run the same command to train it again."
            )
    return teachers


def files_of(folder: Path) -> Files:
    """Return the files of a teacher's checkpoint.

    Raises: FmnistError if one cannot be read.
    """
    try:
        return {name: (folder / name).read_bytes() for name in CHECKPOINT_FILES}
    except OSError as error:
        raise FmnistError(
            f"The teacher in {folder} must be readable: {error.strerror or error}. Run the same command to train it "
            "again."
        ) from error


def write_files(teachers: Sequence[Files], folder: Path) -> tuple[Path, ...]:
    """Write each teacher's files to a folder of its own within `folder`, and return those folders."""
    folders = tuple(folder / f"teacher-{index}" for index in range(len(teachers)))
    for teacher, to in zip(teachers, folders, strict=True):
        to.mkdir()
        for name, content in teacher.items():
            (to / name).write_bytes(content)
    return folders
