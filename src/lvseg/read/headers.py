"""DICOM headers to :class:`FrameInfo`: single-frame and Enhanced multi-frame MR.

Only the elements named here are read. The patient's name is among them for one purpose: to strike
it out of the description of a series. It is not kept.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from functools import cache
from typing import Any, BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from lvseg.geometry import Plane
from lvseg.read.frames import FrameInfo, plane_from
from lvseg.read.pixels import Instance, quiet
from lvseg.read.sources import Blob

__all__ = ["BrokenHeaderError", "frames_of", "read_headers"]

_ENHANCED = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
_IMAGE_CLASSES = (MRImageStorage, *_ENHANCED)
_UNDEFINED = 0xFFFFFFFF
_TAGS: list[int | str | tuple[int, int]] = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("SeriesNumber", "SeriesDescription", "ImageType", "ComplexImageComponent"),
    *("AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "SeriesDate", "SeriesTime"),
    *("EchoTime", "InversionTime", "PatientName"),
    *("HeartRate", "NominalInterval", "CardiacRRIntervalSpecified"),
    *("AcquisitionNumber", "InstanceNumber", "TriggerTime", "NominalCardiacTriggerDelayTime"),
    *("TemporalPositionIdentifier", "ScanningSequence", "SequenceVariant", "SequenceName"),
    *("PulseSequenceName", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation"),
    *("RescaleSlope", "RescaleIntercept", "DimensionIndexSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
#: Heart rates outside are typing errors or placeholders, not hearts.
_SLOWEST_BPM, _FASTEST_BPM = 20.0, 250.0
_FLOW_WORDS = {"P", "PHASE", "VELOCITY", "PHASE MAP", "PHASE CONTRAST"}


class BrokenHeaderError(Exception):
    """A file that looks like DICOM cannot be used; the text says why."""


def read_headers(stream: BinaryIO, blob: Blob) -> list[FrameInfo]:
    """The frames of one file, pixels unread; nothing for a DICOMDIR.

    A file without preamble is accepted if it holds a dataset with a SOPClassUID.

    :raises BrokenHeaderError: no DICOM, or cut short.
    """
    with quiet():
        try:
            dataset = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            meta_class = dataset.file_meta.get("MediaStorageSOPClassUID")
            if meta_class == MediaStorageDirectoryStorage:
                return []
            if not str(dataset.get("SOPClassUID", "")):
                raise BrokenHeaderError("it holds no DICOM dataset")
            syntax = _syntax(dataset)
            offset, length, found = _pixel_place(stream, syntax, dataset)
            if not found and _expects_pixels(dataset):
                raise BrokenHeaderError("it ends before its pixel data: it is cut short")
            return frames_of(dataset, blob, syntax, offset=offset, length=length)
        except BrokenHeaderError:
            raise
        except Exception as error:  # a broken file can fail anywhere in the parser
            raise BrokenHeaderError("its DICOM header is broken") from error


def _syntax(dataset: Dataset) -> str:
    stated = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", "") or "")
    if stated:
        return stated
    implicit, little = dataset.original_encoding
    if implicit is False:
        return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)
    return str(ImplicitVRLittleEndian)


def _expects_pixels(dataset: Dataset) -> bool:
    return dataset.get("Rows") is not None or dataset.get("SOPClassUID") in _IMAGE_CLASSES


def _pixel_place(
    stream: BinaryIO, syntax: str, dataset: Dataset
) -> tuple[int | None, int | None, bool]:
    """(place of the pixel value, its declared length, whether there is one) at the stream."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return None, None, True
    start = stream.tell()
    head = stream.read(12)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    if len(head) < 12 or struct.unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        return None, None, False
    if dataset.original_encoding[0]:  # implicit VR: tag, 4-byte length (PS3.5 section 7.1.3)
        length, offset = struct.unpack(f"{order}L", head[4:8])[0], start + 8
    else:
        length, offset = struct.unpack(f"{order}L", head[8:12])[0], start + 12
    return offset, None if length == _UNDEFINED else length, True


def frames_of(
    dataset: Dataset,
    where: Blob | Dataset,
    syntax: str = "",
    *,
    offset: int | None = None,
    length: int | None = None,
) -> list[FrameInfo]:
    """The frames that a header describes; one without size for objects that are no images."""
    if isinstance(where, Dataset):
        syntax = _syntax(dataset)
        if "PixelData" in dataset and not UID(syntax).is_compressed:
            length = len(dataset.PixelData)
    frames = _integer(dataset, "NumberOfFrames") or 1
    instance = Instance(
        where=where,
        transfer_syntax=syntax,
        rows=_integer(dataset, "Rows") or 0,
        columns=_integer(dataset, "Columns") or 0,
        frames=frames,
        samples=_integer(dataset, "SamplesPerPixel") or 1,
        bits_allocated=_integer(dataset, "BitsAllocated") or 16,
        bits_stored=_integer(dataset, "BitsStored") or _integer(dataset, "BitsAllocated") or 16,
        signed=bool(_integer(dataset, "PixelRepresentation")),
        inverted=_text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        offset=offset,
        length=length,
    )
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if dataset.get("SOPClassUID") in _ENHANCED and groups and len(groups) == frames:
        return _multi_frame(dataset, instance)
    trouble = "multi-frame without a place for each frame" if frames > 1 else ""
    return [_frame(dataset, instance, [dataset], None, trouble)]


def _multi_frame(dataset: Dataset, instance: Instance) -> list[FrameInfo]:
    """Functional groups (PS3.3 C.7.6.16): what a frame does not say, all frames share."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    common = [item for element in shared[0] if element.VR == "SQ" for item in element.value[:1]]
    pointer = _temporal_pointer(dataset)
    frames = []
    for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        own = [item for element in groups if element.VR == "SQ" for item in element.value[:1]]
        frames.append(_frame(dataset, instance, [*own, *common, dataset], number, "", pointer))
    return frames


def _temporal_pointer(dataset: Dataset) -> int | None:
    """Which of the DimensionIndexValues counts phases (PS3.3 C.7.6.17)."""
    temporal = (Tag("TemporalPositionIndex"), Tag("NominalCardiacTriggerDelayTime"))
    for index, item in enumerate(dataset.get("DimensionIndexSequence") or []):
        if item.get("DimensionIndexPointer") in temporal:
            return index
    return None


def _frame(
    dataset: Dataset,
    instance: Instance,
    parts: list[Dataset],
    number: int | None,
    trouble: str,
    pointer: int | None = None,
) -> FrameInfo:
    """One frame; ``parts`` are searched in order for each element."""
    plane = _plane(parts)
    kinds = [*_listed(_find(parts, "FrameType")), *_listed(_find(parts, "ImageType"))]
    words = {str(kind).upper() for kind in kinds}
    words.add(str(_find(parts, "ComplexImageComponent") or "").upper())
    temporal = _number(parts, "TemporalPositionIndex") or _number(
        parts, "TemporalPositionIdentifier"
    )
    indices = _listed(_find(parts, "DimensionIndexValues"))
    if temporal is None and pointer is not None and pointer < len(indices):
        temporal = float(indices[pointer])
    trigger = _number(parts, "TriggerTime")
    if trigger is None:
        trigger = _number(parts, "NominalCardiacTriggerDelayTime")
    if not trouble and instance.samples != 1:
        trouble = "colour images"
    return FrameInfo(
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        series_number=_integer(dataset, "SeriesNumber"),
        description=_description(dataset),
        modality=_text(dataset, "Modality") or "unknown",
        sop_class_uid=_text(dataset, "SOPClassUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        frame=number,
        rows=instance.rows,
        columns=instance.columns,
        plane=None if trouble else plane,
        trigger_ms=trigger,
        temporal_position=None if temporal is None else int(temporal),
        instance_number=number if number is not None else _integer(dataset, "InstanceNumber"),
        acquisition_number=_whole(
            _number(parts, "FrameAcquisitionNumber") or _number([dataset], "AcquisitionNumber")
        ),
        acquired=str(_find(parts, "FrameAcquisitionDateTime") or "") or _acquired(dataset),
        sequence=tuple(
            "/".join(str(word) for word in _listed(dataset.get(name)))
            for name in ("ScanningSequence", "SequenceVariant", "SequenceName", "PulseSequenceName")
        ),
        contrast_ms=(
            _number(parts, "EffectiveEchoTime") or _number(parts, "EchoTime") or 0.0,
            _inversion_ms(parts),
        ),
        component="phase" if words & _FLOW_WORDS else "magnitude",
        slope=_or(_number(parts, "RescaleSlope"), 1.0),
        intercept=_or(_number(parts, "RescaleIntercept"), 0.0),
        trouble=trouble,
        instance=instance,
        heart_rate_bpm=_heart_rate_bpm(parts),
    )


def _plane(parts: list[Dataset]) -> Plane | None:
    position = _numbers(_find(parts, "ImagePositionPatient"), 3)
    cosines = _numbers(_find(parts, "ImageOrientationPatient"), 6)
    spacing = _numbers(_find(parts, "PixelSpacing"), 2)
    if position is None or cosines is None or spacing is None:
        return None
    return plane_from(position, cosines, spacing, _number(parts, "SliceThickness"))


def _inversion_ms(parts: list[Dataset]) -> float:
    """Inversion time; of several pulses (Enhanced MR, PS3.3 C.8.13.5.6) the first."""
    several = _listed(_find(parts, "InversionTimes"))
    try:
        return float(several[0]) if several else _number(parts, "InversionTime") or 0.0
    except (TypeError, ValueError):
        return 0.0


def _heart_rate_bpm(parts: list[Dataset]) -> float | None:
    """Heart rate, else 60000 / the R-R interval in ms; None where all are absent or implausible.

    HeartRate and NominalInterval: PS3.3 C.8.3.1. R-R intervals of Enhanced MR: C.7.6.16.2.7 for
    a frame, C.7.6.18.1 for the whole object.
    """
    rates = [_number(parts, "HeartRate")]
    for name in ("NominalInterval", "RRIntervalTimeNominal", "CardiacRRIntervalSpecified"):
        interval_ms = _number(parts, name)
        rates.append(60000 / interval_ms if interval_ms else None)
    plausible = [r for r in rates if r is not None and _SLOWEST_BPM <= r <= _FASTEST_BPM]
    return plausible[0] if plausible else None


def _description(dataset: Dataset) -> str:
    """The description of the series without the words of the patient's name."""
    text = _text(dataset, "SeriesDescription")
    words = [word for word in re.split(r"[\W_]+", _text(dataset, "PatientName")) if len(word) > 1]
    if not words:
        return text
    return re.sub("|".join(map(re.escape, words)), "***", text, flags=re.IGNORECASE)


def _acquired(dataset: Dataset) -> str:
    stamp = _text(dataset, "AcquisitionDateTime")
    if stamp:
        return stamp
    date = _text(dataset, "AcquisitionDate") or _text(dataset, "SeriesDate")
    return date + (_text(dataset, "AcquisitionTime") or _text(dataset, "SeriesTime"))


def _find(parts: Iterable[Dataset], name: str) -> Any:
    for part in parts:
        value = _value(part, name)
        if value is not None and value != "":
            return value
    return None


def _value(part: Dataset, name: str) -> Any:
    try:
        element = part.get(_tag(name))
        return None if element is None else element.value
    except Exception:  # a value that breaks its own type is no value
        return None


@cache
def _tag(name: str) -> BaseTag:
    return Tag(name)


def _listed(value: Any) -> list[Any]:
    if value is None or isinstance(value, str | int | float):
        return [value] if value not in (None, "") else []
    return list(value)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(item) for item in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count else None


def _number(parts: Iterable[Dataset], name: str) -> float | None:
    try:
        value = _find(parts, name)
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _integer(dataset: Dataset, name: str) -> int | None:
    return _whole(_number([dataset], name))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _text(dataset: Dataset, name: str) -> str:
    value = _value(dataset, name)
    return "" if value is None else str(value).strip()
