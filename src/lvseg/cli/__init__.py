"""The command line: one command, sub-commands, documented exit codes (README, "Exit codes")."""

from __future__ import annotations

import atexit
import gc
import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from lvseg.cli import (
    assess,
    augment,
    calibrate,
    check,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    measure,
    models,
    prepare,
    reproduce,
    segment,
    serve,
    table,
    train,
    tune,
)
from lvseg.cli import list as listing  # `list` here is the submodule, not Python's own
from lvseg.cli.app import app
from lvseg.cli.output import Output, listen, status_of
from lvseg.cli.streams import close_streams, open_streams
from lvseg.errors import UsageError
from lvseg.failures import explain
from lvseg.names import one_line

__all__ = ["COMMANDS", "app", "main"]

#: Every command, in the order of the help: the main job first.
COMMANDS = (
    segment.segment,
    table.table,
    listing.list_source,
    demo.demo,
    serve.serve,
    measure.measure,
    assess.assess,
    compare.compare,
    check.check_dataset,
    train.train,
    calibrate.calibrate,
    tune.tune,
    export.export,
    evaluate.evaluate,
    reproduce.reproduce,
    augment.augment_dataset,
    models.models,
    doctor.doctor,
    prepare.sunnybrook,
    prepare.images,
)
for each in COMMANDS:
    each.register()


def _version(wanted: bool) -> None:
    if wanted:
        from lvseg.version import __version__

        typer.echo(f"lvseg {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure the left ventricle in short-axis cardiac cine MRI."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. Without arguments it shows the help."""
    given = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    out = Output(as_json="--json" in given, debug="--debug" in given)
    # Libraries may log what a reader already reports as a finding.
    logging.basicConfig(handlers=None if out.debug else [logging.NullHandler()])
    if arguments is None:  # a process of our own: being told to stop is like Ctrl-C
        open_streams(debug=out.debug)
        atexit.register(close_streams)
        listen()
        atexit.register(gc.freeze)  # the process ends: half a second of looking for cycles is saved
    try:
        if "" in given:  # an unset variable of a script would mean the current folder
            raise UsageError("expected no empty arguments, found one: check the call")
        status = app(args=given, prog_name="lvseg", standalone_mode=False)
    except typer.Abort:
        status = status_of(KeyboardInterrupt())
        out.warn("interrupted")
        if out.as_json:
            out.result({"error": "interrupted", "exit": status}, "")
        return status
    except Exception as error:
        text, code = _explain(error)
        out.warn(text)
        if out.as_json:
            out.result({"error": text, "exit": code}, "")
        return code
    return status if isinstance(status, int) else 0


def _explain(error: Exception) -> tuple[str, int]:
    """Text and status of what the option parser raises; anything else is a defect of ours."""
    message = getattr(error, "format_message", None)
    if message is None:
        return explain(error)
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "lvseg"
    return f"{one_line(message()).rstrip('.')}; see {where} --help", 2
