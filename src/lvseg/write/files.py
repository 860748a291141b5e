"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lvseg.errors import UsageError

__all__ = ["whole_file", "write_text"]

#: Access rights of a new file; the system takes away what the process's umask forbids.
_MODE = 0o666


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block ends well.

    The temporary name starts with a dot and ends with the suffixes of the target, because writers
    choose the format by suffix. Missing folders are made. On an exception the temporary file is
    removed and an older file at ``path`` stays as it was.

    :raises UsageError: the folder cannot be made or written.
    """
    path = Path(path)
    suffix = "".join(path.suffixes[-2:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".part-{secrets.token_hex(8)}{suffix}"
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE))
    except OSError as error:
        raise UsageError(
            f"expected a folder to write {path.name} to, found {path.parent}: "
            f"{error.strerror}; choose another output folder"
        ) from error
    try:
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _to_disk(path: Path) -> None:
    """Ask the system to store the bytes before the name, so that a crash leaves no empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> Path:
    """Write text as UTF-8 with Unix line ends; returns ``path``. An empty text is a file too."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path
