"""What a data set is like and what cleaning finds in it, before anything is trained on it."""

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
    """What `--json` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str  # of the cleaned training images
    test_fingerprint: str
    summary: DataSummary
    cleaning: CleaningReport | None  # None for images drawn by code


@dataclass(frozen=True)
class Inspection:
    """A data set that was read and cleaned, and what there is to say of it."""

    source: Source
    report: DataReport

    def to_json(self) -> str:
        """The report for programs."""
        return self.report.model_dump_json(indent=2)


def inspect_data(
    path: str, test: str | None, study: str | None, skip_unreadable: bool, announce: Callable[[str], None]
) -> Inspection:
    """The data at `path`, read, cleaned by the rules of `study` and fit for a search.

    Raises: FmnistError where they cannot be read or are not fit.
    """
    rules = load_spec(study).overridden(skip_unreadable=skip_unreadable).cleaning
    source = find_source(path, test=test, rules=rules, announce=announce)
    search_splits(source, seed=SPLIT_SEED)  # says which class has too few images for a search
    report = DataReport(
        name=source.name,
        fingerprint=fingerprint(source.train()),
        test_fingerprint=test_fingerprint(source),
        summary=source.summary(),
        cleaning=source.cleaning,
    )
    return Inspection(source, report)


def print_inspection(found: Inspection, console: Console) -> None:
    """Cleaning, classes and pixels stand as tables on `console`."""
    report = found.report
    cleaning = [cleaning_table(report.cleaning)] if report.cleaning else []
    for table in (*cleaning, balance_table(report.summary), pixel_table(report.summary)):
        console.print()
        print_table(table, console)


def write_files(found: Inspection, sheet: Path | None, save: Path | None) -> list[Path]:
    """The picture sheet, and the cleaned images with their report, are written where a file and a folder are named;
    returns what was.

    Raises: SearchError where they cannot be.
    """
    written = [sheet] if sheet else []
    if sheet:
        draw_sheet(found.source.train(), found.source.caught, sheet, found.report.cleaning)
    if save is None:
        return written
    images, report = save / "cleaned.npz", save / "cleaning.json"
    try:
        save.mkdir(parents=True, exist_ok=True)
        found.source.save(images)
        write_in_place(report, (found.to_json() + "\n").encode())
    except OSError as error:
        raise SearchError(
            f"--save must name a folder that can be written to, got {str(save)!r}: {error.strerror or error}."
        ) from error
    return [*written, images, report]
