"""Identifiers left in a data set folder: in pictures and their metadata, in names, tags and text.

Of protected health information kinds and counts are reported, never contents.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.bounds import USUAL, read_bytes
from lvseg.issues import Issue
from lvseg.manifest import Sample, image_path, mask_path
from lvseg.read import identifying_parts

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
#: Text is drawn in one grey, near the brightest; its rims are blurred.
_TEXT_SHARE = 0.7
#: A letter on a picture: its height in pixels, and its least area.
_LETTER_PX, _LETTER_AREA_PX = (5, 24), 8
#: So many letters beside one another are a word. Of 805 images of the Sunnybrook set none has one;
#: of 16 words of 6 to 13 letters, 8 to 16 pixels high, 15 are seen.
_WORD_LETTERS = 4


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

    PNG is walked chunk by chunk (PNG specification, section 5.3); JPEG is searched for its
    EXIF and comment marks. TIFF and anything else is not looked into: empty, as is nothing found.
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
                kinds.update(metadata_kinds(read_bytes(path, USUAL.file_bytes)))
    return kinds


def _tag_issues(dataset: Path) -> list[Issue]:
    """DICOM and NIfTI files anywhere in the folder that say whose they are."""
    kinds: Counter[str] = Counter()
    for path in sorted(each for each in dataset.rglob("*") if each.is_file()):
        kinds.update(set(identifying_parts(path)))
    return [
        Issue(
            "identifying-tag",
            "error",
            f"{count} DICOM or NIfTI file(s) in the folder hold {kind}: take them out, or remove "
            "it from them",
        )
        for kind, count in sorted(kinds.items())
    ]


def phi_issues(dataset: Path, samples: Sequence[Sample]) -> list[Issue]:
    """Metadata inside images and tags (error), names or columns that look personal (warning)."""
    issues = [
        Issue(
            "picture-metadata",
            "error",
            f"{count} file(s) carry {kind}: write the pictures anew with  lvseg prepare images",
        )
        for kind, count in sorted(_in_files(dataset, samples).items())
    ]
    issues += _tag_issues(dataset)
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


def burnt_in_text(image: NDArray[np.float32]) -> bool:
    """Whether a picture ``[Y, X]`` seems to hold text: bright pieces of the size of letters.

    They lie on one line and close together, which no anatomy does. A picture of one grey has none.
    """
    bright = image >= _TEXT_SHARE * image.max()
    if not bright.any() or bright.mean() > 0.2:
        return False
    pieces, _ = ndimage.label(bright, np.ones((3, 3)))
    low, high = _LETTER_PX
    letters = []
    for rows, columns in ndimage.find_objects(pieces):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if low <= height <= high and width <= high and height * width >= _LETTER_AREA_PX:
            letters.append(((rows.start + rows.stop) / 2, columns.start, columns.stop, height))
    for middle, _, _, height in letters:
        line = sorted(
            (left, right)
            for other, left, right, own in letters
            if abs(other - middle) <= 0.35 * height and height / 2 <= own <= 2 * height
        )
        run = 1
        for before, after in pairwise(line):
            run = run + 1 if 0 <= after[0] - before[1] <= height else 1
            if run >= _WORD_LETTERS:
                return True
    return False
