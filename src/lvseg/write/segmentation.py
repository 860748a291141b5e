"""The mask as DICOM Segmentation (PS3.3 A.51), for the archive that holds the source.

A cine is one object: every frame has a slice position and a Temporal Position Index, both are
dimensions, and each frame refers to the image it was drawn on (docs/decisions/0007). highdicom
makes the object; its frames are described here, because it knows no dimension of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, InstanceRef
from lvseg.geometry import Plane, normal
from lvseg.issues import Issue
from lvseg.labels import LABELS, Label
from lvseg.results import StudyResult
from lvseg.write.dicom import attributes, number, numbers, save
from lvseg.write.dicom_context import (
    algorithm_identification,
    equipment,
    fresh_uid,
    referenced_series,
    repaired_header,
    sop_reference,
)
from lvseg.write.dicom_header import noticed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["SegOptions", "write_segmentations"]

_MR_IMAGE, _SEGMENTATION = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.66.4"
#: What the dimensions count, each with its functional group (PS3.3 C.7.6.17).
_SEGMENT = (0x0062000B, 0x0062000A, "Segment")
_PHASE = (0x00209128, 0x00209111, "Cardiac phase")
_POSITION = (0x00200032, 0x00209113, "Slice position")
#: A probability of 1 (PS3.3 C.8.20.2, Maximum Fractional Value).
_FULL = 255
_SERIES_NUMBER = 9001


@dataclass(frozen=True, slots=True)
class SegOptions:
    """How a mask is written as DICOM SEG.

    :param phases: ``all``: one object of the whole cine, ``segmentation.dcm``. ``ed-es``: one of
        end-diastole and one of end-systole, ordinary volumes that every viewer shows.
    :param fractional: write probabilities before clean-up instead of the mask.
    """

    phases: Literal["all", "ed-es"] = "all"
    fractional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One object to write: stored values [F, Z, Y, X] of the phases it holds.

    :param phases: which phases of the cine these are.
    :param moments: phase of the cine -> its Cardiac Cycle Position (C.7.6.16.2.2).
    """

    name: str
    description: str
    values: NDArray[np.uint8]
    phases: tuple[int, ...]
    fractional: bool
    moments: Mapping[int, str]
    series_number: int = _SERIES_NUMBER


def write_segmentations(
    result: StudyResult,
    folder: Path,
    originals: Mapping[str, Dataset],
    options: SegOptions | None = None,
) -> tuple[tuple[Path, ...], tuple[Issue, ...]]:
    """Write the mask of a DICOM study as DICOM SEG.

    Frames without cavity are left out, but for one of each phase and one of each slice that has
    none at all: so the grid can be read back, and an empty mask is a valid object too.

    :param originals: of the cine (:func:`lvseg.read.read_source_headers`).
    :returns: the files, and issues: tags of the source that were repaired, and what was asked
        for and could not be written. Without a DICOM source no file and ``no-dicom-source``.
    :raises GeometryMismatchError: a mask of another grid. UsageError: the folder cannot be written.
    """
    options = options or SegOptions()
    cine = result.cine
    if cine.source.instances is None or cine.planes is None or not originals:
        text = "DICOM SEG was not written: it needs the DICOM images that the mask was made from"
        return (), (Issue("no-dicom-source", "info", text),)
    result.mask.on(result.cine)
    values, fractional, replaced = _values(result, options)
    whole = _Part(
        name="segmentation.dcm",
        description="Left ventricle cavity",
        values=values,
        phases=result.mask.phases,
        fractional=fractional,
        moments=_moments(result),
    )
    parts, missing = _parts(whole, options)
    header, repaired = repaired_header(originals, cine)
    written = []
    for part in parts:
        dataset = _dataset(part, result, header, originals)
        path = folder / part.name
        written.append(save(dataset, path, _SEGMENTATION, dataset.SOPInstanceUID))
    return tuple(written), (*replaced, *missing, *repaired, *_thickness(cine))


def _values(
    result: StudyResult, options: SegOptions
) -> tuple[NDArray[np.uint8], bool, tuple[Issue, ...]]:
    """Stored values of the frames of the mask, whether they are fractions, and an issue if not."""
    mask = result.mask
    if options.fractional and result.probabilities is not None:
        chosen = result.probabilities[Label.LV_CAVITY][list(mask.phases)]
        return np.rint(np.clip(chosen, 0, 1) * _FULL).astype(np.uint8), True, ()
    values = (mask.labels == Label.LV_CAVITY).view(np.uint8)
    if not options.fractional:
        return values, False, ()
    text = "probabilities were not kept: the DICOM SEG holds the mask itself"
    return values, False, (Issue("no-probabilities", "info", text),)


def _moments(result: StudyResult) -> dict[int, str]:
    phases = result.measurements.phases
    moments: dict[int, str] = {}
    if phases.end_systole is not None:
        moments[phases.end_systole] = "END_SYSTOLE"
    if phases.end_diastole is not None:
        moments[phases.end_diastole] = "END_DIASTOLE"
    return moments


def _parts(whole: _Part, options: SegOptions) -> tuple[list[_Part], tuple[Issue, ...]]:
    """What goes into which file."""
    if options.phases == "all":
        return [whole], ()
    parts: list[_Part] = []
    for moment, short in (("END_DIASTOLE", "ed"), ("END_SYSTOLE", "es")):
        at = [
            index for index, phase in enumerate(whole.phases) if whole.moments.get(phase) == moment
        ]
        if not at:
            continue
        parts.append(
            replace(
                whole,
                name=f"segmentation_{short}.dcm",
                description=f"Left ventricle cavity, {moment.replace('_', '-').lower()}",
                values=whole.values[at],
                phases=(whole.phases[at[0]],),
                series_number=_SERIES_NUMBER + 1 + len(parts),
            )
        )
    if len(parts) == 2:
        return parts, ()
    text = "end-diastole and end-systole are not both known: segmentation.dcm holds all phases"
    return [whole], (Issue("phases-unknown", "info", text),)


def _dataset(
    part: _Part, result: StudyResult, header: Dataset, originals: Mapping[str, Dataset]
) -> Dataset:
    """The object of one part."""
    cine = result.cine
    kept = _kept(part.values)
    used = [_instance(cine, part.phases[f], z) for f, z in kept]
    dataset = _shell(part, result, header)
    organisation = fresh_uid()
    dimensions = [_SEGMENT, _PHASE, _POSITION] if len(part.phases) > 1 else [_SEGMENT, _POSITION]
    dataset.DimensionOrganizationSequence = [attributes(DimensionOrganizationUID=organisation)]
    dataset.DimensionIndexSequence = [
        attributes(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=group,
            DimensionDescriptionLabel=label,
        )
        for pointer, group, label in dimensions
    ]
    if len(part.phases) == 1 and cine.slice_spacing_mm is not None:
        dataset.DimensionOrganizationType = "3D"
    dataset.NumberOfFrames = len(kept)
    shared, own = _geometry(cine)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(part, f, z, own[z], source) for (f, z), source in zip(kept, used, strict=True)
    ]
    series = referenced_series(used, originals, cine)
    dataset.ReferencedSeriesSequence = series
    dataset.SourceImageSequence = [
        sop_reference(InstanceRef(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID))
        for member in series
        for item in member.ReferencedInstanceSequence
    ]
    frames = part.values[[f for f, _ in kept], [z for _, z in kept]]
    stored = frames.tobytes() if part.fractional else _packed(frames)
    dataset.PixelData = stored + b"\0" * (len(stored) % 2)
    return dataset


def _kept(values: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Which frames (F, Z) are stored, phase by phase: :func:`write_segmentations`."""
    kept: NDArray[np.bool_] = np.asarray(values.any(axis=(2, 3)))
    without_phase, without_slice = ~kept.any(axis=1), ~kept.any(axis=0)
    kept[without_phase, 0] = True
    kept[0, without_slice] = True
    return [(int(f), int(z)) for f, z in np.argwhere(kept)]


def _packed(frames: NDArray[np.uint8]) -> bytes:
    """One bit a pixel, the first pixel lowest, frames without padding (PS3.5 8.1.1, annex D)."""
    return np.packbits(frames.reshape(-1), bitorder="little").tobytes()


def _instance(cine: Cine, phase: int, index: int) -> InstanceRef:
    return (cine.source.instances or ())[phase][index]


def _shell(part: _Part, result: StudyResult, header: Dataset) -> Dataset:
    """Make an object of one frame, the first of the cine; its frames are replaced."""
    import highdicom
    from highdicom.seg import Segmentation
    from pydicom.dataset import Dataset

    source = Dataset()
    source.update(header)
    source.SOPClassUID = _MR_IMAGE  # of a multi-frame source no functional groups are wanted
    source.SliceThickness = source.get("SliceThickness") or number(1.0)
    plane = (result.cine.planes or ())[0]
    kind = "FRACTIONAL" if part.fractional else "BINARY"
    shell: Dataset = Segmentation(
        source_images=[source],
        pixel_array=np.zeros((1, *part.values.shape[2:]), bool),
        segmentation_type=kind,
        segment_descriptions=[_segment(result)],
        series_instance_uid=fresh_uid(),
        series_number=part.series_number,
        sop_instance_uid=fresh_uid(),
        instance_number=1,
        max_fractional_value=_FULL,
        content_label="LV_CAVITY",
        content_description=part.description,
        series_description=f"{part.description} (lvseg)",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        omit_empty_frames=False,
        plane_positions=[highdicom.PlanePositionSequence("PATIENT", plane.origin_mm)],
        **equipment(result.card),
    )
    shell.ContentCreatorName = ""
    return shell


def _segment(result: StudyResult) -> Any:
    """The one segment (PS3.3 C.8.20.4): category from CID 7150, type from our table of labels."""
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    info = LABELS[Label.LV_CAVITY]
    if info.code is None:
        raise ValueError("the cavity has a code")
    return highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=info.name,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=Code(info.code.value, info.code.scheme, info.code.meaning),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm_identification(result.card),
        display_color=highdicom.color.CIELabColor.from_rgb(*info.colour),
    )


def _geometry(cine: Cine) -> tuple[Dataset, list[Dataset]]:
    """Orientation and pixel measures: for all frames where slices agree, else for each slice."""
    planes = cine.planes or ()
    orientations = [numbers(*plane.column_step, *plane.row_step) for plane in planes]
    measures = [_measures(plane, cine) for plane in planes]
    shared, own = attributes(), [attributes() for _ in planes]
    same = all(item == orientations[0] for item in orientations)
    for target, orientation in zip([shared] if same else own, orientations, strict=False):
        target.PlaneOrientationSequence = [attributes(ImageOrientationPatient=orientation)]
    same = all(item == measures[0] for item in measures)
    for target, item in zip([shared] if same else own, measures, strict=False):
        target.PixelMeasuresSequence = [item]
    for target, plane in zip(own, planes, strict=True):
        place = attributes(ImagePositionPatient=numbers(*plane.origin_mm))
        target.PlanePositionSequence = [place]
    return shared, own


def _measures(plane: Plane, cine: Cine) -> Dataset:
    thickness_mm, spacing_mm = plane.thickness_mm or _distance_mm(cine), cine.slice_spacing_mm
    return attributes(
        SliceThickness=None if thickness_mm is None else number(thickness_mm),
        SpacingBetweenSlices=None if spacing_mm is None else number(spacing_mm),
        PixelSpacing=numbers(*plane.pixel_spacing_mm),
    )


def _distance_mm(cine: Cine) -> float | None:
    """The usual distance of the slices, for a thickness that must be given; None for one slice."""
    planes = cine.planes or ()
    if len(planes) < 2:
        return None
    return float(np.median(np.abs(np.diff([normal(planes[0]) @ p.origin_mm for p in planes]))))


def _thickness(cine: Cine) -> tuple[Issue, ...]:
    """Pixel Measures needs a thickness (PS3.3 C.7.6.16.2.1), which a source may not state."""
    if all(plane.thickness_mm is not None for plane in cine.planes or ()):
        return ()
    how = "left out" if _distance_mm(cine) is None else "the distance of the slices stands for it"
    return (noticed("SliceThickness", f"is absent: {how}"),)


def _frame(part: _Part, f: int, z: int, place: Dataset, source: InstanceRef) -> Dataset:
    """The functional groups of one frame (PS3.3 table A.51-2)."""
    from pydicom.dataset import Dataset

    phase = part.phases[f]
    indices = [1, f + 1, z + 1] if len(part.phases) > 1 else [1, z + 1]
    content = attributes(
        CardiacCyclePosition=part.moments.get(phase),
        TemporalPositionIndex=phase + 1 if len(part.phases) > 1 else None,
        DimensionIndexValues=indices,
    )
    groups = Dataset()
    groups.update(place)
    groups.FrameContentSequence = [content]
    groups.DerivationImageSequence = list(_derivation(source))
    groups.SegmentIdentificationSequence = [attributes(ReferencedSegmentNumber=1)]
    return groups


def _derivation(source: InstanceRef) -> Iterator[Dataset]:
    """The image a frame was drawn on (PS3.3 C.7.6.16.2.6), pixel on pixel; none without a UID."""
    if not source.sop_instance_uid:
        return
    image = sop_reference(source, frame=True)
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [
        _code("121322", "Source image for image processing operation")
    ]
    yield attributes(
        SourceImageSequence=[image], DerivationCodeSequence=[_code("113076", "Segmentation")]
    )


def _code(value: str, meaning: str) -> Dataset:
    return attributes(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)
