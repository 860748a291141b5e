"""DICOM Segmentation (PS3.3 A.51) to a :class:`Mask`: ours and those of other tools.

The frames of a Segmentation are in any order and only those with content need be there. Each one
says which segment it is, where it lies, and which image it was drawn on; what phase it belongs to
is said in several ways, of which the first that tells all frames apart is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.pixels import pixel_array
from pydicom.uid import UID, RLELossless, SegmentationStorage

from lvseg.bounds import USUAL, ReadingLimits, open_regular
from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryMismatchError, ReadError, UnsupportedEncodingError
from lvseg.geometry import Grid, Plane, normal, same_plane
from lvseg.labels import Label
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read.codes import coded_frames, run_lengths
from lvseg.read.headers import find, frame_parts, listed, number, plane_of, text, transfer_syntax
from lvseg.read.lengths import implausible_planes, unit_voxel
from lvseg.read.parsing import parsed
from lvseg.read.segments import Segment, known_segments

#: Segmentation and Label Map Segmentation Storage (PS3.4 B.5); pydicom 3.0 does not name the other.
_CLASSES = (SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")
_SOP_CLASS, _SEGMENT = 0x00080016, 0x0062000B
#: What may tell the phase of a frame (PS3.3 C.7.6.16), the surest first.
_TIMES = ("TemporalPositionIndex", "NominalCardiacTriggerDelayTime", "TemporalPositionTimeOffset")
#: Tools round the positions of frames; neighbouring pixels are never mistaken for each other.
_ROUNDING_PX = 0.5
#: Frames of one slice and segment: only their phases differ.
_Group = list["_Frame"]


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM Segmentation; only its class is looked at. No file is none."""
    try:
        suppress_pydicom_warnings()
        with open_regular(path) as stream:
            head = read_partial(stream, lambda tag, vr, length: tag > _SOP_CLASS, force=True)
        return text(head, "SOPClassUID") in _CLASSES
    except Exception:  # no file, or a broken one, which can fail anywhere in the parser
        return False


def mask_from_segmentation(
    content: bytes, path: Path, like: Cine | None = None, limits: ReadingLimits = USUAL
) -> Mask:
    """Read the labels of a DICOM Segmentation: binary, fractional or label map.

    What a segment is tells :mod:`lvseg.read.segments`. Of fractions, half of the maximum and more
    is inside.

    :param like: the cine it belongs to. Frames go where the images are that they refer to, or by
        position and phase; the mask has the phases of the cine that the file has frames for.
    :returns: without ``like``, the slices and phases that the file has frames for (of any
        segment), phases numbered by their Temporal Position Index where there is one.
    :raises ReadError: no Segmentation or a broken one, no such segment, frames that nothing tells
        apart. GeometryMismatchError: it does not fit the cine.
    :raises UnsupportedEncodingError: no decoder for its pixels.
    """
    try:
        header = parsed(BytesIO(content), limits)
        dataset = parsed(BytesIO(content), limits, pixels=True)
        kind = str(dataset.get("SOPClassUID", ""))
        modality = str(dataset.get("Modality", "")) or "no image"
    except Exception as error:  # a broken file can fail anywhere in the parser
        raise _broken(path) from error
    if kind not in _CLASSES:
        raise ReadError(
            f"expected a DICOM Segmentation, found DICOM of modality {modality} at {path}: "
            "name the segmentation file"
        )
    try:
        segments = _known_segments(dataset, path)
        frames = _described_frames(header)
        _hold(dataset, limits, path)
        pixels = _frame_labels(dataset, frames, segments)
    except (ReadError, UnsupportedEncodingError):
        raise
    except Exception as error:
        raise _broken(path) from error
    if not frames:
        raise _broken(path)
    if like is not None:
        return _onto(like, frames, pixels, path)
    return _alone(frames, pixels, path)


def _hold(dataset: Dataset, limits: ReadingLimits, path: Path) -> None:
    """Hold what a segmentation states of its size to the limits; each label has frames of its own.

    :raises LimitError: it is larger.
    """
    count, rows, columns = (
        int(number((dataset,), name) or 1) for name in ("NumberOfFrames", "Rows", "Columns")
    )
    limits.hold("frame_pixels", rows * columns, path)
    limits.hold("frames", count / len(Label), path)
    limits.hold("pixels", count * rows * columns, path)


def _broken(path: Path) -> ReadError:
    return ReadError(
        f"expected a DICOM Segmentation with a description and pixels of each frame, found a "
        f"broken or cut one at {path}: copy it again"
    )


# What each frame says about itself, and its pixels


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """One frame as its functional groups (PS3.3 C.7.6.16) describe it.

    :param number: index from 0 into the pixels; :param segment: None in a label map.
    :param sources: (SOP Instance UID, frame number or None) of the images it was drawn on.
    :param times: the values of :data:`_TIMES`; None where it is not said.
    :param order: its dimension index values without that of the segment.
    """

    number: int
    segment: int | None
    plane: Plane | None
    sources: tuple[tuple[str, int | None], ...]
    times: tuple[float | None, ...]
    order: tuple[int, ...]


def _described_frames(dataset: Dataset) -> list[_Frame]:
    """The frames in the order of the file; empty where it describes none."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    dimensions = dataset.get("DimensionIndexSequence") or []
    pointers = [item.get("DimensionIndexPointer") for item in dimensions]
    every = zip(
        dataset.get("PerFrameFunctionalGroupsSequence") or [], frame_parts(dataset), strict=True
    )
    frames = []
    for place, (groups, parts) in enumerate(every):
        segment = number(parts, "ReferencedSegmentNumber")
        indices = [int(value) for value in listed(find(parts, "DimensionIndexValues"))]
        order = [
            value
            for index, value in enumerate(indices)
            if index >= len(pointers) or pointers[index] != _SEGMENT
        ]
        frames.append(
            _Frame(
                number=place,
                segment=None if segment is None else int(segment),
                plane=plane_of(parts),
                sources=tuple(_sources(groups)) or tuple(_sources(shared)),
                times=tuple(number(parts, name) for name in _TIMES),
                order=tuple(order),
            )
        )
    return frames


def _sources(groups: Dataset) -> list[tuple[str, int | None]]:
    """The images a frame was drawn on (Derivation Image, C.7.6.16.2.6)."""
    found: list[tuple[str, int | None]] = []
    for derivation in groups.get("DerivationImageSequence") or []:
        for image in derivation.get("SourceImageSequence") or []:
            uid = str(image.get("ReferencedSOPInstanceUID", "")).strip()
            numbers = listed(image.get("ReferencedFrameNumber"))
            found += [(uid, int(value)) for value in numbers] or [(uid, None)]
    return found


def _frame_labels(
    dataset: Dataset, frames: Sequence[_Frame], segments: Mapping[int, Label]
) -> NDArray[np.uint8]:
    """Labels of the pixels, [N, Y, X] in the order of the frames.

    Of fractions, half of the maximum and more is inside (PS3.3 C.8.20.2).

    :param segments: number of a segment -> its label; all others are background.
    :raises UnsupportedEncodingError: no decoder. ValueError: not one image of pixels a frame.
    """
    values = _stored_values(dataset)
    if len(values) != len(frames):
        raise ValueError("not one image of pixels for each frame")
    kind = str(dataset.get("SegmentationType", "BINARY"))
    if kind == "LABELMAP":
        found = np.zeros(values.shape, np.uint8)
        for segment, label in segments.items():
            found[values == segment] = label
        return found
    if kind == "FRACTIONAL":
        inside = values.astype(np.uint32) * 2 >= int(dataset.get("MaximumFractionalValue", 255))
    else:
        inside = values > 0
    only = next(iter(segments.values()))
    labels = [only if f.segment is None else segments.get(f.segment, 0) for f in frames]
    return inside * np.array(labels, np.uint8)[:, None, None]


def _stored_values(dataset: Dataset) -> NDArray[np.unsignedinteger[Any]]:
    """Stored values, [N, Y, X]."""
    syntax = dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax(dataset))
    if syntax.is_encapsulated:
        size, bits = (int(dataset.Rows), int(dataset.Columns)), int(dataset.BitsAllocated)
        count = int(dataset.NumberOfFrames)
        codes = coded_frames(dataset.PixelData, syntax, count, range(count), size)
        if syntax == RLELossless:
            return np.stack([run_lengths(code, size, bits) for code in codes])
    try:
        values = pixel_array(dataset, raw=True)
    except (NotImplementedError, RuntimeError) as error:
        raise UnsupportedEncodingError(
            f"expected a segmentation that an installed decoder reads, found "
            f"{dataset.file_meta.TransferSyntaxUID.name}: export it uncompressed"
        ) from error
    stored: NDArray[np.unsignedinteger[Any]] = values.reshape(-1, *values.shape[-2:])
    return stored


# Which segments


def _known_segments(dataset: Dataset, path: Path) -> dict[int, Label]:
    """Number of a segment -> its label, of those that we know."""
    items = [item for item in dataset.get("SegmentSequence") or [] if "SegmentNumber" in item]
    segments = [_described(item) for item in items]
    if dataset.get("SegmentationType") == "LABELMAP":  # 0 may be described as the background
        segments = [segment for segment in segments if segment.number != 0]
    return known_segments(segments, path)


def _described(item: Dataset) -> Segment:
    codes = item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    scheme, value, meaning = (
        str(codes[0].get(name, ""))
        for name in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
    )
    name = str(item.get("SegmentLabel", ""))
    return Segment(int(item.SegmentNumber), name, (scheme, value), meaning)


# Slice and phase of each frame, told from the file alone


def _slices_of(frames: Sequence[_Frame]) -> tuple[tuple[Plane, ...], dict[int, int]]:
    """The planes in order along the normal, and frame number -> the index of its plane.

    Where a frame has no plane there are none, and every frame counts as slice 0.
    """
    planes: list[Plane] = []
    near: dict[int, int] = {}
    for frame in frames:
        if frame.plane is None:
            return (), {each.number: 0 for each in frames}
        fits = [
            i
            for i, plane in enumerate(planes)
            if same_plane(frame.plane, plane, within_px=_ROUNDING_PX)
        ]
        if not fits:
            planes.append(frame.plane)
        near[frame.number] = fits[0] if fits else len(planes) - 1
    axis = normal(planes[0])
    order = sorted(range(len(planes)), key=lambda i: float(np.dot(planes[i].origin_mm, axis)))
    rank = {old: new for new, old in enumerate(order)}
    return tuple(planes[i] for i in order), {number: rank[i] for number, i in near.items()}


def _phases_of(frames: Sequence[_Frame], at: dict[int, int]) -> dict[int, int] | None:
    """Frame number -> phase, an index from 0; None where nothing tells frames of a slice apart.

    A Temporal Position Index counts phases from 1 (PS3.3 C.7.6.16.2.2). Times, and the order of
    the dimension index, give the ranks of the phases.

    :param at: frame number -> slice.
    """
    groups: dict[tuple[int | None, int], _Group] = {}
    for frame in frames:
        groups.setdefault((frame.segment, at[frame.number]), []).append(frame)
    parted = list(groups.values())
    counted = {frame.number: frame.times[0] for frame in frames}
    if _distinct(parted, counted) and min(_known(counted)) >= 1:
        return {number: int(value) - 1 for number, value in counted.items() if value is not None}
    if max(map(len, parted)) == 1:
        return {frame.number: 0 for frame in frames}
    for way in range(1, len(_TIMES)):
        times = {frame.number: frame.times[way] for frame in frames}
        if _distinct(parted, times):
            ranks = _ranks(parted, times) or _nearest(parted, times)
            if ranks is not None:
                return ranks
    order = _order(parted)
    return _ranks(parted, order) if _distinct(parted, order) else None


def _known(values: dict[int, float | None]) -> list[float]:
    return [value for value in values.values() if value is not None]


def _distinct(groups: Sequence[_Group], values: dict[int, Any]) -> bool:
    """Whether every frame has a value, and no two of one slice the same."""
    if any(value is None for value in values.values()):
        return False
    return all(len({values[frame.number] for frame in group}) == len(group) for group in groups)


def _ranks(groups: Sequence[_Group], values: dict[int, Any]) -> dict[int, int] | None:
    """Ranks among all values if a slice has them all, else in each slice if all have as many."""
    most = max(map(len, groups))
    every = sorted(set(values.values()))
    if len(every) == most:
        return {number: every.index(value) for number, value in values.items()}
    if any(len(group) != most for group in groups):
        return None
    return {
        frame.number: rank
        for group in groups
        for rank, frame in enumerate(sorted(group, key=lambda each: values[each.number]))
    }


def _nearest(groups: Sequence[_Group], times: dict[int, Any]) -> dict[int, int] | None:
    """Of slices that lack frames: the phase of the nearest time in a slice that lacks none."""
    whole = max(groups, key=len)
    known = np.sort([times[frame.number] for frame in whole])
    phases = {number: int(np.abs(known - time).argmin()) for number, time in times.items()}
    return phases if _distinct(groups, phases) else None


def _order(groups: Sequence[_Group]) -> dict[int, Any]:
    """The dimension index values that differ within a slice; where none does, all are alike."""
    frames = [frame for group in groups for frame in group]
    width = min(len(frame.order) for frame in frames)
    varying = [
        column
        for column in range(width)
        if any(len({frame.order[column] for frame in group}) > 1 for group in groups)
    ]
    return {frame.number: tuple(frame.order[column] for column in varying) for frame in frames}


# Where the frames go


def _onto(like: Cine, frames: Sequence[_Frame], pixels: NDArray[np.uint8], path: Path) -> Mask:
    """On the grid of a cine: each frame where the image lies that it was drawn on."""
    if pixels.shape[1:] != like.shape[2:]:
        raise GeometryMismatchError(
            f"expected a segmentation of {like.shape[2]} x {like.shape[3]} pixels like the cine, "
            f"found {pixels.shape[1]} x {pixels.shape[2]} in {path}: use that of this cine"
        )
    images = {
        (image.sop_instance_uid, image.frame): (t, z)
        for t, phase in enumerate(like.source.instances or ())
        for z, image in enumerate(phase)
        if image.sop_instance_uid
    }
    phases = _phases_of(frames, _slices_of(frames)[1])
    places = []
    for frame in frames:
        phase = None if phases is None else phases[frame.number]
        place = _place(frame, phase, like, images)
        if place is None:
            raise GeometryMismatchError(
                "expected a segmentation of this cine, found frames of other images, places or "
                f"phases in {path}: use that of this cine"
            )
        places.append(place)
    held = sorted({t for t, _ in places})
    index = tuple(held)
    labels = _painted(frames, places, pixels, like.shape[:2], path)
    return Mask(labels=labels[list(index)], phases=index, grid=like.grid)


def _place(
    frame: _Frame,
    phase: int | None,
    like: Cine,
    images: Mapping[tuple[str, int | None], tuple[int, int]],
) -> tuple[int, int] | None:
    """(phase, slice) of one frame: by the image it refers to, else by position and time."""
    found = {
        images[key]
        for uid, number in frame.sources
        for key in ((uid, number), (uid, None))
        if key in images
    }
    slices = {z for _, z in found} or ({0} if like.shape[1] == 1 else set())
    if frame.plane is not None and like.planes is not None:
        slices = {
            z
            for z, plane in enumerate(like.planes)
            if same_plane(frame.plane, plane, within_px=_ROUNDING_PX)
        }
        found = {(t, z) for t, z in found if z in slices}
    if len(found) == 1:
        return found.pop()
    if like.shape[0] == 1:
        phase = 0
    if len(slices) != 1 or phase is None or phase >= like.shape[0]:
        return None
    return phase, slices.pop()


def _alone(frames: Sequence[_Frame], pixels: NDArray[np.uint8], path: Path) -> Mask:
    """Without a cine: the slices and phases that the file itself knows."""
    planes, at = _slices_of(frames)
    phases = _phases_of(frames, at)
    several = len({frame.segment for frame in frames}) < len(frames)
    if phases is None or (several and not planes):
        raise _alike(path)
    index = tuple(sorted(set(phases.values())))
    places = [(index.index(phases[frame.number]), at[frame.number]) for frame in frames]
    labels = _painted(frames, places, pixels, (len(index), len(planes) or 1), path)
    sides = (labels.shape[2], labels.shape[3])
    doubted = implausible_planes(planes, sides, stated="in the DICOM Segmentation")
    grid = Grid.of(labels, planes=None if doubted else planes or None)
    lengths = doubted or unit_voxel(grid.pixel_spacing_mm, grid.slice_spacing_mm)
    return Mask(labels, index, grid, lengths)


def _painted(
    frames: Sequence[_Frame],
    places: Sequence[tuple[int, int]],
    pixels: NDArray[np.uint8],
    shape: tuple[int, int],
    path: Path,
) -> NDArray[np.uint8]:
    """Labels [F, Z, Y, X]; a frame that the file leaves out is empty, the innermost label wins."""
    distinct = {(frame.segment, *place) for frame, place in zip(frames, places, strict=True)}
    if len(distinct) < len(frames):
        raise _alike(path)
    labels = np.zeros((*shape, *pixels.shape[1:]), np.uint8)
    for place, drawn in zip(places, pixels, strict=True):
        target = labels[place]
        np.copyto(target, drawn, where=(drawn > 0) & ((target == 0) | (drawn < target)))
    return labels


def _alike(path: Path) -> ReadError:
    return ReadError(
        "expected frames that differ in slice or phase, found several of one slice that nothing "
        f"tells apart in {path}: give the cine that it was drawn on"
    )
