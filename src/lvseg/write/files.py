"""Files and folders appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lvseg.errors import UsageError

__all__ = ["whole_file", "whole_folder", "write_text"]

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


@contextmanager
def whole_folder(path: Path, mark: str, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that takes its place when the block ends well.

    An empty folder at ``path`` is no obstacle. On an exception the temporary folder is removed and
    an older folder stays as it was.

    :param mark: a file that every folder of this kind has; nothing without it is replaced.
    :param overwrite: replace an older folder of this kind.
    :raises UsageError: ``path`` exists and may not be replaced, or cannot be made.
    """
    path = Path(path)
    _check_replaceable(path, mark, overwrite=overwrite)
    token = secrets.token_hex(6)
    temporary, old = (path.parent / f".{kind}-{token}" for kind in ("part", "old"))
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot make a folder beside {path}: {error.strerror}") from error
    try:
        yield temporary
        if path.exists():
            path.replace(old)
        try:
            temporary.replace(path)
        except BaseException:
            if old.exists():
                old.replace(path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(path: Path, mark: str, *, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"expected a new folder, found {path}: choose another, or use --overwrite")
    if not (path / mark).is_file():
        raise UsageError(
            f"expected a folder with {mark} to replace, found no {mark} in {path}: "
            "choose another folder"
        )


def _to_disk(path: Path) -> None:
    """Ask the system to store the bytes before the name, so that a crash leaves no empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> Path:
    """Write text as UTF-8 with Unix line ends; returns ``path``. An empty text is a file too."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path
