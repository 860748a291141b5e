"""DICOM headers to :class:`FrameInfo`: single-frame, classic and Enhanced multi-frame MR.

Only the elements named here are read. What identifies the patient is among them for one purpose: to
strike it out of descriptions and paths (:mod:`lvseg.read.identifiers`); the date of birth, besides,
to tell the age where no age is stated. None of it is kept, but sex, age, height and weight are.
Sources that can be held against each other are: what a header says that cannot be true is a note of
the frame (:data:`NOTES`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from datetime import date
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from lvseg.bounds import USUAL, ReadingLimits
from lvseg.errors import GeometryError
from lvseg.geometry import PARALLEL_TOLERANCE, Plane, Vec3, vector
from lvseg.names import printable
from lvseg.read.elements import CHUNK_BYTES, UNDEFINED_LENGTH, Elements, plain_header
from lvseg.read.encoding import plain_syntax, real_syntax
from lvseg.read.frames import FrameInfo
from lvseg.read.identifiers import NUMBERS, identifiers, names_patient, without
from lvseg.read.lengths import why_not_believed
from lvseg.read.parsing import BrokenHeaderError, parsed
from lvseg.read.pixels import Instance
from lvseg.read.rules import PLACE_RULES, TIME_RULES
from lvseg.read.sources import Blob
from lvseg.subject import Subject

#: Where an element is looked for: a header read by us, or a data set of pydicom.
Part: TypeAlias = Elements | Dataset

#: Classes of objects whose frames have a place each.
ENHANCED_CLASSES = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
_IMAGE_CLASSES = (MRImageStorage, *ENHANCED_CLASSES)
#: Elements that are read of a header.
WANTED: tuple[int | str, ...] = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("SeriesNumber", "SeriesDescription", "ImageType", "ComplexImageComponent"),
    *("AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "SeriesDate", "SeriesTime"),
    *("EchoTime", "InversionTime", "PatientName", "SpecificCharacterSet", "FrameOfReferenceUID"),
    *("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientBirthDate", "StudyDate"),
    *NUMBERS,
    *("HeartRate", "NominalInterval", "CardiacRRIntervalSpecified"),
    *("AcquisitionNumber", "ScanningSequence", "SequenceVariant", "SequenceName"),
    *("PulseSequenceName", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("FrameIncrementPointer", "FrameTimeVector"),
    *(rule.tag for rule in TIME_RULES),
    *(rule.tag for rule in PLACE_RULES),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation"),
    *("RescaleSlope", "RescaleIntercept", "DimensionIndexSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_FRAME_TIME, _FRAME_TIME_VECTOR = 0x00181063, 0x00181065
#: What a header may say that cannot be true: a note of a frame -> the finding and its sentence.
NOTES = {
    "modality": (
        "modality-contradicted",
        "no Modality or another than MR, but are of the class MR image: the class was believed",
    ),
    "cosines": (
        "cosines-rounded",
        "direction cosines that were rounded; the nearest ones at right angles were taken",
    ),
    "syntax": (
        "transfer-syntax-contradicted",
        "a transfer syntax that their data contradict; they were read as the data are",
    ),
}
#: Cosines rounded to two decimals are off unit length and right angles by less than this.
_ROUNDED = 0.02
#: With larger pixels the places of slices would drown in the rounding of numbers.
_LARGEST_MM = 1e9
#: Heart rates outside are typing errors or placeholders, not hearts.
_SLOWEST_BPM, _FASTEST_BPM = 20.0, 250.0
#: Units of an age -> how many of them are a year.
_AGE_UNITS = MappingProxyType({"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0})
#: Characters of a text that is shown; VR LO has 64 (PS3.5 6.2).
LONGEST_TEXT = 200
_FLOW_WORDS = {"P", "PHASE", "VELOCITY", "PHASE MAP", "PHASE CONTRAST"}


def read_headers(
    stream: BinaryIO, blob: Blob, head: bytes = b"", limits: ReadingLimits = USUAL
) -> list[FrameInfo]:
    """The frames of one file, pixels unread; nothing for a DICOMDIR.

    A file without preamble is accepted if it holds a dataset with a SOPClassUID.

    :param head: its first bytes, where they have been read from the stream.
    :raises BrokenHeaderError: no DICOM, or cut short.
    """
    head = head or stream.read(CHUNK_BYTES)
    plain = plain_header(stream, head, _numbers_of_tags(WANTED), limits)
    if plain is not None and plain.meta_class not in (
        *ENHANCED_CLASSES,
        MediaStorageDirectoryStorage,
    ):
        part = plain.elements
        if text(part, "SOPClassUID") and text(part, "SOPClassUID") not in ENHANCED_CLASSES:
            stated = plain.syntax or plain_syntax(not plain.explicit, little=True)
            try:
                real = real_syntax(
                    stated,
                    plain_syntax(not plain.explicit, little=True),
                    stream,
                    (plain.offset, plain.length),
                    _frame_bytes(part),
                )
                place = (plain.offset, plain.length)
                return _frames(part, blob, (stated, real), place, limits)
            except Exception as error:  # a broken value can fail anywhere
                raise BrokenHeaderError("its DICOM header is broken") from error
    stream.seek(0)
    return _read_by_pydicom(stream, blob, limits)


@cache
def _numbers_of_tags(tags: tuple[int | str, ...]) -> frozenset[int]:
    return frozenset(int(Tag(tag)) for tag in tags)


def _read_by_pydicom(stream: BinaryIO, blob: Blob, limits: ReadingLimits) -> list[FrameInfo]:
    try:
        dataset = parsed(stream, limits, tags=WANTED)
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
        real = syntax
        if offset is not None:
            implicit, little = dataset.original_encoding
            plain = plain_syntax(bool(implicit), bool(little))
            real = real_syntax(syntax, plain, stream, (offset, length), _frame_bytes(dataset))
        return _frames(dataset, blob, (syntax, real), (offset, length), limits)
    except BrokenHeaderError:
        raise
    except Exception as error:  # a broken file can fail anywhere in the parser
        raise BrokenHeaderError("its DICOM header is broken") from error


def transfer_syntax(dataset: Dataset) -> str:
    """The transfer syntax that a file states, else the one it was read with."""
    stated = str(dataset.file_meta.get("TransferSyntaxUID", "") or "")
    return stated or plain_syntax(
        dataset.original_encoding[0] is not False, bool(dataset.original_encoding[1])
    )


def _pixel_place(
    stream: BinaryIO, syntax: str, dataset: Dataset
) -> tuple[int | None, int | None, bool]:
    """(place of the pixel value, its declared length, whether there is one) at the stream."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return None, None, True
    start = stream.tell()
    head = stream.read(12)
    order = "<" if dataset.original_encoding[1] else ">"
    if len(head) < 12 or struct.unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        return None, None, False
    if dataset.original_encoding[0]:  # implicit VR: tag, 4-byte length (PS3.5 section 7.1.3)
        length, offset = struct.unpack(f"{order}L", head[4:8])[0], start + 8
    else:
        length, offset = struct.unpack(f"{order}L", head[8:12])[0], start + 12
    return offset, None if length == UNDEFINED_LENGTH else length, True


def _frame_bytes(part: Part) -> int:
    sizes = [whole_number(part, name) or 0 for name in ("Rows", "Columns", "BitsAllocated")]
    samples, frames = whole_number(part, "SamplesPerPixel"), whole_number(part, "NumberOfFrames")
    return sizes[0] * sizes[1] * sizes[2] // 8 * (samples or 1) * (frames or 1)


def _frames(
    dataset: Part,
    blob: Blob,
    syntaxes: tuple[str, str],
    place: tuple[int | None, int | None],
    limits: ReadingLimits,
) -> list[FrameInfo]:
    """The frames that a header describes; one without size for objects that are no images.

    :param syntaxes: the stated and the real one; :param place: of the pixel value, and its length.
    """
    frames = whole_number(dataset, "NumberOfFrames") or 1
    bits_allocated = whole_number(dataset, "BitsAllocated") or 16
    instance = Instance(
        blob=blob,
        transfer_syntax=syntaxes[1],
        stated_syntax=syntaxes[0],
        rows=whole_number(dataset, "Rows") or 0,
        columns=whole_number(dataset, "Columns") or 0,
        frames=frames,
        samples=whole_number(dataset, "SamplesPerPixel") or 1,
        bits_allocated=bits_allocated,
        bits_stored=whole_number(dataset, "BitsStored") or bits_allocated,
        signed=bool(whole_number(dataset, "PixelRepresentation")),
        inverted=text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        offset=place[0],
        length=place[1],
    )
    too_large = _too_large(instance, limits)
    if too_large:
        return [_frame(dataset, instance, [dataset], None, too_large)]
    if isinstance(dataset, Dataset):
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        if dataset.get("SOPClassUID") in ENHANCED_CLASSES and groups and len(groups) == frames:
            pointer = _temporal_pointer(dataset)
            return [
                _frame(dataset, instance, [*parts, dataset], ordinal, "", pointer=pointer)
                for ordinal, parts in enumerate(frame_parts(dataset), start=1)
            ]
    if frames == 1:
        return [_frame(dataset, instance, [dataset], None, "")]
    times = _frame_times_ms(dataset, frames)
    if times is None:
        rejected_because = "multi-frame without a place for each frame"
        return [_frame(dataset, instance, [dataset], None, rejected_because)]
    return [
        _frame(dataset, instance, [dataset], ordinal, "", frame_ms=time)
        for ordinal, time in enumerate(times, start=1)
    ]


def _too_large(instance: Instance, limits: ReadingLimits) -> str:
    """What of an image exceeds which limit; "" where nothing does."""
    pixels = instance.rows * instance.columns
    if pixels > limits.frame_pixels:
        size = f"{instance.rows} x {instance.columns} pixels"
        return f"images of {size}, above frame_pixels = {limits.frame_pixels} of the settings"
    if instance.frames > limits.frames:
        return (
            f"an object of {instance.frames} frames, above frames = {limits.frames} of the settings"
        )
    return ""


def _frame_times_ms(dataset: Part, frames: int) -> list[float] | None:
    """The time of each frame of a classic cine of one place after the first (PS3.3 C.7.6.5)."""
    pointer = find([dataset], "FrameIncrementPointer")
    if pointer is not None and _pointer_tag(pointer) not in (_FRAME_TIME, _FRAME_TIME_VECTOR):
        return None
    steps = [float(step) for step in listed(find([dataset], "FrameTimeVector"))]
    if len(steps) == frames:
        return [sum(steps[1 : index + 1]) for index in range(frames)]
    step_ms = number([dataset], "FrameTime")
    if step_ms is None or step_ms <= 0:
        return None
    return [step_ms * index for index in range(frames)]


def _pointer_tag(value: Any) -> int:
    """The tag in an element of representation AT: a number, or its four bytes as text."""
    return int(value) if isinstance(value, int) else 0


def _temporal_pointer(dataset: Dataset) -> int | None:
    """Which of the DimensionIndexValues counts phases (PS3.3 C.7.6.17)."""
    temporal = (Tag("TemporalPositionIndex"), Tag("NominalCardiacTriggerDelayTime"))
    for index, item in enumerate(dataset.get("DimensionIndexSequence") or []):
        if item.get("DimensionIndexPointer") in temporal:
            return index
    return None


def _frame(
    dataset: Part,
    instance: Instance,
    parts: list[Part],
    place: int | None,
    rejected_because: str,
    *,
    pointer: int | None = None,
    frame_ms: float | None = None,
) -> FrameInfo:
    """One frame, number ``place`` of its object; ``parts`` are searched in order.

    :param pointer: which dimension index counts phases; :param frame_ms: its time in a classic
        multi-frame object.
    """
    kinds = [*listed(find(parts, "FrameType")), *listed(find(parts, "ImageType"))]
    words = {str(kind).upper() for kind in kinds}
    words.add(str(find(parts, "ComplexImageComponent") or "").upper())
    if not rejected_because and instance.samples != 1:
        rejected_because = "colour images"
    plane: Plane | None = None
    notes: tuple[str, ...] = ()
    if not rejected_because:
        plane, rejected_because, notes = _place(parts)
    modality, sop_class = text(dataset, "Modality"), text(dataset, "SOPClassUID")
    if modality != "MR" and sop_class in _IMAGE_CLASSES:
        modality, notes = "MR", (*notes, "modality")
    if instance.transfer_syntax != instance.stated_syntax:
        notes = (*notes, "syntax")
    acquisition = number(parts, "FrameAcquisitionNumber") or number([dataset], "AcquisitionNumber")
    return FrameInfo(
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        series_number=whole_number(dataset, "SeriesNumber"),
        description=_description(dataset),
        named_place=names_patient(instance.blob.label, text(dataset, "PatientName")),
        modality=modality or "unknown",
        sop_class_uid=sop_class,
        sop_uid=text(dataset, "SOPInstanceUID"),
        frame=place,
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        rows=instance.rows,
        columns=instance.columns,
        plane=plane,
        times=_times(parts, place, pointer, frame_ms),
        acquisition_number=None if acquisition is None else int(acquisition),
        acquired=str(find(parts, "FrameAcquisitionDateTime") or "") or _acquired(dataset),
        pulse_sequence=tuple(
            "/".join(str(word) for word in listed(find([dataset], name)))
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
        notes=notes,
        heart_rate_bpm=_heart_rate_bpm(parts),
        subject=_subject(dataset),
    )


def _subject(dataset: Part) -> Subject:
    """Sex, age, height and weight (Patient and Patient Study, PS3.3 C.7.1.1 and C.7.2.2)."""
    sex, height_m = text(dataset, "PatientSex").upper()[:1], number([dataset], "PatientSize")
    return Subject(
        sex="F" if sex == "F" else "M" if sex == "M" else None,
        age_years=_age_years(dataset),
        height_cm=100 * height_m if height_m else None,  # 0 stands for unknown
        weight_kg=number([dataset], "PatientWeight") or None,
    )


def _age_years(dataset: Part) -> float | None:
    """Patient's Age (VR AS, PS3.5 6.2), else the time from the date of birth to the study."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text(dataset, "PatientAge").upper())
    if match is not None:
        return int(match[1]) / _AGE_UNITS[match[2]]
    dates = [text(dataset, name) for name in ("PatientBirthDate", "StudyDate")]
    try:
        born, studied = (date.fromisoformat(each.replace(".", "-")) for each in dates)
    except ValueError:  # absent, or cut by an anonymizer
        return None
    birthday_to_come = (studied.month, studied.day) < (born.month, born.day)
    return float(studied.year - born.year - birthday_to_come)


def _times(
    parts: list[Part], place: int | None, pointer: int | None, frame_ms: float | None
) -> dict[str, float]:
    """What the frame says about its time, by the name of the rule (``TIME_RULES``)."""
    times: dict[str, float] = {}
    for rule in TIME_RULES:
        if rule.name in times or rule.name == "FrameTime":
            continue
        value = find(parts, rule.tag)
        if value is not None:
            try:
                times[rule.name] = rule.value(value)
            except (TypeError, ValueError):
                continue
    indices = listed(find(parts, "DimensionIndexValues"))
    if pointer is not None and pointer < len(indices):
        times.setdefault("TemporalPositionIdentifier", float(indices[pointer]))
    if frame_ms is not None:
        times = {"FrameTime": frame_ms}  # the rest holds for the object as a whole
    if place is not None:
        times["InstanceNumber"] = float(place)
    return times


def _inversion_ms(parts: list[Part]) -> float:
    """Inversion time; of several pulses (Enhanced MR, PS3.3 C.8.13.5.6) the first."""
    several = listed(find(parts, "InversionTimes"))
    try:
        return float(several[0]) if several else number(parts, "InversionTime") or 0.0
    except (TypeError, ValueError):
        return 0.0


def _heart_rate_bpm(parts: list[Part]) -> float | None:
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


def _description(dataset: Part) -> str:
    """The description of the series without what identifies the patient."""
    told = printable(text(dataset, "SeriesDescription"))[:LONGEST_TEXT]
    numbers = tuple(text(dataset, tag) for tag in NUMBERS)
    return without(" ".join(told.split()), identifiers(text(dataset, "PatientName"), numbers))


def _acquired(dataset: Part) -> str:
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


def find(parts: Iterable[Part], tag: str | int) -> Any:
    """The first value of an element that is there and not empty; None where there is none.

    :param tag: its keyword, or its number.
    """
    code = _tag(tag)
    for part in parts:
        value = part.value(code) if isinstance(part, Elements) else _value(part, code)
        if value is not None and value != "":
            return value
    return None


def _value(part: Dataset, tag: BaseTag) -> Any:
    try:
        element = part.get(tag)
        return None if element is None else element.value
    except Exception:  # an element that breaks its own type can fail anywhere in the parser
        return None


@cache
def _tag(name: str | int) -> BaseTag:
    return Tag(name)


def number(parts: Iterable[Part], tag: str | int) -> float | None:
    """The first value of an element as a number; None where it is absent or no number."""
    try:
        value = find(parts, tag)
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def whole_number(dataset: Part, tag: str | int) -> int | None:
    """A whole number of a dataset; None where it is absent or no number."""
    value = number((dataset,), tag)
    return None if value is None else int(value)


def text(dataset: Part, tag: str | int) -> str:
    """A value of a dataset as text; "" where it is absent."""
    value = find((dataset,), tag)
    return "" if value is None else str(value).strip()


def listed(value: Any) -> list[Any]:
    """The values of an element of any multiplicity."""
    if value is None or isinstance(value, str | int | float):
        return [value] if value not in (None, "") else []
    return list(value)


def plane_of(parts: Iterable[Part]) -> Plane | None:
    """The plane of the elements of :data:`lvseg.read.rules.PLACE_RULES`.

    None where one is absent or they make no plane; a thickness of 0 is unknown. Its spacing may be
    one that no image of a heart has. Source: PS3.3 C.7.6.2.1.1, where the first three cosines are
    the direction in which the column index grows.
    """
    return _place(list(parts))[0]


def _place(parts: list[Part]) -> tuple[Plane | None, str, tuple[str, ...]]:
    """The plane, why there is none although the header gives one, and notes about it."""
    found: dict[str, tuple[float, ...]] = {}
    for rule in PLACE_RULES:
        if rule.part not in found:
            numbers = _numbers(listed(find(parts, rule.tag)), rule.numbers)
            if numbers is not None:
                found[rule.part] = numbers
    if not {"position", "orientation", "spacing"} <= set(found):
        return None, "", ()
    spacing = found["spacing"]
    if not all(0 < value <= _LARGEST_MM for value in spacing):
        return None, why_not_believed((0, 0), (spacing[0], spacing[1])), ()
    try:
        directions, rounded = _directions(found["orientation"])
        plane = Plane(
            origin_mm=(found["position"][0], found["position"][1], found["position"][2]),
            row_step=directions[1],
            column_step=directions[0],
            pixel_spacing_mm=(spacing[0], spacing[1]),
            thickness_mm=found.get("thickness", (0.0,))[0] or None,
        )
    except GeometryError:
        return None, "direction cosines that are no directions at right angles", ()
    return plane, "", ("cosines",) if rounded else ()


@lru_cache(maxsize=4096)
def _directions(cosines: tuple[float, ...]) -> tuple[tuple[Vec3, Vec3], bool]:
    """The directions in which column and row index grow, and whether they had to be mended.

    Cosines that an export rounded to two decimals are replaced by the nearest orthonormal pair
    (the polar factor of the 3 x 2 matrix: Higham, SIAM J Sci Stat Comput 1986;7:1160).
    """
    pair = np.array(cosines, np.float64).reshape(2, 3)
    off = np.abs(pair @ pair.T - np.eye(2)).max() if np.isfinite(pair).all() else 0.0
    if PARALLEL_TOLERANCE < off <= 2 * _ROUNDED:
        left, _, right = np.linalg.svd(pair, full_matrices=False)
        pair = left @ right
        return (vector(pair[0]), vector(pair[1])), True
    return (vector(pair[0]), vector(pair[1])), False


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(item) for item in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count else None
