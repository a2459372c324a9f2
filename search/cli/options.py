"""Give a command the options that search/job/options.py declares."""

import inspect
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer

from search.job.options import Option, declared

Function = TypeVar("Function", bound=Callable[..., None])


def takes(options: type) -> Callable[[Function], Function]:
    """Add to a command with `**options` every option that `options` declares; it receives those with a value."""

    def decorate(command: Function) -> Function:
        own = inspect.signature(command, eval_str=True).parameters.values()
        shown = {name: (kind, option) for name, (kind, option) in declared(options).items() if option is not None}
        parameters = [parameter for parameter in own if parameter.kind != inspect.Parameter.VAR_KEYWORD]
        parameters += [_parameter(name, kind, option) for name, (kind, option) in shown.items()]

        def call(**values: Any) -> None:
            # Not by equality: a 0 that was given is no False.
            absent = {name for name in shown if values[name] is None or values[name] is False or values[name] == []}
            command(**{name: value for name, value in values.items() if name not in absent})

        call.__name__, call.__doc__ = command.__name__, command.__doc__
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads it
        return call  # type: ignore[return-value]

    return decorate


def _parameter(name: str, kind: Any, option: Option) -> inspect.Parameter:
    words = [str(word) for word in get_args(kind)] if get_origin(kind) is Literal else []
    # A wrong word is refused where it is read, with the nearest valid word; a number or text is read there too.
    value_type = str if words or isinstance(kind, UnionType) else kind
    low = option.low if option.low is None or kind is float else int(option.low)
    shown = typer.Option(
        option.flag or f"--{name.replace('_', '-')}",
        help=option.help,
        metavar=None if kind is bool else option.metavar or "|".join(words),
        min=low,
        autocompletion=(lambda: words) if words else None,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=False if kind is bool else None,
        annotation=Annotated[value_type if kind is bool else value_type | None, shown],
    )
