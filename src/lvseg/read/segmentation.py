"""DICOM Segmentation (PS3.3 A.51) to a :class:`Mask`: ours and those of other tools.

The frames of a Segmentation are in any order and only those with content need be there. Each one
says which segment it is, where it lies, and which image it was drawn on; what phase it belongs to
is said in several ways, of which the first that tells all frames apart is believed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryMismatchError, ReadError, UnsupportedEncodingError
from lvseg.geometry import Grid
from lvseg.labels import Label
from lvseg.read.seg_frames import SegFrame, inside_of, segmentation_frames
from lvseg.read.seg_order import phases_of, same_place, slices_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["is_segmentation", "mask_from_segmentation"]

_CLASS_UID = 0x00080016
#: Segmentation and Label Map Segmentation Storage (PS3.4 B.5).
_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
#: Codes of the cavity and, less exact, of the ventricle; the older scheme SRT has other names.
_CAVITY = {("SCT", "277066005"), ("FMA", "FMA9466"), ("FMA", "9466")}
_VENTRICLE = {
    *(("SCT", "87878005"), ("SRT", "T-32600"), ("SNM3", "T-32600"), ("99SDM", "T-32600")),
    *(("FMA", "FMA7101"), ("FMA", "7101")),
}
#: Words of a label that mean the ventricle, and those that mean some other part of it.
_NAMED = re.compile(r"left ventric|\b(lv|lvc|lvbp)\b")
_OTHER_PART = re.compile(r"myo|wall|epi|muscle|scar|infarct|outflow|lvot|aneurysm|thromb|mass")


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM Segmentation; only its class is looked at. No file is none."""
    from pydicom.filereader import read_partial

    from lvseg.read.pixels import quiet

    with quiet():
        try:
            with path.open("rb") as stream:
                head = read_partial(stream, lambda tag, vr, length: tag > _CLASS_UID, force=True)
            return str(head.get("SOPClassUID", "")) in _CLASSES
        except Exception:  # a broken file can fail anywhere in the parser
            return False


def mask_from_segmentation(content: bytes, path: Path, like: Cine | None = None) -> Mask:
    """Read the left ventricle cavity of a DICOM Segmentation: binary, fractional or label map.

    The segment is told by its code, else by its label, else it is the only one. Of fractions,
    half of the maximum and more is cavity.

    :param like: the cine it belongs to. Frames go where the images are that they refer to, or by
        position and phase; the mask has every phase of the cine, or one if the file has only one.
    :returns: without ``like``, the slices and phases that the file has frames for (of any
        segment), phases numbered by their Temporal Position Index where there is one.
    :raises ReadError: no Segmentation or a broken one, no such segment, frames that nothing tells
        apart. GeometryMismatchError: it does not fit the cine.
    :raises UnsupportedEncodingError: no decoder for its pixels.
    """
    from pydicom import dcmread

    from lvseg.read.pixels import quiet

    with quiet():
        try:
            dataset = dcmread(BytesIO(content), force=True)
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
            segment = _cavity(dataset, path)
            frames = segmentation_frames(dataset)
            inside = inside_of(dataset, segment)
        except (ReadError, UnsupportedEncodingError):
            raise
        except Exception as error:
            raise _broken(path) from error
    if not frames or len(frames) != len(inside):
        raise _broken(path)
    if like is not None:
        return _onto(like, frames, segment, inside, path)
    return _alone(frames, segment, inside, path)


def _broken(path: Path) -> ReadError:
    return ReadError(
        f"expected a DICOM Segmentation with a description and pixels of each frame, found a "
        f"broken or cut one at {path}: copy it again"
    )


# Which segment


def _cavity(dataset: Dataset, path: Path) -> int:
    """The number of the segment that is the cavity."""
    segments = [item for item in dataset.get("SegmentSequence") or [] if "SegmentNumber" in item]
    if dataset.get("SegmentationType") == "LABELMAP":  # 0 may be described as the background
        segments = [item for item in segments if int(item.SegmentNumber) != 0]
    ways = (
        [item for item in segments if _type(item) in _CAVITY],
        [item for item in segments if _type(item) in _VENTRICLE and not _other_part(item)],
        [item for item in segments if _NAMED.search(_label(item)) and not _other_part(item)],
        segments,
    )
    for found in ways:
        if len(found) == 1:
            return int(found[0].SegmentNumber)
    named = ", ".join(
        f"{item.SegmentNumber} '{str(item.get('SegmentLabel', '')).strip()[:40]}'"
        for item in segments[:8]
    )
    raise ReadError(
        f"expected one segment that is the cavity of the left ventricle, found {named or 'none'} "
        f"in {path}: code or label it so, or keep it alone"
    )


def _type(segment: Dataset) -> tuple[str, str]:
    for item in segment.get("SegmentedPropertyTypeCodeSequence") or []:
        return str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", ""))
    return "", ""


def _label(segment: Dataset) -> str:
    """What people read of a segment: its label and the meaning of its code, in small letters."""
    codes = segment.get("SegmentedPropertyTypeCodeSequence") or []
    texts = [segment.get("SegmentLabel", ""), *(item.get("CodeMeaning", "") for item in codes[:1])]
    return re.sub(r"[\W_]+", " ", " ".join(map(str, texts))).lower()


def _other_part(segment: Dataset) -> bool:
    return bool(_OTHER_PART.search(_label(segment)))


# Where the frames go


def _onto(
    like: Cine, frames: Sequence[SegFrame], segment: int, inside: NDArray[np.bool_], path: Path
) -> Mask:
    """On the grid of a cine: each frame where the image lies that it was drawn on."""
    if inside.shape[1:] != like.shape[2:]:
        raise GeometryMismatchError(
            f"expected a segmentation of {like.shape[2]} x {like.shape[3]} pixels like the cine, "
            f"found {inside.shape[1]} x {inside.shape[2]} in {path}: use that of this cine"
        )
    images = {
        (image.sop_instance_uid, image.frame): (t, z)
        for t, phase in enumerate(like.source.instances or ())
        for z, image in enumerate(phase)
        if image.sop_instance_uid
    }
    phases = phases_of(frames, slices_of(frames)[1])
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
    index = tuple(held) if len(held) == 1 else tuple(range(like.shape[0]))
    labels = _painted(frames, places, segment, inside, like.shape[:2], path)
    return Mask(
        labels=labels[list(index)],
        phases=index,
        grid=like.grid,
    )


def _place(
    frame: SegFrame,
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
    slices = {z for _, z in found} or (set(range(like.shape[1])) if like.shape[1] == 1 else set())
    if frame.plane is not None and like.planes is not None:
        slices = {z for z, plane in enumerate(like.planes) if same_place(frame.plane, plane)}
        found = {(t, z) for t, z in found if z in slices}
    if len(found) == 1:
        return found.pop()
    if like.shape[0] == 1:
        phase = 0
    if len(slices) != 1 or phase is None or phase >= like.shape[0]:
        return None
    return phase, slices.pop()


def _alone(frames: Sequence[SegFrame], segment: int, inside: NDArray[np.bool_], path: Path) -> Mask:
    """Without a cine: the slices and phases that the file itself knows."""
    planes, at = slices_of(frames)
    phases = phases_of(frames, at)
    several = len({frame.segment for frame in frames}) < len(frames)
    if phases is None or (several and not planes):
        raise _alike(path)
    index = tuple(sorted(set(phases.values())))
    places = [(index.index(phases[frame.number]), at[frame.number]) for frame in frames]
    shape = (len(index), len(planes) or 1)
    labels = _painted(frames, places, segment, inside, shape, path)
    return Mask(labels=labels, phases=index, grid=Grid.of(labels, planes=planes or None))


def _painted(
    frames: Sequence[SegFrame],
    places: Sequence[tuple[int, int]],
    segment: int,
    inside: NDArray[np.bool_],
    shape: tuple[int, int],
    path: Path,
) -> NDArray[np.uint8]:
    """Labels [F, Z, Y, X]; a frame that the file leaves out is empty."""
    if len({(frame.segment, *place) for frame, place in zip(frames, places, strict=True)}) < len(
        frames
    ):
        raise _alike(path)
    labels = np.zeros((*shape, *inside.shape[1:]), np.uint8)
    for frame, place in zip(frames, places, strict=True):
        if frame.segment in (None, segment):
            labels[place][inside[frame.number]] = Label.LV_CAVITY
    return labels


def _alike(path: Path) -> ReadError:
    return ReadError(
        "expected frames that differ in slice or phase, found several of one slice that nothing "
        f"tells apart in {path}: give the cine that it was drawn on"
    )
