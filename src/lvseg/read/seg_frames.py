"""The frames of a DICOM Segmentation: what each one says about itself, and its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from lvseg.errors import UnsupportedEncodingError
from lvseg.geometry import Plane
from lvseg.labels import Label
from lvseg.read.functional_groups import find, frame_parts, listed, number, plane_of
from lvseg.read.headers import transfer_syntax

#: What may tell the phase of a frame (PS3.3 C.7.6.16), the surest first.
TIMES = ("TemporalPositionIndex", "NominalCardiacTriggerDelayTime", "TemporalPositionTimeOffset")
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
            SegFrame(
                number=place,
                segment=None if segment is None else int(segment),
                plane=plane_of(parts),
                sources=tuple(_sources(groups)) or tuple(_sources(shared)),
                times=tuple(number(parts, name) for name in TIMES),
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


def frame_labels(
    dataset: Dataset, frames: Sequence[SegFrame], segments: Mapping[int, Label]
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
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax(dataset))
    try:
        values = pixel_array(dataset, raw=True)
    except (NotImplementedError, RuntimeError) as error:
        raise UnsupportedEncodingError(
            f"expected a segmentation that an installed decoder reads, found "
            f"{dataset.file_meta.TransferSyntaxUID.name}: export it uncompressed"
        ) from error
    stored: NDArray[np.unsignedinteger[Any]] = values.reshape(-1, *values.shape[-2:])
    return stored
