"""Coded frames of an encapsulated DICOM object: their own size is held to the header; RLE decoded.

A decoder takes the memory that the code asks for. What a code states of its size is therefore
compared first; RLE states nothing and is decoded here, up to the size of the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import UID, RLELossless

from lvseg.read.encoding import frame_header


def coded_frames(
    value: bytes, syntax: UID, frames: int, wanted: Sequence[int], size: tuple[int, int]
) -> list[bytes]:
    """The code of each wanted frame (from 0) of an encapsulated pixel value (PS3.5 section A.4).

    :param frames: in the object; :param size: (rows, columns) of the header.
    :raises ValueError: a code of another size, or of several samples. KeyError: too few codes.
    """
    found: dict[int, bytes] = {}
    numbers = set(wanted)
    for index, code in enumerate(generate_frames(value, number_of_frames=frames)):
        if index in numbers:
            if syntax != RLELossless and coded_size(code) != (*size, 1):
                raise ValueError("another size in the code than in the header")
            found[index] = code
        if len(found) == len(numbers):
            break
    return [found[index] for index in wanted]


def coded_size(code: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, components) that a coded frame states; None where it states none, as RLE.

    JPEG and JPEG-LS: the frame header (ITU-T T.81 B.2.2). JPEG 2000: the SIZ marker segment
    (T.800 A.5.1), which comes first in the code stream.
    """
    if code.startswith(b"\xff\xd8"):
        mark, place = frame_header(code)
        if not mark or len(code) < place + 10:
            return None
        rows, columns, components = struct.unpack_from(">HHB", code, place + 5)
        return rows, columns, components
    place = code.find(b"\xff\x4f\xff\x51", 0, 4096)
    if place < 0 or len(code) < place + 42:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", code, place + 8)
    (components,) = struct.unpack_from(">H", code, place + 40)
    return bottom - top, right - left, components


def run_lengths(
    code: bytes, size: tuple[int, int], bits_allocated: int, *, signed: bool = False
) -> NDArray[Any]:
    """A grey frame of RLE: planes of bytes, the most significant first (PS3.5 annex G).

    :param size: (rows, columns).
    :raises ValueError: another number of planes, or one that is too short.
    :raises struct.error: no RLE header.
    """
    planes, *offsets = struct.unpack_from("<16L", code)
    if planes != bits_allocated // 8:
        raise ValueError("another number of segments than the pixels have bytes")
    ends = [*offsets[1:planes], len(code)]
    parts = [
        np.frombuffer(_unpacked(code[start:end], size[0] * size[1]), np.uint8)
        for start, end in zip(offsets[:planes], ends, strict=True)
    ]
    kind = "i" if signed else "u"
    values = np.stack(parts, axis=-1).view(f">{kind}{planes}").reshape(size)
    return values.astype(values.dtype.newbyteorder("="))


def _unpacked(code: bytes, size: int) -> bytearray:
    """So many bytes of a plane (PackBits, PS3.5 G.3.1); what the code holds beyond is left.

    :raises ValueError: it holds less.
    """
    found, place = bytearray(), 0
    while len(found) < size and place < len(code) - 1:
        run = code[place]
        if run < 128:
            found += code[place + 1 : place + 2 + run]
            place += 2 + run
        else:
            if run > 128:
                found += code[place + 1 : place + 2] * (257 - run)
            place += 2 if run > 128 else 1
    if len(found) < size:
        raise ValueError("a segment that is too short")
    return found[:size]
