"""An epoch of few images: it passes over them several times, so that an epoch of any study is enough to learn from."""

from collections.abc import Callable

from fmnist.config import TrialConfig
from fmnist.knobs import Choice, Scalar
from search.job.minutes import with_values
from search.study.spec import StudySpec
from search.terminal.wording import counted

ENOUGH = 30  # steps of an epoch; shipped studies, with 3 epochs and more, have at least a hundred in a trial
KNOB = "passes"


def with_enough_steps(spec: StudySpec, images: int, announce: Callable[[str], None]) -> StudySpec:
    """Return the study with as many passes in an epoch over so many training images as make ENOUGH steps.

    A study that names the knob keeps it.
    """
    batch = min(_largest_batch(spec), images)
    if KNOB in spec.knobs or images // batch >= ENOUGH:
        return spec
    passes = -(-ENOUGH // (images // batch))
    announce(
        f"{counted(images, 'training image')} in batches of {batch} make few steps: an epoch passes over them {passes} "
        f"times (--set {KNOB}=1: once)."
    )
    return with_values(spec, knobs=spec.knobs | {KNOB: passes})


def _largest_batch(spec: StudySpec) -> int:
    space = spec.space
    default: Scalar = TrialConfig.model_fields["batch_size"].default
    knob = space.knobs.get("batch_size")
    if knob is None:
        return int(space.pinned.get("batch_size", default))
    return int(max(knob.options) if isinstance(knob, Choice) else knob.high)
