"""DICOM files parsed by pydicom within limits: bytes, elements, what a deflated one unpacks to.

pydicom believes every length and unpacks a deflated data set whole (PS3.5 section A.5). Here a file
is handed to it through a stream that counts, and a deflated one is measured first.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from io import BytesIO, RawIOBase
from typing import BinaryIO, cast

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from lvseg.bounds import ReadingLimits
from lvseg.errors import LimitError
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read.archives import SUSPICIOUS_BYTES
from lvseg.read.elements import CHUNK_BYTES, deflated_start

#: Pieces that are read of a header: two or three an element. A header of two thousand frames with
#: a hundred elements each has half a million; walking two million takes some seconds.
MOST_PIECES = 2_000_000
#: So many tags of zeros in a row are no elements, but the room of a file that was never filled.
_ZERO_TAGS = 4096
_CHUNK = 2**20


class BrokenHeaderError(Exception):
    """A file that looks like DICOM cannot be used; the text says why."""


class _Counted(RawIOBase):
    """A stream that gives no more pieces and bytes than a header has."""

    def __init__(self, stream: BinaryIO, most_bytes: int) -> None:
        self._stream, self._bytes, self._pieces = stream, most_bytes, MOST_PIECES
        self._zeros = 0
        self.seek, self.tell = stream.seek, stream.tell  # type: ignore[method-assign]

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:  # pydicom reads to the end only what it is about to unpack whole
            raise BrokenHeaderError("it is deflated and has no clear beginning")
        found = self._stream.read(min(size, self._bytes + 1))
        self._bytes -= len(found)
        self._pieces -= 1
        if self._bytes < 0 or self._pieces < 0:
            raise BrokenHeaderError("its DICOM header is longer than the limit header_bytes allows")
        self._zeros = self._zeros + 1 if found == b"\0\0\0\0\0\0\0\0" else 0
        if self._zeros > _ZERO_TAGS:
            raise BrokenHeaderError("it ends in zeros: it is cut short")
        return found


def parsed(
    stream: BinaryIO, limits: ReadingLimits, *, pixels: bool = False, tags: Sequence[int | str] = ()
) -> Dataset:
    """The data set of a file, from the start of its stream; whatever breaks the standard is kept.

    :param pixels: with the pixel data, else the stream stays before them.
    :param tags: only these elements; () = all.
    :raises BrokenHeaderError: longer, or deeper nested, than the limits allow.
    :raises Exception: anything that pydicom raises over broken files.
    """
    suppress_pydicom_warnings()
    start = deflated_start(stream, stream.read(CHUNK_BYTES))
    stream.seek(0)
    if start is not None:
        stream = BytesIO(_inflated(stream, start, limits))
    counted = cast(BinaryIO, _Counted(stream, limits.file_bytes if pixels else limits.header_bytes))
    wanted = list(tags) or None
    try:
        found = dcmread(counted, stop_before_pixels=not pixels, force=True, specific_tags=wanted)
    except RecursionError as error:
        raise BrokenHeaderError("its sequences are nested too deeply") from error
    if start is not None:
        found.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return found


def _inflated(stream: BinaryIO, start: int, limits: ReadingLimits) -> bytes:
    """A deflated file as if it were a plain one.

    :param start: where its meta information ends.
    """
    meta = stream.read(start)
    plain = ExplicitVRLittleEndian.ljust(len(DeflatedExplicitVRLittleEndian), "\0")
    found = bytearray(meta.replace(DeflatedExplicitVRLittleEndian.encode(), plain.encode()))
    inflating, packed, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    try:
        while not inflating.eof and (rest or (rest := stream.read(_CHUNK))):
            found += inflating.decompress(rest, _CHUNK)
            packed += len(rest) - len(inflating.unconsumed_tail)
            rest = inflating.unconsumed_tail
            limits.hold("file_bytes", len(found), "a deflated data set")
            if len(found) > SUSPICIOUS_BYTES:
                limits.hold("unpacked_ratio", len(found) / packed, "a deflated data set")
    except LimitError as error:
        raise BrokenHeaderError(str(error)) from error
    return bytes(found)
