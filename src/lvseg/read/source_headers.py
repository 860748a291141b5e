"""Headers of the source objects of a cine, for results that go back to their archive."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lvseg.cine import Cine
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read.sources import HEAD_BYTES, Blob, Files, sniff, walk
from lvseg.read.studies import StudyRef

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


def read_source_headers(
    source: Path | StudyRef | Iterable[Dataset], cine: Cine
) -> dict[str, Dataset]:
    """Full headers, without pixel data, of the objects that a cine was read from.

    :param source: what the cine was read from, a path or a reference or datasets in memory, whose
        pixel data stay where they are.
    :returns: SOP Instance UID as in ``cine.source.instances`` -> header. Empty where the cine is
        no DICOM; an object that is gone or has no UID is missing from it.
    :raises ReadError: the source is no longer there or may not be read.
    """
    if cine.source.instances is None:
        return {}
    wanted = {item.sop_instance_uid for phase in cine.source.instances for item in phase} - {""}
    with Files() as files:
        if isinstance(source, StudyRef):
            return _from_frames(source, files, wanted)
        if isinstance(source, str | Path):
            return _from_blobs(walk(Path(source), files), files, wanted)
        return _from_datasets(source, wanted)


def _from_frames(ref: StudyRef, files: Files, wanted: set[str]) -> dict[str, Dataset]:
    places: dict[str, Blob | Dataset] = {}
    for frame in ref.frames:
        if frame.sop_uid in wanted:
            places.setdefault(frame.sop_uid, frame.instance.where)
    found: dict[str, Dataset] = {}
    for uid, where in places.items():
        if isinstance(where, Blob):
            with files.open(where) as stream:
                header = _header(stream)
        else:
            header = _without_pixels(where)
        if header is not None:
            found[uid] = header
    return found


def _from_blobs(blobs: Iterable[Blob], files: Files, wanted: set[str]) -> dict[str, Dataset]:
    from lvseg.read.headers import read_identity

    found: dict[str, Dataset] = {}
    for blob in blobs:
        if len(found) == len(wanted):
            break
        with files.open(blob) as stream:
            if sniff(stream.read(HEAD_BYTES), blob.name) != "dicom":
                continue
            stream.seek(0)
            _, uid = read_identity(stream)
            if uid not in wanted or uid in found:
                continue
            stream.seek(0)
            header = _header(stream)
            if header is not None:
                found[uid] = header
    return found


def _from_datasets(datasets: Iterable[Dataset], wanted: set[str]) -> dict[str, Dataset]:
    suppress_pydicom_warnings()
    found: dict[str, Dataset] = {}
    for dataset in datasets:
        uid = str(dataset.get("SOPInstanceUID", "")).strip()
        if uid in wanted and uid not in found:
            found[uid] = _without_pixels(dataset)
    return found


def _header(stream: BinaryIO) -> Dataset | None:
    from pydicom import dcmread

    suppress_pydicom_warnings()
    try:
        return dcmread(stream, stop_before_pixels=True, force=True)
    except Exception:  # it could be read once and now is broken
        return None


def _without_pixels(dataset: Dataset) -> Dataset:
    """A new dataset of the same elements but the pixels; the elements are shared."""
    from pydicom.dataset import Dataset as New

    tags = [tag for tag in dataset.keys() if tag not in _PIXELS]  # noqa: SIM118 (items differ)
    elements = {tag: dataset.get_item(tag) for tag in tags}
    header = New(elements)
    implicit, little = dataset.original_encoding
    header.set_original_encoding(implicit, little, dataset.original_character_set)
    return header
