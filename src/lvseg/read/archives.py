"""Archives and packed files, unpacked as they are read: zip, tar, gzip, within limits.

Nothing is extracted by its own path, so the names in an archive are only names.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Protocol, cast

from lvseg.bounds import ReadingLimits, open_regular
from lvseg.errors import ReadError

#: From this size on, the ratio to the packed bytes is looked at (``ReadingLimits.unpacked_ratio``).
SUSPICIOUS_BYTES = 64 * 2**20
#: What is unpacked for another look is kept in memory up to this size, else in a temporary file.
_SPOOLED_BYTES = 32 * 2**20
_CHUNK = 2**20
#: Bytes of an entry of a zip directory with a name of usual length (APPNOTE.TXT 4.3.12).
_ENTRY_BYTES = 128
#: Methods of a zip that need little memory to unpack; LZMA takes as much as a file asks for.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)

ZIP_NAMES, TAR_NAMES = (".zip",), (".tar", ".tar.gz", ".tgz")
_GZIP_MAGIC = b"\x1f\x8b"


class Archive(Protocol):
    """The regular files of an archive by their names, in the order of the archive."""

    names: tuple[str, ...]

    def opened(self, name: str) -> BinaryIO:
        """A seekable stream over a member, unpacked as it is read."""

    def packed(self, name: str) -> int:
        """Bytes of a member as it is stored."""

    def close(self) -> None:
        """Let go of the file."""


def is_archive_name(name: str) -> bool:
    """Whether a file name says that it is an archive which is looked into."""
    return name.lower().endswith((*ZIP_NAMES, *TAR_NAMES))


def open_archive(source: Path | BinaryIO, name: str, label: str, limits: ReadingLimits) -> Archive:
    """Open an archive of a kind that its name, or else its content, tells.

    :param source: its path, or a stream over it; :param label: its path, for messages.
    :raises ReadError: broken, no permission. LimitError: more members or larger than the limits.
    """
    kind = _Tar if name.lower().endswith(TAR_NAMES) else _Zip
    try:
        return kind(open_regular(source) if isinstance(source, Path) else source, label, limits)
    except PermissionError as error:
        raise no_permission(label) from error
    except (*_BROKEN, ValueError) as error:
        raise ReadError(
            f"expected a {kind.word} archive, found a broken one at {label}: copy it again"
        ) from error


def no_permission(path: Path | str) -> ReadError:
    """The error of a path that may not be read."""
    return ReadError(f"expected permission to read, found none at {path}: check its access rights")


def is_gzip(head: bytes) -> bool:
    """Whether the first bytes are those of a gzip file (RFC 1952, section 2.3.1)."""
    return head[:2] == b"\x1f\x8b"


def spooled(
    stream: BinaryIO, packed: int, label: str, limits: ReadingLimits, held: int = 0
) -> BinaryIO:
    """A copy of a stream that can be read in any order, in memory or a temporary file.

    :param packed: bytes as stored; :param held: bytes unpacked before.
    :raises LimitError: larger than the limits. ReadError: broken.
    """
    copy = cast(BinaryIO, SpooledTemporaryFile(_SPOOLED_BYTES))  # noqa: SIM115 - the caller's
    try:
        for chunk in chunks(stream, packed, label, limits):
            copy.write(chunk)
            limits.hold("unpacked_bytes", held + copy.tell(), label)
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy


def chunks(
    stream: BinaryIO, packed: int, label: str, limits: ReadingLimits, most: int | None = None
) -> Iterator[bytes]:
    """The bytes of a packed stream, piece by piece, while their ratio to the packed ones is usual.

    :param most: stop after so many bytes; None = at the end.
    :raises LimitError: it is not. ReadError: broken.
    """
    found = 0
    with intact(label):
        while most is None or found < most:
            piece = stream.read(_CHUNK if most is None else min(_CHUNK, most - found))
            if not piece:
                return
            found += len(piece)
            if found > SUSPICIOUS_BYTES:
                limits.hold("unpacked_ratio", found / max(packed, 1), label)
            yield piece


_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError)


@contextmanager
def intact(label: str) -> Iterator[None]:
    """Turn what the libraries raise while packed data are read into our error."""
    try:
        yield
    except (*_BROKEN, KeyError) as error:
        raise ReadError(
            f"expected intact packed data, found broken ones in {label}: copy it again"
        ) from error
    except (NotImplementedError, RuntimeError) as error:
        raise ReadError(
            f"expected a plain zip archive, found an unsupported packing in {label}: "
            "unpack it first"
        ) from error


class _Zip:
    """A zip archive."""

    word = "zip"

    def __init__(self, stream: BinaryIO, label: str, limits: ReadingLimits) -> None:
        self._label, self._stream = label, stream
        try:
            entries = _directory_bytes(stream) // _ENTRY_BYTES
            limits.hold("files", entries, label)
            self._zip = zipfile.ZipFile(stream)
            members = (info.filename for info in self._zip.infolist() if not info.is_dir())
            self.names = tuple(dict.fromkeys(members))
            limits.hold("files", len(self.names), label)
        except BaseException:
            stream.close()
            raise

    def opened(self, name: str) -> BinaryIO:
        with intact(self._label):
            return cast(BinaryIO, self._zip.open(self._member(name)))

    def packed(self, name: str) -> int:
        with intact(self._label):
            return self._zip.getinfo(name).compress_size

    def close(self) -> None:
        self._zip.close()
        self._stream.close()

    def _member(self, name: str) -> zipfile.ZipInfo:
        info = self._zip.getinfo(name)
        if info.flag_bits & 0x1:
            raise ReadError(
                f"expected an archive without password, found a locked one at {self._label}: "
                "unpack it first"
            )
        if info.compress_type not in _ZIP_METHODS:
            raise NotImplementedError
        return info


def _directory_bytes(stream: BinaryIO) -> int:
    """Size of the directory of a zip, as its end states it (APPNOTE.TXT 4.3.14 to 4.3.16).

    0 where no end is found; what a zip64 end says is the size of the file at most.
    """
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 65557))  # a comment of 65535 bytes, and the end itself
    tail = stream.read()
    stream.seek(0)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) < place + 22:
        return 0
    (stated,) = struct.unpack_from("<L", tail, place + 12)
    wide = tail.rfind(b"PK\x06\x06", 0, place)
    if stated == 0xFFFFFFFF and wide >= 0 and len(tail) >= wide + 48:
        (stated,) = struct.unpack_from("<Q", tail, wide + 40)
    return int(min(stated, size))


class _Tar:
    """A tar archive, gzipped or not; links and devices in it are left out."""

    word = "tar"

    def __init__(self, stream: BinaryIO, label: str, limits: ReadingLimits) -> None:
        self._label = label
        self._stream = _unpacked(stream, label, limits)
        try:
            bounded: Any = _Bounded(self._stream, limits)
            self._tar = tarfile.TarFile(fileobj=bounded)
            self._members: dict[str, tarfile.TarInfo] = {}
            for count, each in enumerate(self._tar, start=1):
                limits.hold("files", count, label)
                if each.isreg() and not each.issparse():
                    self._members[each.name] = each
        except BaseException:
            self._stream.close()
            raise
        self.names = tuple(self._members)

    def opened(self, name: str) -> BinaryIO:
        with intact(self._label):
            stream = self._tar.extractfile(self._members[name])
            return cast(BinaryIO, BytesIO() if stream is None else stream)

    def packed(self, name: str) -> int:
        return self._members[name].size

    def close(self) -> None:
        self._tar.close()
        self._stream.close()


class _Bounded:
    """A stream of which nobody reads more at once than a file may have: a tar states lengths."""

    def __init__(self, stream: BinaryIO, limits: ReadingLimits) -> None:
        self._stream, self._most = stream, limits.file_bytes
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._most:
            raise tarfile.ReadError("a length that no file has")
        return self._stream.read(size)


def _unpacked(stream: BinaryIO, label: str, limits: ReadingLimits) -> BinaryIO:
    """A tar as a stream; a gzipped one is unpacked, because members are read in any order."""
    packed = is_gzip(stream.read(2))
    size = stream.seek(0, 2)
    stream.seek(0)
    if not packed:
        return stream
    with stream, gzip.GzipFile(fileobj=stream, mode="rb") as inflating:
        return spooled(cast(BinaryIO, inflating), size, label, limits)
