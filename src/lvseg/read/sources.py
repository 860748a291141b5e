"""Sources of images: folders, zip archives and single files.

Nothing is ever extracted: members of an archive are read in memory, so the names in it are only
names. Kinds are told by content first and by file name second.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

from lvseg.errors import ReadError
from lvseg.formats import MEASUREMENTS, is_result_file
from lvseg.names import readable

Kind = Literal["dicom", "nifti", "picture"]
Progress = Callable[[int, int], None]

#: Enough to see the DICOM prefix at 128 and the NIfTI magic at 344.
HEAD_BYTES = 352
#: A larger member of an archive is not a study but an accident or an attack.
MAX_MEMBER_BYTES = 4 * 1024**3

_NIFTI_NAMES = (".nii", ".nii.gz")
_PICTURE_NAMES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_DICOM_NAMES = (".dcm", ".dicom", ".ima")
_PICTURE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")
_HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")
#: What is in the first bytes of the measurements of a study written by ``lvseg segment``.
_RESULT_SIGN = b'"lvseg"'


@dataclass(frozen=True, slots=True, order=True)
class Blob:
    """One file, or one member of an archive."""

    path: Path
    member: str = ""

    @property
    def label(self) -> str:
        """How a message names it."""
        return readable(f"{self.path}/{self.member}" if self.member else str(self.path))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its path and of its place in an archive, without the ending of a file."""
        path = self.path.resolve().parts[1:]
        parts = (*path[:-1], stem(path[-1]), *_parts(self.member))
        return (*parts[:-1], stem(parts[-1]))

    @property
    def name(self) -> str:
        """The last part of its name."""
        return (self.member or self.path.name).replace("\\", "/").rsplit("/", 1)[-1]


class Files:
    """Opens blobs; keeps archives open while it is used as a context."""

    def __init__(self) -> None:
        self._archives: dict[Path, zipfile.ZipFile] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for archive in self._archives.values():
            archive.close()
        self._archives.clear()

    def archive(self, path: Path) -> zipfile.ZipFile:
        """The opened archive.

        :raises ReadError: it is broken or may not be read.
        """
        if path not in self._archives:
            try:
                self._archives[path] = zipfile.ZipFile(path)
            except PermissionError as error:
                raise _no_permission(path) from error
            except (zipfile.BadZipFile, OSError, ValueError) as error:
                raise ReadError(
                    f"expected a zip archive, found a broken one at {path}: copy it again"
                ) from error
        return self._archives[path]

    @contextmanager
    def open(self, blob: Blob) -> Iterator[BinaryIO]:
        """A seekable stream over the bytes of a blob.

        :raises ReadError: no permission, a password, or broken data.
        """
        if blob.member:
            yield BytesIO(self._member(blob))
            return
        try:
            stream = blob.path.open("rb")
        except PermissionError as error:
            raise _no_permission(blob.path) from error
        except OSError as error:
            raise ReadError(
                f"expected a readable file, found none at {blob.path} ({error.strerror}): "
                "check the path"
            ) from error
        with stream:
            yield stream

    def read(self, blob: Blob) -> bytes:
        """All bytes of a blob."""
        with self.open(blob) as stream:
            return stream.read()

    def _member(self, blob: Blob) -> bytes:
        archive = self.archive(blob.path)
        try:
            info = archive.getinfo(blob.member)
            if info.flag_bits & 0x1:
                raise ReadError(
                    f"expected an archive without password, found a locked one at {blob.path}: "
                    "unpack it first"
                )
            if info.file_size > MAX_MEMBER_BYTES:
                raise ReadError(
                    f"expected images in the archive, found a member that unpacks to "
                    f"{info.file_size} bytes in {blob.path}: unpack it first"
                )
            return archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError) as error:
            raise ReadError(
                f"expected an intact archive, found broken data in {blob.path}: copy it again"
            ) from error
        except (NotImplementedError, RuntimeError) as error:
            raise ReadError(
                f"expected a plain zip archive, found an unsupported packing in {blob.path}: "
                "unpack it first"
            ) from error


def _no_permission(path: Path | str) -> ReadError:
    return ReadError(f"expected permission to read, found none at {path}: check its access rights")


def walk(source: Path, files: Files) -> tuple[Blob, ...]:
    """Every file of a source, members of archives included, in order of their names.

    Hidden files are left out, and so is what ``lvseg segment`` wrote: an output folder may lie
    below its source. Symbolic links to folders below the source are not followed.

    :raises ReadError: nothing there, no permission, a broken archive.
    """
    try:
        if not source.exists():
            raise ReadError(f"expected a file or folder, found nothing at {source}: check the path")
        found = _in_folder(source) if source.is_dir() else [source]
    except PermissionError as error:
        raise _no_permission(error.filename or source) from error
    except OSError as error:
        raise ReadError(
            f"expected a readable source, found {error.strerror} at {source}"
        ) from error
    blobs: list[Blob] = []
    for path in found:
        if _is_archive(path, alone=path == source):
            blobs.extend(_in_archive(path, files))
        else:
            blobs.append(Blob(path))
    return tuple(sorted(blobs))


def _in_folder(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        left_out = _is_output if _is_result(Path(parent), names) else _hidden
        folders[:] = [name for name in folders if not left_out(name)]
        found.extend(Path(parent, name) for name in names if not left_out(name))
    return [path for path in found if path.is_file()]


def _is_result(folder: Path, names: list[str]) -> bool:
    """Whether ``lvseg segment`` wrote a study into a folder."""
    if MEASUREMENTS not in names:
        return False
    try:
        with (folder / MEASUREMENTS).open("rb") as file:
            return _RESULT_SIGN in file.read(64)
    except OSError:
        return False


def _is_output(name: str) -> bool:
    return is_result_file(name) or _hidden(name)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _HIDDEN


def _is_archive(path: Path, *, alone: bool) -> bool:
    if path.suffix.lower() == ".zip":
        return True
    return alone and sniff(b"", path.name) is None and zipfile.is_zipfile(path)


def _in_archive(path: Path, files: Files) -> list[Blob]:
    names = {info.filename for info in files.archive(path).infolist() if not info.is_dir()}
    kept = [name for name in names if not any(_hidden(part) for part in _parts(name))]
    return [Blob(path, name) for name in sorted(kept)]


def _parts(member: str) -> list[str]:
    parts = member.replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")]


def sniff(head: bytes, name: str) -> Kind | None:
    """What a file seems to be, from its first :data:`HEAD_BYTES` bytes and its name.

    A DICOM file without the 128-byte preamble (PS3.10 section 7.1) begins with an element of
    group 0002 or 0008. None: nothing we read.
    """
    lower = name.lower()
    if head[128:132] == b"DICM":
        return "dicom"
    if lower.endswith(_NIFTI_NAMES) or head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    if lower.endswith(_PICTURE_NAMES) or head.startswith(_PICTURE_MAGIC):
        return "picture"
    if lower.endswith(_DICOM_NAMES) or head[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
        return "dicom"
    return None


def stem(name: str) -> str:
    """A file name without its extension; ``.nii.gz`` counts as one.

    >>> stem("ED_image.nii.gz")
    'ED_image'
    """
    lower = name.lower()
    for ending in (*_NIFTI_NAMES, *_PICTURE_NAMES, *_DICOM_NAMES, ".zip"):
        if lower.endswith(ending):
            return name[: -len(ending)]
    return name
