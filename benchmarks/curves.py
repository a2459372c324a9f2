"""Recorded learning curves: trainings at the points of a Sobol sequence in a space, with the F1 of each epoch.

benchmarks/replay.py interpolates between them.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.quasirandom import SobolEngine

from fmnist.errors import FmnistError
from fmnist.knobs import Scalar
from search.samplers.cube import Cube
from search.study.space import Space
from search.study.spec import StudySpec, load_spec

FOLDER = Path(__file__).parent
SPACE, CURVES = FOLDER / "curves.toml", FOLDER / "curves.csv"
WIDE = FOLDER / "wide.csv"  # of the space wide.toml
HEADER = ("point", "seed", "knobs", "parameters", "seconds", "held_out", "curve")


@dataclass(frozen=True)
class Curve:
    """A training; `point` is the index of its configuration in the sequence."""

    point: int
    seed: int
    knobs: dict[str, Scalar]
    parameters: int
    seconds: float  # of one core, training and scoring, without the last column; CPU time since version 0.2
    held_out: float  # macro F1 after the last epoch, on validation images outside the curve; NaN if it diverged
    curve: tuple[float, ...]  # macro F1 after each epoch; shorter if it diverged


@dataclass(frozen=True)
class Points:
    """The unit cube of a space, and a Sobol sequence in it.

    A knob is one dimension. A knob with a list of values has one dimension per value, and the largest one selects it.
    """

    space: Space

    def __getitem__(self, index: int) -> dict[str, Scalar]:
        """Return the knobs of a point of the sequence."""
        engine = SobolEngine(len(self._cube.knob_of), scramble=True, seed=0)
        return self.knobs(engine.fast_forward(index).draw(1).double().numpy()[0])

    def knobs(self, unit: NDArray[np.float64]) -> dict[str, Scalar]:
        """Return the configuration at a point, rounded to allowed values. Shape: [dimensions]."""
        return {name: _plain(value) for name, value in self._cube.knobs(unit).items()}

    def unit(self, knobs: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the point of a configuration. Shape: [dimensions], each in 0..1."""
        point: NDArray[np.float64] = self._cube.points([knobs])[0]
        return point

    @cached_property
    def _cube(self) -> Cube:
        return Cube(self.space.distributions())


def read_space(file: Path = SPACE) -> StudySpec:
    """Return the study with the recorded space.

    Raises: FmnistError with all errors in the file.
    """
    return load_spec(str(file))


def read_curves(file: Path) -> list[Curve]:
    """Read the recorded curves in the order of the file.

    Raises: FmnistError if it is not such a table.
    """
    try:
        return list(_rows(file))
    except (OSError, ValueError, KeyError) as error:
        raise FmnistError(
            f"{file} must be a table of recorded curves: {error}. Record one with benchmarks/record_curves.py."
        ) from None


def append_curve(file: Path, curve: Curve) -> None:
    """Append the curve to the file, which is created if it is missing."""
    is_new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if is_new:
            writer.writerow(HEADER)
        knobs = json.dumps(
            {name: round(value, 5) if isinstance(value, float) else value for name, value in curve.knobs.items()}
        )
        values = " ".join(f"{value:.5f}" for value in curve.curve)
        writer.writerow(
            (curve.point, curve.seed, knobs, curve.parameters, f"{curve.seconds:.1f}", f"{curve.held_out:.5f}", values)
        )


def _rows(file: Path) -> Iterator[Curve]:
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != HEADER:
            raise ValueError(f"its columns must be {', '.join(HEADER)}")
        for row in reader:
            yield Curve(
                point=int(row["point"]),
                seed=int(row["seed"]),
                knobs=json.loads(row["knobs"]),
                parameters=int(row["parameters"]),
                seconds=float(row["seconds"]),
                held_out=float(row["held_out"]),
                curve=tuple(float(value) for value in row["curve"].split()),
            )


def _plain(value: Any) -> Scalar:
    return value.item() if isinstance(value, np.generic) else value  # type: ignore[no-any-return]
