"""The mask as DICOM Segmentation (PS3.3 A.51), for the archive that holds the source.

A cine is one object: every frame has a slice position and a Temporal Position Index, both are
dimensions, and each frame refers to the image it was drawn on (docs/decisions/0007). highdicom
makes the object; its frames are described here, because it knows no dimension of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import highdicom
import numpy as np
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, SegmentationStorage

from lvseg.cine import Cine, InstanceRef
from lvseg.geometry import Plane, normal
from lvseg.issues import Issue
from lvseg.labels import LABELS, Label
from lvseg.results import StudyResult
from lvseg.version import __version__
from lvseg.write.dicom import (
    PENDING_UID,
    attributes,
    clipped,
    code_of,
    coded_entry,
    decimal_string,
    decimal_strings,
    deterministic_uid,
    equipment,
    person_name,
    referenced_series,
    repaired_header,
    save_result,
    series_of,
    sop_reference,
    tag_issue,
)

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
    """One object to write.

    :param values: label -> stored values [F, Z, Y, X]; each is a segment, numbered from 1.
    :param phases: which phases of the cine these are.
    :param moments: phase of the cine -> its Cardiac Cycle Position (C.7.6.16.2.2).
    """

    name: str
    description: str
    values: Mapping[Label, NDArray[np.uint8]]
    phases: tuple[int, ...]
    fractional: bool
    moments: Mapping[int, str]
    series_number: int = _SERIES_NUMBER


def write_segmentations(
    result: StudyResult,
    folder: Path,
    source_headers: Mapping[str, Dataset],
    options: SegOptions | None = None,
) -> tuple[tuple[Path, ...], tuple[Issue, ...]]:
    """Write the mask of a DICOM study as DICOM SEG.

    Each label is a segment. Frames without any of it are left out, but for one of each phase and
    one of each slice that has none at all: so the grid can be read back, and an empty mask is a
    valid object too.

    :param source_headers: of the cine (:func:`lvseg.read.read_source_headers`).
    :returns: the files, and issues: tags of the source that were repaired, and what was asked
        for and could not be written. Without a DICOM source whose place is known no file and
        ``no-dicom-source``.
    :raises GeometryMismatchError: a mask of another grid. UsageError: the folder cannot be written.
    """
    options = options or SegOptions()
    cine = result.cine
    if cine.source.instances is None or cine.planes is None or not source_headers:
        text = (
            "DICOM SEG was not written: it needs the DICOM images that the mask was made from, at "
            "a place that is known"
        )
        return (), (Issue("no-dicom-source", "info", text),)
    result.mask.on(result.cine)
    values, fractional, replaced = _values(result, options)
    whole = _Part(
        name="segmentation.dcm",
        description=_description(values),
        values=values,
        phases=result.mask.phases,
        fractional=fractional,
        moments=_moments(result),
    )
    parts, missing = _parts(whole, options)
    header, repaired = repaired_header(source_headers, cine)
    written = []
    for part in parts:
        dataset = _dataset(part, result, header, source_headers)
        path = folder / part.name
        written.append(save_result(dataset, path, SegmentationStorage, result.read_at))
    return tuple(written), (*replaced, *missing, *repaired, *_thickness(cine))


def _values(
    result: StudyResult, options: SegOptions
) -> tuple[dict[Label, NDArray[np.uint8]], bool, tuple[Issue, ...]]:
    """Stored values of each label, whether they are fractions, and an issue if they are not."""
    mask, likely = result.mask, result.probabilities
    labels = mask.labels_present or (Label.LV_CAVITY,)
    if options.fractional and likely is not None:
        phases = list(mask.phases)
        known = [label for label in labels if label in likely]
        return {label: _fractions(likely, label, phases) for label in known}, True, ()
    values = {label: mask.of(label).view(np.uint8) for label in labels}
    if not options.fractional:
        return values, False, ()
    text = "probabilities were not kept: the DICOM SEG holds the mask itself"
    return values, False, (Issue("no-probabilities", "info", text),)


def _fractions(
    likely: Mapping[Label, NDArray[np.float32]], label: Label, phases: list[int]
) -> NDArray[np.uint8]:
    """Probabilities of one label, which are those of its outer boundary less what lies inside."""
    order = [*likely]
    chosen = likely[label][phases]
    if label != order[0]:
        chosen = chosen - likely[order[order.index(label) - 1]][phases]
    stored: NDArray[np.uint8] = np.rint(np.clip(chosen, 0, 1) * _FULL).astype(np.uint8)
    return stored


def _description(labels: Mapping[Label, object]) -> str:
    names = [LABELS[label].name.capitalize() for label in labels]
    return names[0] if len(names) == 1 else "Left ventricle"


def _moments(result: StudyResult) -> dict[int, str]:
    phases = result.measurements.phases
    named = ((phases.end_systole, "END_SYSTOLE"), (phases.end_diastole, "END_DIASTOLE"))
    return {phase: name for phase, name in named if phase is not None}


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
                description=f"{whole.description}, {moment.replace('_', '-').lower()}",
                values={label: values[at] for label, values in whole.values.items()},
                phases=(whole.phases[at[0]],),
                series_number=_SERIES_NUMBER + 1 + len(parts),
            )
        )
    if len(parts) == 2:
        return parts, ()
    text = "end-diastole and end-systole are not both known: segmentation.dcm holds all phases"
    return [whole], (Issue("phases-unknown", "info", text),)


def _dataset(
    part: _Part, result: StudyResult, header: Dataset, source_headers: Mapping[str, Dataset]
) -> Dataset:
    """The object of one part."""
    cine = result.cine
    kept = _kept(part)
    instances = cine.source.instances or ()
    used = [instances[part.phases[f]][z] for _, f, z in kept]
    dataset = _shell(part, result, header)
    organisation = deterministic_uid("dimensions", header.SeriesInstanceUID, part.name)
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
        _frame(part, at, own[at[2]], source) for at, source in zip(kept, used, strict=True)
    ]
    series = referenced_series(used, source_headers, cine)
    images = [
        sop_reference(InstanceRef(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID))
        for member in series
        for item in member.ReferencedInstanceSequence
    ]
    earlier = [*_predecessors(result)]
    dataset.ReferencedSeriesSequence = [*series, *(member for member, _ in earlier)]
    dataset.SourceImageSequence = [*images, *(image for _, found in earlier for image in found)]
    values = [*part.values.values()]
    frames = np.stack([values[s][f, z] for s, f, z in kept])
    # one bit a pixel, the first pixel lowest, frames without padding (PS3.5 8.1.1, annex D)
    packed = frames if part.fractional else np.packbits(frames.reshape(-1), bitorder="little")
    stored = packed.tobytes()
    dataset.PixelData = stored + b"\0" * (len(stored) % 2)
    return dataset


def _predecessors(result: StudyResult) -> Iterator[tuple[Dataset, list[Dataset]]]:
    """The segmentations that this one was edited from, by series.

    They are images that this one was derived from (Source Image Sequence, PS3.3 C.12.4), told from
    those of the scanner by their SOP class, and so stand in the list of what is referred to
    (C.12.2). The purpose of a reference is left out, as for the other images.
    """
    predecessor = None if result.authorship is None else result.authorship.predecessor
    if predecessor is None:
        return
    for series, objects in series_of(predecessor.segmentations).items():
        yield attributes(SeriesInstanceUID=series, ReferencedInstanceSequence=objects), objects


def _kept(part: _Part) -> list[tuple[int, int, int]]:
    """Which frames (segment, F, Z) are stored, in this order: :func:`write_segmentations`."""
    kept = np.array([values.any(axis=(2, 3)) for values in part.values.values()])
    without_phase, without_slice = ~kept.any(axis=(0, 2)), ~kept.any(axis=(0, 1))
    kept[0, without_phase, 0] = True
    kept[0, 0, without_slice] = True
    return [(int(s), int(f), int(z)) for s, f, z in np.argwhere(kept)]


def _shell(part: _Part, result: StudyResult, header: Dataset) -> Dataset:
    """Make an object of one frame, the first of the cine; its frames are replaced."""
    source = Dataset()
    source.update(header)
    source.SOPClassUID = MRImageStorage  # of a multi-frame source no functional groups are wanted
    source.SliceThickness = source.get("SliceThickness") or decimal_string(1.0)
    plane = (result.cine.planes or ())[0]
    shell: Dataset = Segmentation(
        source_images=[source],
        pixel_array=np.zeros((1, *result.cine.shape[2:]), np.uint8),
        segmentation_type="FRACTIONAL" if part.fractional else "BINARY",
        segment_descriptions=[
            _segment(number, label, result) for number, label in enumerate(part.values, 1)
        ],
        series_instance_uid=PENDING_UID,
        series_number=part.series_number,
        sop_instance_uid=PENDING_UID,
        instance_number=1,
        max_fractional_value=_FULL,
        content_label=next(iter(part.values)).name if len(part.values) == 1 else "LEFT_VENTRICLE",
        content_description=part.description,
        series_description=f"{part.description} (lvseg)",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=False,
        plane_positions=[highdicom.PlanePositionSequence("PATIENT", plane.origin_mm)],
        **equipment(result.card),
    )
    author = result.authorship
    shell.ContentCreatorName = "" if author is None else person_name(author.reader)
    return shell


def _segment(number: int, label: Label, result: StudyResult) -> Any:
    """A segment (PS3.3 C.8.20.4): category from CID 7150, type from our table of labels.

    Name, version and kind of the algorithm: PS3.3 table 10-19. A mask that a person had a hand in
    is SEMIAUTOMATIC (Segment Algorithm Type, C.8.20.2).
    """
    info, card = LABELS[label], result.card
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=info.name,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=code_of(label),
        algorithm_type="AUTOMATIC" if result.authorship is None else "SEMIAUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=clipped(card.name) if card else "lvseg",
            family=codes.cid7162.ArtificialIntelligence,
            version=clipped(f"{card.version} (lvseg {__version__})") if card else __version__,
            source="lvseg",
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(*info.colour),
    )


def _geometry(cine: Cine) -> tuple[Dataset, list[Dataset]]:
    """Orientation and pixel measures: for all frames where slices agree, else for each slice."""
    planes = cine.planes or ()
    orientations = [decimal_strings(*plane.column_step, *plane.row_step) for plane in planes]
    measures = [_measures(plane, cine) for plane in planes]
    shared, own = attributes(), [attributes() for _ in planes]
    same = all(item == orientations[0] for item in orientations)
    for target, orientation in zip([shared] if same else own, orientations, strict=False):
        target.PlaneOrientationSequence = [attributes(ImageOrientationPatient=orientation)]
    same = all(item == measures[0] for item in measures)
    for target, item in zip([shared] if same else own, measures, strict=False):
        target.PixelMeasuresSequence = [item]
    for target, plane in zip(own, planes, strict=True):
        place = attributes(ImagePositionPatient=decimal_strings(*plane.origin_mm))
        target.PlanePositionSequence = [place]
    return shared, own


def _measures(plane: Plane, cine: Cine) -> Dataset:
    return attributes(
        SliceThickness=decimal_string(plane.thickness_mm or _distance_mm(cine)),
        SpacingBetweenSlices=decimal_string(cine.slice_spacing_mm),
        PixelSpacing=decimal_strings(*plane.pixel_spacing_mm),
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
    return (tag_issue("SliceThickness", f"is absent: {how}"),)


def _frame(part: _Part, at: tuple[int, int, int], place: Dataset, source: InstanceRef) -> Dataset:
    """The functional groups of one frame (segment, F, Z) (PS3.3 table A.51-2)."""
    s, f, z = at
    phase, several = part.phases[f], len(part.phases) > 1
    content = attributes(
        CardiacCyclePosition=part.moments.get(phase),
        TemporalPositionIndex=phase + 1 if several else None,
        DimensionIndexValues=[s + 1, phase + 1, z + 1] if several else [s + 1, z + 1],
    )
    groups = Dataset()
    groups.update(place)
    groups.FrameContentSequence = [content]
    groups.DerivationImageSequence = list(_derivation(source))
    groups.SegmentIdentificationSequence = [attributes(ReferencedSegmentNumber=s + 1)]
    return groups


def _derivation(source: InstanceRef) -> Iterator[Dataset]:
    """The image a frame was drawn on (PS3.3 C.7.6.16.2.6), pixel on pixel; none without a UID."""
    if not source.sop_instance_uid:
        return
    image = sop_reference(source, frame=True)
    image.SpatialLocationsPreserved = "YES" if source.same_pixels else "NO"
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    image.PurposeOfReferenceCodeSequence = [coded_entry(purpose)]
    yield attributes(
        SourceImageSequence=[image],
        DerivationCodeSequence=[coded_entry(codes.DCM.SegmentationImageDerivation)],
    )
