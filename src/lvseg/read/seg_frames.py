"""The frames of a DICOM Segmentation: what each one says about itself, and its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import UnsupportedEncodingError
from lvseg.geometry import Plane
from lvseg.read.frames import plane_from

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["TIMES", "SegFrame", "inside_of", "segmentation_frames"]

#: What may tell the phase of a frame (PS3.3 C.7.6.16), the surest first.
TIMES = (
    "TemporalPositionIndex",
    "NominalCardiacTriggerDelayTime",
    "TemporalPositionTimeOffset",
)
_SEGMENT = 0x0062000B


@dataclass(frozen=True, slots=True, eq=False)
class SegFrame:
    """One frame as its functional groups (PS3.3 C.7.6.16) describe it.

    :param number: index from 0 into the pixels; :param segment: None in a label map.
    :param sources: (SOP Instance UID, frame number or None) of the images it was drawn on.
    :param times: the values of :data:`TIMES`; None where it is not said.
    :param order: its dimension index values without that of the segment.
    """

    number: int
    segment: int | None
    plane: Plane | None
    sources: tuple[tuple[str, int | None], ...]
    times: tuple[float | None, ...]
    order: tuple[int, ...]


def segmentation_frames(dataset: Dataset) -> list[SegFrame]:
    """The frames in the order of the file; empty where it describes none."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    common = _items(shared)
    dimensions = dataset.get("DimensionIndexSequence") or []
    pointers = [item.get("DimensionIndexPointer") for item in dimensions]
    frames = []
    for number, groups in enumerate(dataset.get("PerFrameFunctionalGroupsSequence") or []):
        parts = [*_items(groups), *common]
        segment = _found(parts, "ReferencedSegmentNumber")
        indices = [int(value) for value in _several(_found(parts, "DimensionIndexValues"))]
        order = [
            value
            for place, value in enumerate(indices)
            if place >= len(pointers) or pointers[place] != _SEGMENT
        ]
        times = [_found(parts, name) for name in TIMES]
        frames.append(
            SegFrame(
                number=number,
                segment=None if segment is None else int(segment),
                plane=_plane(parts),
                sources=tuple(_sources(groups)) or tuple(_sources(shared)),
                times=tuple(None if time is None else float(time) for time in times),
                order=tuple(order),
            )
        )
    return frames


def _items(groups: Dataset | None) -> list[Dataset]:
    """The first item of each functional group."""
    if groups is None:
        return []
    return [item for element in groups if element.VR == "SQ" for item in element.value[:1]]


def _found(parts: Sequence[Dataset], name: str) -> Any:
    for part in parts:
        value = part.get(name)
        if value is not None and value != "":
            return value
    return None


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, int | float | str) else list(value)


def _sources(groups: Dataset | None) -> list[tuple[str, int | None]]:
    """The images a frame was drawn on (Derivation Image, C.7.6.16.2.6)."""
    found: list[tuple[str, int | None]] = []
    for derivation in (groups or {}).get("DerivationImageSequence") or []:
        for image in derivation.get("SourceImageSequence") or []:
            uid = str(image.get("ReferencedSOPInstanceUID", "")).strip()
            numbers = _several(image.get("ReferencedFrameNumber"))
            found += [(uid, int(number)) for number in numbers] or [(uid, None)]
    return found


def _plane(parts: Sequence[Dataset]) -> Plane | None:
    position = [float(value) for value in _several(_found(parts, "ImagePositionPatient"))]
    cosines = [float(value) for value in _several(_found(parts, "ImageOrientationPatient"))]
    spacing = [float(value) for value in _several(_found(parts, "PixelSpacing"))]
    thickness = _found(parts, "SliceThickness")
    if (len(position), len(cosines), len(spacing)) != (3, 6, 2):
        return None
    return plane_from(position, cosines, spacing, None if thickness is None else float(thickness))


def inside_of(dataset: Dataset, segment: int) -> NDArray[np.bool_]:
    """Whether each pixel belongs to a segment, [N, Y, X] in the order of the frames.

    Of a frame of another segment the answer means nothing. Of fractions, half of the maximum and
    more is inside (PS3.3 C.8.20.2).

    :raises UnsupportedEncodingError: no decoder. ValueError: fewer pixels than declared.
    """
    values = _values(dataset)
    kind = str(dataset.get("SegmentationType", "BINARY"))
    if kind == "LABELMAP":
        inside = values == segment
    elif kind == "FRACTIONAL":
        inside = values.astype(np.uint32) * 2 >= int(dataset.get("MaximumFractionalValue", 255))
    else:
        inside = values > 0
    result: NDArray[np.bool_] = np.asarray(inside, np.bool_)
    return result


def _values(dataset: Dataset) -> NDArray[np.unsignedinteger[Any]]:
    """Stored values, [N, Y, X]."""
    shape = (int(dataset.get("NumberOfFrames", 1) or 1), int(dataset.Rows), int(dataset.Columns))
    bits, count = int(dataset.BitsAllocated), int(np.prod(shape))
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is not None and syntax.is_compressed and not syntax.is_deflated:
        return _decoded(dataset, shape)
    data = bytes(dataset.PixelData)
    if len(data) * 8 < count * bits:
        raise ValueError("fewer pixels than declared")
    if bits == 1:  # the first pixel lowest, frames without padding (PS3.5 8.1.1)
        return np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little").reshape(
            shape
        )
    kind: Any = np.dtype(f"u{bits // 8}").newbyteorder("<" if _is_little(syntax) else ">")
    values: NDArray[np.unsignedinteger[Any]] = np.frombuffer(data, kind, count).reshape(shape)
    return values


def _is_little(syntax: Any) -> bool:
    return syntax is None or bool(syntax.is_little_endian)


def _decoded(dataset: Dataset, shape: tuple[int, int, int]) -> NDArray[np.unsignedinteger[Any]]:
    try:
        values = np.asarray(dataset.pixel_array)
    except (NotImplementedError, RuntimeError) as error:
        name = dataset.file_meta.TransferSyntaxUID.name
        raise UnsupportedEncodingError(
            f"expected a segmentation that an installed decoder reads, found {name}: "
            "export it uncompressed"
        ) from error
    decoded: NDArray[np.unsignedinteger[Any]] = values.reshape(shape)
    return decoded
