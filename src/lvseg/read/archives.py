"""Archives and packed files read in memory: zip, tar, gzip; sizes are limited before believed.

Nothing is ever extracted, so the names in an archive are only names.
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol

from lvseg.errors import ReadError

#: A larger file in an archive is not a study but an accident or an attack.
MAX_MEMBER_BYTES = 4 * 1024**3
#: An archive in an archive, or an unpacked tar, is held whole while its source is read.
MAX_HELD_BYTES = 2 * 1024**3
#: From this size on, what unpacks to more than so many times its packed bytes is no image.
SUSPICIOUS_BYTES, MAX_RATIO = 256 * 1024**2, 200
#: A hospital's export of a year has fewer files.
MAX_MEMBERS = 200_000
#: Archives in archives in archives: deeper ones are no export of any portal.
MAX_DEPTH = 3
_CHUNK = 1024**2

ZIP_NAMES, TAR_NAMES = (".zip",), (".tar", ".tar.gz", ".tgz")
_GZIP_MAGIC = b"\x1f\x8b"


class Archive(Protocol):
    """The regular files of an archive by their names, in the order of the archive."""

    names: tuple[str, ...]

    def read(self, name: str, *, most: int = MAX_MEMBER_BYTES) -> bytes:
        """All bytes of a member of at most so many bytes."""

    def head(self, name: str, size: int) -> bytes:
        """The first bytes of a member; the rest is not unpacked."""

    def close(self) -> None:
        """Let go of the file."""


def is_archive_name(name: str) -> bool:
    """Whether a file name says that it is an archive which is looked into."""
    return name.lower().endswith((*ZIP_NAMES, *TAR_NAMES))


def open_archive(source: Path | bytes, name: str, label: str) -> Archive:
    """Open an archive of a kind that its name, or else its content, tells.

    :param source: its path or its bytes; :param label: its path, for messages.
    :raises ReadError: broken, more members or larger than the limits, no permission.
    """
    kind = _Tar if name.lower().endswith(TAR_NAMES) else _Zip
    try:
        archive = kind(source, label)
    except PermissionError as error:
        raise no_permission(label) from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise ReadError(
            f"expected a {kind.word} archive, found a broken one at {label}: copy it again"
        ) from error
    if len(archive.names) > MAX_MEMBERS:
        raise ReadError(
            f"expected at most {MAX_MEMBERS} files in an archive, found {len(archive.names)} in "
            f"{label}: unpack it and give one study"
        )
    return archive


def no_permission(path: Path | str) -> ReadError:
    """The error of a path that may not be read."""
    return ReadError(f"expected permission to read, found none at {path}: check its access rights")


def inflated(content: bytes, label: str, *, most: int = MAX_MEMBER_BYTES) -> bytes:
    """The bytes of a gzip file; what is no gzip stays as it is.

    :raises ReadError: broken, or larger than the limit.
    """
    if content[:2] != _GZIP_MAGIC:
        return content
    try:
        with gzip.GzipFile(fileobj=BytesIO(content)) as stream:
            return _limited(stream, len(content), label, most)
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(
            f"expected an intact gzip file, found broken gzip data in {label}: copy it again"
        ) from error


def inflated_head(stream: BinaryIO, size: int) -> bytes:
    """The first bytes of what a gzip file holds, or of the file itself if it is none."""
    head = stream.read(size)
    if head[:2] != _GZIP_MAGIC:
        return head
    stream.seek(0)
    try:
        return gzip.GzipFile(fileobj=stream).read(size)
    except (OSError, EOFError, zlib.error):
        return b""  # reading it will say what is wrong


def _limited(stream: BinaryIO | gzip.GzipFile, packed: int, label: str, most: int) -> bytes:
    found = bytearray()
    while chunk := stream.read(_CHUNK):
        found += chunk
        check_size(len(found), packed, label, most)
    return bytes(found)


def check_size(size: int, packed: int, label: str, most: int = MAX_MEMBER_BYTES) -> None:
    """Refuse what unpacks to more than an image has.

    :param size: bytes when unpacked; :param packed: bytes as stored.
    :raises ReadError: it does.
    """
    if size > most or (size > SUSPICIOUS_BYTES and size > MAX_RATIO * max(packed, 1)):
        raise ReadError(
            f"expected images in the archive, found a member that unpacks to {size} bytes or more "
            f"from {packed} in {label}: unpack it first"
        )


@contextmanager
def _member_of(label: str) -> Iterator[None]:
    """Turn what the libraries raise while a member is read into our error."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, KeyError) as error:
        raise ReadError(
            f"expected an intact archive, found broken data in {label}: copy it again"
        ) from error
    except (NotImplementedError, RuntimeError) as error:
        raise ReadError(
            f"expected a plain zip archive, found an unsupported packing in {label}: "
            "unpack it first"
        ) from error


class _Zip:
    """A zip archive."""

    word = "zip"

    def __init__(self, source: Path | bytes, label: str) -> None:
        self._label = label
        self._zip = zipfile.ZipFile(BytesIO(source) if isinstance(source, bytes) else source)
        members = (info.filename for info in self._zip.infolist() if not info.is_dir())
        self.names = tuple(dict.fromkeys(members))

    def read(self, name: str, *, most: int = MAX_MEMBER_BYTES) -> bytes:
        with _member_of(self._label):
            info = self._member(name)
            check_size(info.file_size, info.compress_size, self._label, most)
            return self._zip.read(info)

    def head(self, name: str, size: int) -> bytes:
        with _member_of(self._label), self._zip.open(self._member(name)) as stream:
            return stream.read(size)

    def close(self) -> None:
        self._zip.close()

    def _member(self, name: str) -> zipfile.ZipInfo:
        info = self._zip.getinfo(name)
        if info.flag_bits & 0x1:
            raise ReadError(
                f"expected an archive without password, found a locked one at {self._label}: "
                "unpack it first"
            )
        return info


class _Tar:
    """A tar archive, gzipped or not; links and devices in it are left out."""

    word = "tar"

    def __init__(self, source: Path | bytes, label: str) -> None:
        self._label = label
        self._stream = _unpacked(source, label)
        try:
            self._tar = tarfile.TarFile(fileobj=self._stream)
            regular = (each for each in self._tar if each.isreg() and not each.issparse())
            self._members = {each.name: each for each in regular}
        except BaseException:
            self._stream.close()
            raise
        self.names = tuple(self._members)

    def read(self, name: str, *, most: int = MAX_MEMBER_BYTES) -> bytes:
        with _member_of(self._label):
            check_size(self._members[name].size, self._members[name].size, self._label, most)
            return self.head(name, -1)

    def head(self, name: str, size: int) -> bytes:
        with _member_of(self._label):
            stream = self._tar.extractfile(self._members[name])
            return b"" if stream is None else stream.read(size)

    def close(self) -> None:
        self._tar.close()
        self._stream.close()


def _unpacked(source: Path | bytes, label: str) -> BinaryIO:
    """A tar as a stream; a gzipped one is unpacked, because members are read in any order."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            packed = stream.read(2) == _GZIP_MAGIC
        if not packed:
            return source.open("rb")
        source = source.read_bytes()
    return BytesIO(inflated(source, label, most=MAX_HELD_BYTES))
