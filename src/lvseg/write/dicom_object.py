"""Building blocks of a DICOM object: attributes, decimal strings, codes, UIDs, the file itself."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from lvseg.atomic import atomic_write

#: Our implementation class: a UUID-derived UID (PS3.5 B.2), made once and never changed.
_IMPLEMENTATION = "2.25.262341094286414210731583962146853091862"


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


def generate_uid() -> str:
    """Make a new UID from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def deterministic_uid(*parts: object, namespace: str = "lvseg") -> str:
    """Make a UID that is the same for the same parts, from a UUID (PS3.5 B.2)."""
    text = "/".join([namespace, *map(str, parts)])
    digest = hashlib.sha256(text.encode()).digest()[:16]
    return f"2.25.{uuid.UUID(bytes=digest, version=5).int}"


def save(dataset: Dataset, path: Path, sop_class: str, sop_instance: str) -> Path:
    """Write one file with its meta information (PS3.10 section 7.1), explicit little endian."""
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_instance
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "LVSEG"
    dataset.file_meta = meta
    with atomic_write(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return path
