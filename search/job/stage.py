"""Stage: what the stages of a study have in common. They are search, confirm, final and ablate."""

from dataclasses import dataclass

from search.executors import Executor
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.timing import JobClock


@dataclass(frozen=True)
class Stage:
    """The study that a stage works on, what trains for it, who watches, and who may interrupt it."""

    study: Study
    spec: StudySpec
    executor: Executor
    progress: Progress
    interrupt: Interrupt
    clock: JobClock | None = None  # None where no job is at work, but one of its stages alone
