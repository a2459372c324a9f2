"""A study -> what a person reads: tables in the terminal, report.md, report.json. No torch."""

import os
from pathlib import Path

import rich.table
from rich import box
from rich.console import Console
from rich.text import Text

from search.facts import Report, read_report
from search.tables import Mark, Table, differing, tables
from search.wording import counted, f1, times

__all__ = ["Report", "headline", "print_report", "read_report", "to_json", "to_markdown", "warnings", "write_report"]

TOO_GOOD = 0.97  # macro F1 on Fashion-MNIST; above it a leak is likelier than a discovery
STYLES: dict[Mark | None, str] = {"strong": "bold green", "alarm": "bold red", None: ""}
STARS: dict[Mark | None, str] = {"strong": "**", "alarm": "*", None: ""}
ESCAPES = str.maketrans({"\\": "\\\\", "|": "\\|", "*": "\\*", "<": "&lt;", "\n": " ", "\r": " "})


def headline(report: Report) -> str:
    """The result in a sentence, or how far the study has come."""
    if (final := report.final) is not None:
        spread = "" if final.sd is None else f" ± {f1(final.sd)}"
        return (
            f"Test macro F1 {f1(final.mean)}{spread} over {counted(len(final.runs), 'seed')}, {100 * final.level:g} % interval "
            f"[{f1(final.low)}, {f1(final.high)}] on {counted(final.test_images, 'test image')}; "
            f"the test split was opened {times(len(report.openings))}."
        )
    for one in report.confirmed:
        if one.trial == report.winner and one.mean is not None:
            mean = f"{f1(one.mean)} over {counted(one.seeds, 'fresh seed')}"
            return f"No test score yet. Confirmed: trial {one.trial}, validation macro F1 {mean}."
    best = next((row for row in report.best if row.feasible and row.state == "complete"), None)
    if best is not None:
        return f"No test score yet. Best of the search: trial {best.number}, validation macro F1 {f1(best.value)}, not confirmed."
    return "No score yet: no trial is complete."


def warnings(report: Report) -> list[str]:
    """What a reader must know before believing a figure."""
    found = []
    if report.data is not None and report.data.is_synthetic:
        found.append("Synthetic data: these figures are not Fashion-MNIST's.")
    elif report.final is not None and report.final.mean > TOO_GOOD:
        found.append(f"Macro F1 above {TOO_GOOD} is better than anything published for such networks: look for a leak of test images.")
    if len(report.openings) > 1:
        found.append(f"The test split was opened {times(len(report.openings))}: a choice made after the first look is not an honest test.")
    if fields := differing(report.environments):
        found.append(
            f"The {len(report.environments)} runs of this study differ in {', '.join(fields)}: times do not compare, figures may not."
        )
    return found


def print_report(report: Report, console: Console) -> None:
    """The whole report is on `console`, the result first."""
    console.print(Text(report.study, "bold"), Text(headline(report)), *(Text(line, "bold red") for line in warnings(report)), sep="\n")
    for table in tables(report):
        console.print()
        _print_table(table, console)


def _print_table(table: Table, console: Console) -> None:
    console.print(Text(table.title, "bold cyan"))
    if table.rows:
        shown = rich.table.Table(
            box=box.SIMPLE_HEAD, header_style="dim", show_header=any(table.columns), show_edge=False, padding=(0, 1, 0, 0)
        )
        for i, head in enumerate(table.columns):
            text = i in table.text_columns
            shown.add_column(Text(head), justify="left" if text else "right", overflow="fold", no_wrap=not text)
        for i, row in enumerate(table.rows):
            shown.add_row(*(Text(cell, STYLES[table.marks.get((i, j))]) for j, cell in enumerate(row)))
        console.print(shown)
    if table.caption:
        console.print(Text(table.caption, "dim"))


def to_markdown(report: Report) -> str:
    """The same report as GitHub's Markdown."""
    lines = [f"# {_escaped(report.study)}", "", _escaped(headline(report)), ""]
    for line in warnings(report):
        lines += [f"> **{_escaped(line)}**", ""]
    for table in tables(report):
        lines += [f"## {_escaped(table.title)}", "", *_markdown_rows(table)]
        lines += [_escaped(table.caption), ""] if table.caption else []
    return "\n".join(lines)


def _markdown_rows(table: Table) -> list[str]:
    if not table.rows:
        return []
    rules = (":--" if i in table.text_columns else "--:" for i in range(len(table.columns)))
    lines = [table.columns, rules]
    for i, row in enumerate(table.rows):
        stars = [STARS[table.marks.get((i, j))] for j in range(len(row))]
        lines.append(tuple(f"{star}{_escaped(cell)}{star}" for star, cell in zip(stars, row, strict=True)))
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _escaped(text: str) -> str:
    return text.translate(ESCAPES)


def to_json(report: Report) -> str:
    """The report for programs: the keys are the fields of `Report`; a figure that is not finite is null."""
    return report.model_dump_json(indent=2) + "\n"


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """report.md and report.json are in `folder`, each either whole or as it was before."""
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder / "report.md", to_markdown(report)), _write(folder / "report.json", to_json(report))


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
