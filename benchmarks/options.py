"""Options that several benchmarks share."""

from pathlib import Path
from typing import Annotated

import typer

from fmnist.errors import FmnistError
from search.samplers.names import Sampler
from search.study.spec import StudySpec

Data = Annotated[str | None, typer.Option(metavar="PATH", help="Fashion-MNIST's files, or 'synthetic'.")]
NoData = Annotated[str, typer.Option(hidden=True)]  # accepted, because all benchmarks have --data
Images = Annotated[int, typer.Option(metavar="N", min=60, help="Training images; a sixth of them is for validation.")]
SpaceFile = Annotated[
    Path, typer.Option("--space", metavar="FILE.toml", help="The study with the space of the recorded curves.")
]
CurvesFile = Annotated[Path, typer.Option("--curves", metavar="FILE.csv", help="The recorded curves.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write all figures to this file.")]


def sampled_by(sampler: Sampler, spec: StudySpec) -> StudySpec:
    """Return the study with another sampler."""
    return spec.model_copy(update={"search": spec.search.model_copy(update={"sampler": sampler})})


def whole_numbers(option: str, text: str, *, least: int) -> list[int]:
    """Parse whole numbers separated by commas.

    Raises: FmnistError if a part is not a whole number of at least `least`.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) >= least for part in parts):
        raise FmnistError(
            f"{option} must be whole numbers from {least}, separated by commas, got {text!r}. For example: {option} 1,2"
        )
    return [int(part) for part in parts]
