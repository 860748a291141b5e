"""Transfer syntax: what a file states, held against what its data are.

Archives and converters rewrite the meta information of a file and leave its data, or the reverse.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)


def plain_syntax(implicit: bool, little: bool) -> str:
    """The uncompressed transfer syntax of elements in that encoding."""
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def real_syntax(
    stated: str, plain: str, stream: BinaryIO, place: tuple[int, int | None], frame_bytes: int
) -> str:
    """The transfer syntax that the data are really in: what is stated, where they agree.

    Uncompressed data have a length, that of the frames; compressed ones have none and begin with
    an item (PS3.5 section A.4), whose first bytes name the codec.

    :param plain: the uncompressed syntax that the elements of the header are in.
    :param place: where the pixel value is in the stream, and its length (None = undefined).
    :param frame_bytes: the length of the frames uncompressed; 0 = no image.
    """
    known = UID(stated)
    offset, length = place
    if length is not None:
        if known.is_private or not known.is_transfer_syntax:
            return stated
        if not known.is_encapsulated:
            real = UID(plain)
            same = known.is_implicit_VR == real.is_implicit_VR
            return stated if same and known.is_little_endian == real.is_little_endian else plain
        return plain if length >= frame_bytes > 0 else stated
    codec = _codec(stream, offset)
    if not codec or codec in _codecs(stated):
        return stated
    if known.is_transfer_syntax and (not known.is_encapsulated or _codecs(stated)):
        return _SYNTAX_OF_CODEC[codec]
    return stated


#: The codec of the stated syntax, by how its UID begins, and the syntax that reads each codec.
_CODECS_OF_SYNTAX = (
    ("1.2.840.10008.1.2.4.5", ("jpeg", "jpeg-lossless")),
    ("1.2.840.10008.1.2.4.6", ("jpeg", "jpeg-lossless")),
    ("1.2.840.10008.1.2.4.70", ("jpeg", "jpeg-lossless")),
    ("1.2.840.10008.1.2.4.8", ("jpeg-ls",)),
    ("1.2.840.10008.1.2.4.90", ("jpeg-2000",)),
    ("1.2.840.10008.1.2.4.91", ("jpeg-2000",)),
)
_SYNTAX_OF_CODEC = {
    "jpeg": str(JPEGBaseline8Bit),
    "jpeg-lossless": str(JPEGLosslessSV1),
    "jpeg-ls": str(JPEGLSLossless),
    "jpeg-2000": str(JPEG2000Lossless),
}


def _codecs(syntax: str) -> tuple[str, ...]:
    return next((codecs for uid, codecs in _CODECS_OF_SYNTAX if syntax.startswith(uid)), ())


def _codec(stream: BinaryIO, offset: int) -> str:
    """The codec of the first fragment, "" where it is not one of ours (RLE has no mark)."""
    stream.seek(offset)
    head = stream.read(8)
    if len(head) < 8 or head[:4] != b"\xfe\xff\x00\xe0":
        return ""
    stream.seek(struct.unpack("<L", head[4:])[0] + 8, 1)  # past the offset table, to the data
    data = stream.read(4096)
    if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        return "jpeg-2000"
    if not data.startswith(b"\xff\xd8"):
        return ""
    return _jpeg_codec(data)


def _jpeg_codec(data: bytes) -> str:
    """Which JPEG it is, by its frame header."""
    mark, _ = frame_header(data)
    if mark == 0xF7:
        return "jpeg-ls"
    if mark == 0xC3:
        return "jpeg-lossless"
    return "jpeg" if 0xC0 <= mark <= 0xC2 else ""


#: Markers in the range of frame headers that are none: tables of Huffman and arithmetic codes.
_NO_FRAMES = (0xC4, 0xC8, 0xCC)


def frame_header(data: bytes) -> tuple[int, int]:
    """Marker and place of the frame header of a JPEG (ITU-T T.81 table B.1; T.87 for 0xF7)."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        mark = data[place + 1]
        if mark == 0xF7 or (0xC0 <= mark <= 0xCF and mark not in _NO_FRAMES):
            return mark, place
        if mark == 0xFF:  # a fill byte (T.81 B.1.1.2)
            place += 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0, 0
