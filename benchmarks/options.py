"""What several benchmarks' options mean."""

from fmnist.errors import FmnistError
from search.samplers.names import Sampler
from search.study.spec import StudySpec


def sampled_by(sampler: Sampler, spec: StudySpec) -> StudySpec:
    """The study with that sampler in place of its own."""
    return spec.model_copy(update={"search": spec.search.model_copy(update={"sampler": sampler})})


def whole_numbers(option: str, text: str, *, least: int) -> list[int]:
    """The numbers between the commas.

    Raises: FmnistError where one is none, or below `least`.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) >= least for part in parts):
        raise FmnistError(
            f"{option} takes whole numbers from {least} up with commas between them, got {text!r}. For example: "
            f"{option} 1,2"
        )
    return [int(part) for part in parts]
