"""Small files that claim to be large, and files that are none."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)
from read_maker import image, to_bytes

#: The class element with which the data set of :func:`dicom_with` begins.
_CLASS = b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.4\0"


def nifti(sizes: Sequence[int], content: bytes = b"") -> bytes:
    """A NIfTI-1 file of int16 that states these sizes, with pixels of 2 x 1.5 mm."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(sizes), *sizes, *[1] * (7 - len(sizes)))
    struct.pack_into("<2h", head, 70, 4, 16)
    struct.pack_into("<8f", head, 76, 1, 2, 1.5, 8, 40, 0, 0, 0)
    struct.pack_into("<f", head, 108, 352)
    head[123], head[344:348] = 2 + 16, b"n+1\0"
    return bytes(head) + content


def dicom_with(elements: bytes, **changes: Any) -> bytes:
    """A DICOM image with other elements put before its own."""
    whole = to_bytes(image(**changes))
    start = whole.index(b"\x08\x00\x08\x00CS")
    return whole[:start] + elements + whole[start:]


def nested(depth: int) -> bytes:
    """So many sequences in one another, none of which ends (PS3.5 section 7.5)."""
    opening = b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return opening * depth


def deflated(dataset: Dataset, zeros: int) -> bytes:
    """A deflated file (PS3.5 section A.5) with so many zeros behind its data set."""
    whole = to_bytes(dataset)
    start = whole.index(b"\x08\x00\x08\x00CS")
    plain = ExplicitVRLittleEndian.encode() + b"\0"
    place = whole.index(plain)
    meta = whole[: place - 2] + struct.pack("<H", 22) + DeflatedExplicitVRLittleEndian.encode()
    meta += whole[place + len(plain) : start]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [packer.compress(whole[start:]), packer.compress(bytes(zeros)), packer.flush()]
    return meta + b"".join(parts)


def run_lengths(count: int) -> bytes:
    """An RLE frame of two planes, each of so many runs of 128 zeros (PS3.5 annex G)."""
    head = struct.pack("<16L", 2, 64, 64 + 2 * count, *[0] * 13)
    return head + b"\x81\x00" * 2 * count


def jpeg(rows: int, columns: int) -> bytes:
    """The beginning of a lossless JPEG that states a size (T.81 B.2.2)."""
    return (
        b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 11, 16, rows, columns, 1) + b"\1\x11\0\xff\xd9"
    )


def jpeg_2000(rows: int, columns: int, components: int = 1) -> bytes:
    """The beginning of a JPEG 2000 code stream that states a size (T.800 A.5.1)."""
    size = (columns, rows, 0, 0, columns, rows, 0, 0, components)
    head = struct.pack(">HH8LH", 38 + 3 * components, 0, *size)
    return b"\xff\x4f\xff\x51" + head + b"\x0f\1\1" * components + b"\xff\xd9"


#: Transfer syntax and code of a frame that would unpack to far more than 32 x 32 pixels.
CODES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "rle": (RLELossless, lambda: run_lengths(500_000)),
    "jpeg": (JPEGLosslessSV1, lambda: jpeg(65500, 65500)),
    "jpeg-2000": (JPEG2000Lossless, lambda: jpeg_2000(60000, 60000)),
    "jpeg-2000-components": (JPEG2000Lossless, lambda: jpeg_2000(32, 32, 16000)),
    "jpeg-2000-without-size": (JPEG2000Lossless, lambda: b"\xff\x4f\xff\xd9"),
}


def coded(syntax: str, code: bytes, **changes: Any) -> Dataset:
    """An image whose pixels are one coded frame."""
    dataset = image(**changes)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.add_new("PixelData", "OB", encapsulate([code]))
    dataset["PixelData"].is_undefined_length = True
    return dataset


def white_noise(path: Path, rows: int, columns: int) -> Path:
    """A grey PNG of noise."""
    from PIL import Image

    values = np.random.default_rng(3).integers(0, 256, (rows, columns), np.uint8)
    Image.fromarray(values).save(path)
    return path
