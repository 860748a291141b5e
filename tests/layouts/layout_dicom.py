"""The DICOM study of a layout: its images as plain records, and what is true of them."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from layout_model import DicomLayout
from layout_truth import (
    COLUMNS,
    ROWS,
    STEP_MS,
    TrueSlice,
    Truth,
    directions,
    picture,
    plane_at,
    spacings,
    times,
)
from numpy.typing import NDArray

from lvseg.geometry import Plane, vector

MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
#: Layouts that tell the time of a phase after the R wave.
TRIGGERED = ("trigger", "trigger of each slice", "trigger absent in one slice")
DIGITS = {"six decimals": 6, "three decimals": 3, "two decimals": 2}


@dataclass
class Image:
    """One picture of the study before it is written.

    :param stack: which acquisition it belongs to; "rest" is the ordinary short axis.
    :param header: keyword -> value; None = left out.
    """

    stack: str
    place: int
    phase: int
    plane: Plane
    stored: NDArray[Any]
    header: dict[str, Any]
    main: bool = True

    def real(self) -> NDArray[np.float32]:
        """Its grey values as a reader must give them."""
        values = self.stored.astype(np.float32)
        if self.header["PhotometricInterpretation"] == "MONOCHROME1":
            values = 2.0 ** self.header["BitsStored"] - 1 - values
        slope, intercept = self.header["RescaleSlope"], self.header["RescaleIntercept"]
        return np.float32(slope or 1) * values + np.float32(intercept or 0)


def uid(*parts: object) -> str:
    """A UID that depends on its parts alone."""
    return f"1.2.826.0.1.{zlib.crc32(repr(parts).encode())}"


def clock(seconds: float) -> str:
    """A time of day, from ten o'clock on."""
    whole = int(seconds) + 36000
    fraction = round((seconds - int(seconds)) * 1e6)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{fraction:06d}"


def tilted(plane: Plane, degrees: float) -> Plane:
    """A plane turned about the middle of its rows."""
    row_mm, column_mm = plane.pixel_spacing_mm
    down, across = np.array(plane.row_step), np.array(plane.column_step)
    normal = np.cross(across, down)
    middle = np.array(plane.origin_mm) + across * column_mm * 10 + down * row_mm * 8.5
    turn = np.radians(degrees)
    down = np.cos(turn) * down + np.sin(turn) * normal
    origin = middle - across * column_mm * 10 - down * row_mm * 8.5
    return replace(plane, origin_mm=vector(origin), row_step=vector(down))


def image(
    layout: DicomLayout,
    stack: str,
    place: int,
    phase: int,
    plane: Plane,
    moment: float,
    start_s: float = 0.0,
    **header: Any,
) -> Image:
    """One ordinary image."""
    stored = picture(stack, place, moment)
    values: dict[str, Any] = {
        "SOPClassUID": MR,
        "SOPInstanceUID": uid(layout.seed, stack, place, phase),
        "StudyInstanceUID": uid(layout.seed),
        "SeriesInstanceUID": uid(layout.seed, stack),
        "FrameOfReferenceUID": uid(layout.seed, "space"),
        "StudyDate": "20200101",
        "AcquisitionDate": "20200101",
        "AcquisitionTime": clock(start_s + 12 * place),
        "Modality": "MR",
        "PatientID": "CASE",
        "PatientName": "",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanningSequence": "GR",
        "SequenceName": "*tfi2d1_15",
        "SeriesNumber": 10,
        "SeriesDescription": "cine",
        "AcquisitionNumber": 1,
        "InstanceNumber": place * layout.phases + phase + 1,
        "TriggerTime": times(layout.phases + 1)[min(phase, layout.phases)],
        "ImageOrientationPatient": [*plane.column_step, *plane.row_step],
        "ImagePositionPatient": [round(v, 5) for v in plane.origin_mm],
        "PixelSpacing": list(plane.pixel_spacing_mm),
        "SliceThickness": 7.0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": ROWS,
        "Columns": COLUMNS,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "RescaleSlope": None,
        "RescaleIntercept": None,
    }
    return Image(stack, place, phase, plane, stored, values | header)


# The short axis, its repeats and its second stack


def _stack(
    layout: DicomLayout,
    name: str,
    *,
    places: Iterable[int] | None = None,
    offset_mm: float = 0.0,
    degrees: float = 0.0,
    phases: int | None = None,
    **header: Any,
) -> list[Image]:
    step = spacings(layout.seed)[2]
    result = []
    for place in range(layout.slices) if places is None else places:
        plane = plane_at(layout.seed, place * step + offset_mm)
        own = layout.tilt_degrees if place == layout.slices // 2 and not degrees else degrees
        count = layout.phases if phases is None else phases
        for phase in range(count):
            moment = phase / layout.phases
            result.append(image(layout, name, place, phase, tilted(plane, own), moment, **header))
    return result


def _counted(layout: DicomLayout, rest: list[Image]) -> list[Image]:
    """Slices with fewer phases than the others."""
    if layout.counts == "equal":
        return rest
    if layout.counts == "cut in one slice":
        return [i for i in rest if i.place != 1 or i.phase < max(1, layout.phases * 2 // 3)]
    fewer = max(1, layout.phases * 5 // 6)
    for one in rest:
        one.header["NominalInterval"] = round(STEP_MS * layout.phases)
    kept = [i for i in rest if i.place not in (1, 2) or i.phase < fewer]
    for one in kept:
        if one.place in (1, 2):
            one.stored = picture(one.stack, one.place, one.phase / fewer)
            one.header["NominalInterval"] = round(STEP_MS * fewer)
    return kept


def _removed(layout: DicomLayout) -> set[int]:
    middle = layout.slices // 2
    return {
        "none": set(),
        "one slice": {middle},
        "two slices": {middle, middle + 1},
        "at an end": {layout.slices - 1},
    }[layout.gap]


def _repeats(layout: DicomLayout, rest: Sequence[Image]) -> list[Image]:
    """Images that were acquired, or copied, again."""
    present = sorted({one.place for one in rest})
    middle = present[len(present) // 2]
    places = present[-3:] if layout.repeat == "three slices" else [middle]
    if layout.repeat == "none":
        return []
    if layout.repeat.startswith("copied"):
        copies = [replace(i, header=dict(i.header)) for i in rest if i.place == middle]
        if layout.repeat == "copied, new UIDs":
            for one in copies:
                one.header["SOPInstanceUID"] += ".2"
        return copies
    away = spacings(layout.seed)[2] / 3 if layout.repeat.startswith("a third") else 0.0
    phases = layout.phases // 2 if layout.repeat == "incomplete" else layout.phases
    number = 3 if layout.repeat == "later, lower number" else 90
    return _stack(
        layout,
        "again",
        places=places,
        offset_mm=away,
        phases=phases,
        start_s=600.0,
        SeriesNumber=number,
    )


def _second(layout: DicomLayout) -> list[Image]:
    step = spacings(layout.seed)[2]
    how = {
        "3 mm away, 25 min later": {"offset_mm": 3.0},
        "in place, 25 min later": {},
        "half a step away": {"offset_mm": step / 2},
        "0.3 degrees off": {"degrees": 0.3},
        "2 degrees off": {"degrees": 2.0},
    }
    if layout.second == "none":
        return []
    return _stack(layout, "stress", start_s=1500.0, SeriesNumber=50, **how[layout.second])


# What lies beside it


def _view(
    layout: DicomLayout,
    name: str,
    along: Sequence[float],
    down: Sequence[float],
    places: int,
    phases: int,
    step_mm: float = 8.0,
    **header: Any,
) -> list[Image]:
    across, other = np.array(along, float), np.array(down, float)
    row_mm, column_mm, _ = spacings(layout.seed)
    normal = np.cross(across, other)
    result = []
    for place in range(places):
        middle = np.array([12.0, -34.0, 56.0]) + normal * step_mm * (place - (places - 1) / 2)
        origin = middle - across * column_mm * COLUMNS / 2 - other * row_mm * ROWS / 2
        plane = Plane(
            vector(np.round(origin, 5)), vector(other), vector(across), (row_mm, column_mm)
        )
        for phase in range(phases):
            moment = phase / max(phases, 1)
            one = image(layout, name, place, phase, plane, moment, **{"SeriesNumber": 30, **header})
            one.main = False
            one.header["InstanceNumber"] = place * phases + phase + 1
            result.append(one)
    return result


def _beside(layout: DicomLayout, name: str) -> list[Image]:
    across, down = directions(layout.seed)
    normal = np.cross(across, down)
    if name == "long axis":
        return [
            one
            for number, turn in enumerate((0.2, 1.2, 2.2))
            for one in _view(
                layout,
                f"long axis {number}",
                np.cos(turn) * across + np.sin(turn) * down,
                normal,
                1,
                layout.phases,
            )
        ]
    if name in ("coronal", "axial"):
        other = (0, 0, -1) if name == "coronal" else (0, 1, 0)
        return _view(layout, name, (1, 0, 0), other, layout.slices + 3, layout.phases)
    if name == "localizer":
        planes = (((1, 0, 0), (0, 0, -1)), ((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, -1)))
        return [
            one
            for along, other in planes
            for one in _view(layout, "localizer", along, other, 3, 1, TriggerTime=None)
        ]
    return _special(layout, name, across, down)


def _special(
    layout: DicomLayout, name: str, across: NDArray[np.float64], down: NDArray[np.float64]
) -> list[Image]:
    """Other images of the short axis, and of other planes, that are no cine."""
    if name == "CT":
        return _view(layout, "CT", (1, 0, 0), (0, 1, 0), 6, 1, Modality="CT", SOPClassUID=CT)
    if name == "flow":
        turned = np.cos(0.6) * down + np.sin(0.6) * np.cross(across, down)
        size, velocity = (
            _view(layout, f"flow {kind}", across, turned, 1, layout.phases, ImageType=words)
            for kind, words in (
                ("magnitude", ["ORIGINAL", "PRIMARY", "M", "ND"]),
                ("phase", ["ORIGINAL", "PRIMARY", "P", "ND"]),
            )
        )
        for one in velocity:
            one.header["SeriesInstanceUID"] = size[0].header["SeriesInstanceUID"]
            one.header["InstanceNumber"] += 100
        return [*size, *velocity]
    counts = {"perfusion": (3, 12), "late enhancement": (5, 1), "T1 map": (3, 8)}
    places, phases = counts[name]
    found = _view(layout, name, across, down, places, phases, 12.0, SequenceName=f"*{name[:4]}")
    for one in found:
        seconds = 900 + one.phase * (1.1 if name == "perfusion" else 0.9) + one.place * 0.2
        one.header["AcquisitionTime"] = clock(seconds)
        one.header["TriggerTime"] = 120.0 + 90 * one.place
        if name != "perfusion":
            one.header["InversionTime"] = 300.0 + 150.0 * one.phase
    return found


def _only(layout: DicomLayout) -> list[Image] | None:
    """A study without the short axis; None where there is one."""
    if layout.only == "short axis":
        return None
    if layout.only == "one phase":
        return _stack(layout, "rest", phases=1)
    found = _beside(layout, layout.only)
    for one in found:
        one.main = True
    return found


# Oddities of the headers


def _shuffle(layout: DicomLayout) -> random.Random:
    return random.Random(f"{layout.seed} {layout.slices} {layout.phases}")


def _numbered(layout: DicomLayout, images: Sequence[Image]) -> None:
    if layout.numbers == "slice by slice":
        return
    shuffled = list(range(1, len(images) + 1))
    _shuffle(layout).shuffle(shuffled)
    for index, one in enumerate(images):
        one.header["InstanceNumber"] = {
            "phase by phase": one.phase * layout.slices + one.place + 1,
            "restart a slice": one.phase + 1,
            "random": shuffled[index],
            "backwards": len(images) - index,
            "absent": None,
            "all equal": 1,
        }[layout.numbers]


def _timed(layout: DicomLayout, images: Sequence[Image]) -> None:
    for one in images:
        header, phase = one.header, one.phase
        if layout.times == "trigger of each slice":
            header["TriggerTime"] = round((1 + 0.01 * one.place) * (header["TriggerTime"] or 0), 2)
        lacks = layout.times == "trigger absent in one slice" and one.place == 1
        if lacks or layout.times not in TRIGGERED:
            constant = {"trigger all zero": 0.0, "trigger all alike": 412.5}
            header["TriggerTime"] = constant.get(layout.times)
        if layout.times == "temporal position":
            header["TemporalPositionIdentifier"] = phase + 1
            header["NumberOfTemporalPositions"] = layout.phases
        if layout.times in ("acquisition time", "content time"):
            start = _seconds(header["AcquisitionTime"])
            exact = clock(start + phase * STEP_MS / 1000)
            if layout.times == "acquisition time":
                header["AcquisitionTime"] = exact
            else:
                header["ContentDate"], header["ContentTime"] = "20200101", exact


def _seconds(text: str) -> float:
    return int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:]) - 36000


def _grouped(layout: DicomLayout, images: Sequence[Image]) -> None:
    """Series of the short axis."""
    if layout.series == "one":
        return
    for one in images:
        key = {
            "a slice": one.place,
            "a phase": one.phase,
            "a file": (one.place, one.phase),
            "two slices": one.place // 2,
            "three slices": one.place // 3,
            "odd and even": one.place % 2,
        }[layout.series]
        one.header["SeriesInstanceUID"] = uid(layout.seed, one.stack, "series", key)
        one.header["SeriesNumber"] += one.place if layout.series == "a slice" else 0


def _placed(layout: DicomLayout, images: Sequence[Image]) -> None:
    for one in images:
        header = one.header
        digits = DIGITS.get(layout.cosines, 6)
        cosines = [round(value, digits) for value in header["ImageOrientationPatient"]]
        if layout.cosines == "not square":
            cosines[3:] = [
                round(a + 0.4 * b, 6) for a, b in zip(cosines[3:], cosines[:3], strict=True)
            ]
        header["ImageOrientationPatient"] = None if layout.cosines == "absent" else cosines
        if layout.positions == "absent":
            header["ImagePositionPatient"] = None
        elif layout.positions == "all equal":
            header["ImagePositionPatient"] = [1.0, 2.0, 3.0]
        row_mm, column_mm = header["PixelSpacing"]
        header["PixelSpacing"] = {
            "stated": [row_mm, column_mm],
            "absent": None,
            "of a metre": [1000 * row_mm, 1000 * column_mm],
            "of a nanometre": [1e-6 * row_mm, 1e-6 * column_mm],
            "one slice differs": [row_mm * (1.25 if one.place == 1 else 1), column_mm],
        }[layout.spacing]


def _cut(layout: DicomLayout, images: Sequence[Image]) -> None:
    """Another matrix, or another direction of the rows, in some slices."""
    middle = layout.slices // 2
    for one in images:
        at = one.place == middle
        if (layout.matrix == "narrower from the middle" and one.place >= middle) or (
            layout.matrix == "one slice narrower" and at
        ):
            one.stored = np.ascontiguousarray(one.stored[:, 1:-2])
            _moved(one, one.plane.column_step, one.plane.pixel_spacing_mm[1])
            one.header["Columns"] = COLUMNS - 3
        if layout.turned == "no" or not at:
            continue
        across, down = np.array(one.plane.column_step), np.array(one.plane.row_step)
        row_mm, column_mm = one.plane.pixel_spacing_mm
        rows, columns = one.stored.shape
        _moved(one, one.plane.column_step, column_mm * (columns - 1))
        if layout.turned == "one slice by 90 degrees":
            one.stored = np.ascontiguousarray(one.stored[:, ::-1].T)
            one.header["Rows"], one.header["Columns"] = columns, rows
            _directed(one, down, -across, (column_mm, row_mm))
        else:
            one.stored = np.ascontiguousarray(one.stored[::-1, ::-1])
            _moved(one, one.plane.row_step, row_mm * (rows - 1))
            _directed(one, -across, -down, (row_mm, column_mm))


def _moved(one: Image, direction: Sequence[float], distance_mm: float) -> None:
    origin = np.array(one.plane.origin_mm) + np.array(direction) * distance_mm
    one.plane = replace(one.plane, origin_mm=vector(origin))
    one.header["ImagePositionPatient"] = [round(float(v), 5) for v in origin]


def _directed(
    one: Image, across: NDArray[np.float64], down: NDArray[np.float64], spacing: tuple[float, float]
) -> None:
    one.plane = replace(
        one.plane, column_step=vector(across), row_step=vector(down), pixel_spacing_mm=spacing
    )
    one.header["ImageOrientationPatient"] = [*one.plane.column_step, *one.plane.row_step]
    one.header["PixelSpacing"] = list(spacing)


def _valued(layout: DicomLayout, images: Sequence[Image]) -> None:
    """How grey values are stored."""
    for one in images:
        header = one.header
        if layout.rescale == "a slope for each slice":
            header["RescaleSlope"], header["RescaleIntercept"] = 1.0 + 0.5 * one.place, 0.0
        elif layout.rescale == "intercept":
            header["RescaleSlope"], header["RescaleIntercept"] = 1.0, -50.0
        if layout.pixels in ("12 bits", "inverted"):
            header["BitsStored"], header["HighBit"] = 12, 11
        if layout.pixels == "inverted":
            header["PhotometricInterpretation"] = "MONOCHROME1"
        elif layout.pixels == "8 bits":
            header |= {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
        elif layout.pixels == "signed":
            header["PixelRepresentation"] = 1
        one.stored = _stored(layout, one.stored)


def _stored(layout: DicomLayout, values: NDArray[Any]) -> NDArray[Any]:
    """A picture as it is stored."""
    if layout.pixels == "8 bits":
        return (values >> 4).astype(np.uint8)
    return values.astype(np.int16) - 1000 if layout.pixels == "signed" else values


def _named(layout: DicomLayout, images: Sequence[Image]) -> None:
    for one in images:
        header = one.header
        if layout.sequence != "one name":
            name = f"*tfi2d1_{15 + one.place % 3}"
            header["SequenceName"] = name if layout.sequence == "varies" else None
        if layout.modality == "absent" and header["Modality"] == "MR":
            header["Modality"] = None
        if layout.frame_of_reference == "absent":
            header["FrameOfReferenceUID"] = None
        elif layout.frame_of_reference == "one a series":
            header["FrameOfReferenceUID"] = header["SeriesInstanceUID"] + ".1"
        if layout.studies != "one":
            absent = layout.studies == "no UID"
            header["StudyInstanceUID"] = None if absent else header["SeriesInstanceUID"] + ".3"
        if layout.uids == "no SOP instance UID":
            header["SOPInstanceUID"] = None
        elif layout.uids == "one SOP instance UID":
            header["SOPInstanceUID"] = "1.2.3.4"
        if layout.interval != "absent":
            rate = 60 + (25 * (one.place % 2) if layout.interval == "differs" else 0)
            header["HeartRate"] = rate
        if layout.image_type != "original" and "P" not in header["ImageType"]:
            derived = layout.image_type == "derived"
            header["ImageType"] = ["DERIVED", "SECONDARY", "M"] if derived else None


def images_of(layout: DicomLayout) -> list[Image]:
    """The images of a study, in the order of slices and phases."""
    only = _only(layout)
    rest = _counted(layout, _stack(layout, "rest")) if only is None else only
    again: list[Image] = []
    stress: list[Image] = []
    if only is None:
        gone = _removed(layout)
        rest = [one for one in rest if one.place not in gone]
        again = _repeats(layout, rest)
        stress = [one for one in _second(layout) if one.place not in gone]
    extra = [one for name in layout.beside for one in _beside(layout, name)]
    main = [*rest, *again, *stress]
    for part in (rest, again, stress):
        _numbered(layout, part)
    _timed(layout, main)
    if only is None:
        _grouped(layout, main)
    _cut(layout, main)
    _valued(layout, [*main, *extra])
    _named(layout, main)
    _named(layout, extra)
    _placed(layout, [*main, *extra])
    return [*main, *extra]


def truths_of(layout: DicomLayout, images: Sequence[Image]) -> tuple[Truth, ...]:
    """The cines that images hold, the one to be chosen first; none without a short axis."""
    if layout.only != "short axis":
        return ()
    stacks: dict[str, dict[int, list[Image]]] = {}
    for one in images:
        if one.main:
            stacks.setdefault(one.stack, {}).setdefault(one.place, []).append(one)
    rest, again = stacks.get("rest", {}), stacks.get("again", {})
    usual = _usual(rest)
    repeated = {place: own for place, own in again.items() if _phases(own) == usual}
    named = {"rest": rest | repeated, "stress": stacks.get("stress", {})}
    if set(repeated) == set(rest):
        named["first"] = rest
    if _is_unlinked(layout):
        named["untilted"] = {
            place: own for place, own in named["rest"].items() if place != layout.slices // 2
        }
    found = [_truth(layout, name, places) for name, places in named.items() if places]
    return tuple(truth for truth in found if truth.slices)


def _is_unlinked(layout: DicomLayout) -> bool:
    """Whether nothing says that the tilted slice is of the study: no UID and no orientation."""
    own = layout.series in ("a slice", "a file") and layout.studies == "one a series"
    return own and layout.frame_of_reference != "one" and layout.tilt_degrees > 0.1


def _phases(own: Sequence[Image]) -> tuple[int, ...]:
    return tuple(sorted({one.phase for one in own}))


def _usual(places: dict[int, list[Image]]) -> tuple[int, ...]:
    """The phases that most slices have; of equally many the most."""
    tally = Counter(_phases(own) for own in places.values())
    return max(tally, key=lambda phases: (tally[phases], len(phases)), default=())


def _truth(layout: DicomLayout, name: str, places: dict[int, list[Image]]) -> Truth:
    """The slices that have the usual phases."""
    phases = _usual(places)
    slices, tolerance, timed = [], 0.0, []
    for place in sorted(places):
        own = {one.phase: one for one in places[place]}
        first = next(iter(own.values()))
        if _phases(places[place]) == phases:
            frames = [own[phase].real() for phase in phases]
            timed.append(place)
        elif layout.counts == "fewer in two slices" and place in (1, 2):
            frames = [_between(layout, first, phase) for phase in phases]
            tolerance = 110.0 * float(first.header["RescaleSlope"] or 1)
        else:
            continue
        slices.append(TrueSlice(first.plane, np.stack(frames)))
    told = layout.times in TRIGGERED[:2] and not layout.objects.startswith("multi-frame")
    factor = 1.0
    if layout.times == "trigger of each slice":
        factor += 0.01 * float(np.median(timed))
    stated = tuple(factor * times(layout.phases)[phase] for phase in phases) if told else None
    whole = layout.matrix == "one size" and layout.turned != "one slice by 90 degrees"
    return Truth(tuple(slices), stated, tolerance, whole, name=name)


def _between(layout: DicomLayout, like: Image, phase: int) -> NDArray[np.float32]:
    """The frame of a slice at a phase of the others."""
    stored = picture(like.stack, like.place, phase / layout.phases)
    return replace(like, stored=_stored(layout, stored)).real()
