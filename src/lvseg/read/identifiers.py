"""Identifiers of a patient in a header, and how they are struck out of what is shown and written.

Descriptions of series, folders and files often carry a name. The words of a header that identify
are looked for in them and are kept nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvseg.bounds import USUAL
from lvseg.read.sources import HEAD_BYTES, Files, blob_of, sniff

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Elements whose every word identifies, and those whose whole value does.
NAMES = ("PatientName",)
NUMBERS = ("PatientID", "AccessionNumber", "PatientBirthDate", "InstitutionName")
#: What stands in place of an identifier.
STRUCK = "***"
#: Where a name was removed, its element says so, or names the kind of data.
_NO_NAMES = frozenset(
    """
    anon anonym anonymous anonymized anonymised cine data demo dicom heart mr mri name no none
    noname patient phantom removed sa sax study subject test unknown volunteer
    """.split()  # noqa: SIM905 - a table
)
#: Shorter identifiers are struck as whole words only: "Li" is a part of "slice".
_LONG = 4
_LETTERS = r"[^\W_]"


@lru_cache(maxsize=256)
def identifiers(name: str, numbers: tuple[str, ...]) -> tuple[str, ...]:
    """The words that identify a patient: those of the name, and whole numbers and dates.

    :param name: as DICOM has it (PS3.5 6.2.1); :param numbers: values of :data:`NUMBERS`.

    >>> identifiers("Doe^Jane^^Dr", ("P-17", "", "19500131"))
    ('19500131', 'Jane', 'P-17', 'Doe', 'Dr')
    """
    words = [word for word in re.split(r"[\W_]+", name) if len(word) > 1]
    whole = [number.strip() for number in numbers if len(number.strip()) > 1]
    kept = {word for word in (*words, *whole) if word.casefold() not in _NO_NAMES}
    return tuple(sorted(kept, key=lambda word: (-len(word), word)))


@lru_cache(maxsize=256)
def without(text: str, words: tuple[str, ...]) -> str:
    """A text whose identifiers are struck out, in any case of letters.

    >>> without("DOE_cine_p-17", identifiers("Doe^Jane", ("P-17",)))
    '***_cine_***'
    """
    return _pattern(words).sub(STRUCK, text) if words and text else text


def names_patient(text: str, name: str) -> bool:
    """Whether a text holds a word of a patient's name.

    A name with a digit is a code that a study gave, and may name folders.

    >>> names_patient("doe_jane_2024", "Doe^Jane"), names_patient("SCD0000101", "SCD0000101")
    (True, False)
    """
    if not name or any(letter.isdigit() for letter in name):
        return False
    words = identifiers(name, ())
    return bool(words) and _pattern(words).search(text) is not None


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    parts = [
        re.escape(word) if len(word) >= _LONG else f"(?<!{_LETTERS}){re.escape(word)}(?!{_LETTERS})"
        for word in words
    ]
    return re.compile("|".join(parts), re.IGNORECASE)


#: Elements that say whose an image is (PS3.15 table E.1-1, those that hold names, numbers, dates of
#: birth, addresses and free text about a person or an institution).
IDENTIFYING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientBirthTime", "OtherPatientIDs"),
    *("OtherPatientIDsSequence", "OtherPatientNames", "PatientBirthName", "PatientAddress"),
    *("PatientMotherBirthName", "PatientTelephoneNumbers", "PatientComments", "MilitaryRank"),
    *("MedicalRecordLocator", "ResponsiblePerson", "AdditionalPatientHistory", "AccessionNumber"),
    *("StudyID", "ReferringPhysicianName", "PerformingPhysicianName", "RequestingPhysician"),
    *("OperatorsName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "InstitutionName"),
    *("InstitutionAddress", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber"),
    *("ImageComments", "IssuerOfPatientID", "PersonName", "ContentCreatorName"),
)
_NIFTI_HEADER_BYTES = 540
_NIFTI_TEXTS = ("descrip", "aux_file", "intent_name", "db_name")


def identifying_parts(path: Path) -> tuple[str, ...]:
    """What of a DICOM or NIfTI file says whose it is: names of tags and fields, never contents.

    Private tags are named as such, and a burnt-in annotation that the header states (PS3.3
    C.7.6.1.1.1). Nothing for a file of another kind, or one that cannot be read.
    """
    blob, found = blob_of(path), dict[str, None]()
    with suppress(Exception), Files() as files:  # a broken file can fail anywhere in the parser
        kind = sniff(files.head(blob, HEAD_BYTES), blob.name)
        if kind == "dicom":
            from lvseg.read.parsing import parsed

            with files.open(blob) as stream:
                for part in _in_dicom(parsed(stream, USUAL), 0):
                    found[part] = None
        elif kind == "nifti":
            found |= dict.fromkeys(_in_nifti(files.head(blob, _NIFTI_HEADER_BYTES)))
    return tuple(found)


def _in_dicom(dataset: Dataset, depth: int) -> Iterator[str]:
    for keyword in IDENTIFYING:
        if dataset.get(keyword):
            yield f"the tag {keyword}"
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        yield "burnt-in text, as the header says"
    for element in dataset:
        if element.tag.is_private:
            yield "private tags"
        elif element.VR == "SQ" and depth < USUAL.sequence_depth:
            for item in element.value:
                yield from _in_dicom(item, depth + 1)


def _in_nifti(head: bytes) -> tuple[str, ...]:
    from nibabel import Nifti1Header, Nifti2Header

    kind: Any = Nifti2Header if Nifti2Header.may_contain_header(head) else Nifti1Header
    header = kind(head[: kind.template_dtype.itemsize], check=False)
    names: Iterable[str] = (name for name in _NIFTI_TEXTS if name in header.keys())  # noqa: SIM118
    return tuple(f"the field {name}" for name in names if bytes(header[name].item()).strip(b"\0 "))
