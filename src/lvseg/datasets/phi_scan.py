"""Scan for protected health information (PHI) in a data set folder; kinds and counts only."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lvseg.issues import Issue
from lvseg.manifest import Sample, image_path, mask_path

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KINDS = {
    b"tEXt": "text",
    b"zTXt": "text",
    b"iTXt": "text",
    b"eXIf": "EXIF",
    b"tIME": "time of change",
}
#: Keywords of PNG text that name a program, not a person (PNG specification, section 11.3.3).
_HARMLESS = (b"Software", b"Gamma")
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d{2}[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])[-_.](?:0[1-9]|1[0-2])[-_.](?:19|20)\d{2})(?!\d)"
)
_NAME = re.compile(r"\^|(?<![A-Za-z])[A-Z][a-z]{2,}[ ,_-]+[A-Z][a-z]{2,}(?![a-z])")
_COLUMN = re.compile(r"name|birth|\bdob\b|address|phone|e-?mail|mrn|accession", re.IGNORECASE)


def looks_like(text: str) -> tuple[str, ...]:
    """What a file name or identifier looks like: any of ``name`` and ``date``.

    >>> looks_like("Smith_Anna_20240131"), looks_like("SC-HF-I-01-IM-0001-0048")
    (('name', 'date'), ())
    """
    kinds = []
    if _NAME.search(text):
        kinds.append("name")
    if _DATE.search(text):
        kinds.append("date")
    return tuple(kinds)


def metadata_kinds(data: bytes) -> tuple[str, ...]:
    """Kinds of metadata in the bytes of an image file: text, EXIF, time of change; sorted.

    PNG is walked chunk by chunk (PNG specification, section 5.3); JPEG and TIFF are searched for
    their EXIF and comment marks. Anything else, or nothing found: empty.
    """
    kinds: set[str] = set()
    if data.startswith(_PNG):
        place = len(_PNG)
        while place + 8 <= len(data):
            length, kind = struct.unpack_from(">I4s", data, place)
            body = data[place + 8 : place + 8 + length]
            keyword = body.split(b"\0", 1)[0]
            if kind in _PNG_KINDS and not (_PNG_KINDS[kind] == "text" and keyword in _HARMLESS):
                kinds.add(_PNG_KINDS[kind])
            place += 12 + length
    elif data.startswith(b"\xff\xd8"):
        if b"Exif\0\0" in data[:65536]:
            kinds.add("EXIF")
        if b"\xff\xfe" in data[:4096]:
            kinds.add("text")
    return tuple(sorted(kinds))


def _in_files(dataset: Path, samples: Sequence[Sample]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for sample in samples:
        for path in (image_path(dataset, sample), mask_path(dataset, sample)):
            if path.is_file():
                kinds.update(metadata_kinds(path.read_bytes()))
    return kinds


def phi_issues(dataset: Path, samples: Sequence[Sample]) -> list[Issue]:
    """Metadata inside images (error), and names or columns that look personal (warning)."""
    issues = [
        Issue(
            "picture-metadata",
            "error",
            f"{count} file(s) carry {kind}: write the pictures anew with  lvseg prepare images",
        )
        for kind, count in sorted(_in_files(dataset, samples).items())
    ]
    sources = {
        "file-name": {sample.file for sample in samples},
        "patient-id": {sample.patient_id for sample in samples},
    }
    for place, texts in sources.items():
        counts = Counter(kind for text in texts for kind in looks_like(text))
        issues += [
            Issue(
                f"{place}-identifier",
                "warning",
                f"{count} {place.replace('-', ' ')}(s) look like a {kind}: replace by numbers",
            )
            for kind, count in sorted(counts.items())
        ]
    columns = [name for name, _ in samples[0].extra if _COLUMN.search(name)] if samples else []
    if columns:
        issues.append(
            Issue(
                "personal-column",
                "warning",
                f"{len(columns)} column(s) of the manifest are named like personal data: "
                "remove them",
            )
        )
    return issues
