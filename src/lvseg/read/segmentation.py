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

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.uid import SegmentationStorage

from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryMismatchError, ReadError, UnsupportedEncodingError
from lvseg.geometry import Grid, same_plane
from lvseg.labels import LABELS, Label
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read.functional_groups import text
from lvseg.read.seg_frames import SegFrame, frame_labels, segmentation_frames
from lvseg.read.seg_order import ROUNDING_PX, phases_of, slices_of

#: Segmentation and Label Map Segmentation Storage (PS3.4 B.5); pydicom 3.0 does not name the other.
_CLASSES = (SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")
_SOP_CLASS = 0x00080016
#: Codes of a label besides that of our table.
_SYNONYMS: Mapping[Label, set[tuple[str, str]]] = {
    Label.LV_CAVITY: {("FMA", "FMA9466"), ("FMA", "9466")}
}
#: Codes of the whole ventricle; the older scheme SRT has other names.
_VENTRICLE = {
    *(("SCT", "87878005"), ("SRT", "T-32600"), ("SNM3", "T-32600"), ("99SDM", "T-32600")),
    *(("FMA", "FMA7101"), ("FMA", "7101")),
}
#: Words of a label that mean the ventricle, and those that mean some other part of it.
_NAMED = re.compile(r"left ventric|\b(lv|lvc|lvbp)\b")
_OTHER_PART = re.compile(r"myo|wall|epi|muscle|scar|infarct|outflow|lvot|aneurysm|thromb|mass")


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM Segmentation; only its class is looked at. No file is none."""
    try:
        suppress_pydicom_warnings()
        with path.open("rb") as stream:
            head = read_partial(stream, lambda tag, vr, length: tag > _SOP_CLASS, force=True)
        return text(head, "SOPClassUID") in _CLASSES
    except Exception:  # no file, or a broken one, which can fail anywhere in the parser
        return False


def mask_from_segmentation(content: bytes, path: Path, like: Cine | None = None) -> Mask:
    """Read the labels of a DICOM Segmentation: binary, fractional or label map.

    A segment is told by its code (:data:`lvseg.labels.LABELS`). Where none is coded as the cavity,
    it is the segment labelled so, else the only one. Other segments are left out. Of fractions,
    half of the maximum and more is inside.

    :param like: the cine it belongs to. Frames go where the images are that they refer to, or by
        position and phase; the mask has every phase of the cine, or one if the file has only one.
    :returns: without ``like``, the slices and phases that the file has frames for (of any
        segment), phases numbered by their Temporal Position Index where there is one.
    :raises ReadError: no Segmentation or a broken one, no such segment, frames that nothing tells
        apart. GeometryMismatchError: it does not fit the cine.
    :raises UnsupportedEncodingError: no decoder for its pixels.
    """
    suppress_pydicom_warnings()
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
        segments = _known_segments(dataset, path)
        frames = segmentation_frames(dataset)
        pixels = frame_labels(dataset, frames, segments)
    except (ReadError, UnsupportedEncodingError):
        raise
    except Exception as error:
        raise _broken(path) from error
    if not frames:
        raise _broken(path)
    if like is not None:
        return _onto(like, frames, pixels, path)
    return _alone(frames, pixels, path)


def _broken(path: Path) -> ReadError:
    return ReadError(
        f"expected a DICOM Segmentation with a description and pixels of each frame, found a "
        f"broken or cut one at {path}: copy it again"
    )


# Which segments


def _known_segments(dataset: Dataset, path: Path) -> dict[int, Label]:
    """Number of a segment -> its label, of those that we know."""
    segments = [item for item in dataset.get("SegmentSequence") or [] if "SegmentNumber" in item]
    if dataset.get("SegmentationType") == "LABELMAP":  # 0 may be described as the background
        segments = [item for item in segments if int(item.SegmentNumber) != 0]
    known: dict[int, Label] = {}
    for label in LABELS:
        coded = [item for item in segments if _type(item) in _codes(label)]
        if len(coded) == 1:
            known[int(coded[0].SegmentNumber)] = label
    if Label.LV_CAVITY in known.values():
        return known
    others = [item for item in segments if int(item.SegmentNumber) not in known]
    ways = (
        [item for item in others if _type(item) in _VENTRICLE and not _other_part(item)],
        [item for item in others if _NAMED.search(_label(item)) and not _other_part(item)],
        segments,
    )
    for found in ways:
        if len(found) == 1:
            return {int(found[0].SegmentNumber): Label.LV_CAVITY} | known
    if known:
        return known
    named = ", ".join(
        f"{item.SegmentNumber} '{str(item.get('SegmentLabel', '')).strip()[:40]}'"
        for item in segments[:8]
    )
    raise ReadError(
        f"expected one segment that is the cavity of the left ventricle, found {named or 'none'} "
        f"in {path}: code or label it so, or keep it alone"
    )


def _codes(label: Label) -> set[tuple[str, str]]:
    code = LABELS[label].code
    return _SYNONYMS.get(label, set()) | (set() if code is None else {(code.scheme, code.value)})


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


def _onto(like: Cine, frames: Sequence[SegFrame], pixels: NDArray[np.uint8], path: Path) -> Mask:
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
    labels = _painted(frames, places, pixels, like.shape[:2], path)
    return Mask(labels=labels[list(index)], phases=index, grid=like.grid)


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
        slices = {
            z
            for z, plane in enumerate(like.planes)
            if same_plane(frame.plane, plane, within_px=ROUNDING_PX)
        }
        found = {(t, z) for t, z in found if z in slices}
    if len(found) == 1:
        return found.pop()
    if like.shape[0] == 1:
        phase = 0
    if len(slices) != 1 or phase is None or phase >= like.shape[0]:
        return None
    return phase, slices.pop()


def _alone(frames: Sequence[SegFrame], pixels: NDArray[np.uint8], path: Path) -> Mask:
    """Without a cine: the slices and phases that the file itself knows."""
    planes, at = slices_of(frames)
    phases = phases_of(frames, at)
    several = len({frame.segment for frame in frames}) < len(frames)
    if phases is None or (several and not planes):
        raise _alike(path)
    index = tuple(sorted(set(phases.values())))
    places = [(index.index(phases[frame.number]), at[frame.number]) for frame in frames]
    labels = _painted(frames, places, pixels, (len(index), len(planes) or 1), path)
    return Mask(labels=labels, phases=index, grid=Grid.of(labels, planes=planes or None))


def _painted(
    frames: Sequence[SegFrame],
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
