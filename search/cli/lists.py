"""The commands that change no study: `fmnist-search status`, `trials`, `show`, `compare`, `knobs`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.arguments import AsCsv, AsJson, Storage, StudyName, quiet_optuna, show_page
from search.cli.completion import studies_and_trials, study_names, trial_numbers
from search.errors import SearchError
from search.study.paths import DEFAULT_STORAGE
from search.study.shipped import shipped_studies
from search.terminal.console import Console

if TYPE_CHECKING:
    from search.report.lists.answer import Answer, Form
    from search.storage.own_trials import OwnTrials

Sort = Annotated[
    str, typer.Option(metavar="COLUMN", help="A column, such as trial, time or f1: ascending, but f1 best first.")
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Reverse the order.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION", help="Only matching trials, such as state=pruned or 'filters>=32'; may be repeated."
    ),
]
Columns = Annotated[str | None, typer.Option(metavar="NAME,...", help="Only these columns, in this order.")]


def _number(text: str) -> int:
    if not text.isdecimal():
        rule = f"a trial's number must be a valid integer of at least 0, got {text!r}."
        raise typer.BadParameter(rule, param_hint="'TRIAL'")
    return int(text)


Trial = Annotated[
    int | None,
    typer.Argument(
        metavar="TRIAL",
        parser=_number,
        help="The trial's number; default the winner, or before there is one the best trial.",
        autocompletion=trial_numbers,
    ),
]
StudyOrTrial = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A study's name; default the study that ran last, or that of --study, whose TRIAL then stands here.",
        autocompletion=studies_and_trials,
    ),
]
InStudy = Annotated[
    str | None,
    typer.Option(
        metavar="STUDY", help="The trial's study; default the study that ran last.", autocompletion=study_names
    ),
]
OfStudy = Annotated[
    str | None,
    typer.Argument(metavar="STUDY", help="A shipped study or a TOML file.", autocompletion=shipped_studies),
]
Studies = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY...", help="At least two finished studies; the first is the baseline.", autocompletion=study_names
    ),
]


def status(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY...", help="Only these of the storage; default all.", autocompletion=study_names),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the studies with their stage, trials, best validation value, final score with interval, and time.

    Example: fmnist-search status
    """
    form, opened = _form(as_json, as_csv), _storage(storage)
    from search.report.lists.status import status as status_of
    from search.study.study import load_study, storage_names

    _print(status_of([load_study(opened, name) for name in studies or storage_names(opened)]), form, Console())


def trials(
    study: StudyName = None,
    sort: Sort = "trial",
    reverse: Reverse = False,
    where: Where = None,
    columns: Columns = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List a study's trials with state, value, time, reason and knobs, sorted and filtered.

    Columns are trial, state, f1, epochs, time, parameters, flops, reason, seed and every knob, or number, value and
    seconds as in JSON; operators = != < <= > >=. States: waiting, paused, running, complete, pruned, refused (over a
    limit before it trained), failed, foreign (added by another program; never counted). Standing: the winner, which
    the confirm stage chose on fresh seeds, or the best trial, which scored highest in the search.

    Example: fmnist-search trials auto --sort f1 --where state=complete --columns trial,f1,filters
    """
    form, opened = _form(as_json, as_csv), _storage(storage)
    from search.report.lists.conditions import read_conditions
    from search.report.lists.trial_rows import column, kinds, ordered, searched_knobs, trial_rows, trials_answer
    from search.study.study import load_study
    from search.study.winner import standings_in

    loaded = load_study(opened, study)
    rows, marked = trial_rows(loaded), standings_in(loaded)
    column_kinds = kinds(rows)
    conditions = read_conditions(where or (), column_kinds)
    chosen = [column(name.strip(), column_kinds) for name in columns.split(",")] if columns is not None else []
    matching = [row for row in rows if all(condition.holds(row) for condition in conditions)]
    by = column(sort, column_kinds)
    shown = ordered(matching, by, reverse=reverse)
    preferred = [by, *(condition.column for condition in conditions)]
    if all(row["state"] != "complete" for row in shown):
        preferred.append("reason")  # before the knobs: a list of failures is read for their causes
    preferred += [*searched_knobs(loaded), "reason", "parameters"]
    answer = trials_answer(loaded.name, shown, list(column_kinds), preferred, len(rows), chosen=chosen, marked=marked)
    _print(answer, form, Console())


def show(
    named: StudyOrTrial = None,
    trial: Trial = None,
    study: InStudy = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show all of one trial: state and reason, configuration, every epoch, limits. CSV has the epochs.

    Without TRIAL it is the winner, or before there is one the best trial so far; the title says which. `show 7` is
    trial 7 of the study that ran last.

    Example: fmnist-search show auto 7
    """
    if trial is None and named is not None and (study is not None or named.isdecimal()):
        trial, named = _number(named), None
    if study is not None and named is not None:
        raise SearchError(f"A trial is of one study, got {named!r} and --study {study!r}. Leave one out.")
    form, opened = _form(as_json, as_csv), _storage(storage)
    from search.report.lists.trial_page import trial_page
    from search.study.study import load_study

    _print(trial_page(load_study(opened, named or study), trial, storage), form, Console())


def knobs(study: OfStudy = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List every knob with its default, range, allowed values and meaning, and with its setting in STUDY.

    Example: fmnist-search knobs under-100k
    """
    form = _form(as_json, as_csv)
    from search.report.lists.knob_list import knob_list
    from search.study.spec import load_spec

    _print(knob_list(load_spec(study) if study is not None else None), form, Console())


def compare(
    studies: Studies,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the comparison with figures to one HTML page.")
    ] = None,
    in_browser: Annotated[
        bool,
        typer.Option(
            "--open", help="Open the page in the browser; without --html it is compare.html beside the studies."
        ),
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare finished studies by their stored test predictions: scores, differences with intervals, sizes and spaces.

    Example: fmnist-search compare baseline improved --html compared.html
    """
    form, opened, console = _form(as_json, as_csv), _storage(storage), Console(stderr=as_json or as_csv)
    from search.report.comparison import read_comparison
    from search.report.lists.comparison import comparison_answer
    from search.study.study import load_study

    loaded = [load_study(opened, name) for name in studies]
    comparison = read_comparison(loaded)
    _print(comparison_answer(comparison), form, Console())
    if html or in_browser:
        from search.report.page.comparison import COMPARISON_PAGE, write_comparison

        path = html or loaded[0].home / COMPARISON_PAGE
        write_comparison(comparison, loaded, path)
        console.print(f"Written: {path}", highlight=False)
        if in_browser:
            show_page(path, console)


def _form(as_json: bool, as_csv: bool) -> "Form":
    if as_json and as_csv:
        raise SearchError("Only one of --json and --csv may be given, got both. Leave one out.")
    if as_json:
        return "json"
    return "csv" if as_csv else "tables"


def _storage(url: str) -> "OwnTrials":
    quiet_optuna()
    from search.storage.opening import open_storage

    return open_storage(url, create=False)


def _print(answer: "Answer", form: "Form", console: Console) -> None:
    from search.report.lists.answer import to_csv, to_json
    from search.report.render import fitted, print_table

    if form == "tables":
        for index, table in enumerate(answer.tables):
            if index:
                console.print()
            print_table(fitted(table, console.width), console)
    else:
        typer.echo(to_json(answer) if form == "json" else to_csv(answer))
