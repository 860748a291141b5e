"""Headers of the source objects of a cine, for results that go back to their archive."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lvseg.cine import Cine
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read.sources import HEAD_BYTES, Blob, Files, StudyRef, sniff, walk

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


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
