"""Traces of people in a data set folder. Kinds and counts are reported, never what they say."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lvseg.cases import Case, image_path, mask_path
from lvseg.findings import Finding

__all__ = ["identifier_findings", "looks_like", "metadata_kinds"]

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
    """Kinds of metadata in the bytes of a picture file: text, EXIF, time of change; sorted.

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


def _in_files(dataset: Path, cases: Sequence[Case]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for case in cases:
        for path in (image_path(dataset, case), mask_path(dataset, case)):
            if path.is_file():
                kinds.update(metadata_kinds(path.read_bytes()))
    return kinds


def identifier_findings(dataset: Path, cases: Sequence[Case]) -> list[Finding]:
    """Metadata inside pictures (error), and names or columns that look personal (warning)."""
    findings = [
        Finding(
            "picture-metadata",
            "error",
            f"{count} file(s) carry {kind}: write the pictures anew with  lvseg prepare images",
        )
        for kind, count in sorted(_in_files(dataset, cases).items())
    ]
    sources = {
        "file-name": {case.file for case in cases},
        "patient-id": {case.patient_id for case in cases},
    }
    for place, texts in sources.items():
        counts = Counter(kind for text in texts for kind in looks_like(text))
        findings += [
            Finding(
                f"{place}-identifier",
                "warning",
                f"{count} {place.replace('-', ' ')}(s) look like a {kind}: replace by numbers",
            )
            for kind, count in sorted(counts.items())
        ]
    columns = [name for name, _ in cases[0].extra if _COLUMN.search(name)] if cases else []
    if columns:
        findings.append(
            Finding(
                "personal-column",
                "warning",
                f"{len(columns)} column(s) of the manifest are named like personal data: "
                "remove them",
            )
        )
    return findings
