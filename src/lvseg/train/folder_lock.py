"""One process at a time in an output folder that is written for hours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lvseg.errors import UsageError

__all__ = ["alone_in"]


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Make the folder and hold it while the block runs.

    :param what: what goes on there, for the message.
    :raises UsageError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"expected no other {what} in {folder}, found one going on") from None
    try:
        yield
    finally:
        lock.release()
