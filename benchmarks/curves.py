"""Recorded learning curves: a study's space, of which so many points were really trained, with the F1 of every epoch.

The points lie evenly in the space (a Sobol sequence). benchmarks/replay.py has the curves between them.
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
from optuna._transform import _SearchSpaceTransform
from torch.quasirandom import SobolEngine

from fmnist.errors import FmnistError
from fmnist.knobs import Scalar
from search.study.space import Space
from search.study.spec import StudySpec, load_spec

FOLDER = Path(__file__).parent
SPACE, CURVES = FOLDER / "curves.toml", FOLDER / "curves.csv"
HEAD = ("point", "seed", "knobs", "parameters", "seconds", "held_out", "curve")


@dataclass(frozen=True)
class Curve:
    """One training. `point` is its configuration's place in the sequence."""

    point: int
    seed: int
    knobs: dict[str, Scalar]
    parameters: int
    seconds: float  # of one core, training and scoring, without the last column
    held_out: float  # macro F1 after the last epoch, on validation images that no curve is made of; NaN if it diverged
    curve: tuple[float, ...]  # macro F1 after each epoch; shorter than the others if it diverged


@dataclass(frozen=True)
class Points:
    """The unit cube of a space, and the even sequence of points in it.

    A knob is a side of the cube; one with a list of values is a side for each value, and the largest tells which it is.
    """

    space: Space

    def __getitem__(self, index: int) -> dict[str, Scalar]:
        """The knobs of the sequence's point at `index`."""
        engine = SobolEngine(len(self._transform.bounds), scramble=True, seed=0)
        return self.knobs(engine.fast_forward(index).draw(1).double().numpy()[0])

    def knobs(self, unit: NDArray[np.float64]) -> dict[str, Scalar]:
        """The configuration that lies there, or nearest where only some values are allowed. Shape: [sides]."""
        return {name: _plain(value) for name, value in self._transform.untransform(unit).items()}

    def unit(self, knobs: Mapping[str, Any]) -> NDArray[np.float64]:
        """Where a configuration lies. Shape: [sides], each in 0..1."""
        return self._transform.transform(dict(knobs))

    @cached_property
    def _transform(self) -> _SearchSpaceTransform:
        return _SearchSpaceTransform(self.space.distributions(), transform_0_1=True)


def read_space() -> StudySpec:
    """The study whose space was recorded."""
    return load_spec(str(SPACE))


def read_curves(file: Path) -> list[Curve]:
    """What was recorded, in the order in which it was written.

    Raises: FmnistError where it is not such a table.
    """
    try:
        return list(_rows(file))
    except (OSError, ValueError, KeyError) as error:
        raise FmnistError(
            f"{file} must be a table of recorded curves: {error}. Record one with benchmarks/record_curves.py."
        ) from None


def append_curve(file: Path, curve: Curve) -> None:
    """It is the last row of the file, which is made if it is not there."""
    begins = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        if begins:
            writer.writerow(HEAD)
        shown = json.dumps(
            {name: round(value, 5) if isinstance(value, float) else value for name, value in curve.knobs.items()}
        )
        values = " ".join(f"{value:.5f}" for value in curve.curve)
        writer.writerow(
            (curve.point, curve.seed, shown, curve.parameters, f"{curve.seconds:.1f}", f"{curve.held_out:.5f}", values)
        )


def _rows(file: Path) -> Iterator[Curve]:
    with file.open(newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened)
        if tuple(reader.fieldnames or ()) != HEAD:
            raise ValueError(f"its columns must be {', '.join(HEAD)}")
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
