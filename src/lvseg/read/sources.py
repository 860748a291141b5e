"""Sources of images: folders, archives, discs with a DICOMDIR, and single files.

Kinds are told by content first and by file name second.
"""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Literal, Self, cast

from lvseg.bounds import USUAL, ReadingLimits, open_regular
from lvseg.errors import ReadError
from lvseg.formats import MEASUREMENTS, is_result_file
from lvseg.names import printable, readable
from lvseg.read.archives import (
    TAR_NAMES,
    ZIP_NAMES,
    Archive,
    chunks,
    intact,
    is_archive_name,
    is_gzip,
    no_permission,
    open_archive,
    spooled,
)

Kind = Literal["dicom", "nifti", "picture"]
Progress = Callable[[int, int], None]

#: Enough to see the DICOM prefix at 128 and the NIfTI magic at 344.
HEAD_BYTES = 352
#: Index of a disc (PS3.10 section 8.6: its name is always this).
DICOMDIR = "DICOMDIR"
#: Other kinds by the ending of a name -> what it is and what to do.
FOREIGN = MappingProxyType(
    {
        (".7z", ".rar", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".bz2", ".xz", ".zst"): (
            "an archive that lvseg does not look into: unpack it, or pack it as zip or tar.gz"
        ),
        (".iso", ".dmg", ".vhd"): "the image of a disc: open it and give the folder",
        (".img", ".img.gz"): "an .img without the .hdr beside it: give both",
        (".par", ".rec"): "a PAR/REC export: export DICOM, or convert it to NIfTI",
        (".nrrd", ".nhdr", ".mha", ".mhd", ".vtk", ".mgz", ".mnc", ".h5", ".mat", ".npy"): (
            "images in a format that lvseg does not read: save them as NIfTI"
        ),
        (".avi", ".mp4", ".mov", ".gif", ".bmp", ".pdf"): (
            "pictures or films without geometry: export the DICOM images"
        ),
    }
)

_NIFTI_NAMES = (".nii", ".nii.gz")
_PICTURE_NAMES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_DICOM_NAMES = (".dcm", ".dicom", ".ima")
_HEADER_NAMES, _IMAGE_NAMES = (".hdr", ".hdr.gz"), (".img", ".img.gz")
#: Bytes of a NIfTI-1 header; a file of header and image has four more before the image.
_NIFTI_HEADER = 348
_PICTURE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")
_HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")
#: What is in the first bytes of the measurements of a study written by ``lvseg segment``.
_RESULT_SIGN = b'"lvseg"'


@dataclass(frozen=True, slots=True, order=True)
class Blob:
    """One file, or one member of an archive.

    :param within: the archives inside that archive that hold the member, the outermost first.
    :param image: of the header of a NIfTI in two files, the name of the other one.
    """

    path: Path
    member: str = ""
    within: tuple[str, ...] = ()
    image: str = ""

    @property
    def label(self) -> str:
        """How a message names it, in one line."""
        parts = [str(self.path), *self.within, *filter(None, [self.member])]
        return " ".join(printable("/".join(parts)).splitlines())

    @property
    def name(self) -> str:
        """The last part of its name; a packed file goes by what it holds."""
        name = (self.member or self.path.name).replace("\\", "/").rsplit("/", 1)[-1]
        return name[:-3] if self.packed else name

    @property
    def packed(self) -> bool:
        """Whether its name says gzip, but for NIfTI, whose reader unpacks it."""
        name = (self.member or self.path.name).lower()
        return name.endswith(".gz") and not name.endswith(_NIFTI_NAMES)

    @property
    def is_nifti(self) -> bool:
        """Whether its name is one of NIfTI, whose reader unpacks it whatever the name says."""
        name = (self.member or self.path.name).lower()
        return name.endswith((*_NIFTI_NAMES, *_HEADER_NAMES, *_IMAGE_NAMES))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its path and of its place in an archive, without the endings of files."""
        path = parts_as_given(self.path)
        parts = [*path, *(part for each in (*self.within, self.member) for part in _parts(each))]
        archives = {len(path) - 1} if self.member else set[int]()
        names = [stem(part) if place in archives else part for place, part in enumerate(parts)]
        return (*names[:-1], stem(names[-1]))


def parts_as_given(path: Path) -> tuple[str, ...]:
    """The parts of the whole path; a link goes by its own name, not by that of what it leads to.

    >>> parts_as_given(Path("/store/patient001"))
    ('store', 'patient001')
    """
    whole = path.resolve() if ".." in path.parts else path.absolute()
    return whole.parts[1:]


class Files:
    """Opens blobs within limits; keeps archives open while it is used as a context."""

    def __init__(self, limits: ReadingLimits = USUAL) -> None:
        self.limits = limits
        self._archives: dict[tuple[Path, tuple[str, ...]], Archive] = {}
        self._unpacked = 0

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

    def archive(self, path: Path, within: tuple[str, ...] = ()) -> Archive:
        """The opened archive.

        :param within: as in :class:`Blob`.
        :raises ReadError: it is broken, larger than the limits, or may not be read.
        """
        if (path, within) not in self._archives:
            source: Path | BinaryIO = path
            label = Blob(path, within=within).label
            if within:
                outer, name = self.archive(path, within[:-1]), within[-1]
                with outer.opened(name) as stream:
                    packed = outer.packed(name)
                    source = spooled(stream, packed, label, self.limits, self._unpacked)
                self._unpacked += source.seek(0, 2)
                source.seek(0)
            name = within[-1] if within else path.name
            self._archives[path, within] = open_archive(source, name, label, self.limits)
        return self._archives[path, within]

    @contextmanager
    def open(self, blob: Blob) -> Iterator[BinaryIO]:
        """A seekable stream over the bytes of a blob.

        :raises ReadError: no permission, a password, or broken data.
        """
        if blob.member or blob.packed or blob.image:
            yield BytesIO(self.read(blob))
            return
        with _opened(blob.path) as stream:
            yield stream

    def read(self, blob: Blob, first: int | None = None) -> bytes:
        """All bytes of a blob, or so many from its start; a NIfTI in two files as one.

        :raises LimitError: more than the limits allow. ReadError: as :meth:`open`.
        """
        if blob.image:
            other = (
                replace(blob, member=blob.image, image="")
                if blob.member
                else Blob(blob.path.with_name(blob.image))
            )
            header = self.read(replace(blob, image=""), first)
            return _joined(header, self.read(other, first), blob.label)
        with self._stored(blob) as (stream, size):
            head = stream.read(2)
            stream.seek(0)
            inflating = is_gzip(head) and (blob.packed or blob.is_nifti)
            if not inflating and not blob.member:
                most = size if first is None else min(first, size)
                self.limits.hold("file_bytes", most, blob.label)
                return stream.read(most)
            if inflating:
                stream = cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
            found = bytearray()
            for piece in chunks(stream, size, blob.label, self.limits, first):
                found += piece
                self.limits.hold("file_bytes", len(found), blob.label)
            return bytes(found)

    def head(self, blob: Blob, size: int) -> bytes:
        """The first bytes of a blob, unpacked; of a NIfTI in two files, those of the header."""
        with self._stored(blob) as (stream, _):
            return _start(stream, blob, size)

    @contextmanager
    def look(self, blob: Blob) -> Iterator[tuple[Kind | None, BinaryIO]]:
        """What a blob seems to be and, of a DICOM object, a stream over its bytes.

        Only what is read of the stream is unpacked.
        """
        with self._stored(blob) as (stream, _):
            kind = sniff(_start(stream, blob, HEAD_BYTES), blob.name)
            if kind != "dicom":
                yield kind, BytesIO()
            elif blob.packed:
                yield kind, BytesIO(self.read(blob))
            else:
                stream.seek(0)
                yield kind, stream

    @contextmanager
    def _stored(self, blob: Blob) -> Iterator[tuple[BinaryIO, int]]:
        """A stream over the bytes of a blob as they are stored, and how many these are."""
        if blob.member:
            archive = self.archive(blob.path, blob.within)
            with intact(blob.label), archive.opened(blob.member) as stream:
                yield stream, archive.packed(blob.member)
            return
        with _opened(blob.path) as stream:
            yield stream, os.fstat(stream.fileno()).st_size


def _start(stream: BinaryIO, blob: Blob, size: int) -> bytes:
    head = stream.read(size)
    if not is_gzip(head) or not (blob.packed or blob.is_nifti):
        return head
    stream.seek(0)
    try:
        return gzip.GzipFile(fileobj=stream, mode="rb").read(size)
    except (OSError, EOFError, zlib.error):
        return b""  # reading it will say what is wrong


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = open_regular(path)
    except PermissionError as error:
        raise no_permission(readable(str(path))) from error
    except OSError as error:
        raise ReadError(
            f"expected a readable file, found none at {path} ({error.strerror}): check the path"
        ) from error
    with stream:
        yield stream


def _joined(header: bytes, image: bytes, label: str) -> bytes:
    """One NIfTI-1 file of a header and its image (nifti1.h: magic "ni1" and "n+1", vox_offset).

    :raises ReadError: the header is no NIfTI-1, but Analyze 7.5 or something else.
    """
    order = "<" if header[:2] == struct.pack("<h", _NIFTI_HEADER) else ">"
    if header[344:348] != b"ni1\0":
        raise ReadError(
            f"expected a NIfTI header, found one of Analyze 7.5 or another kind in {label}, which "
            "states no orientation: convert the pair to NIfTI"
        )
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    start = struct.pack(f"{order}f", _NIFTI_HEADER + 4)
    return b"".join(
        [header[:108], start, header[112:344], b"n+1\0", bytes(4), image[max(int(offset), 0) :]]
    )


def walk(source: Path, files: Files) -> tuple[Blob, ...]:
    """Every file of a source, members of archives included, in order of their names.

    Hidden files are left out, and so is what ``lvseg segment`` wrote: an output folder may lie
    below its source. Links to folders are followed, and no folder is entered twice. A DICOMDIR
    stands for the files that it lists, or for its folder where none of them is there.

    :raises ReadError: nothing there, no permission, a broken archive, a pipe or a device.
    :raises LimitError: more files, or archives in archives, than the limits allow.
    """
    try:
        if not source.exists():
            raise ReadError(f"expected a file or folder, found nothing at {source}: check the path")
        if not source.is_dir():
            open_regular(source).close()
        found = _files_of(source, files.limits)
    except PermissionError as error:
        raise no_permission(error.filename or source) from error
    except OSError as error:
        raise ReadError(
            f"expected a readable source, found {error.strerror} at {source}"
        ) from error
    blobs: list[Blob] = []
    for path in found:
        if _is_archive(path, alone=path == source):
            blobs.extend(_in_archive(path, (), files))
        else:
            blobs.append(Blob(path))
        files.limits.hold("files", len(blobs), source)
    return tuple(sorted(_paired(blobs)))


def blob_of(path: Path) -> Blob:
    """One file; a NIfTI in two files with its other half, whichever was named."""
    return _paired([Blob(_files_of(path, USUAL)[0])])[0] if path.is_file() else Blob(path)


def _files_of(source: Path, limits: ReadingLimits) -> list[Path]:
    if source.is_dir():
        return _in_folder(source, limits)
    if source.name.upper() == DICOMDIR:
        return _on_disc(source, limits) or _in_folder(source.parent, limits)
    if source.name.lower().endswith(_IMAGE_NAMES):
        header = next((path for path in _beside(source, _HEADER_NAMES) if path.is_file()), None)
        return [source] if header is None else [header]
    return [source]


def _beside(path: Path, endings: Sequence[str]) -> list[Path]:
    """Where the other file of a pair may be; endings in small and in capital letters."""
    bare = path.name[: -len(_ending(path.name, (*_HEADER_NAMES, *_IMAGE_NAMES)))]
    return [path.with_name(bare + end) for each in endings for end in (each, each.upper())]


def _ending(name: str, endings: Sequence[str]) -> str:
    return next((end for end in sorted(endings, key=len)[::-1] if name.lower().endswith(end)), "")


def _on_disc(index: Path, limits: ReadingLimits) -> list[Path]:
    """The files that a DICOMDIR lists (PS3.3 F.3.2.2, Referenced File ID) and that are there."""
    from lvseg.read.parsing import parsed

    try:
        with open_regular(index) as stream:
            records = parsed(stream, limits).get("DirectoryRecordSequence") or []
    except Exception:  # a broken one can fail anywhere in the parser: its folder tells as much
        return []
    found = []
    for record in records:
        parts = record.get("ReferencedFileID") or []
        parts = [parts] if isinstance(parts, str) else [str(part) for part in parts]
        if parts and not any(part in ("", ".", "..") or set("/\\") & set(part) for part in parts):
            found.append(index.parent.joinpath(*parts))
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _in_folder(folder: Path, limits: ReadingLimits) -> list[Path]:
    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        links: list[Path] = []
        for parent, folders, names in os.walk(waiting.pop(), onerror=fail):
            place = Path(parent).stat()
            if (place.st_dev, place.st_ino) in entered:
                folders[:] = []
                continue
            entered.add((place.st_dev, place.st_ino))
            left_out = _is_output if _is_result(Path(parent), names) else _hidden
            kept = sorted(name for name in folders if not left_out(name))
            links += [Path(parent, name) for name in kept if Path(parent, name).is_symlink()]
            folders[:] = kept  # os.walk itself follows no link
            found.extend(Path(parent, name) for name in names if not left_out(name))
            limits.hold("files", len(found), folder)
        waiting = sorted(waiting + links)[::-1]
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
    if is_archive_name(path.name):
        return True
    return alone and sniff(b"", path.name) is None and zipfile.is_zipfile(path)


def _in_archive(path: Path, within: tuple[str, ...], files: Files) -> list[Blob]:
    """The files in an archive and in the archives in it."""
    found: list[Blob] = []
    for name in sorted(files.archive(path, within).names):
        if any(_hidden(part) for part in _parts(name)):
            continue
        if not is_archive_name(name):
            found.append(Blob(path, name, within))
        else:
            files.limits.hold("nested_archives", len(within) + 2, path)
            found += _in_archive(path, (*within, name), files)
    return found


def _paired(blobs: Sequence[Blob]) -> list[Blob]:
    """Headers with the images beside them as one blob each; such an image is none by itself."""
    known = {(blob.path, blob.within, blob.member): blob for blob in blobs}
    pairs: dict[Blob, str] = {}
    images: set[tuple[Path, tuple[str, ...], str]] = set()
    for blob in blobs:
        name = blob.member or blob.path.name
        if not name.lower().endswith(_HEADER_NAMES):
            continue
        if blob.member:
            bare = name[: -len(_ending(name, _HEADER_NAMES))]
            places = [bare + end for each in _IMAGE_NAMES for end in (each, each.upper())]
            keys = [(blob.path, blob.within, place) for place in places]
            key = next((key for key in keys if key in known), None)
        else:
            there = (path for path in _beside(blob.path, _IMAGE_NAMES) if path.is_file())
            key = next(((path, (), "") for path in there), None)
        if key is not None:
            pairs[blob] = key[2] or key[0].name
            images.add(key)
    return [
        replace(blob, image=pairs.get(blob, "")) for key, blob in known.items() if key not in images
    ]


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
    if lower.endswith(".hdr") and _is_348(head):
        return "nifti"
    if lower.endswith(_NIFTI_NAMES) or head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    if lower.endswith(_PICTURE_NAMES) or head.startswith(_PICTURE_MAGIC):
        return "picture"
    if lower.endswith(_DICOM_NAMES) or head[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
        return "dicom"
    return None


def _is_348(head: bytes) -> bool:
    """Whether a header begins with its size, as those of NIfTI and Analyze do, in either order."""
    return head[:4] in (struct.pack("<i", _NIFTI_HEADER), struct.pack(">i", _NIFTI_HEADER))


def foreign(name: str) -> str:
    """What a file is that is not read, by its name, and what to do; "" = nobody knows.

    >>> foreign("study.iso")
    'the image of a disc: open it and give the folder'
    """
    lower = name.lower()
    return next((text for endings, text in FOREIGN.items() if lower.endswith(endings)), "")


def stem(name: str) -> str:
    """A file name without its extension; ``.nii.gz`` and ``.dcm.gz`` count as one.

    >>> stem("ED_image.nii.gz")
    'ED_image'
    """
    endings = (*_NIFTI_NAMES, *_PICTURE_NAMES, *_DICOM_NAMES, *_HEADER_NAMES)
    known = (*endings, *(f"{each}.gz" for each in endings), *ZIP_NAMES, *TAR_NAMES)
    return name[: len(name) - len(_ending(name, known))]
