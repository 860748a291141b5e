"""Elements of a DICOM file: the wanted ones of a header, read without building a data set.

A folder of a hospital holds tens of thousands of files, and pydicom takes a millisecond for a
header of which forty elements matter. :func:`plain_header` walks a little-endian file with its own
few lines and stops at the pixels. Whatever it does not know (no preamble, deflated, big-endian,
functional groups, a file cut short) it leaves to pydicom by returning None.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, BinaryIO

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from lvseg.bounds import USUAL, ReadingLimits

#: Read at once: most headers fit.
CHUNK_BYTES = 16384
#: A length that says nothing: a delimiter ends the value (PS3.5 section 7.1.1).
UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
_CHARACTER_SET, _META_CLASS, _SYNTAX = 0x00080005, 0x00020002, 0x00020010
#: Explicit value representations with a 4-byte length (PS3.5 section 7.1.2).
_LONG = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_NUMERIC = frozenset((*_BINARY, "AT"))


#: Tag, value representation, length; implicit ones have a length of 4 bytes in place of both.
_ELEMENT = struct.Struct("<HH2sH")


class _NotPlainError(Exception):
    """The file is for pydicom."""


@dataclass(frozen=True, slots=True)
class Elements:
    """The wanted elements of one header, decoded when they are asked for.

    :param raw: tag -> value representation and bytes.
    """

    raw: Mapping[int, tuple[str, bytes]]

    def value(self, tag: int) -> Any:
        """A number, a text or a tuple of them; None where it is absent or empty."""
        found = self.raw.get(tag)
        if found is None or not found[1]:
            return None
        kind, data = found
        if (data.isascii() and b"\x1b" not in data) or kind in _NUMERIC:
            return _decoded(kind, data)
        stated = self.raw.get(_CHARACTER_SET, ("", b""))[1].decode("ascii", "replace")
        encodings = convert_encodings([part.strip(" \0") for part in stated.split("\\")])
        return _parted(str(decode_bytes(data, encodings, set())))


@lru_cache(maxsize=2**16)
def _decoded(kind: str, data: bytes) -> Any:
    """The value of an element; most are the same in all images of a series."""
    if kind not in _NUMERIC:
        return _parted(data.decode("ascii"))
    code = "H" if kind == "AT" else _BINARY[kind]
    whole = len(data) // struct.calcsize(code)
    values = struct.unpack_from(f"<{whole}{code}", data)
    if kind == "AT":
        values = tuple(a << 16 | b for a, b in zip(values[::2], values[1::2], strict=False))
    return values[0] if len(values) == 1 else values or None


def _parted(text: str) -> Any:
    parts = tuple(part.strip(" \0") for part in text.split("\\"))
    return parts[0] if len(parts) == 1 else parts


@dataclass(frozen=True, slots=True)
class PlainHeader:
    """What :func:`plain_header` found.

    :param syntax: the transfer syntax that the file states; :param meta_class: the SOP class in
        its meta information. "" where absent.
    :param explicit: whether the elements really name their value representation.
    :param offset, length: the pixel value in the file, and its length (None = undefined).
    """

    elements: Elements
    syntax: str
    meta_class: str
    explicit: bool
    offset: int
    length: int | None


class _Reader:
    """Bytes of a stream from its start, read as far as they are asked for, and no further."""

    __slots__ = ("_most", "_stream", "data", "depth")

    def __init__(self, stream: BinaryIO, head: bytes, limits: ReadingLimits) -> None:
        self._stream = stream
        self._most = limits.header_bytes
        self.depth = limits.sequence_depth
        self.data = head

    def reach(self, end: int) -> None:
        """Have the bytes up to ``end``."""
        missing = end - len(self.data)
        if missing > 0:
            if end > self._most:
                raise _NotPlainError
            self.data += self._stream.read(max(missing, CHUNK_BYTES))
            if len(self.data) < end:
                raise _NotPlainError


def plain_header(
    stream: BinaryIO, head: bytes, wanted: frozenset[int], limits: ReadingLimits = USUAL
) -> PlainHeader | None:
    """Walk a header from the start of a stream to its pixels; None for what pydicom must read.

    :param head: the first bytes, which have been read from the stream.
    """
    try:
        return _walked(_Reader(stream, head, limits), wanted)
    except (_NotPlainError, struct.error, UnicodeDecodeError):
        return None


def deflated_start(stream: BinaryIO, head: bytes) -> int | None:
    """Where the deflated data set begins in a file that states it (PS3.5 section A.5), else None.

    :param head: the first bytes, which have been read from the stream.
    """
    try:
        start, texts = _meta(_Reader(stream, head, USUAL))
    except (_NotPlainError, struct.error, UnicodeDecodeError):
        return None
    return start if texts.get(_SYNTAX) == DeflatedExplicitVRLittleEndian else None


def _meta(reader: _Reader) -> tuple[int, dict[int, str]]:
    """Where the meta information ends, and what it states."""
    if reader.data[128:132] != b"DICM":
        raise _NotPlainError
    meta: dict[int, tuple[str, bytes]] = {}
    start, _ = _elements(reader, 132, True, frozenset((_META_CLASS, _SYNTAX)), meta, 0x00030000)
    return start, {tag: data.decode("ascii").strip(" \0") for tag, (_, data) in meta.items()}


def _walked(reader: _Reader, wanted: frozenset[int]) -> PlainHeader:
    start, texts = _meta(reader)
    syntax = texts.get(_SYNTAX, "")
    reader.reach(start + 8)
    group = reader.data[start : start + 2]
    if syntax == DeflatedExplicitVRLittleEndian or group != b"\x08\x00":
        raise _NotPlainError  # deflated, big-endian or nothing that begins with group 0008
    explicit = reader.data[start + 4 : start + 6].isalpha()
    if syntax == ExplicitVRBigEndian and not explicit:
        raise _NotPlainError
    raw: dict[int, tuple[str, bytes]] = {}
    place, length = _elements(reader, start, explicit, wanted, raw, _PIXEL_DATA)
    if length is None:
        raise _NotPlainError
    known = None if length == UNDEFINED_LENGTH else length
    return PlainHeader(Elements(raw), syntax, texts.get(_META_CLASS, ""), explicit, place, known)


def _elements(
    reader: _Reader,
    place: int,
    explicit: bool,
    wanted: frozenset[int],
    found: dict[int, tuple[str, bytes]],
    stop: int,
) -> tuple[int, int | None]:
    """Collect elements until the tag ``stop`` or a later one.

    :returns: the place of the value of ``stop`` and its length; of another, later element its own
        place and None.
    """
    unpack = _ELEMENT.unpack_from
    data, size, last = reader.data, len(reader.data), 0
    while True:
        if place + 12 > size:
            reader.reach(place + 12)
            data, size = reader.data, len(reader.data)
        group, element, kind, length = unpack(data, place)
        tag, value = group << 16 | element, place + 8
        if tag >= stop and tag != stop:
            return place, None
        if tag <= last:
            raise _NotPlainError  # out of order: damaged, or a delimiter where none belongs
        last = tag
        if not explicit:
            length = length << 16 | int.from_bytes(kind, "little")
        elif kind in _LONG:
            value = place + 12
            length = int.from_bytes(data[place + 8 : value], "little")
        elif not kind.isalpha():
            raise _NotPlainError
        if tag == stop:
            return value, length
        if length == UNDEFINED_LENGTH:
            place = _after_sequence(reader, value, explicit and kind != b"UN", reader.depth)
            data, size = reader.data, len(reader.data)
            continue
        place = value + length
        if tag in wanted and kind != b"SQ":
            if place > size:
                reader.reach(place)
                data, size = reader.data, len(reader.data)
            found[tag] = (kind.decode("ascii") if explicit else _usual_kind(tag), data[value:place])


def _after_sequence(reader: _Reader, place: int, explicit: bool, deep: int) -> int:
    """The place after a sequence of undefined length (PS3.5 section 7.5).

    :param deep: sequences that may be in one another from here on.
    """
    if not deep:
        raise _NotPlainError
    while True:
        reader.reach(place + 8)
        group, element, length = struct.unpack_from("<HHI", reader.data, place)
        tag, place = group << 16 | element, place + 8
        if tag == _SEQUENCE_END:
            return place
        if tag != _ITEM:
            raise _NotPlainError
        place = (
            _after_item(reader, place, explicit, deep - 1)
            if length == UNDEFINED_LENGTH
            else place + length
        )


def _after_item(reader: _Reader, place: int, explicit: bool, deep: int) -> int:
    while True:
        reader.reach(place + 8)
        group, element, length = struct.unpack_from("<HHI", reader.data, place)
        if group << 16 | element == _ITEM_END:
            return place + 8
        kind, value = b"", place + 8
        if explicit:
            kind = reader.data[place + 4 : place + 6]
            if kind in _LONG:
                reader.reach(place + 12)
                (length,) = struct.unpack_from("<I", reader.data, place + 8)
                value = place + 12
            else:
                length >>= 16
        if length == UNDEFINED_LENGTH:
            place = _after_sequence(reader, value, explicit and kind != b"UN", deep)
        else:
            place = value + length


@cache
def _usual_kind(tag: int) -> str:
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UN"
