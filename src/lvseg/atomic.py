"""Atomic writes: files and folders appear whole or not at all.

What is being written lies under a hidden name beside its place, locked by the process that writes
it (flock). A hidden name without a lock is a leftover of a run that was killed: :func:`recover`
puts an older folder back, or removes what was unfinished.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from lvseg.errors import UsageError

#: Access rights of a new file; the system takes away what the process's umask forbids.
_MODE = 0o666
#: Times that something is made which another run takes for a leftover the moment it is there.
_TRIES = 10
#: Hidden names of folders (a new one, an older one moved away) and of files.
_FOLDER = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.(?P<kind>part|old)")
_FILE = re.compile(r"\.part-[0-9a-f]{16}(\..*)?")


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

    def make() -> Path:
        temporary = path.parent / f".part-{secrets.token_hex(8)}{suffix}"
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE))
        return temporary

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _locked(make)
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
    finally:
        _unlock(lock)


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
    if path.parent.is_dir():
        recover(path.parent, path.name)
    check_replaceable(path, marker, overwrite=overwrite)
    temporary, lock = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _locked(lambda: _hidden(path, "part", make=True))
        yield temporary
        if overwrite and path.exists():
            _replace(temporary, path, owned)
        else:
            _place(temporary, path, marker)
        _folder_to_disk(path.parent)
    except OSError as error:
        raise UsageError(
            f"cannot write the folder {path}: {error.strerror or error}; "
            "check the space and the permissions there"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        _unlock(lock)


def _hidden(path: Path, kind: str, *, make: bool = False) -> Path:
    """A free hidden name beside a folder, as :data:`_FOLDER` knows it."""
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(6)}.{kind}")
    if make:
        hidden.mkdir()
    return hidden


def _place(temporary: Path, path: Path, marker: str | None) -> None:
    """Move the new folder to a free place; another run may have taken it meanwhile.

    :raises UsageError: it is no longer free.
    """
    with contextlib.suppress(OSError):
        path.rmdir()  # an empty folder is no obstacle
    try:
        temporary.rename(path)
    except OSError:
        check_replaceable(path, marker, overwrite=False)
        raise


def _replace(temporary: Path, path: Path, owned: Collection[str] | None) -> None:
    """Move the new folder into the place of an earlier one, which goes when the new one stands.

    :raises UsageError: another run is replacing it.
    """
    try:
        lock = _lock(path)  # while it has a hidden name, it is no leftover
    except BlockingIOError as error:
        raise UsageError(
            f"expected {path} to itself, found another run that writes it: wait for its end"
        ) from error
    try:
        if owned is not None:
            names = {*owned, *(each.name for each in temporary.iterdir())}
            for each in path.iterdir():
                if each.name not in names:
                    copy = shutil.copytree if each.is_dir() else shutil.copy2
                    copy(each, temporary / each.name)
        old = _hidden(path, "old")
        path.rename(old)
        try:
            temporary.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        _unlock(lock)


def recover(parent: Path, name: str | None = None) -> None:
    """Put back or remove what runs that were killed left under hidden names in a folder.

    A folder that was moved away, and whose replacement never came, goes back to its place; what was
    unfinished, or is replaced, goes. What a living run holds stays, and so does everything on a
    file system that has no locks.

    :param name: only what was to become, or was, the folder of this name.
    """
    for each in sorted(parent.iterdir()):
        folder = _FOLDER.fullmatch(each.name)
        if folder is None and (name is not None or not _FILE.fullmatch(each.name)):
            continue
        if folder is not None and name not in (None, folder["name"]):
            continue
        try:
            lock = _lock(each)
        except OSError:  # a living run's, or gone
            continue
        if lock is None:
            continue
        with contextlib.suppress(OSError):
            if folder is None:
                each.unlink()
            elif folder["kind"] == "old" and not (parent / folder["name"]).exists():
                each.rename(parent / folder["name"])
            else:
                shutil.rmtree(each, ignore_errors=True)
        _unlock(lock)


def _locked(make: Callable[[], Path]) -> tuple[Path, int | None]:
    """Make a file or folder and lock it, so that no other run takes it for a leftover."""
    for _ in range(_TRIES):
        path = make()
        try:
            lock = _lock(path)
        except (BlockingIOError, FileNotFoundError):  # it was, before it had the lock
            continue
        if path.exists():
            return path, lock
        _unlock(lock)
    return make(), None


def _lock(path: Path) -> int | None:
    """Lock a file or folder until its descriptor, returned, is closed; None: there are no locks.

    :raises BlockingIOError: another process, or another part of this one, holds it.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without
        os.close(descriptor)
        return None
    return descriptor


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


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


def _folder_to_disk(folder: Path) -> None:
    """The same for the names in a folder; where a system cannot, it decides for itself."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> Path:
    """Write text as UTF-8 with Unix line ends; returns ``path``. An empty text is a file too."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path
