"""Inspect a data set, and what cleaning finds in it, before training on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from fmnist.atomic import write_in_place
from fmnist.data.cleaning import CleaningReport
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.data.splits import SPLIT_SEED, search_splits, test_fingerprint
from fmnist.data.summary import DataSummary
from search.errors import SearchError
from search.report.data_tables import balance_table, cleaning_table, pixel_table
from search.report.render import print_table
from search.report.sheet import draw_sheet
from search.study.spec import load_spec


class DataReport(BaseModel):
    """The report that `--json` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str  # of the cleaned training images
    test_fingerprint: str
    summary: DataSummary
    cleaning: CleaningReport | None  # None for synthetic images


@dataclass(frozen=True)
class Inspection:
    """A data set, read and cleaned, with its report."""

    source: Source
    report: DataReport

    def to_json(self) -> str:
        """Return the report as JSON."""
        return self.report.model_dump_json(indent=2)


def inspect_data(
    path: str, test: str | None, study: str | None, skip_unreadable: bool, announce: Callable[[str], None]
) -> Inspection:
    """Read the data at `path`, clean them by the rules of `study`, and check that they can be searched on.

    Raises: FmnistError if they cannot be read or are unsuitable.
    """
    spec = load_spec(study).overridden(skip_unreadable=skip_unreadable)
    source = find_source(path, test=test, rules=spec.cleaning, size=spec.data.size, announce=announce)
    search_splits(source, seed=SPLIT_SEED)  # raises if a class has too few images for a search
    report = DataReport(
        name=source.name,
        fingerprint=fingerprint(source.train()),
        test_fingerprint=test_fingerprint(source),
        summary=source.summary(),
        cleaning=source.cleaning,
    )
    return Inspection(source, report)


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print tables of cleaning, classes and pixels."""
    report = inspection.report
    cleaning = [cleaning_table(report.cleaning)] if report.cleaning else []
    for table in (*cleaning, balance_table(report.summary), pixel_table(report.summary)):
        console.print()
        print_table(table, console)


def write_files(inspection: Inspection, sheet: Path | None, save: Path | None) -> list[Path]:
    """Write the picture sheet, and the cleaned images with their report, if their paths are given; return the files.

    Raises: SearchError if a file cannot be written.
    """
    written = [sheet] if sheet else []
    source = inspection.source
    if sheet:
        draw_sheet(source.train(), source.caught, sheet, inspection.report.cleaning)
    if save is None:
        return written
    images, report = save / "cleaned.npz", save / "cleaning.json"
    try:
        save.mkdir(parents=True, exist_ok=True)
        source.save(images)
        write_in_place(report, (inspection.to_json() + "\n").encode())
    except OSError as error:
        raise SearchError(
            f"--save must name a writable folder, got {str(save)!r}: {error.strerror or error}. Name another folder."
        ) from error
    return [*written, images, report]
