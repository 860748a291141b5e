"""The typer application and the frame every command shares: its help, its options, its ending."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lvseg.cli.output import Output

#: What a command does: gets its voice and its options, returns an exit status (None = 0).
Handler = Callable[..., int | None]

app = typer.Typer(
    name="lvseg",
    help="Measure the left ventricle in short-axis cardiac cine MRI.",
    epilog="Try it without data:  lvseg demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
prepare_app = typer.Typer(
    help="Turn raw data into a data set folder.",
    epilog="Example:  lvseg prepare sunnybrook sunnybrook -o dataset",
    rich_markup_mode=None,
)
app.add_typer(prepare_app, name="prepare")

_COMMON: dict[str, Any] = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show tracebacks and warnings.")],
}


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command: its name, the example in its help and what it does.

    :param group: where it is registered.
    """

    name: str
    example: str
    handler: Handler
    group: typer.Typer = app

    def register(self) -> None:
        """Add it to its group; the docstring of the handler is the help text."""

        def run(**options: Any) -> None:
            out = Output(**{key: options.pop(key) for key in _COMMON})
            raise typer.Exit(out.guard(lambda: self.handler(out, **options)))

        own = list(inspect.signature(self.handler, eval_str=True).parameters.values())[1:]
        kind = inspect.Parameter.KEYWORD_ONLY
        for parameter in own:
            for each in getattr(parameter.annotation, "__metadata__", ()):
                # An unreadable source is for the reader to report (3), not for the parser (2).
                each.readable = False
        shared = [
            inspect.Parameter(key, kind, default=False, annotation=annotation)
            for key, annotation in _COMMON.items()
        ]
        parameters = [parameter.replace(kind=kind) for parameter in own] + shared
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        text = inspect.getdoc(self.handler)
        self.group.command(self.name, help=text, epilog=f"Example:  {self.example}")(run)


def command(name: str, *, example: str, group: typer.Typer = app) -> Callable[[Handler], Command]:
    """Make ``handler(out, **options)`` a sub-command, for the list in :mod:`lvseg.cli`."""
    return lambda handler: Command(name, example, handler, group)
