"""The measurements as DICOM Structured Report, for the archive that holds the source.

A Measurement Report (PS3.16 TID 1500) in an Enhanced SR (PS3.3 A.35.2), the simplest class that
holds it. Codes are those of the ventricular analysis of CT and MR (TID 3920 with CID 3833 and
3835); what no standard names is coded in our own scheme. A value that is unknown is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvseg.cine import InstanceRef
from lvseg.issues import Issue
from lvseg.labels import CodedConcept
from lvseg.results import StudyResult
from lvseg.version import __version__
from lvseg.write.dicom import attributes, save
from lvseg.write.dicom_context import (
    equipment,
    fresh_uid,
    lasting_uid,
    referenced_series,
    repaired_header,
    sop_reference,
)
from lvseg.write.report_codes import (
    AFTER_R_WAVE,
    CARDIAC_MRI,
    COMMENT,
    CYCLE_POINT,
    END_DIASTOLE,
    END_SYSTOLE,
    ENGLISH,
    EVALUATIONS,
    INCLUDED,
    LEFT_VENTRICLE,
    MEASURED,
    ML,
    MS,
    ONE,
    ORDER,
    OURS,
    PAPILLARY,
    RESEARCH,
    SUM_OF_DISCS,
    VALUES,
    VERDICT,
    VERDICTS,
    VOLUME,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["write_structured_report"]

_ENHANCED_SR, _MR_IMAGE = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.4"
_SERIES_NUMBER = 9004


def write_structured_report(
    result: StudyResult,
    path: Path,
    originals: Mapping[str, Dataset],
    segmentations: Sequence[Path] = (),
) -> tuple[Issue, ...]:
    """Write the measurements, the verdict and the issues of a DICOM study as DICOM SR.

    A result without any volume is written too: its verdict says why. Phases and slices are counted
    from 1, as DICOM does.

    :param originals: headers of the source (:func:`lvseg.read.read_source_headers`).
    :param segmentations: DICOM SEG files of the same result, to be referred to; a name that ends
        in ``_ed`` or ``_es`` holds that phase alone.
    :returns: tags of the source that were repaired; without a DICOM source ``no-dicom-source``, and
        nothing is written.
    :raises UsageError: the folder cannot be written.
    """
    if result.cine.source.instances is None or not originals:
        text = "DICOM SR was not written: it needs the DICOM images that were measured"
        return (Issue("no-dicom-source", "info", text),)
    header, issues = repaired_header(originals, result.cine)
    parts = [_identity(file) for file in segmentations]
    dataset = _report(result, header, originals, parts)
    save(dataset, path, _ENHANCED_SR, dataset.SOPInstanceUID)
    return issues


def _identity(file: Path) -> tuple[str, Dataset]:
    """(moment, identity) of a DICOM SEG; the moment is "ed", "es" or "" for all phases."""
    from pydicom import dcmread

    uids = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
    dataset = dcmread(file, stop_before_pixels=True, specific_tags=[*uids])
    moment = file.stem[-2:] if file.stem.endswith(("_ed", "_es")) else ""
    return moment, dataset


def _report(
    result: StudyResult,
    header: Dataset,
    originals: Mapping[str, Dataset],
    parts: Sequence[tuple[str, Dataset]],
) -> Dataset:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import EnhancedSR
    from pydicom.dataset import Dataset

    first = Dataset()
    first.update(header)
    first.SOPClassUID = _MR_IMAGE  # a class whose patient and study modules highdicom knows
    scheme = CodingSchemeIdentificationItem(
        designator=OURS, name="lvseg", responsible_organization="lvseg"
    )
    source = (str(header.StudyInstanceUID), str(header.SeriesInstanceUID))
    content = _content(result, source)
    report: Dataset = EnhancedSR(
        evidence=[first],
        content=content[0],
        series_instance_uid=fresh_uid(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=fresh_uid(),
        instance_number=1,
        is_complete=True,
        series_description="Left ventricle measurements (lvseg)",
        coding_schemes=[scheme],
        **equipment(result.card),
    )
    series = referenced_series(_instances(result), originals, result.cine)
    # highdicom copies and searches what it is given: the long part is added to what it has made
    measurements = next(item for item in content[0].ContentSequence if item.name == _code(MEASURED))
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
    return report


def _instances(result: StudyResult) -> Iterator[InstanceRef]:
    for phase in result.cine.source.instances or ():
        yield from phase


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
    from highdicom import sr

    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(result)),
        procedure_reported=_code(CARDIAC_MRI),
        imaging_measurements=[_function_group(result, source)],
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            _code(ENGLISH)
        ),
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
    from highdicom import sr

    drawn_on = _drawn_on(series)
    parts = parts if drawn_on else ()
    for moment, segment in parts:
        yield _segment_group(result, source, drawn_on, moment, segment)
    if result.measurements.volume_ml is not None and all(moment for moment, _ in parts):
        yield sr.MeasurementsAndQualitativeEvaluations(
            measurements=_volumes(result, ""),
            method=_code(SUM_OF_DISCS),
            **_common(result, source, "Left ventricle, volume by phase"),
        )


def _code(concept: CodedConcept) -> Any:
    from pydicom.sr.coding import Code

    return Code(concept.value, concept.scheme, concept.meaning)


def _observer(result: StudyResult) -> Any:
    """What observed: the program with its model (TID 1004)."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    made_by = equipment(result.card)
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=lasting_uid("device", *made_by["software_versions"]),
            name="lvseg",
            manufacturer_name=made_by["manufacturer"],
            model_name=made_by["manufacturer_model_name"],
            serial_number=made_by["device_serial_number"],
        ),
    )


def _common(result: StudyResult, source: tuple[str, str], name: str) -> dict[str, Any]:
    """What every measurement group states: what is tracked, where, and by which algorithm.

    The tracking UID is the same for the same series, so that two runs can be compared.
    """
    from highdicom import sr

    card = result.card
    parameters = [f"lvseg {__version__}"]
    if card is not None:
        parameters += [f"SHA-256 {card.sha256}", f"threshold {card.output.threshold:g}"]
    return {
        "tracking_identifier": sr.TrackingIdentifier(
            uid=lasting_uid("tracking", *source, name), identifier=name
        ),
        "finding_type": _code(LEFT_VENTRICLE),
        "finding_sites": [sr.FindingSite(_code(LEFT_VENTRICLE))],
        "algorithm_id": sr.AlgorithmIdentification(
            name=card.name if card else "lvseg",
            version=card.version if card else __version__,
            parameters=parameters,
        ),
    }


def _function_group(result: StudyResult, source: tuple[str, str]) -> Any:
    """Volumes at end-diastole and end-systole and what follows from them (TID 1501)."""
    from highdicom import sr

    measured = []
    for field, name, unit, digits in VALUES:
        value = getattr(result.measurements, field)
        if value is not None:
            method = _code(SUM_OF_DISCS) if field in ("edv_ml", "esv_ml") else None
            measured.append(
                sr.Measurement(
                    name=_code(name),
                    value=round(float(value), digits),
                    unit=_code(unit),
                    method=method,
                )
            )
    papillary = sr.QualitativeEvaluation(name=_code(PAPILLARY), value=_code(INCLUDED))
    return sr.MeasurementsAndQualitativeEvaluations(
        measurements=measured,
        qualitative_evaluations=[papillary],
        **_common(result, source, "Left ventricle"),
    )


def _drawn_on(series: Sequence[Dataset]) -> dict[str, Any]:
    """What a SEG was drawn on: its series, or every image of a stack joined from several.

    DCMTK refuses the whole report for one invalid UID in its content, so a series with one is told
    by those of its images that have a valid one; empty where there are none.
    """
    from highdicom import sr
    from pydicom.uid import UID

    if len(series) == 1 and UID(series[0].SeriesInstanceUID).is_valid:
        return {"source_series": sr.SourceSeriesForSegmentation(str(series[0].SeriesInstanceUID))}
    images = [
        sr.SourceImageForSegmentation(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for member in series
        for item in member.ReferencedInstanceSequence
        if UID(item.ReferencedSOPInstanceUID).is_valid
    ]
    return {"source_images": images} if images else {}


def _segment_group(
    result: StudyResult,
    source: tuple[str, str],
    drawn_on: Mapping[str, Any],
    moment: str,
    segment: Dataset,
) -> Any:
    """The volumes of one SEG (TID 1411), and what it was drawn on."""
    from highdicom import sr

    names = {"ed": ", end-diastole", "es": ", end-systole"}
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=str(segment.SOPClassUID),
            sop_instance_uid=str(segment.SOPInstanceUID),
            segment_number=1,
            **drawn_on,
        ),
        measurements=_volumes(result, moment),
        method=_code(SUM_OF_DISCS),
        **_common(result, source, f"Left ventricle cavity{names.get(moment, '')}"),
    )


def _volumes(result: StudyResult, moment: str) -> list[Any]:
    """The volume of each phase, or of one: its place in the cycle, its number, its time."""
    from highdicom import sr

    phases, times_ms = result.measurements.phases, result.cine.times_ms
    moments = {phases.end_systole: ("es", END_SYSTOLE), phases.end_diastole: ("ed", END_DIASTOLE)}
    measured = []
    for phase, value in zip(result.mask.phases, result.measurements.volume_ml or (), strict=False):
        short, point = moments.get(phase, ("", None))
        if moment and moment != short:
            continue
        volume = sr.Measurement(name=_code(VOLUME), value=round(float(value), 2), unit=_code(ML))
        context = sr.ContentSequence()
        if point is not None:
            context.append(
                sr.CodeContentItem(
                    name=_code(CYCLE_POINT),
                    value=_code(point),
                    relationship_type="HAS CONCEPT MOD",
                )
            )
        context.append(_number(ORDER, phase + 1, ONE, "HAS ACQ CONTEXT"))
        if times_ms is not None:
            when = round(float(times_ms[phase]), 1)
            context.append(_number(AFTER_R_WAVE, when, MS, "HAS ACQ CONTEXT"))
        volume[0].ContentSequence = context
        measured.append(volume)
    return measured


def _number(name: CodedConcept, value: float, unit: CodedConcept, relationship: str) -> Any:
    from highdicom import sr

    return sr.NumContentItem(
        name=_code(name), value=value, unit=_code(unit), relationship_type=relationship
    )


def _evaluations(result: StudyResult) -> Any:
    """Verdict, purpose, issues and rules (TID 1500, Qualitative Evaluations)."""
    from highdicom import sr

    rules = {key: rule for key, rule in result.measurements.conventions.items() if rule}
    rules.pop("base_end", None)  # it counts slices from 0
    comments = [RESEARCH, *map(_sentence, result.issues)]
    if rules:
        told = "; ".join(f"{key.replace('_', ' ')}: {rule}" for key, rule in rules.items())
        comments.append(f"Rules: {told}.")
    container = sr.ContainerContentItem(name=_code(EVALUATIONS), relationship_type="CONTAINS")
    container.ContentSequence = sr.ContentSequence(
        [
            sr.CodeContentItem(
                name=_code(VERDICT),
                value=_code(VERDICTS[result.verdict]),
                relationship_type="CONTAINS",
            ),
            *(
                sr.TextContentItem(name=_code(COMMENT), value=text, relationship_type="CONTAINS")
                for text in comments
            ),
        ]
    )
    return container


def _sentence(issue: Issue) -> str:
    places = [
        f"{name} {index + 1}"
        for name, index in (("slice", issue.slice), ("phase", issue.phase))
        if index is not None
    ]
    where = f" ({', '.join(places)})" if places else ""
    return f"{issue.severity.capitalize()}: {issue.text}{where} [{issue.code}]"
