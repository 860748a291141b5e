"""Standard streams of a process of ours: they are there, no library writes to stderr, none breaks.

A caller may start us with a stream closed, or one that takes nothing (a full disk). What is asked
for then still happens, and the exit status tells how it ended.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

_STDERR = 2


def open_streams(*, debug: bool = False) -> None:
    """Make the three standard streams usable; to be called once, before anything is opened.

    A closed one becomes the null device: the next file opened would take its number, and what a
    library prints would go into it. Without ``debug`` native libraries lose the descriptor of
    stderr, and Python's own ``sys.stderr`` gets another one for the same place.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no such letter
    if not debug:
        _quieten_libraries()


def _quieten_libraries() -> None:
    kept = os.dup(_STDERR)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr.flush()
    sys.stderr = os.fdopen(kept, "w", 1, encoding=encoding, errors="backslashreplace")
    give_up(_STDERR)


def give_up(stream: TextIO | int) -> None:
    """Send what is still to come, and what is still held back, to the null device."""
    with contextlib.suppress(OSError, ValueError):
        number = stream if isinstance(stream, int) else stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def close_streams() -> None:
    """Write out what is held back; a stream that takes nothing is given up without a word."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            give_up(stream)
