"""Output of a command: results on stdout, messages and progress on stderr, errors in one line."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from lvseg.cli.streams import give_up
from lvseg.errors import UsageError
from lvseg.failures import explain
from lvseg.issues import Issue, finding_lines
from lvseg.json_text import json_text
from lvseg.names import one_line, printable

#: Exit status of a closed pipe (128 + SIGPIPE).
PIPE_CLOSED = 141

#: Signals that ask a process to stop, and what to call it when they did.
STOPPING = MappingProxyType({"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"})
#: A progress bar: shows what is going on, how far, of how much (0 = not known).
Bar = Callable[[str, int, int], None]


class Stopped(KeyboardInterrupt):
    """A signal other than that of Ctrl-C asks the process to stop; it tidies up as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def listen() -> None:
    """Let the signals of :data:`STOPPING` end a command in order; one that is ignored stays so."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    for name in STOPPING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def how_stopped(stop: KeyboardInterrupt) -> str:
    """What to call an interruption."""
    return STOPPING[signal.Signals(getattr(stop, "number", signal.SIGINT)).name]


def status_of(stop: KeyboardInterrupt) -> int:
    """Exit status of an interruption, as shells give it: 128 + the number of the signal."""
    return 128 + int(getattr(stop, "number", signal.SIGINT))


def staged(bar: Bar, stage: str = "") -> Callable[[int, int], None]:
    """Make a report of (done, total) from a bar."""
    return lambda done, total: bar(stage, done, total)


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows in aligned columns, two blanks between them; numbers are the caller's to format."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))] if cells else []
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def evaluation_text(document: Mapping[str, Any], issues: Iterable[Issue]) -> str:
    """Show people the table of an evaluation, the agreement of EF and what was noticed."""
    from lvseg.evaluate import table as rows_of

    ef = document["ef"]
    lines = [
        f"{document['n_images']} images of {document['n_patients']} patients",
        table(rows_of(document)),
    ]
    if ef.get("bias") is not None:
        known = [key for key in ("bias", "sd", "mae", "r") if ef[key] is not None]
        figures = ", ".join(f"{key} {ef[key]:.2f}" for key in known)
        lines.append(f"EF, percentage points: {figures}")
    return "\n".join([*lines, *finding_lines(issues, all_of_them=False)])


@dataclass(slots=True)
class Output:
    """The voice of one command.

    :param as_json: stdout carries exactly one JSON object and nothing else.
    :param quiet: no messages and no progress on stderr; results and errors only.
    :param debug: tracebacks and the warnings of libraries are shown.
    :param blank: keys that the JSON object has even when nothing was done.
    """

    as_json: bool = False
    quiet: bool = False
    debug: bool = False
    blank: dict[str, Any] = field(default_factory=dict)
    _printed: bool = field(default=False, init=False)

    def result(self, document: Mapping[str, Any], text: str) -> None:
        """Print the result: the document with ``--json``, the text otherwise."""
        if self.as_json:
            self._printed = True
            self._stdout(json_text(document))
        elif text:
            self._stdout(text)

    def say(self, text: str) -> None:
        """Print a part of the result for people; nothing with ``--json``."""
        if not self.as_json:
            self._stdout(text)

    def note(self, text: str) -> None:
        """Tell on stderr what is going on; nothing with ``--quiet``."""
        if not self.quiet:
            _stderr(text)

    def warn(self, text: object) -> None:
        """Tell an error or a warning in one line on stderr, always."""
        _stderr(f"lvseg: {one_line(text)}")

    def failed(self, error: BaseException) -> tuple[str, int]:
        """Report an exception (with its traceback under ``--debug``); returns text and status."""
        text, status = explain(error)
        self.failed_as(text, "".join(traceback.format_exception(error)))
        return text, status

    def failed_as(self, text: str, trace: str = "") -> None:
        """Report a failure that happened elsewhere.

        :param trace: where, for ``--debug``.
        """
        if self.debug and trace:
            _stderr(trace.rstrip("\n"))
        self.warn(text)

    def guard(self, work: Callable[[], int | None]) -> int:
        """Run a command; every ending becomes an exit status and at most one line."""
        try:
            with warnings.catch_warnings():
                if not self.debug:
                    warnings.simplefilter("ignore")
                return work() or 0
        except KeyboardInterrupt as stop:
            text, status = one_line(f"{how_stopped(stop)} {stop}"), status_of(stop)
            self.warn(text)
        except Exception as error:
            text, status = self.failed(error)
        if self.as_json and not self._printed:
            with contextlib.suppress(UsageError):  # stdout takes nothing: the line is said
                self.result({**self.blank, "error": text, "exit": status}, "")
        return status

    @contextmanager
    def progress(self, title: str) -> Iterator[Bar]:
        """Show a bar on stderr while the block runs, if that is a terminal; it leaves no trace."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda stage, done, total: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
        bars = Progress(
            *columns,
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,  # results go to stdout, whatever stderr is
            redirect_stderr=False,
        )
        with bars:
            task = bars.add_task(title, total=None)

            def show(stage: str, done: int, total: int) -> None:
                text = f"{title}: {stage}" if stage else title
                bars.update(task, description=text, completed=done, total=total or None)

            yield show

    def _stdout(self, text: str) -> None:
        try:
            print(printable(text), flush=True)  # noqa: T201
        except BrokenPipeError:
            give_up(sys.stdout)  # the reader has gone (`| head`): stop quietly
            raise SystemExit(PIPE_CLOSED) from None
        except OSError as error:
            give_up(sys.stdout)
            raise UsageError(
                f"expected to print the result, found {error.strerror} at the output: "
                "check the disk and where the output goes"
            ) from error


def _stderr(text: str) -> None:
    """Print for people; where that is not possible the exit status says it all."""
    try:
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        give_up(sys.stderr)
