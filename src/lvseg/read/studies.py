"""Studies of a source: which files belong to one, what it is called, the headers of its objects."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from lvseg.bounds import USUAL, ReadingLimits
from lvseg.cine import Cine
from lvseg.errors import NotACineError, ReadError
from lvseg.names import readable, safe_name, told_apart
from lvseg.read.pairs import Pair, find_pairs, pair_of, without_pairs
from lvseg.read.sources import (
    DICOMDIR,
    HEAD_BYTES,
    Blob,
    Files,
    Kind,
    Progress,
    blob_of,
    foreign,
    parts_as_given,
    sniff,
    stem,
    walk,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from lvseg.read.frames import FrameInfo

#: Read of a file at once: what tells its kind and, of most DICOM files, the whole header.
FIRST_BYTES = 16384
#: What is told of a path that holds the patient's name.
HIDDEN = "a path that holds the patient's name"
#: Folder names that say what is inside, not which study it is.
GENERIC_NAMES = frozenset({"dicom", "dicoms", "dcm", "images", "data", "cine", "sax"})


@dataclass(frozen=True, slots=True)
class StudyRef:
    """One study of a source, ready to be read.

    :param name: safe as a file name, unique within its source; never a patient's name.
    :param location: the path as given, readable; of a folder with several studies, that of the
        study; for pictures and NIfTI the file itself.
    :param pair: of a study in two files, both; ``blob`` is that of end-diastole.
    :param parts: of its path, outermost first, to tell it from others of its name.
    :param study_uids: all that its images bear, ``study_uid`` first: see :mod:`lvseg.read.exams`.
    :param limits: of what is read of it.
    :param origin: of a study that goes by a code (:func:`coded`), its true location; else "".
    """

    name: str
    format: Kind
    location: str
    study_uid: str | None = None
    parts: tuple[str, ...] = field(default=(), repr=False, compare=False)
    blob: Blob | None = field(default=None, repr=False, compare=False)
    pair: Pair | None = field(default=None, repr=False, compare=False)
    frames: tuple[FrameInfo, ...] = field(default=(), repr=False, compare=False)
    broken: int = field(default=0, repr=False, compare=False)
    study_uids: tuple[str, ...] = field(default=(), repr=False, compare=False)
    limits: ReadingLimits = field(default=USUAL, repr=False, compare=False)
    origin: str = field(default="", repr=False, compare=False)


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
        with files.look(blob) as (kind, stream):
            if kind == "dicom":
                from lvseg.read.headers import read_headers
                from lvseg.read.parsing import BrokenHeaderError

                try:
                    frames.extend(
                        read_headers(stream, blob, stream.read(FIRST_BYTES), files.limits)
                    )
                except BrokenHeaderError as error:
                    broken.append((blob, str(error)))
            elif kind is not None:
                others.append((kind, blob))
        if progress is not None:
            progress(done, len(blobs))
    images = [blob for kind, blob in others if kind == "nifti"]
    files_of = _file_refs(others, find_pairs(images, blobs, files))
    refs = _dicom_refs(source, frames, len(broken)) + files_of
    if not refs:
        raise _nothing(source, blobs, broken, objects=bool(frames))
    return tuple(replace(ref, limits=files.limits) for ref in refs)


def _nothing(
    source: Path, blobs: Sequence[Blob], broken: list[tuple[Blob, str]], *, objects: bool
) -> ReadError:
    count = len(blobs)
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
    known = [(blob, foreign(blob.name)) for blob in blobs if foreign(blob.name)]
    if known:
        blob, what = known[0]
        return ReadError(
            f"expected DICOM, NIfTI, PNG, JPEG or TIFF, found {blob.label} among {count} file(s), "
            f"{what}"
        )
    return ReadError(
        f"expected DICOM, NIfTI, PNG, JPEG or TIFF, found none among {count} file(s) in {source}: "
        "check the path"
    )


def source_parts(source: Path) -> tuple[str, ...]:
    """The parts of the path of a source; of one named after its kind, those of its parent."""
    folder = source.parent if source.name.upper() == DICOMDIR else source
    parts = parts_as_given(folder)
    if not folder.is_dir():
        return (*parts[:-1], stem(parts[-1]))
    generic = len(parts) > 1 and parts[-1].lower() in GENERIC_NAMES
    return (parts[:-1] if generic else parts) or ("",)


def _dicom_refs(source: Path, frames: list[FrameInfo], broken: int) -> tuple[StudyRef, ...]:
    by_study: dict[str, list[FrameInfo]] = {}
    for frame in frames:
        by_study.setdefault(frame.study_uid, []).append(frame)
    with_images = {
        uid: group for uid, group in by_study.items() if any(frame.rows > 0 for frame in group)
    }
    uids_of = {uids[0]: uids for uids in _exams(with_images)}
    imaging = {
        uid: [frame for each in uids for frame in with_images[each]]
        for uid, uids in uids_of.items()
    }
    parts = source_parts(source)
    own = {uid: _own_folder(source, group) for uid, group in imaging.items()}
    counts = Counter(safe_name(each[-1]) for each in own.values() if each)
    refs = []
    for uid in sorted(imaging):
        trail = parts
        if len(imaging) > 1 and own[uid] and counts[safe_name(own[uid][-1])] == 1:
            trail = (*parts, *own[uid])
        elif len(imaging) > 1:
            trail = (*parts[:-1], f"{safe_name(parts[-1])}-{_code(uid)}")
        place = _common_folder(source, imaging[uid]) if len(imaging) > 1 else source
        location, group = readable(str(place)), tuple(imaging[uid])
        if any(frame.named_place for frame in group):
            trail, location = (f"study-{_code(uid)}",), HIDDEN
        refs.append(
            StudyRef(
                *(safe_name(trail[-1]), "dicom", location, uid, trail),
                frames=group,
                broken=broken,
                study_uids=uids_of[uid],
            )
        )
    return tuple(refs)


def _exams(studies: dict[str, list[FrameInfo]]) -> list[tuple[str, ...]]:
    """Study UIDs in groups, one an examination."""
    if len(studies) < 2:
        return [tuple(studies)] if studies else []
    from lvseg.read.exams import exams

    return exams(studies)


def _code(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:8]


def _own_folder(source: Path, frames: list[FrameInfo]) -> tuple[str, ...]:
    """The folders below a source that lead to all images of a study; () where there are none."""
    common = _common_folder(source, frames)
    parts = common.relative_to(source).parts
    return tuple(part for part in parts if part.lower() not in GENERIC_NAMES)


def _common_folder(source: Path, frames: list[FrameInfo]) -> Path:
    """The innermost folder of a source that holds all images of a study; of an archive, itself."""
    blobs = [frame.instance.blob for frame in frames]
    if not source.is_dir() or any(blob.member for blob in blobs):
        return source
    return Path(os.path.commonpath([blob.path.parent for blob in blobs]))


def _file_refs(
    others: Sequence[tuple[Literal["nifti", "picture"], Blob]], pairs: Sequence[Pair]
) -> tuple[StudyRef, ...]:
    """One study a file, in order of their names, but one a pair."""
    alone = set(without_pairs([blob for _, blob in others], pairs))
    found: list[tuple[Kind, Blob, Pair | None]] = [
        *((kind, blob, None) for kind, blob in others if blob in alone),
        *(("nifti", pair.ed, pair) for pair in pairs),
    ]
    found.sort(key=lambda each: each[1])
    parts = [blob.parts if pair is None else pair.parts for _, blob, pair in found]
    return tuple(
        StudyRef(
            name, kind, blob.label if pair is None else pair.label, parts=own, blob=blob, pair=pair
        )
        for name, own, (kind, blob, pair) in zip(told_apart(parts), parts, found, strict=True)
    )


def pair_ref(ed: Path, es: Path) -> StudyRef:
    """The study of two files that the user calls end-diastole and end-systole."""
    pair = pair_of(blob_of(ed), blob_of(es))
    return _file_refs((), (pair,))[0]


def coded(ref: StudyRef) -> StudyRef:
    """The study under a code in place of its name and path, the same for the same study.

    Results, findings and errors of such a study name no file and no patient; its DICOM results hold
    the code in place of the patient.
    """
    if ref.origin:
        return ref
    code = f"study-{_code(ref.study_uid or '/'.join(ref.parts))}"
    return replace(ref, name=code, location=code, parts=(code,), origin=ref.location)


def uncoded(text: str, ref: StudyRef) -> str:
    """A message about a study under a code without the paths of its files."""
    blobs = {frame.instance.blob for frame in ref.frames} | ({ref.blob} if ref.blob else set())
    if ref.pair is not None:
        blobs |= {ref.pair.ed, ref.pair.es}
    places = {ref.origin, *(blob.label for blob in blobs), *(str(blob.path) for blob in blobs)}
    places |= {str(blob.path.parent) for blob in blobs} - {"."}
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, ref.name)
    return text


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
    with Files(source.limits if isinstance(source, StudyRef) else USUAL) as files:
        for blob in _blobs(source, files, wanted):
            if len(found) == len(wanted):
                break
            with files.open(blob) as stream:
                uid, header = _header(stream, blob.name, files.limits)
            if header is not None and uid in wanted:
                found.setdefault(uid, header)
    return found


def _blobs(source: Path | StudyRef, files: Files, wanted: set[str]) -> Iterable[Blob]:
    if isinstance(source, StudyRef):
        return dict.fromkeys(f.instance.blob for f in source.frames if f.sop_uid in wanted)
    return walk(Path(source), files)


def _header(stream: BinaryIO, name: str, limits: ReadingLimits) -> tuple[str, Dataset | None]:
    """SOP Instance UID and header; none where it is no DICOM."""
    from lvseg.read.parsing import parsed

    if sniff(stream.read(HEAD_BYTES), name) != "dicom":
        return "", None
    stream.seek(0)
    try:
        header = parsed(stream, limits)
        return str(header.get("SOPInstanceUID", "")).strip(), header
    except Exception:  # it could be read once and now is broken
        return "", None
