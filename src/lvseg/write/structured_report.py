"""The measurements as DICOM Structured Report, for the archive that holds the source.

A Measurement Report (PS3.16 TID 1500) in an Enhanced SR (PS3.3 A.35.2), the simplest class that
holds it. Codes are those of the ventricular analysis of CT and MR (TID 3920 with CID 3833 and
3835); what no standard names is coded in our own scheme. A value that is unknown is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, EnhancedSRStorage, MRImageStorage

from lvseg.cine import InstanceRef
from lvseg.issues import Issue
from lvseg.labels import LABELS, Label
from lvseg.results import ObjectRef, StudyResult
from lvseg.subject import BSA_WORDS
from lvseg.version import __version__
from lvseg.write.dicom import (
    PENDING_UID,
    attributes,
    clipped,
    code_of,
    deterministic_uid,
    equipment,
    person_name,
    referenced_series,
    repaired_header,
    save_result,
    series_of,
    sop_reference,
)

_ML_S = codes.UCUM.MilliliterPerSecond
#: Terms that pydicom's dictionary lacks or words differently; units are UCUM (PS3.16 7.2.2).
_ML = Code("ml", "UCUM", "milliliter")
_BEATS = Code("{H.B.}/min", "UCUM", "heart beat per minute")
_LITRES = Code("l/min", "UCUM", "liter per minute")
_SUM_OF_DISCS = Code("122503", "DCM", "Integration of sum of closed areas on contiguous slices")
_GRAM = Code("g", "UCUM", "gram")
#: Of TID 310, with the meanings that highdicom gives them.
_ABOVE = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
_BELOW = Code("371885007", "SCT", "-, range of lower measurement uncertainty")
_CYCLE_POINT = Code("272518008", "SCT", "Cardiac Cycle Point")
_ENGLISH = Code("en", "RFC5646", "English")
_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
#: Codes of our own (PS3.16 section 8.2: private designators begin with 99).
_OURS = "99LVSEG"
_VERDICT = Code("verdict", _OURS, "Verdict of automatic checks")
_VERDICTS = {
    "pass": Code("pass", _OURS, "Pass: no check objects"),
    "review": Code("review", _OURS, "Review: a person should look"),
    "fail": Code("fail", _OURS, "Fail: a result is missing or must not be used"),
}
_RESEARCH = "For research use only. Made by a program, not seen by a person."
_READ = (
    "For research use only. A reader edited or accepted the segmentation; a program measured it."
)
_BROUGHT = "For research use only. A program measured a segmentation that was made elsewhere."
#: Field of the measurements -> name, unit and decimals, in the order of the report.
VALUES: tuple[tuple[str, Code, Code, int], ...] = (
    ("edv_ml", codes.LN.LeftVentricularEDVolume, _ML, 2),
    ("esv_ml", codes.LN.LeftVentricularESVolume, _ML, 2),
    ("sv_ml", codes.SCT.StrokeVolume, _ML, 2),
    ("ef_percent", codes.LN.LeftVentricularEjectionFractionByMR, codes.UCUM.Percent, 2),
    ("mass_g", codes.LN.LeftVentricleMass, _GRAM, 2),
    ("heart_rate_bpm", codes.LN.HeartRate, _BEATS, 1),
    ("cardiac_output_l_min", codes.SCT.CardiacOutput, _LITRES, 2),
    ("peak_ejection_rate_ml_s", codes.DCM.PeakEjectionRate, _ML_S, 1),
    ("peak_filling_rate_ml_s", codes.DCM.PeakFillingRate, _ML_S, 1),
)
#: Field -> name and unit of the values over body surface area, which are told as such by the
#: modifier Index (CID 3455, Index Methods).
INDEXED_VALUES: tuple[tuple[str, Code, Code], ...] = (
    ("edv_ml_per_m2", codes.LN.LeftVentricularEDVolume, Code("ml/m2", "UCUM", "ml/m2")),
    ("esv_ml_per_m2", codes.LN.LeftVentricularESVolume, Code("ml/m2", "UCUM", "ml/m2")),
    ("sv_ml_per_m2", codes.SCT.StrokeVolume, Code("ml/m2", "UCUM", "ml/m2")),
    ("mass_g_per_m2", codes.LN.LeftVentricleMass, Code("g/m2", "UCUM", "g/m2")),
)
_SURFACE, _INDEX = Code("8277-6", "LN", "Body Surface Area"), codes.DCM.Index
#: Of CID 3663, Body Surface Area Equations; WT in kg, HT in metres and in centimetres.
_EQUATIONS: Mapping[str, Code] = {
    BSA_WORDS["mosteller"]: codes.DCM.BSAEqualsHTWT360Point5,
    BSA_WORDS["du-bois"]: codes.DCM.BSAEquals0Point007184WT0Point425HT0Point725,
}
_SERIES_NUMBER = 9004


def write_structured_report(
    result: StudyResult,
    path: Path,
    source_headers: Mapping[str, Dataset],
    segmentations: Sequence[Path] = (),
) -> tuple[Issue, ...]:
    """Write the measurements, the verdict and the issues of a DICOM study as DICOM SR.

    A result without any volume is written too: its verdict says why. Phases and slices are counted
    from 1, as DICOM does.

    :param source_headers: headers of the source (:func:`lvseg.read.read_source_headers`).
    :param segmentations: DICOM SEG files of the same result, to be referred to; a name that ends
        in ``_ed`` or ``_es`` holds that phase alone.
    :returns: tags of the source that were repaired; without a DICOM source ``no-dicom-source``, and
        nothing is written.
    :raises UsageError: the folder cannot be written.
    """
    if result.cine.source.instances is None or not source_headers:
        text = "DICOM SR was not written: it needs the DICOM images that were measured"
        return (Issue("no-dicom-source", "info", text),)
    header, issues = repaired_header(source_headers, result.cine)
    parts = [_identity(file) for file in segmentations]
    dataset = _report(result, header, source_headers, parts)
    save_result(dataset, path, EnhancedSRStorage, result.read_at)
    return issues


def _identity(file: Path) -> tuple[str, Dataset]:
    """(moment, identity) of a DICOM SEG; the moment is "ed", "es" or "" for all phases."""
    uids = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
    dataset = dcmread(file, stop_before_pixels=True, specific_tags=[*uids, "SegmentSequence"])
    moment = file.stem[-2:] if file.stem.endswith(("_ed", "_es")) else ""
    return moment, dataset


def _report(
    result: StudyResult,
    header: Dataset,
    source_headers: Mapping[str, Dataset],
    parts: Sequence[tuple[str, Dataset]],
) -> Dataset:
    first = Dataset()
    first.update(header)
    first.SOPClassUID = MRImageStorage  # a class whose patient and study modules highdicom knows
    scheme = CodingSchemeIdentificationItem(
        designator=_OURS, name="lvseg", responsible_organization="lvseg"
    )
    source = (str(header.StudyInstanceUID), str(header.SeriesInstanceUID))
    content = _content(result, source)
    report: Dataset = sr.EnhancedSR(
        evidence=[first],
        content=content[0],
        series_instance_uid=PENDING_UID,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=PENDING_UID,
        instance_number=1,
        is_complete=True,
        series_description="Left ventricle measurements (lvseg)",
        coding_schemes=[scheme],
        **_verification(result),
        **equipment(result.card),
    )
    images = (image for phase in result.cine.source.instances or () for image in phase)
    series = referenced_series(images, source_headers, result.cine)
    # highdicom copies and searches what it is given: the long part is added to what it has made
    measurements = next(
        item for item in content[0].ContentSequence if item.name == codes.DCM.ImagingMeasurements
    )
    for group in _volume_groups(result, source, series, parts):
        measurements.ContentSequence.extend(group)
    report.ContentSequence = content[0].ContentSequence
    report.CurrentRequestedProcedureEvidenceSequence = [
        attributes(
            StudyInstanceUID=header.StudyInstanceUID,
            ReferencedSeriesSequence=_evidence(series, [segment for _, segment in parts]),
        )
    ]
    report.pop("PertinentOtherEvidenceSequence", None)
    earlier = _predecessors(result)
    if earlier:
        report.PredecessorDocumentsSequence = earlier
    return report


def _verification(result: StudyResult) -> dict[str, Any]:
    """Who verified the report (Verification Flag and Verifying Observer Sequence, PS3.3 C.17.2)."""
    author = result.authorship
    if author is None or not author.verified_by:
        return {}
    return {
        "is_verified": True,
        "verifying_observer_name": person_name(author.reader),
        "verifying_organization": clipped(author.verified_by),
    }


def _predecessors(result: StudyResult) -> list[Dataset]:
    """The reports that this one takes the place of (Predecessor Documents Sequence, C.17.2)."""
    predecessor = None if result.authorship is None else result.authorship.predecessor
    studies: dict[str, list[ObjectRef]] = {}
    for each in () if predecessor is None else predecessor.reports:
        studies.setdefault(each.study_uid, []).append(each)
    return [
        attributes(
            StudyInstanceUID=study,
            ReferencedSeriesSequence=[
                attributes(SeriesInstanceUID=series, ReferencedSOPSequence=objects)
                for series, objects in series_of(reports).items()
            ],
        )
        for study, reports in studies.items()
    ]


def _evidence(series: Iterable[Dataset], segments: Iterable[Dataset]) -> list[Dataset]:
    """Every image that was measured and every SEG, by series (PS3.3 table C.17-3)."""
    members = [(item.SeriesInstanceUID, list(item.ReferencedInstanceSequence)) for item in series]
    for segment in segments:
        reference = InstanceRef(segment.SOPClassUID, segment.SOPInstanceUID)
        members.append((segment.SeriesInstanceUID, [sop_reference(reference)]))
    return [
        attributes(SeriesInstanceUID=uid, ReferencedSOPSequence=objects) for uid, objects in members
    ]


def _content(result: StudyResult, source: tuple[str, str]) -> Any:
    """The content tree (TID 1500) with its first measurement group, the verdict and comments."""
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_person_context=_reader(result), observer_device_context=_observer(result)
        ),
        procedure_reported=codes.SCT.CardiacMRI,
        imaging_measurements=[_function_group(result, source)],
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(_ENGLISH),
    )
    report[0].ContentSequence.append(_evaluations(result))
    return report


def _volume_groups(
    result: StudyResult,
    source: tuple[str, str],
    series: Sequence[Dataset],
    parts: Sequence[tuple[str, Dataset]],
) -> Iterator[Any]:
    """A group for each SEG (TID 1411); without one that holds all phases, one without SEG."""
    drawn_on = _drawn_on(series)
    parts = parts if drawn_on else ()
    for moment, segmentation in parts:
        yield from _segment_groups(result, source, drawn_on, moment, segmentation)
    if result.measurements.volume_ml is not None and all(moment for moment, _ in parts):
        yield sr.MeasurementsAndQualitativeEvaluations(
            measurements=_volumes(result, ""),
            method=_SUM_OF_DISCS,
            **_common(result, source, "Left ventricle, volume by phase"),
        )


def _observer(result: StudyResult) -> Any:
    """What observed: the program with its model (TID 1004)."""
    made_by = equipment(result.card)
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=deterministic_uid("device", *made_by["software_versions"]),
            name="lvseg",
            manufacturer_name=made_by["manufacturer"],
            model_name=made_by["manufacturer_model_name"],
            serial_number=made_by["device_serial_number"],
        ),
    )


def _reader(result: StudyResult) -> Any:
    """The person who observed (TID 1003); None where nobody is named."""
    if result.authorship is None or not result.authorship.reader:
        return None
    return sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(
            name=person_name(result.authorship.reader),
            organization_name=clipped(result.authorship.verified_by) or None,
        ),
    )


def _common(result: StudyResult, source: tuple[str, str], name: str) -> dict[str, Any]:
    """What every measurement group states: what is tracked, where, and by which algorithm.

    The tracking UID is the same for the same series, so that two runs can be compared.
    """
    card = result.card
    parameters = [f"lvseg {__version__}"]
    if card is not None:
        parameters += [f"SHA-256 {card.sha256}", f"threshold {card.output.threshold:g}"]
    return {
        "tracking_identifier": sr.TrackingIdentifier(
            uid=deterministic_uid("tracking", *source, name), identifier=name
        ),
        "finding_type": codes.SCT.LeftVentricle,
        "finding_sites": [sr.FindingSite(codes.SCT.LeftVentricle)],
        "algorithm_id": sr.AlgorithmIdentification(
            name=card.name if card else "lvseg",
            version=card.version if card else __version__,
            parameters=parameters,
        ),
    }


def _function_group(result: StudyResult, source: tuple[str, str]) -> Any:
    """Volumes at end-diastole and end-systole and what follows from them (TID 1501)."""
    measured = []
    for field, name, unit, digits in VALUES:
        value = getattr(result.measurements, field)
        if value is not None:
            method = _SUM_OF_DISCS if field in ("edv_ml", "esv_ml") else None
            rounded = round(float(value), digits)
            number = sr.Measurement(name, value=rounded, unit=unit, method=method)
            if bounds := [*_uncertainty(result, field, unit, digits)]:
                below = number[0].get("ContentSequence") or ()
                number[0].ContentSequence = sr.ContentSequence([*below, *bounds])
            measured.append(number)
    measured += _indexed(result)
    papillary = sr.QualitativeEvaluation(
        name=codes.DCM.PapillaryMuscleIncludedExcluded, value=codes.DCM.PapillaryMuscleIncluded
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        measurements=measured,
        qualitative_evaluations=[papillary],
        **_common(result, source, "Left ventricle"),
    )


def _indexed(result: StudyResult) -> Iterator[Any]:
    """The body surface area with its equation, and the values divided by it; nothing without it."""
    values = result.measurements
    if values.bsa_m2 is None:
        return
    method = _EQUATIONS.get(values.methods.get("body_surface", ""))
    yield sr.Measurement(
        _SURFACE, value=round(values.bsa_m2, 3), unit=Code("m2", "UCUM", "m2"), method=method
    )
    for field, name, unit in INDEXED_VALUES:
        value = getattr(values, field)
        if value is None:
            continue
        number = sr.Measurement(name, value=round(float(value), 2), unit=unit)
        by = sr.CodeContentItem(_INDEX, _SURFACE, relationship_type="HAS CONCEPT MOD")
        number[0].ContentSequence = sr.ContentSequence([by])
        yield number


def _uncertainty(result: StudyResult, field: str, unit: Code, digits: int) -> Iterator[Any]:
    """How far an interval reaches above and below its value (TID 310), in the unit of the value.

    Nothing for an interval that does not hold the value: a comment tells it.
    """
    found = getattr(result.measurements, f"{field}_interval", None)
    value = getattr(result.measurements, field)
    if found is None or not found[0] <= value <= found[1]:
        return
    for name, reach in ((_ABOVE, found[1] - value), (_BELOW, value - found[0])):
        yield sr.NumContentItem(
            name, round(float(reach), digits), unit, relationship_type="HAS PROPERTIES"
        )


def _drawn_on(series: Sequence[Dataset]) -> dict[str, Any]:
    """What a SEG was drawn on: its series, or every image of a stack joined from several.

    DCMTK refuses the whole report for one invalid UID in its content, so a series with one is told
    by those of its images that have a valid one; empty where there are none.
    """
    if len(series) == 1 and UID(series[0].SeriesInstanceUID).is_valid:
        return {"source_series": sr.SourceSeriesForSegmentation(str(series[0].SeriesInstanceUID))}
    images = [
        sr.SourceImageForSegmentation(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for member in series
        for item in member.ReferencedInstanceSequence
        if UID(item.ReferencedSOPInstanceUID).is_valid
    ]
    return {"source_images": images} if images else {}


def _segment_groups(
    result: StudyResult,
    source: tuple[str, str],
    drawn_on: Mapping[str, Any],
    moment: str,
    segmentation: Dataset,
) -> Iterator[Any]:
    """Values of each segment of a SEG (TID 1411), and what it was drawn on.

    The cavity has its volume in each phase, the myocardium its mass at end-diastole.
    """
    when = {"ed": ", end-diastole", "es": ", end-systole"}.get(moment, "")
    labels = {code_of(label).value: label for label in _OF_SEGMENT}
    for item in segmentation.SegmentSequence:
        (kind,) = item.SegmentedPropertyTypeCodeSequence
        label = labels.get(kind.CodeValue)
        measured = [] if label is None else _OF_SEGMENT[label](result, moment)
        if label is None or not measured:
            continue
        yield sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=sr.ReferencedSegment(
                sop_class_uid=str(segmentation.SOPClassUID),
                sop_instance_uid=str(segmentation.SOPInstanceUID),
                segment_number=int(item.SegmentNumber),
                **drawn_on,
            ),
            measurements=measured,
            method=_SUM_OF_DISCS,
            **_common(result, source, LABELS[label].name.capitalize() + when),
        )


def _mass(result: StudyResult, moment: str) -> list[Any]:
    """The mass at end-diastole, with its place in the cycle; nothing for another moment."""
    value, phase = result.measurements.mass_g, result.measurements.phases.end_diastole
    if value is None or phase is None or moment == "es":
        return []
    mass = sr.Measurement(codes.LN.LeftVentricleMass, value=round(float(value), 2), unit=_GRAM)
    mass[0].ContentSequence = _when(result, phase, codes.SCT.EndDiastole)
    return [mass]


def _volumes(result: StudyResult, moment: str) -> list[Any]:
    """The volume of the cavity in each phase, or in one, with its place in the cycle and time."""
    phases = result.measurements.phases
    moments = {
        phases.end_systole: ("es", codes.SCT.EndSystole),
        phases.end_diastole: ("ed", codes.SCT.EndDiastole),
    }
    measured = []
    curve = result.measurements.volume_ml or ()
    for phase, value in zip(result.mask.phases, curve, strict=False):
        short, point = moments.get(phase, ("", None))
        if moment and moment != short:
            continue
        volume = sr.Measurement(name=codes.SCT.Volume, value=round(float(value), 2), unit=_ML)
        volume[0].ContentSequence = _when(result, phase, point)
        measured.append(volume)
    return measured


#: Label of a segment -> what is measured of it.
_OF_SEGMENT: Mapping[Label, Callable[[StudyResult, str], list[Any]]] = {
    Label.LV_CAVITY: _volumes,
    Label.LV_MYOCARDIUM: _mass,
}


def _when(result: StudyResult, phase: int, point: Code | None) -> Any:
    """The place of a phase in the cycle, its number from 1 and its time."""
    context, times_ms = sr.ContentSequence(), result.cine.times_ms
    if point is not None:
        modifier = "HAS CONCEPT MOD"
        context.append(sr.CodeContentItem(_CYCLE_POINT, point, relationship_type=modifier))
    context.append(_acquired(codes.DCM.TimePointOrder, phase + 1, codes.UCUM.NoUnits))
    if times_ms is not None:
        when = round(float(times_ms[phase]), 1)
        after = codes.DCM.TimeRelativeToRWavePeak
        context.append(_acquired(after, when, codes.UCUM.Millisecond))
    return context


def _acquired(name: Code, value: float, unit: Code) -> Any:
    return sr.NumContentItem(name, value, unit, relationship_type="HAS ACQ CONTEXT")


def _evaluations(result: StudyResult) -> Any:
    """Verdict, purpose, issues and rules (TID 1500, Qualitative Evaluations)."""
    rules = {key: rule for key, rule in result.measurements.methods.items() if rule}
    rules.pop("base_end", None)  # it counts slices from 0
    author = result.authorship
    purpose = _RESEARCH if author is None else _READ if author.reader else _BROUGHT
    comments = [purpose, *map(_sentence, result.issues), *_intervals(result)]
    if rules:
        told = "; ".join(f"{key.replace('_', ' ')}: {rule}" for key, rule in rules.items())
        comments.append(f"Rules: {told}.")
    items = [
        sr.CodeContentItem(_VERDICT, _VERDICTS[result.verdict], relationship_type="CONTAINS"),
        *(
            sr.TextContentItem(codes.DCM.Comment, text, relationship_type="CONTAINS")
            for text in comments
        ),
    ]
    container = sr.ContainerContentItem(name=_EVALUATIONS, relationship_type="CONTAINS")
    container.ContentSequence = sr.ContentSequence(items)
    return container


def _intervals(result: StudyResult) -> Iterator[str]:
    """The intervals in words, because TID 310 has no place for their coverage."""
    card = result.card
    section = None if card is None or card.calibration is None else card.calibration.intervals
    told = [
        f"{name.meaning} {found[0]:.{digits}f} to {found[1]:.{digits}f} {unit.value}"
        for field, name, unit, digits in VALUES
        if (found := getattr(result.measurements, f"{field}_interval", None)) is not None
    ]
    if told and section is not None:
        yield (
            f"{100 * section.coverage:g} % intervals, from the errors on {section.studies} "
            f"studies: {'; '.join(told)}."
        )


def _sentence(issue: Issue) -> str:
    places = [
        f"{name} {index + 1}"
        for name, index in (("slice", issue.slice), ("phase", issue.phase))
        if index is not None
    ]
    where = f" ({', '.join(places)})" if places else ""
    return f"{issue.severity.capitalize()}: {issue.text}{where} [{issue.code}]"
