"""Failures for people: any exception as one line of text and an exit status."""

from __future__ import annotations

import errno

from lvseg.errors import LvsegError, ReadError
from lvseg.names import one_line

#: What the system says of a stream that takes nothing more: no space, no longer there.
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF})


def explain(error: BaseException) -> tuple[str, int]:
    """One line and an exit status for any exception.

    Our own errors carry both. A file the system refuses is wrong usage (2), because reading and
    writing steps name their own failures. Anything else is a defect of ours (1).
    """
    if isinstance(error, LvsegError):
        return one_line(error), error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(f"cannot use {error.filename}: {error.strerror}; check the path"), 2
    if isinstance(error, OSError) and error.errno in _NOT_WRITTEN:
        return f"cannot write: {error.strerror}; check the disk and where the output goes", 2
    kind = type(error).__name__
    return one_line(f"internal error, {kind}: {error}; run again with --debug and report it"), 1


def unreadable(source: object, error: OSError) -> ReadError:
    """Say as an error of ours why the system does not open a source."""
    reason = error.strerror or str(error)
    return ReadError(f"expected a readable source, found {source}: {reason}; check its permissions")
