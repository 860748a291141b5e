"""DICOM encoding of small data sets, written without pydicom's writer: fast, and a second opinion.

PS3.5 sections 7.1 (elements), A.4 (encapsulated pixels) and A.5 (deflated); PS3.10 section 7.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from gdcm_maker import recompressed
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR, tag_for_keyword

#: Name of an encoding -> its transfer syntax.
SYNTAXES = {
    "explicit little endian": "1.2.840.10008.1.2.1",
    "implicit little endian": "1.2.840.10008.1.2",
    "explicit big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless": "1.2.840.10008.1.2.4.57",
    "JPEG lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
    "without preamble": "1.2.840.10008.1.2",
    "stated wrongly": "1.2.840.10008.1.2.1",
}
#: Compressed without loss by GDCM.
ENCAPSULATED = {"RLE", "JPEG lossless", "JPEG lossless SV1", "JPEG-LS", "JPEG 2000 lossless"}
#: No installed codec writes these, or not without loss: they are not tried.
NOT_WRITTEN = (
    "JPEG baseline and extended, JPEG-LS near-lossless, JPEG 2000 with loss (grey values change)",
    "JPEG XL, HTJ2K, MPEG and HEVC (no encoder is installed)",
)
_LONG = {"OB", "OW", "SQ", "UN", "UT", "OF", "OD"}
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FD": "d", "FL": "f"}

Header = Mapping[str, Any]


@cache
def _known(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    vr = dictionary_VR(tag)
    return tag, "US" if vr == "US or SS" else "OW" if vr == "OB or OW" else vr


@lru_cache(65536)
def _element(tag: int, vr: str, value: bytes, explicit: bool, order: str) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return head + struct.pack(f"{order}L", len(value)) + value
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(f"{order}L", len(value)) + value
    return head + vr.encode() + struct.pack(f"{order}H", len(value)) + value


def _value(vr: str, value: Any, explicit: bool, order: str) -> bytes:
    if vr == "SQ":
        return b"".join(
            struct.pack(f"{order}HHL", 0xFFFE, 0xE000, len(item)) + item
            for item in (dataset(each, explicit, order) for each in value)
        )
    if isinstance(value, bytes):
        return value
    several = value if isinstance(value, list | tuple) else [value]
    if vr == "AT":
        return b"".join(struct.pack(f"{order}HH", each >> 16, each & 0xFFFF) for each in several)
    if vr in _NUMBERS:
        return struct.pack(f"{order}{len(several)}{_NUMBERS[vr]}", *several)
    return "\\".join(
        f"{each:.10g}"[:16] if isinstance(each, float) else str(each) for each in several
    ).encode("utf-8", "surrogateescape")


def dataset(header: Header, explicit: bool, order: str) -> bytes:
    """The elements of a header in ascending order; None leaves an element out."""
    known = sorted((*_known(key), value) for key, value in header.items() if value is not None)
    return b"".join(
        _element(tag, vr, _value(vr, value, explicit, order), explicit, order)
        for tag, vr, value in known
    )


def part10(header: Header, frames: Sequence[NDArray[Any]], encoding: str) -> bytes:
    """A whole file: preamble, meta information, data set with its pixels."""
    syntax = SYNTAXES[encoding]
    explicit = encoding not in ("implicit little endian", "without preamble", "stated wrongly")
    order = ">" if encoding == "explicit big endian" else "<"
    body = dataset(header, explicit, order)
    if frames:
        body += _pixels(header, frames, encoding, explicit, order)
    if encoding == "without preamble":
        return body
    if encoding == "deflated":
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = deflate.compress(body) + deflate.flush()
        body += b"\0" * (len(body) % 2)
    return meta(str(header["SOPClassUID"]), str(header.get("SOPInstanceUID") or ""), syntax) + body


def meta(sop_class: str, sop_uid: str, syntax: str) -> bytes:
    """Preamble, prefix and file meta information (always explicit little endian)."""
    group = dataset(
        {
            "FileMetaInformationVersion": b"\0\1",
            "MediaStorageSOPClassUID": sop_class,
            "MediaStorageSOPInstanceUID": sop_uid or None,
            "TransferSyntaxUID": syntax,
            "ImplementationClassUID": "1.2.3.4.5",
        },
        explicit=True,
        order="<",
    )
    length = dataset({"FileMetaInformationGroupLength": len(group)}, explicit=True, order="<")
    return b"\0" * 128 + b"DICM" + length + group


def _pixels(
    header: Header, frames: Sequence[NDArray[Any]], encoding: str, explicit: bool, order: str
) -> bytes:
    tag, vr = 0x7FE00010, "OB" if frames[0].dtype.itemsize == 1 else "OW"
    if encoding not in ENCAPSULATED:
        values = b"".join(
            frame.astype(frame.dtype.newbyteorder(order)).tobytes() for frame in frames
        )
        return _element.__wrapped__(tag, vr, values, explicit, order)
    head = struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, b"OB", 0xFFFFFFFF)
    items = [b"", *(_compressed(header, frame, encoding) for frame in frames)]
    body = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item for item in items)
    return head + body + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


_FORMAT = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
_FORMAT += ("BitsStored", "HighBit", "PixelRepresentation")


def _compressed(header: Header, frame: NDArray[Any], encoding: str) -> bytes:
    return _by_gdcm(tuple((key, header[key]) for key in _FORMAT), frame.tobytes(), encoding)


@lru_cache(16384)
def _by_gdcm(form: tuple[tuple[str, Any], ...], pixels: bytes, encoding: str) -> bytes:
    from pydicom import dcmread
    from pydicom.encaps import generate_frames

    header = dict(form)
    header |= {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "SOPInstanceUID": "1.2.3"}
    kind = f"<u{header['BitsAllocated'] // 8}"
    values = np.frombuffer(pixels, kind).reshape(header["Rows"], header["Columns"])
    plain = part10(header, [values], "explicit little endian")
    packed = recompressed(plain, str(SYNTAXES[encoding]), beside=memory())
    (result,) = generate_frames(dcmread(BytesIO(packed)).PixelData, number_of_frames=1)
    return bytes(result) + b"\0" * (len(result) % 2)


def memory() -> str | None:
    """A folder that lies in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def directory(names: Sequence[str], study: str) -> bytes:
    """A DICOMDIR that lists image files (PS3.3 F.3): one patient, one study, one series."""
    shared = {"OffsetOfTheNextDirectoryRecord": 0, "RecordInUseFlag": 0xFFFF}
    shared["OffsetOfReferencedLowerLevelDirectoryEntity"] = 0
    records: list[dict[str, Any]] = [
        {**shared, "DirectoryRecordType": "PATIENT", "PatientID": "CASE", "PatientName": ""},
        {**shared, "DirectoryRecordType": "STUDY", "StudyInstanceUID": study, "StudyID": "1"},
        {**shared, "DirectoryRecordType": "SERIES", "Modality": "MR", "SeriesNumber": 1,
         "SeriesInstanceUID": study + ".1"},
    ]  # fmt: skip
    for number, name in enumerate(names, start=1):
        records.append(
            {**shared, "DirectoryRecordType": "IMAGE", "ReferencedFileID": name.split("/"),
             "ReferencedSOPClassUIDInFile": "1.2.840.10008.5.1.4.1.1.4", "InstanceNumber": number,
             "ReferencedSOPInstanceUIDInFile": f"1.2.3.{number}",
             "ReferencedTransferSyntaxUIDInFile": "1.2.840.10008.1.2.1"}
        )  # fmt: skip
    head = meta("1.2.840.10008.1.3.10", "1.2.3.99", SYNTAXES["explicit little endian"])
    before = {
        "FileSetID": "DISC",
        "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity": 0,
        "OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity": 0,
        "FileSetConsistencyFlag": 0,
    }
    at = list(_places(records, len(head) + len(dataset(before, True, "<")) + 12))
    for level in range(3):
        records[level]["OffsetOfReferencedLowerLevelDirectoryEntity"] = at[level + 1]
    for number in range(3, len(records) - 1):
        records[number]["OffsetOfTheNextDirectoryRecord"] = at[number + 1]
    before["OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity"] = at[0]
    before["OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity"] = at[0]
    return head + dataset({**before, "DirectoryRecordSequence": records}, True, "<")


def _places(records: Sequence[Header], start: int) -> Iterator[int]:
    for record in records:
        yield start
        start += 8 + len(dataset(record, True, "<"))
