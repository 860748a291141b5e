"""Parts of every DICOM result: attributes, UIDs, the file, equipment, references, the header.

Real headers break the standard. What identifies (UIDs, patient ID, accession number) is kept as it
is, so that an archive can match the result with its study; everything else is repaired or left
out. Each such tag is one issue, which names the tag and never its value.
"""

from __future__ import annotations

import copy
import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_description, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat, validate_value

from lvseg.atomic import atomic_write
from lvseg.cine import Cine, InstanceRef
from lvseg.issues import Issue
from lvseg.labels import LABELS, Label
from lvseg.modelcard import ModelCard
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.results import ObjectRef
from lvseg.version import __version__

#: Our implementation class: a UUID-derived UID (PS3.5 B.2), made once and never changed.
_IMPLEMENTATION = "2.25.262341094286414210731583962146853091862"
#: Patient and General Study: a result must have these, empty or not (PS3.3 C.7.1.1, C.7.2.1).
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
)
#: Kept where the source has them: they say that its patient's identity was removed before.
#: Comments, other names and numbers of the patient, scanner and institution are not copied.
_OPTIONAL = ("PatientIdentityRemoved", "DeidentificationMethod")
_SEQUENCES = ("DeidentificationMethodCodeSequence",)
#: A shortened identifier may be that of somebody else: these are kept, however long.
_IDENTITY = frozenset({"PatientID", "AccessionNumber", "StudyID"})
_SEXES = ("M", "F", "O")
#: What may not stand in one line of text (PS3.5 6.2).
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_TIME = r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"
_LONGEST = {"LO": 64, "SH": 16, "PN": 194}


def attributes(**values: Any) -> Dataset:
    """Build a dataset from keywords; a None value leaves the attribute out, "" leaves it empty."""
    dataset = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def decimal_string(value: float | None) -> Any:
    """Format a decimal string of at most 16 characters (PS3.5 6.2, VR DS); None stays None."""
    return None if value is None else DSfloat(float(value) + 0.0, auto_format=True)


def decimal_strings(*values: float) -> list[Any]:
    """Several decimal strings."""
    return [decimal_string(value) for value in values]


def coded_entry(code: Code) -> Dataset:
    """An item of a code sequence (PS3.3 table 8.8-1)."""
    return attributes(
        CodeValue=code.value,
        CodingSchemeDesignator=code.scheme_designator,
        CodeMeaning=code.meaning,
    )


def deterministic_uid(*parts: object, namespace: str = "lvseg") -> str:
    """Make a UID that is the same for the same parts, from a UUID (PS3.5 B.2)."""
    text = "/".join([namespace, *map(str, parts)])
    digest = hashlib.sha256(text.encode()).digest()[:16]
    return f"2.25.{uuid.UUID(bytes=digest, version=5).int}"


#: What objects have for UIDs of their own until :func:`save_result` gives them theirs.
PENDING_UID = deterministic_uid("pending")
#: Content Date where the source has no study date (it is of type 1): visibly none.
_UNDATED = "19000101"


def save(dataset: Dataset, path: Path, sop_class: str, sop_instance: str) -> Path:
    """Write one file with its meta information (PS3.10 section 7.1), explicit little endian."""
    _identify(dataset, sop_class, sop_instance)
    with atomic_write(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return path


def save_result(dataset: Dataset, path: Path, sop_class: str, read_at: str = "") -> Path:
    """Write one object of ours (:func:`save`) so that the same content gives the same bytes.

    Its dates are those of the study, when it was made is not told (Instance Creation Date is of
    type 3, PS3.3 C.12.1), and the UIDs of the object and of its series are made from the SHA-256
    of all else in it.

    :param read_at: when a person read or edited what is in it (YYYYMMDDHHMMSS): an act with a date
        of its own. "" = nobody did.
    """
    _date(dataset, read_at)
    dataset.SeriesInstanceUID = PENDING_UID
    _identify(dataset, sop_class, PENDING_UID)
    encoded = BytesIO()
    dataset.save_as(encoded, enforce_file_format=True)
    digest = hashlib.sha256(encoded.getbuffer()).hexdigest()
    dataset.SeriesInstanceUID = deterministic_uid("series of", digest)
    return save(dataset, path, sop_class, deterministic_uid("object", digest))


def _identify(dataset: Dataset, sop_class: str, sop_instance: str) -> None:
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_instance
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "LVSEG"
    dataset.file_meta = meta


def _date(dataset: Dataset, read_at: str) -> None:
    """Give the content the date and time of its reading, else of the study; those of now go."""
    day, time = (_text_of(dataset, name) for name in ("StudyDate", "StudyTime"))
    if read_at:
        day, time = read_at[:8], read_at[8:]
    dataset.ContentDate = day if re.fullmatch(r"\d{8}", day) else _UNDATED
    dataset.ContentTime = time if re.fullmatch(r"\d{6}(\.\d{1,6})?", time) else "000000"
    for name in ("InstanceCreationDate", "InstanceCreationTime"):
        if name in dataset:
            delattr(dataset, name)
    for equipment in dataset.get("ContributingEquipmentSequence") or ():
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    for observer in dataset.get("VerifyingObserverSequence") or ():
        observer.VerificationDateTime = dataset.ContentDate + dataset.ContentTime


def code_of(label: Label) -> Code:
    """The code of a label, as pydicom has codes."""
    code = LABELS[label].code
    if code is None:
        raise ValueError(f"expected a label with a code, found {label.name}")
    return Code(code.value, code.scheme, code.meaning)


def equipment(card: ModelCard | None) -> dict[str, Any]:
    """Name what made the result, as highdicom's constructors take it (PS3.3 C.7.5.2).

    The serial number is the start of the weights' SHA-256; "none" where no model was used.
    """
    versions: tuple[str, ...] = (f"lvseg {__version__}",)
    if card is not None:
        versions += (clipped(f"{card.name} {card.version}"),)
    return {
        "manufacturer": "lvseg",
        "manufacturer_model_name": clipped(card.name) if card else "lvseg",
        "software_versions": versions,
        "device_serial_number": card.sha256[:16] if card else "none",
    }


def clipped(text: str) -> str:
    """One line of at most 64 characters, as VR LO takes it (PS3.5 6.2)."""
    return _CONTROL.sub(" ", text).replace("\\", "/").strip()[:64]


def person_name(text: str) -> str:
    """A name as VR PN takes it (PS3.5 6.2.1): one group of at most 64 characters.

    A name without ``^`` is a family name, and the delimiter behind it says so.
    """
    kept = "^".join(_CONTROL.sub(" ", text).replace("\\", " ").replace("=", " ").split("^")[:5])
    kept = kept.strip()[:63]
    return kept if "^" in kept or not kept else f"{kept}^"


def series_of(objects: Iterable[ObjectRef]) -> dict[str, list[Dataset]]:
    """Series Instance UID -> a reference to each of the objects in it (PS3.3 table 10-11)."""
    found: dict[str, list[Dataset]] = {}
    for each in objects:
        reference = sop_reference(InstanceRef(each.sop_class_uid, each.sop_instance_uid))
        found.setdefault(each.series_uid, []).append(reference)
    return found


def sop_reference(instance: InstanceRef, *, frame: bool = False) -> Dataset:
    """Refer to a source object (PS3.3 table 10-11), verbatim; ``frame`` adds the frame number."""
    return attributes(
        ReferencedSOPClassUID=instance.sop_class_uid,
        ReferencedSOPInstanceUID=instance.sop_instance_uid,
        ReferencedFrameNumber=instance.frame if frame else None,
    )


def referenced_series(
    instances: Iterable[InstanceRef], source_headers: Mapping[str, Dataset], cine: Cine
) -> list[Dataset]:
    """Items of the Referenced Series Sequence (PS3.3 C.12.2), each object once, in order."""
    by_series: dict[str, dict[str, InstanceRef]] = {}
    study = cine.source.study_uid or ""
    for instance in instances:
        if not instance.sop_instance_uid:
            continue
        header = source_headers.get(instance.sop_instance_uid)
        series = "" if header is None else _text_of(header, "SeriesInstanceUID")
        series = series or cine.source.series_uid or deterministic_uid("series", study)
        by_series.setdefault(series, {}).setdefault(instance.sop_instance_uid, instance)
    return [
        attributes(
            SeriesInstanceUID=series,
            ReferencedInstanceSequence=[sop_reference(item) for item in members.values()],
        )
        for series, members in by_series.items()
    ]


#: What stays of a header under a code: without UIDs a result lies on no image, and an archive of
#: coded images has the same ones (PS3.15 annex E, Retain UIDs option). The number counts images.
_KEPT_UNDER_CODE = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "InstanceNumber"),
)
_METHOD = "lvseg: names, numbers and dates removed, UIDs kept"


def under_code(source_headers: Mapping[str, Dataset], code: str) -> dict[str, Dataset]:
    """Headers that name nobody: the code in place of the patient, and what an image needs.

    :param code: patient name and ID; all else that patient and study must have is empty.
    """
    return {uid: _under_code(header, code) for uid, header in source_headers.items()}


def _under_code(header: Dataset, code: str) -> Dataset:
    own = {name: header[name].value for name in _KEPT_UNDER_CODE if name in header}
    empty = dict.fromkeys(_REQUIRED, "")
    who = {"PatientName": code, "PatientID": code, "PatientIdentityRemoved": "YES"}
    return attributes(**own, **(empty | who), DeidentificationMethod=_METHOD)


# Patient, study and place of a result, taken from the header of its source


def repaired_header(
    source_headers: Mapping[str, Dataset], cine: Cine
) -> tuple[Dataset, tuple[Issue, ...]]:
    """Build the header that highdicom's constructors take for a source image.

    It is the first image of the cine: what patient and study must have, frame of reference, place
    and its own UIDs. Text is Unicode (ISO_IR 192). Missing UIDs are made from what is known, so
    that all results of a study share them.

    :param source_headers: SOP Instance UID -> header; where it is empty, there is no patient.
    :returns: the header, and one issue for each tag that was repaired, left out or is invalid.
    """
    first = cine.source.instances[0][0] if cine.source.instances else InstanceRef("", "")
    source = source_headers.get(first.sop_instance_uid)
    if source is None:
        source = next(iter(source_headers.values()), Dataset())
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
    _set_frame_of_reference(source_headers, header, cine, issues)
    header.update(_place(cine))
    _check_instances(cine, issues)
    return header, tuple(issues)


def _place(cine: Cine) -> Dataset:
    rows, columns = cine.shape[2:]
    place = attributes(Rows=rows, Columns=columns)
    if cine.planes is not None:
        plane = cine.planes[0]
        place.ImagePositionPatient = decimal_strings(*plane.origin_mm)
        place.ImageOrientationPatient = decimal_strings(*plane.column_step, *plane.row_step)
        place.PixelSpacing = decimal_strings(*plane.pixel_spacing_mm)
        place.SliceThickness = decimal_string(plane.thickness_mm)
    return place


def tag_issue(keyword: str, text: str, *, kept: bool = False) -> Issue:
    """Say of a tag of the source what was wrong with it and what was done."""
    tag = Tag(keyword)
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


def _text_of(source: Dataset, keyword: str) -> str:
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
    required = keyword in _REQUIRED
    _, readable = _value(source, keyword)
    if keyword not in source:
        if required:
            setattr(header, keyword, "")
            issues.append(tag_issue(keyword, "is absent: written empty"))
        return
    found = _text_of(source, keyword)
    repaired = _repaired(keyword, dictionary_VR(keyword), found)
    if repaired or required:
        setattr(header, keyword, repaired)
    if repaired and repaired == found and not _fits(keyword, repaired):
        issues.append(tag_issue(keyword, "is not valid: kept, to match its study", kept=True))
    elif repaired != found or not readable:
        how = "repaired" if repaired else "written empty" if required else "left out"
        issues.append(tag_issue(keyword, f"is not valid: {how}"))


def _fits(keyword: str, text: str) -> bool:
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
    if vr == "CS":
        return text.upper() if re.fullmatch(r"[A-Z0-9 _]{1,16}", text.upper()) else ""
    kept = _CONTROL.sub("", text).strip()
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
        issues.append(tag_issue(keyword, "is not valid: left out"))


def _check_identity_removed(header: Dataset, issues: list[Issue]) -> None:
    """Take "YES" away where the method is not said, which it must be (PS3.3 C.7.1.1)."""
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if header.get("PatientIdentityRemoved") == "YES" and not any(
        name in header for name in methods
    ):
        del header.PatientIdentityRemoved
        issues.append(tag_issue("PatientIdentityRemoved", "names no method: left out"))


def _is_valid(item: Dataset) -> bool:
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
        "StudyInstanceUID": cine.source.study_uid or deterministic_uid("study", series),
        "SeriesInstanceUID": series or deterministic_uid("series", cine.source.study_uid or ""),
    }
    for keyword, otherwise in made.items():
        found = _text_of(source, keyword)
        setattr(header, keyword, found or otherwise)
        if not found:
            issues.append(tag_issue(keyword, "is absent: made for the results of lvseg"))
        elif not _is_uid(found):
            issues.append(tag_issue(keyword, "is not valid: kept, to match its study", kept=True))


def _set_frame_of_reference(
    source_headers: Mapping[str, Dataset], header: Dataset, cine: Cine, issues: list[Issue]
) -> None:
    """One for the result: the most frequent of the images, of equals a valid one, or a made one."""
    keyword = "FrameOfReferenceUID"
    header.PositionReferenceIndicator = ""
    uids = [item.sop_instance_uid for phase in cine.source.instances or () for item in phase]
    every = [
        _text_of(source_headers[uid], keyword)
        for uid in dict.fromkeys(uids)
        if uid in source_headers
    ]
    counts = Counter(uid for uid in every if uid)
    if not counts:
        made = deterministic_uid(
            "frame of reference", header.StudyInstanceUID, header.SeriesInstanceUID
        )
        header.FrameOfReferenceUID = made
        issues.append(tag_issue(keyword, "is absent: made for the results of lvseg"))
        return
    best = max(counts, key=lambda uid: (counts[uid], _is_uid(uid)))
    header.FrameOfReferenceUID = best
    if len(counts) > 1:
        text = f"differs between the images ({len(counts)} values): one of them is used"
        issues.append(tag_issue(keyword, text))
    if not _is_uid(best):
        issues.append(tag_issue(keyword, "is not valid: kept, to match its study", kept=True))


def _is_uid(text: str) -> bool:
    return bool(UID(text).is_valid)


def _check_instances(cine: Cine, issues: list[Issue]) -> None:
    instances = [item for phase in cine.source.instances or () for item in phase]
    uids = {item.sop_instance_uid for item in instances}
    broken = sum(1 for uid in uids if uid and not _is_uid(uid))
    if broken:
        text = f"is not valid in {broken} object(s): kept, to match the images"
        issues.append(tag_issue("SOPInstanceUID", text, kept=True))
    if "" in uids:
        issues.append(tag_issue("SOPInstanceUID", "is absent: such images are not referred to"))
