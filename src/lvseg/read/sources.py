"""Sources of images (folders, zip archives, single files) and the studies that they hold.

Nothing is ever extracted: members of an archive are read in memory, so the names in it are only
names. Kinds are told by content first and by file name second.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Literal, Self

from lvseg.cine import Cine
from lvseg.errors import NotACineError, ReadError
from lvseg.formats import MEASUREMENTS, is_result_file
from lvseg.pydicom_settings import suppress_pydicom_warnings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from lvseg.read.frames import FrameInfo

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
#: Folder names that say what is inside, not which study it is.
GENERIC_NAMES = frozenset({"dicom", "dicoms", "dcm", "images", "data", "cine", "sax"})
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
        return f"{self.path}/{self.member}" if self.member else str(self.path)

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
    for ending in (".nii.gz", *_NIFTI_NAMES, *_PICTURE_NAMES, *_DICOM_NAMES, ".zip"):
        if lower.endswith(ending):
            return name[: -len(ending)]
    return name


def label_of(name: str) -> str:
    """A label that is safe as a file name on every system.

    >>> label_of("../my study:1")
    'my_study_1'
    """
    return re.sub(r"[^\w.\-]+", "_", name).strip("._")[:100] or "study"


# Which files belong to one study, and what it is called


@dataclass(frozen=True, slots=True)
class StudyRef:
    """One study of a source, ready to be read.

    :param name: safe as a file name, unique within its source; never a patient's name.
    :param location: the path as given, for pictures and NIfTI the file itself.
    """

    name: str
    format: Kind
    location: str
    study_uid: str | None = None
    blob: Blob | None = field(default=None, repr=False, compare=False)
    frames: tuple[FrameInfo, ...] = field(default=(), repr=False, compare=False)
    broken: int = field(default=0, repr=False, compare=False)


def scan(source: Path, files: Files, progress: Progress | None = None) -> tuple[StudyRef, ...]:
    """Every study of a source: DICOM studies by UID first, then NIfTI files and pictures by name.

    :raises ReadError: nothing there, nothing readable, no permission, a broken archive.
    :raises NotACineError: only DICOM objects without images.
    """
    blobs = walk(source, files)
    frames: list[FrameInfo] = []
    others: list[tuple[Literal["nifti", "picture"], Blob]] = []
    broken: list[tuple[Blob, str]] = []
    for done, blob in enumerate(blobs, start=1):
        with files.open(blob) as stream:
            kind = sniff(stream.read(HEAD_BYTES), blob.name)
            if kind == "dicom":
                from lvseg.read.headers import BrokenHeaderError, read_headers

                stream.seek(0)
                try:
                    frames.extend(read_headers(stream, blob))
                except BrokenHeaderError as error:
                    broken.append((blob, str(error)))
            elif kind is not None:
                others.append((kind, blob))
        if progress is not None:
            progress(done, len(blobs))
    refs = _dicom_refs(source, frames, len(broken)) + _file_refs(source, others)
    if not refs:
        raise _nothing(source, len(blobs), broken, bool(frames))
    return refs


def _nothing(source: Path, count: int, broken: list[tuple[Blob, str]], objects: bool) -> ReadError:
    if objects:
        return NotACineError(
            f"expected images, found only DICOM objects without images in {source}: "
            "give the folder that holds the cine"
        )
    if broken:
        blob, why = broken[0]
        if count == 1:
            return ReadError(
                f"expected a DICOM image, found {blob.label} unreadable: {why}; copy it again"
            )
        return ReadError(
            f"expected images, found {len(broken)} unreadable file(s) of {count} in {source} "
            f"(first: {why}): copy them again"
        )
    if count == 0:
        return ReadError(
            f"expected images, found an empty folder or results of lvseg alone at {source}: "
            "check the path"
        )
    return ReadError(
        f"expected DICOM, NIfTI, PNG, JPEG or TIFF, found none among {count} file(s) in {source}: "
        "check the path"
    )


def _source_name(source: Path) -> str:
    """The name of the folder or file; of a folder named after its kind, the parent's."""
    resolved = source.resolve()
    if not source.is_dir():
        return label_of(stem(source.name))
    generic = resolved.name.lower() in GENERIC_NAMES and resolved.parent.name
    return label_of(resolved.parent.name if generic else resolved.name)


def _dicom_refs(source: Path, frames: list[FrameInfo], broken: int) -> tuple[StudyRef, ...]:
    by_study: dict[str, list[FrameInfo]] = {}
    for frame in frames:
        by_study.setdefault(frame.study_uid, []).append(frame)
    imaging = {
        uid: group for uid, group in by_study.items() if any(frame.rows > 0 for frame in group)
    }
    base = _source_name(source)
    own = {uid: _own_folder(source, group) for uid, group in imaging.items()}
    counts = Counter(own.values())
    refs = []
    for uid in sorted(imaging):
        digest = hashlib.sha256(uid.encode()).hexdigest()[:8]
        name = base if len(imaging) == 1 else f"{base}-{digest}"
        if len(imaging) > 1 and own[uid] and counts[own[uid]] == 1:
            name = own[uid]
        refs.append(
            StudyRef(name, "dicom", str(source), uid, frames=tuple(imaging[uid]), broken=broken)
        )
    return tuple(refs)


def _own_folder(source: Path, frames: list[FrameInfo]) -> str:
    """The folder below a source that holds all images of a study; "" where there is none."""
    blobs = [frame.instance.blob for frame in frames]
    if not source.is_dir() or any(blob.member for blob in blobs):
        return ""
    common = Path(os.path.commonpath([blob.path.parent for blob in blobs]))
    parts = [part for part in common.relative_to(source).parts if part.lower() not in GENERIC_NAMES]
    return label_of(parts[-1]) if parts else ""


def _file_refs(
    source: Path, others: list[tuple[Literal["nifti", "picture"], Blob]]
) -> tuple[StudyRef, ...]:
    short = [label_of(stem(blob.name)) for _, blob in others]
    counts = Counter(short)
    taken: Counter[str] = Counter()
    refs = []
    for (kind, blob), plain in zip(others, short, strict=True):
        name = plain if counts[plain] == 1 else _long_name(source, blob)
        taken[name] += 1
        if taken[name] > 1:
            name = f"{name}-{taken[name]}"
        refs.append(StudyRef(name, kind, blob.label, blob=blob))
    return tuple(refs)


def _long_name(source: Path, blob: Blob) -> str:
    """A name with its folders, for files that share their own."""
    inside = blob.path.relative_to(source) if source.is_dir() else Path()
    parts = [*inside.parts, *(part for part in blob.member.split("/") if part)]
    return label_of("-".join([*parts[:-1], stem(parts[-1])]))


# Headers of the objects of a source, for results that go back to their archive


def read_source_headers(source: Path | StudyRef, cine: Cine) -> dict[str, Dataset]:
    """Full headers, without pixel data, of the objects that a cine was read from.

    :param source: what the cine was read from.
    :returns: SOP Instance UID as in ``cine.source.instances`` -> header. Empty where the cine is
        no DICOM; an object that is gone or has no UID is missing from it.
    :raises ReadError: the source is no longer there or may not be read.
    """
    if cine.source.instances is None:
        return {}
    wanted = {item.sop_instance_uid for phase in cine.source.instances for item in phase} - {""}
    found: dict[str, Dataset] = {}
    with Files() as files:
        for blob in _blobs(source, files, wanted):
            if len(found) == len(wanted):
                break
            with files.open(blob) as stream:
                uid, header = _header(stream, blob.name)
            if header is not None and uid in wanted:
                found.setdefault(uid, header)
    return found


def _blobs(source: Path | StudyRef, files: Files, wanted: set[str]) -> Iterable[Blob]:
    if isinstance(source, StudyRef):
        return dict.fromkeys(f.instance.blob for f in source.frames if f.sop_uid in wanted)
    return walk(Path(source), files)


def _header(stream: BinaryIO, name: str) -> tuple[str, Dataset | None]:
    """SOP Instance UID and header; none where it is no DICOM."""
    from pydicom import dcmread

    if sniff(stream.read(HEAD_BYTES), name) != "dicom":
        return "", None
    stream.seek(0)
    suppress_pydicom_warnings()
    try:
        header = dcmread(stream, stop_before_pixels=True, force=True)
        return str(header.get("SOPInstanceUID", "")).strip(), header
    except Exception:  # it could be read once and now is broken
        return "", None
