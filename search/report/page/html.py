"""The page of a study. No torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fmnist.errors import FmnistError
from search.errors import SearchError
from search.report.baseline import read_baseline
from search.report.facts import Report, read_report
from search.report.page.blocks import Facts
from search.report.page.missing import Missing
from search.report.page.paths import log_knobs, read_paths
from search.report.page.pictures import find_pixels
from search.report.page.rendering import Page, render, write_html
from search.report.page.sections import card, sections
from search.report.render import headline, warnings
from search.study.predictions import Predictions, predictions_path, read_predictions
from search.study.records import Final
from search.study.study import Study
from search.study.winner import winning_spec

PAGE = "report.html"  # in the study's folder


def write_page(study: Study, path: Path) -> Path:
    """Write the study's page to `path`, atomically.

    Raises: SearchError if the file cannot be written.
    """
    return write_html(page_of(read_facts(study)), path)


def to_html(facts: Facts) -> str:
    """Return the study's page as HTML."""
    return render(page_of(facts))


def page_of(facts: Facts) -> Page:
    """Return the study's page."""
    report = facts.report
    return Page(
        kind="Report of a study",
        title=report.study,
        headline=headline(report),
        warnings=warnings(report),
        card=card(facts),
        sections=sections(facts),
        source="the study alone" if facts.baseline is None else "the study and its baseline alone",
    )


def read_facts(study: Study) -> Facts:
    """Read the data of the page from the study, its folder, and the test images."""
    report = read_report(study)
    predictions = (
        Missing("There are no predictions yet.") if report.final is None else _predictions(study.folder, report.final)
    )
    return Facts(
        report=report,
        paths=read_paths(study),
        log=log_knobs(study),
        predictions=predictions,
        pixels=predictions if isinstance(predictions, Missing) else _pixels(report),
        again=_toml(lambda: study.spec.to_toml()),  # noqa: PLW0108  # reading the spec may fail as well
        winner=_toml(lambda: winning_spec(study).to_toml(is_short=True)),
        baseline=None if report.final is None else read_baseline(study),
    )


def _predictions(folder: Path, final: Final) -> Predictions | Missing:
    try:
        predictions = read_predictions(folder, final)
    except SearchError as error:
        return Missing(str(error))
    return predictions or Missing(
        f"The final models' predictions are not on this machine: there is no {predictions_path(folder)}."
    )


def _pixels(report: Report) -> NDArray[np.uint8] | Missing:
    return Missing("There is no record of the data.") if report.data is None else find_pixels(report.data, report.spec)


def _toml(write: Callable[[], str]) -> str | Missing:
    try:
        return write()
    except ValidationError:
        return Missing(
            "The study's settings were made by another version of fmnist-search and cannot be written as a study file."
        )
    except FmnistError as error:
        return Missing(str(error))
