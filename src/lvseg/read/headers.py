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
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from lvseg.errors import GeometryError
from lvseg.geometry import Plane
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read.frames import TIME_RULES, FrameInfo
from lvseg.read.pixels import Instance
from lvseg.read.sources import Blob

_ENHANCED = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
_IMAGE_CLASSES = (MRImageStorage, *_ENHANCED)
_UNDEFINED = 0xFFFFFFFF
_TAGS: list[int | str | tuple[int, int]] = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("SeriesNumber", "SeriesDescription", "ImageType", "ComplexImageComponent"),
    *("AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "SeriesDate", "SeriesTime"),
    *("EchoTime", "InversionTime", "PatientName"),
    *("HeartRate", "NominalInterval", "CardiacRRIntervalSpecified"),
    *("AcquisitionNumber", "ScanningSequence", "SequenceVariant", "SequenceName"),
    *("PulseSequenceName", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *(rule.tag for rule in TIME_RULES),
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
    suppress_pydicom_warnings()
    try:
        dataset = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        meta_class = dataset.file_meta.get("MediaStorageSOPClassUID")
        if meta_class == MediaStorageDirectoryStorage:
            return []
        if not str(dataset.get("SOPClassUID", "")):
            raise BrokenHeaderError("it holds no DICOM dataset")
        syntax = transfer_syntax(dataset)
        offset, length, found = _pixel_place(stream, syntax, dataset)
        is_image = dataset.get("Rows") is not None or dataset.get("SOPClassUID") in _IMAGE_CLASSES
        if is_image and not found:
            raise BrokenHeaderError("it ends before its pixel data: it is cut short")
        return _frames(dataset, blob, syntax, offset, length)
    except BrokenHeaderError:
        raise
    except Exception as error:  # a broken file can fail anywhere in the parser
        raise BrokenHeaderError("its DICOM header is broken") from error


def transfer_syntax(dataset: Dataset) -> str:
    """The transfer syntax that a file states, else the one it was read with."""
    stated = str(dataset.file_meta.get("TransferSyntaxUID", "") or "")
    if stated:
        return stated
    implicit, little = dataset.original_encoding
    if implicit is False:
        return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)
    return str(ImplicitVRLittleEndian)


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


def _frames(
    dataset: Dataset, blob: Blob, syntax: str, offset: int | None, length: int | None
) -> list[FrameInfo]:
    """The frames that a header describes; one without size for objects that are no images."""
    frames = whole_number(dataset, "NumberOfFrames") or 1
    bits_allocated = whole_number(dataset, "BitsAllocated") or 16
    instance = Instance(
        blob=blob,
        transfer_syntax=syntax,
        rows=whole_number(dataset, "Rows") or 0,
        columns=whole_number(dataset, "Columns") or 0,
        frames=frames,
        samples=whole_number(dataset, "SamplesPerPixel") or 1,
        bits_allocated=bits_allocated,
        bits_stored=whole_number(dataset, "BitsStored") or bits_allocated,
        signed=bool(whole_number(dataset, "PixelRepresentation")),
        inverted=text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        offset=offset,
        length=length,
    )
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if dataset.get("SOPClassUID") in _ENHANCED and groups and len(groups) == frames:
        pointer = _temporal_pointer(dataset)
        return [
            _frame(dataset, instance, [*parts, dataset], place, "", pointer)
            for place, parts in enumerate(frame_parts(dataset), start=1)
        ]
    rejected_because = "multi-frame without a place for each frame" if frames > 1 else ""
    return [_frame(dataset, instance, [dataset], None, rejected_because)]


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
    place: int | None,
    rejected_because: str,
    pointer: int | None = None,
) -> FrameInfo:
    """One frame, number ``place`` of its object; ``parts`` are searched in order."""
    kinds = [*listed(find(parts, "FrameType")), *listed(find(parts, "ImageType"))]
    words = {str(kind).upper() for kind in kinds}
    words.add(str(find(parts, "ComplexImageComponent") or "").upper())
    if not rejected_because and instance.samples != 1:
        rejected_because = "colour images"
    acquisition = number(parts, "FrameAcquisitionNumber") or number([dataset], "AcquisitionNumber")
    return FrameInfo(
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        series_number=whole_number(dataset, "SeriesNumber"),
        description=_description(dataset),
        modality=text(dataset, "Modality") or "unknown",
        sop_class_uid=text(dataset, "SOPClassUID"),
        sop_uid=text(dataset, "SOPInstanceUID"),
        frame=place,
        rows=instance.rows,
        columns=instance.columns,
        plane=None if rejected_because else plane_of(parts),
        times=_times(parts, place, pointer),
        acquisition_number=None if acquisition is None else int(acquisition),
        acquired=str(find(parts, "FrameAcquisitionDateTime") or "") or _acquired(dataset),
        pulse_sequence=tuple(
            "/".join(str(word) for word in listed(dataset.get(name)))
            for name in ("ScanningSequence", "SequenceVariant", "SequenceName", "PulseSequenceName")
        ),
        echo_inversion_ms=(
            number(parts, "EffectiveEchoTime") or number(parts, "EchoTime") or 0.0,
            _inversion_ms(parts),
        ),
        component="phase" if words & _FLOW_WORDS else "magnitude",
        slope=_or(number(parts, "RescaleSlope"), 1.0),
        intercept=_or(number(parts, "RescaleIntercept"), 0.0),
        rejected_because=rejected_because,
        instance=instance,
        heart_rate_bpm=_heart_rate_bpm(parts),
    )


def _times(parts: list[Dataset], place: int | None, pointer: int | None) -> dict[str, float]:
    """What the frame says about its time, by the name of the rule (:data:`TIME_RULES`)."""
    times: dict[str, float] = {}
    for rule in TIME_RULES:
        value = None if rule.name in times else number(parts, rule.tag)
        if value is not None:
            times[rule.name] = rule.value(value)
    indices = listed(find(parts, "DimensionIndexValues"))
    if pointer is not None and pointer < len(indices):
        times.setdefault("TemporalPositionIdentifier", float(indices[pointer]))
    if place is not None:
        times["InstanceNumber"] = float(place)
    return times


def _inversion_ms(parts: list[Dataset]) -> float:
    """Inversion time; of several pulses (Enhanced MR, PS3.3 C.8.13.5.6) the first."""
    several = listed(find(parts, "InversionTimes"))
    try:
        return float(several[0]) if several else number(parts, "InversionTime") or 0.0
    except (TypeError, ValueError):
        return 0.0


def _heart_rate_bpm(parts: list[Dataset]) -> float | None:
    """Heart rate, else 60000 / the R-R interval in ms; None where all are absent or implausible.

    HeartRate and NominalInterval: PS3.3 C.8.3.1. R-R intervals of Enhanced MR: C.7.6.16.2.7 for
    a frame, C.7.6.18.1 for the whole object.
    """
    rates = [number(parts, "HeartRate")]
    for name in ("NominalInterval", "RRIntervalTimeNominal", "CardiacRRIntervalSpecified"):
        interval_ms = number(parts, name)
        rates.append(60000 / interval_ms if interval_ms else None)
    plausible = [r for r in rates if r is not None and _SLOWEST_BPM <= r <= _FASTEST_BPM]
    return plausible[0] if plausible else None


def _description(dataset: Dataset) -> str:
    """The description of the series without the words of the patient's name."""
    told = text(dataset, "SeriesDescription")
    words = [word for word in re.split(r"[\W_]+", text(dataset, "PatientName")) if len(word) > 1]
    if not words:
        return told
    return re.sub("|".join(map(re.escape, words)), "***", told, flags=re.IGNORECASE)


def _acquired(dataset: Dataset) -> str:
    stamp = text(dataset, "AcquisitionDateTime")
    if stamp:
        return stamp
    date = text(dataset, "AcquisitionDate") or text(dataset, "SeriesDate")
    return date + (text(dataset, "AcquisitionTime") or text(dataset, "SeriesTime"))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


# Elements of a header, and of the functional groups of its frames (PS3.3 C.7.6.16). What a frame
# does not say, all frames share, and the rest stands in the object itself: an element is therefore
# looked for in several datasets, in order. A value that breaks its own type is no value.


def frame_parts(dataset: Dataset) -> list[list[Dataset]]:
    """For each frame the first item of each functional group: its own, then the shared ones."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    common = _first_items(shared[0])
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    return [[*_first_items(groups), *common] for groups in frames]


def _first_items(groups: Dataset) -> list[Dataset]:
    return [item for element in groups if element.VR == "SQ" for item in element.value[:1]]


def find(parts: Iterable[Dataset], tag: str | int) -> Any:
    """The first value of an element that is there and not empty; None where there is none.

    :param tag: its keyword, or its number.
    """
    for part in parts:
        value = _value(part, tag)
        if value is not None and value != "":
            return value
    return None


def _value(part: Dataset, tag: str | int) -> Any:
    try:
        element = part.get(_tag(tag))
        return None if element is None else element.value
    except Exception:  # an element that breaks its own type can fail anywhere in the parser
        return None


@cache
def _tag(name: str | int) -> BaseTag:
    return Tag(name)


def number(parts: Iterable[Dataset], tag: str | int) -> float | None:
    """The first value of an element as a number; None where it is absent or no number."""
    try:
        value = find(parts, tag)
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def whole_number(dataset: Dataset, tag: str | int) -> int | None:
    """A whole number of a dataset; None where it is absent or no number."""
    value = number([dataset], tag)
    return None if value is None else int(value)


def text(dataset: Dataset, tag: str | int) -> str:
    """A value of a dataset as text; "" where it is absent."""
    value = _value(dataset, tag)
    return "" if value is None else str(value).strip()


def listed(value: Any) -> list[Any]:
    """The values of an element of any multiplicity."""
    if value is None or isinstance(value, str | int | float):
        return [value] if value not in (None, "") else []
    return list(value)


def plane_of(parts: Iterable[Dataset]) -> Plane | None:
    """The plane of ImagePositionPatient, ImageOrientationPatient and PixelSpacing.

    None where one is absent or they make no plane; a thickness of 0 is unknown. Source: PS3.3
    C.7.6.2.1.1, where the first three cosines are the direction in which the column index grows.
    """
    position = _numbers(find(parts, "ImagePositionPatient"), 3)
    cosines = _numbers(find(parts, "ImageOrientationPatient"), 6)
    spacing = _numbers(find(parts, "PixelSpacing"), 2)
    if position is None or cosines is None or spacing is None:
        return None
    try:
        return Plane(
            origin_mm=(position[0], position[1], position[2]),
            row_step=(cosines[3], cosines[4], cosines[5]),
            column_step=(cosines[0], cosines[1], cosines[2]),
            pixel_spacing_mm=(spacing[0], spacing[1]),
            thickness_mm=number(parts, "SliceThickness") or None,
        )
    except GeometryError:
        return None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(item) for item in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count else None
