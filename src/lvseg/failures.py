"""Failures for people: any exception as one line of text and an exit status."""

from __future__ import annotations

from lvseg.errors import LvsegError, ReadError
from lvseg.names import one_line


def explain(error: BaseException) -> tuple[str, int]:
    """One line and an exit status for any exception.

    Our own errors carry both. A file the system refuses is wrong usage (2), because reading and
    writing steps name their own failures. Anything else is a defect of ours (1).
    """
    if isinstance(error, LvsegError):
        return one_line(error), error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(f"cannot use {error.filename}: {error.strerror}; check the path"), 2
    kind = type(error).__name__
    return one_line(f"internal error, {kind}: {error}; run again with --debug and report it"), 1


def unreadable(source: object, error: OSError) -> ReadError:
    """Say as an error of ours why the system does not open a source."""
    reason = error.strerror or str(error)
    return ReadError(f"expected a readable source, found {source}: {reason}; check its permissions")
