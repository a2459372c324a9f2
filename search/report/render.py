"""A study's report as tables in the terminal, as report.md and as report.json. No torch."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import rich.table
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fmnist.atomic import write_in_place
from fmnist.refusals import shown
from search.errors import SearchError
from search.report.data_tables import kept_warnings
from search.report.facts import Report, read_report
from search.report.front_table import front_sentence
from search.report.tables import tables
from search.study.chance import nothing_learned
from search.study.ensemble import ensemble_sentence, teachers_sentence
from search.study.records import Environment
from search.terminal.table import Mark, Table
from search.terminal.wording import counted, f1, times, visible

__all__ = [
    "Report",
    "escaped",
    "fitted",
    "headline",
    "print_report",
    "print_table",
    "read_report",
    "table_to_markdown",
    "to_json",
    "to_markdown",
    "warnings",
    "write_report",
]

TOO_GOOD = 0.97  # macro F1 on Fashion-MNIST; a higher score is more likely a leak than a discovery
NEVER_WRAPPED = 22  # characters; in a narrow terminal, columns of longer texts are wrapped
SEPARATION = 2  # characters between columns
STYLES: dict[Mark | None, str] = {"strong": "bold green", "alarm": "bold red", None: ""}
STARS: dict[Mark | None, str] = {"strong": "**", "alarm": "*", None: ""}
ESCAPES = str.maketrans({"<": "&lt;", "\n": " "} | {sign: f"\\{sign}" for sign in "\\|*`~&$"})
# An underscore within a word, as in learning_rate, is no emphasis; brackets are a link only if both kinds are adjacent.
# A heading, list, quotation or task box can only start at the beginning.
SPECIAL_IN_PLACES = re.compile(r"(?<![^\W_])_|_(?![^\W_])|(?<=\])[(:\[]|^[#>+=\[-]")
LISTED = re.compile(r"^\d{1,9}(?=[.)])")


def headline(report: Report) -> str:
    """Return the result in a sentence, or the best score so far."""
    if (final := report.final) is not None:
        spread = "" if final.sd is None else f" ± {f1(final.sd)}"
        stated = (
            f"Test macro F1 {f1(final.mean)}{spread} over {counted(len(final.runs), 'seed')}, {100 * final.level:g} % "
            f"interval [{f1(final.low)}, {f1(final.high)}] on {counted(final.test_images, 'test image')}; the test "
            f"split was opened {times(len(report.openings))}{_opened_before(report)}."
        )
        others = front_sentence(report.front)
        return " ".join(filter(None, (stated, others, ensemble_sentence(final), teachers_sentence(final))))
    for candidate in report.confirmed:
        if candidate.trial == report.winner and candidate.mean is not None:
            mean = f"{f1(candidate.mean)} over {counted(candidate.seeds, 'fresh seed')}"
            return f"No test score yet. The winner is trial {candidate.trial}, validation macro F1 {mean}."
    if (best := report.best_trial) is not None:
        return (
            f"No test score yet. The best trial so far is trial {best.number}, validation macro F1 {f1(best.value)}, "
            "not confirmed."
        )
    return "No score yet: no trial is complete."


def _opened_before(report: Report) -> str:
    before = report.prior.all_openings if report.prior else 0
    return f", and {times(before)} before in studies that this one began with" if before else ""


def warnings(report: Report) -> list[str]:
    """Return what a reader must know before trusting a figure."""
    lines = []
    if (data := report.data) is not None and data.is_synthetic:
        lines.append("Synthetic data: these figures are not Fashion-MNIST's.")
    if data is not None and data.cleaning is not None:
        lines += kept_warnings(data.cleaning)
    if data is not None and data.is_fashion_mnist and report.final is not None and report.final.mean > TOO_GOOD:
        lines.append(
            f"Macro F1 above {TOO_GOOD} is better than anything published for such networks: look for a leak of test "
            "images."
        )
    if data is not None and (best := report.best_trial) and (nothing := nothing_learned(best.value, data)):
        lines.append(nothing)
    lines += [
        f"Trial {dropped.trial} was trained again and is no longer a candidate: {dropped.reason}."
        for dropped in report.dropped
    ]
    lines += [f"Trial {dropped.trial} of the front has no result: {dropped.reason}." for dropped in report.diverged]
    if len(report.openings) > 1:
        lines.append(
            f"The test split was opened {times(len(report.openings))}: the later scores are biased if a choice was "
            "made after the first."
        )
    if fields := differing(report.environments):
        lines.append(
            f"The {len(report.environments)} runs of this study differ in {', '.join(fields)}: their times are not "
            "comparable, and their scores may not be."
        )
    return lines


def differing(environments: Iterable[Environment]) -> list[str]:
    """Return the fields that affect scores or speed and differ between runs."""
    runs = list(environments)
    fields = ("commit", "versions", "platform", "processor", "cores", "device")
    return [name for name in fields if any(getattr(run, name) != getattr(runs[0], name) for run in runs)]


def print_report(report: Report, console: Console) -> None:
    """Print the whole report, the result first."""
    title, *alarms = visible(report.study), *warnings(report)
    console.print(Text(title, "bold"), Text(headline(report)), *(Text(line, "bold red") for line in alarms), sep="\n")
    for table in tables(report):
        console.print()
        print_table(fitted(table, console.width), console)


def print_table(table: Table, console: Console) -> None:
    """Print the table with its caption below."""
    console.print(Text(visible(table.title), "bold cyan"))
    if table.rows:
        shown = rich.table.Table(
            box=box.SIMPLE_HEAD,
            header_style="dim",
            show_header=any(table.columns),
            show_edge=False,
            padding=(0, 1, 0, 0),
        )
        wholes = _whole_columns(table, console.width)
        for i, head in enumerate(table.columns):
            side: Literal["left", "right"] = "left" if i in table.text_columns else "right"
            shown.add_column(Text(visible(head)), justify=side, overflow="fold", no_wrap=i in wholes)
        for i, row in enumerate(table.rows):
            shown.add_row(*(Text(visible(str(cell)), STYLES[table.marks.get((i, j))]) for j, cell in enumerate(row)))
        console.print(shown)
    if table.caption:
        console.print(Text(visible(table.caption), "dim"))
    if table.code:
        console.print(Text(visible(table.code)), soft_wrap=True)  # one line, to be copied


def fitted(table: Table, width: int) -> Table:
    """Return the table without the spare columns that do not fit in `width` characters; its caption names them."""
    widths = [
        SEPARATION + (min(column, NEVER_WRAPPED) if i in table.text_columns else column)
        for i, column in enumerate(_widths(table))
    ]
    shown = [i for i in range(len(widths)) if i not in table.spare]
    room = width + 1 - sum(widths[i] for i in shown)  # the last column is followed by a single blank
    for i in table.spare:
        if widths[i] <= room:
            shown.append(i)
            room -= widths[i]
    shown.sort()
    hidden = [head for i, head in enumerate(table.columns) if i not in shown]
    if not hidden:
        return table
    return replace(
        table,
        columns=tuple(table.columns[i] for i in shown),
        rows=[tuple(row[i] for i in shown) for row in table.rows],
        caption=f"{table.caption} No room for {', '.join(hidden)}: see --json, --csv or a wider terminal.".lstrip(),
        text_columns=frozenset(at for at, i in enumerate(shown) if i in table.text_columns),
        marks={(row, shown.index(i)): mark for (row, i), mark in table.marks.items() if i in shown},
        spare=(),
    )


def _widths(table: Table) -> list[int]:
    return [
        max(cell_len(visible(str(cell))) for cell in column) for column in zip(table.columns, *table.rows, strict=True)
    ]


def _whole_columns(table: Table, width: int) -> set[int]:
    """Return the columns that are never wrapped: figures and short texts, if they fit. A broken figure misleads."""
    widths = _widths(table)
    wholes = {i for i, column in enumerate(widths) if i not in table.text_columns or column <= NEVER_WRAPPED}
    needed = sum(column if i in wholes else 1 for i, column in enumerate(widths)) + SEPARATION * len(widths)
    return wholes if needed <= width else set()


def to_markdown(report: Report) -> str:
    """Return the report as GitHub Markdown."""
    lines = [f"# {escaped(report.study)}", "", escaped(headline(report)), ""]
    for line in warnings(report):
        lines += [f"> **{escaped(line)}**", ""]
    for table in tables(report):
        lines += table_to_markdown(table)
    return "\n".join(lines)


def table_to_markdown(table: Table) -> list[str]:
    """Return the lines of the table as a section."""
    caption = [escaped(table.caption), ""] if table.caption else []
    code = [f"    {visible(table.code)}", ""] if table.code else []
    return [f"## {escaped(table.title)}", "", *_markdown_rows(table), *caption, *code]


def _markdown_rows(table: Table) -> list[str]:
    if not table.rows:
        return []
    rules = (":--" if i in table.text_columns else "--:" for i in range(len(table.columns)))
    lines = [tuple(escaped(head) for head in table.columns), rules]
    for i, row in enumerate(table.rows):
        stars = [STARS[table.marks.get((i, j))] for j in range(len(row))]
        lines.append(tuple(f"{star}{escaped(str(cell))}{star}" for star, cell in zip(stars, row, strict=True)))
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def escaped(text: str) -> str:
    """Escape `text` for GitHub Markdown, on one line and within a table cell."""
    return LISTED.sub(r"\g<0>\\", SPECIAL_IN_PLACES.sub(r"\\\g<0>", visible(text).strip().translate(ESCAPES)))


def to_json(report: Report) -> str:
    """Return the report as JSON with the fields of `Report` as keys; a figure that is not finite is null."""
    return report.model_dump_json(indent=2) + "\n"


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write report.md and report.json to `folder`, each atomically, and return their paths.

    Raises: SearchError if the study, made by another program, has a name such as ../../x, which leads out of the
    folder of studies, or if the files cannot be written.
    """
    if folder.name != report.study or report.study == "..":
        raise SearchError(
            f"To write its files, a study's name must be that of a folder, got {shown(report.study)}. Copy the study "
            "under another name."
        )
    return _write(folder / "report.md", to_markdown(report)), _write(folder / "report.json", to_json(report))


def _write(path: Path, text: str) -> Path:
    try:
        write_in_place(path, text.encode())
    except OSError as error:
        raise SearchError(
            f"{path} must be writable: {error.strerror or error}. Free space there, or work in another folder."
        ) from error
    return path
