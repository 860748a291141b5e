"""Patient, study and place of a DICOM result, taken from the header of its source.

Real headers break the standard. What identifies (UIDs, patient ID, accession number) is kept as it
is, so that an archive can match the result with its study; everything else is repaired or left
out. Each such tag is one issue, which names the tag and never its value.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from lvseg.cine import Cine, InstanceRef
from lvseg.issues import Issue
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.write.dicom import attributes, number, numbers

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

__all__ = ["lasting_uid", "noticed", "repaired_header", "text_of"]

#: Patient and General Study: a result must have these, empty or not (PS3.3 C.7.1.1, C.7.2.1).
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
)
#: The same and Patient Study (C.7.2.2): copied where the source has them.
_OPTIONAL = (
    *("IssuerOfPatientID", "TypeOfPatientID", "PatientBirthTime", "OtherPatientNames"),
    *("PatientComments", "PatientIdentityRemoved", "DeidentificationMethod", "StudyDescription"),
    *("PatientAge", "PatientSize", "PatientWeight", "QualityControlSubject"),
)
_SEQUENCES = (
    *("OtherPatientIDsSequence", "IssuerOfPatientIDQualifiersSequence"),
    *("DeidentificationMethodCodeSequence", "IssuerOfAccessionNumberSequence"),
    *("ReferencedStudySequence", "ProcedureCodeSequence"),
)
#: Of the scanner, for the record of who contributed; taken only where whole.
_SCANNER = (
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber"),
    *("InstitutionName", "StationName"),
)
#: A shortened identifier may be that of somebody else: these are kept, however long.
_IDENTITY = frozenset({"PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID"})
_SEXES = ("M", "F", "O")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_TIME = r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"
_DECIMAL = r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?"
_LONGEST = {"LO": 64, "SH": 16, "PN": 194, "LT": 10240, "ST": 1024}


def lasting_uid(*parts: str) -> str:
    """Make a UID that is the same for the same parts, from a UUID (PS3.5 B.2)."""
    digest = hashlib.sha256("/".join(("lvseg", *parts)).encode()).digest()[:16]
    return f"2.25.{uuid.UUID(bytes=digest, version=5).int}"


def repaired_header(
    originals: Mapping[str, Dataset], cine: Cine
) -> tuple[Dataset, tuple[Issue, ...]]:
    """Build the header that highdicom's constructors take for a source image.

    It is the first image of the cine: patient, study, frame of reference, scanner, place and its
    own UIDs. Text is Unicode (ISO_IR 192). Missing UIDs are made from what is known, so that all
    results of a study share them.

    :param originals: SOP Instance UID -> header; an empty one gives a header without a patient.
    :returns: the header, and one issue for each tag that was repaired, left out or is invalid.
    """
    from pydicom.dataset import Dataset

    first = cine.source.instances[0][0] if cine.source.instances else InstanceRef("", "")
    source = originals.get(first.sop_instance_uid)
    if source is None:
        source = next(iter(originals.values()), Dataset())
    issues: list[Issue] = []
    suppress_pydicom_warnings()
    header = attributes(SpecificCharacterSet="ISO_IR 192", Modality="MR")
    header.SOPClassUID = first.sop_class_uid
    header.SOPInstanceUID = first.sop_instance_uid
    for keyword in (*_REQUIRED, *_OPTIONAL):
        _copy_text(source, header, keyword, issues)
    for keyword in _SEQUENCES:
        _copy_sequence(source, header, keyword, issues)
    _check_identity_removed(header, issues)
    _set_uids(source, header, cine, issues)
    _set_frame_of_reference(originals, header, cine, issues)
    for keyword in _SCANNER:
        value = _CONTROL.sub("", text_of(source, keyword))
        if value and len(value) <= 64 and "\\" not in value:
            setattr(header, keyword, value)
    header.update(_place(cine))
    _check_instances(cine, issues)
    return header, tuple(issues)


def _place(cine: Cine) -> Dataset:
    rows, columns = cine.shape[2:]
    place = attributes(Rows=rows, Columns=columns)
    if cine.planes is not None:
        plane = cine.planes[0]
        thickness = plane.thickness_mm
        place.ImagePositionPatient = numbers(*plane.origin_mm)
        place.ImageOrientationPatient = numbers(*plane.column_step, *plane.row_step)
        place.PixelSpacing = numbers(*plane.pixel_spacing_mm)
        place.SliceThickness = None if thickness is None else number(thickness)
    return place


def _tag(keyword: str) -> BaseTag:
    from pydicom.tag import Tag

    return Tag(keyword)


def noticed(keyword: str, text: str, *, kept: bool = False) -> Issue:
    """Say of a tag of the source what was wrong with it and what was done."""
    from pydicom.datadict import dictionary_description

    tag = _tag(keyword)
    name = f"{dictionary_description(tag)} ({tag.group:04x},{tag.element:04x})"
    code = "dicom-tag-kept" if kept else "dicom-tag-repaired"
    return Issue(code, "info", f"{name} of the source {text}")


def _value(source: Dataset, keyword: str) -> tuple[Any, bool]:
    """The value of an element, and whether it can be read at all."""
    try:
        return source[keyword].value, True
    except KeyError:
        return None, True
    except Exception:  # an element that breaks its own type can fail anywhere in the parser
        return None, False


def text_of(source: Dataset, keyword: str) -> str:
    """The value of an element as text, whatever its VR is; "" where there is none."""
    value, _ = _value(source, keyword)
    return _as_text(value)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    elif isinstance(value, Sequence) and not isinstance(value, str):  # a person name is neither
        value = "\\".join(_as_text(item) for item in value)
    return str(value).strip(" \0")


def _copy_text(source: Dataset, header: Dataset, keyword: str, issues: list[Issue]) -> None:
    from pydicom.datadict import dictionary_VR

    required = keyword in _REQUIRED
    _, readable = _value(source, keyword)
    if _tag(keyword) not in source:
        if required:
            setattr(header, keyword, "")
            issues.append(noticed(keyword, "is absent: written empty"))
        return
    found = text_of(source, keyword)
    repaired = _repaired(keyword, dictionary_VR(keyword), found)
    if repaired or required:
        setattr(header, keyword, repaired)
    if repaired and repaired == found and not _fits(keyword, repaired):
        issues.append(noticed(keyword, "is not valid: kept, to match its study", kept=True))
    elif repaired != found or not readable:
        how = "repaired" if repaired else "written empty" if required else "left out"
        issues.append(noticed(keyword, f"is not valid: {how}"))


def _fits(keyword: str, text: str) -> bool:
    from pydicom.datadict import dictionary_VR

    return "\\" not in text and len(text) <= _LONGEST.get(dictionary_VR(keyword), 10240)


def _repaired(keyword: str, vr: str, text: str) -> str:
    """The text as its VR wants it (PS3.5 6.2); "" where nothing can be saved."""
    if keyword == "PatientSex":
        return text.upper()[:1] if text.upper()[:1] in _SEXES else ""
    if vr == "DA":
        digits = text.replace(".", "").replace("-", "")
        return digits if _is_date(digits) else ""
    if vr == "TM":
        digits = text.replace(":", "")
        return digits if re.fullmatch(_TIME, digits) else ""
    if vr == "AS":
        return text if re.fullmatch(r"\d{3}[DWMY]", text) else ""
    if vr == "CS":
        return text.upper() if re.fullmatch(r"[A-Z0-9 _]{1,16}", text.upper()) else ""
    if vr == "DS":
        return text if re.fullmatch(_DECIMAL, text) and len(text) <= 16 else ""
    kept = _CONTROL.sub("\n" if vr in ("LT", "ST") else "", text).strip()
    if keyword in _IDENTITY:
        return kept
    return kept.replace("\\", " ")[: _LONGEST.get(vr, 64)].strip()


def _is_date(digits: str) -> bool:
    if not re.fullmatch(r"\d{8}", digits):
        return False
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return True


def _copy_sequence(source: Dataset, header: Dataset, keyword: str, issues: list[Issue]) -> None:
    """Copy a sequence whose every value is valid; leave any other out."""
    import copy

    value, readable = _value(source, keyword)
    if readable and not value:
        return
    try:
        whole = readable and all(_is_valid(item) for item in value)
        items = [copy.deepcopy(item) for item in value] if whole else []
    except Exception:  # a nested element that cannot be read
        items = []
    if items:
        setattr(header, keyword, items)
    else:
        issues.append(noticed(keyword, "is not valid: left out"))


def _check_identity_removed(header: Dataset, issues: list[Issue]) -> None:
    """Take "YES" away where the method is not said, which it must be (PS3.3 C.7.1.1)."""
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if header.get("PatientIdentityRemoved") == "YES" and not any(
        name in header for name in methods
    ):
        del header.PatientIdentityRemoved
        issues.append(noticed("PatientIdentityRemoved", "names no method: left out"))


def _is_valid(item: Dataset) -> bool:
    from pydicom import config
    from pydicom.valuerep import validate_value

    for element in item:
        if element.tag.is_private:
            return False
        if element.VR == "SQ":
            if not all(_is_valid(inner) for inner in element.value):
                return False
            continue
        values = element.value if element.VM > 1 else [element.value]
        try:
            for value in values:
                validate_value(element.VR, value, config.RAISE)
        except (ValueError, TypeError):
            return False
    return True


def _set_uids(source: Dataset, header: Dataset, cine: Cine, issues: list[Issue]) -> None:
    """Study and series; an invalid one as it is, a missing one made."""
    series = cine.source.series_uid or ""
    made = {
        "StudyInstanceUID": cine.source.study_uid or lasting_uid("study", series),
        "SeriesInstanceUID": series or lasting_uid("series", cine.source.study_uid or ""),
    }
    for keyword, otherwise in made.items():
        found = text_of(source, keyword)
        setattr(header, keyword, found or otherwise)
        if not found:
            issues.append(noticed(keyword, "is absent: made for the results of lvseg"))
        elif not _is_uid(found):
            issues.append(noticed(keyword, "is not valid: kept, to match its study", kept=True))


def _set_frame_of_reference(
    originals: Mapping[str, Dataset], header: Dataset, cine: Cine, issues: list[Issue]
) -> None:
    """One for the result: the most frequent of the images, of equals a valid one, or a made one."""
    keyword = "FrameOfReferenceUID"
    header.PositionReferenceIndicator = ""
    uids = [item.sop_instance_uid for phase in cine.source.instances or () for item in phase]
    every = [text_of(originals[uid], keyword) for uid in dict.fromkeys(uids) if uid in originals]
    counts = Counter(uid for uid in every if uid)
    if not counts:
        made = lasting_uid("frame of reference", header.StudyInstanceUID, header.SeriesInstanceUID)
        header.FrameOfReferenceUID = made
        issues.append(noticed(keyword, "is absent: made for the results of lvseg"))
        return
    best = max(counts, key=lambda uid: (counts[uid], _is_uid(uid)))
    header.FrameOfReferenceUID = best
    if len(counts) > 1:
        text = f"differs between the images ({len(counts)} values): one of them is used"
        issues.append(noticed(keyword, text))
    if not _is_uid(best):
        issues.append(noticed(keyword, "is not valid: kept, to match its study", kept=True))


def _is_uid(text: str) -> bool:
    from pydicom.uid import UID

    return bool(UID(text).is_valid)


def _check_instances(cine: Cine, issues: list[Issue]) -> None:
    instances = [item for phase in cine.source.instances or () for item in phase]
    uids = {item.sop_instance_uid for item in instances}
    broken = sum(1 for uid in uids if uid and not _is_uid(uid))
    if broken:
        text = f"is not valid in {broken} object(s): kept, to match the images"
        issues.append(noticed("SOPInstanceUID", text, kept=True))
    if "" in uids:
        issues.append(noticed("SOPInstanceUID", "is absent: such images are not referred to"))
