"""Atomic writes: files and folders appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from lvseg.errors import UsageError

#: Access rights of a new file; the system takes away what the process's umask forbids.
_MODE = 0o666


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block ends well.

    The temporary name starts with a dot and ends with the suffixes of the target, because writers
    choose the format by suffix. Missing folders are made. On an exception the temporary file is
    removed and an older file at ``path`` stays as it was.

    :raises UsageError: the folder cannot be made or written, or the disk is full.
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
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        lost = isinstance(error, FileNotFoundError)
        if isinstance(error, OSError) and not lost and error.filename in (None, str(temporary)):
            raise UsageError(
                f"cannot write {path}: {error.strerror or error}; "
                "check the space and the permissions there"
            ) from error
        raise


@contextmanager
def atomic_folder(
    path: Path, marker: str | None, *, overwrite: bool = False, owned: Collection[str] | None = None
) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that takes its place when the block ends well.

    An empty folder at ``path`` is no obstacle. On an exception the temporary folder is removed and
    an older folder stays as it was; it goes only when the new one stands.

    :param marker: a file that every folder of this kind has; nothing without it is replaced.
        None: any folder may be.
    :param overwrite: replace an older folder of this kind.
    :param owned: names that folders of this kind hold; anything else in the older folder belongs to
        the user and is carried over. None: nothing is.
    :raises UsageError: ``path`` exists and may not be replaced, or the system refuses to write.
    """
    path = Path(path)
    check_replaceable(path, marker, overwrite=overwrite)
    token = secrets.token_hex(6)
    temporary, old = (path.with_name(f".{path.name}.{token}.{kind}") for kind in ("part", "old"))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _swap(temporary, path, old, owned)
    except OSError as error:
        raise UsageError(
            f"cannot write the folder {path}: {error.strerror or error}; "
            "check the space and the permissions there"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, path: Path, old: Path, owned: Collection[str] | None) -> None:
    """Move the new folder into place; an earlier one goes only when the new one stands."""
    if not path.exists():
        temporary.rename(path)
        return
    if owned is not None:
        names = {*owned, *(each.name for each in temporary.iterdir())}
        for each in path.iterdir():
            if each.name not in names:
                copy = shutil.copytree if each.is_dir() else shutil.copy2
                copy(each, temporary / each.name)
    path.rename(old)
    try:
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_replaceable(path: Path, marker: str | None, *, overwrite: bool) -> None:
    """Refuse to touch a folder that may not be replaced (:func:`atomic_folder`).

    :raises UsageError: a folder of this kind is there and ``overwrite`` is not given, or something
        else is.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if path.is_file() or (marker is not None and not (path / marker).is_file()):
        raise UsageError(
            f"expected a free place, found {path}, which is no folder of lvseg"
            f"{f' (it has no {marker})' if marker else ''}; choose another place"
        )
    if not overwrite:
        raise UsageError(
            f"expected a free place, found an earlier result in {path}; use --overwrite to replace "
            "it, or choose another place"
        )


def _to_disk(path: Path) -> None:
    """Ask the system to store the bytes before the name, so that a crash leaves no empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> Path:
    """Write text as UTF-8 with Unix line ends; returns ``path``. An empty text is a file too."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path
