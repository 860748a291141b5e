"""Segmentations of 3D Slicer (``.seg.nrrd``) to a :class:`Mask`: ours and those that were edited.

Format: teem.sourceforge.net/nrrd/format.html; fields of segments: "Segmentation" in Slicer's guide
for developers. Only what Slicer writes is read: whole numbers, raw or gzip, in one file.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lvseg.bounds import USUAL, ReadingLimits
from lvseg.cine import Mask
from lvseg.errors import GeometryError, ReadError
from lvseg.geometry import Grid, lps_to_ras, planes_from_affine
from lvseg.labels import PHASE_TAG
from lvseg.read.segments import Segment, known_segments

MAGIC = b"NRRD000"
#: Names of whole numbers in the format -> type of numpy without its byte order.
_TYPES: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1")
    | dict.fromkeys(("signed char", "int8", "int8_t"), "i1")
    | dict.fromkeys(("ushort", "unsigned short", "uint16", "uint16_t"), "u2")
    | dict.fromkeys(("short", "signed short", "short int", "int16", "int16_t"), "i2")
    | dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4")
    | dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4")
)
_ENDS = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(r"Segment(\d+)_(\w+)")


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment of the file: where its pixels are and what is said of it."""

    layer: int
    value: int
    words: Segment
    phase: int | None


def is_nrrd(content: bytes) -> bool:
    """Whether a file begins as NRRD does."""
    return content.startswith(MAGIC)


def mask_from_seg_nrrd(
    content: bytes, path: Path, limits: ReadingLimits = USUAL
) -> tuple[Mask, bool]:
    """Read the labels of a segmentation; what a segment is tells :mod:`lvseg.read.segments`.

    :returns: the mask, and whether the file says which phases of the cine it holds; where it does
        not, all segments are one phase.
    :raises ReadError: another kind of NRRD, a broken one, no segment that we know, or several of
        one label that nothing tells apart. LimitError: larger than the limits allow.
    """
    fields, body = _parts(content, path)
    try:
        voxels, matrix = _voxels(fields, body, path, limits), _affine(fields)
        segments = _segments(fields)
    except (ValueError, KeyError, IndexError) as error:
        raise _broken(path) from error
    by_phase: dict[int | None, list[_Segment]] = {}
    for each in segments:
        by_phase.setdefault(each.phase, []).append(each)
    tagged = set(by_phase) != {None}
    if tagged and None in by_phase:
        raise ReadError(
            f"expected the tag {PHASE_TAG} on every segment or on none, found none on "
            f"'{by_phase[None][0].words.name[:40]}' in {path}: edit the segments that are there"
        )
    phases = sorted(phase for phase in by_phase if phase is not None) or [0]
    limits.hold("pixels", len(phases) * voxels[0].size, path)
    labels = np.zeros((len(phases), *voxels.shape[1:]), np.uint8)
    for row, phase in enumerate(phases):
        held = by_phase[phase] if tagged else segments
        labels[row] = _painted(voxels, held, path)
    try:
        planes = planes_from_affine(matrix, labels.shape[1])
    except GeometryError as error:
        raise ReadError(f"{error} in {path}: save the segmentation on its image") from error
    return Mask(labels, tuple(phases), Grid.of(labels, planes=planes)), tagged


def _painted(voxels: NDArray[np.generic], held: list[_Segment], path: Path) -> NDArray[np.uint8]:
    """Labels [Z, Y, X] of the segments of one phase; the innermost wins."""
    known = known_segments([each.words for each in held], path)
    labels = np.zeros(voxels.shape[1:], np.uint8)
    for each in sorted(held, key=lambda each: known.get(each.words.number, 0), reverse=True):
        label = known.get(each.words.number)
        if label is not None and each.layer < len(voxels):
            labels[voxels[each.layer] == each.value] = label
    return labels


def _parts(content: bytes, path: Path) -> tuple[dict[str, str], bytes]:
    """The fields of the header, and what follows it."""
    end = _ENDS.search(content)
    if end is None:
        raise _broken(path)
    fields: dict[str, str] = {}
    for line in content[: end.start()].decode("utf-8", "replace").splitlines()[1:]:
        if line.startswith("#"):
            continue
        name, mark, value = line.partition(":=" if ":=" in line else ":")
        if mark:
            fields[name.strip()] = value.strip()
    if "data file" in fields or "datafile" in fields:
        raise ReadError(
            f"expected a segmentation in one file, found a header of another file at {path}: save "
            "it as .seg.nrrd"
        )
    return fields, content[end.end() :]


def _voxels(
    fields: Mapping[str, str], body: bytes, path: Path, limits: ReadingLimits
) -> NDArray[np.generic]:
    """Stored values [layer, Z, Y, X]."""
    kind, sizes = _TYPES[fields["type"]], [int(each) for each in fields["sizes"].split()]
    layered = fields.get("kinds", "").split()[:1] in (["list"], ["vector"])
    if len(sizes) != (4 if layered else 3) or min(sizes) < 1:
        raise ReadError(
            f"expected a segmentation of 3 axes, or of layers of these, found {sizes} in {path}"
        )
    order = ">" if fields.get("endian") == "big" else "<"
    dtype = np.dtype(order + kind)
    stated = int(np.prod(sizes, dtype=object)) * dtype.itemsize
    limits.hold("file_bytes", stated, path)
    encoding = fields.get("encoding", "raw").lower()
    if encoding in ("gzip", "gz"):
        body = _unpacked(body, stated, path)
    elif encoding != "raw":
        raise ReadError(f"expected raw or gzip values, found {encoding} in {path}: save it again")
    values = np.frombuffer(body, dtype)
    whole = values.reshape(sizes[::-1])  # the first axis of the file is the fastest
    return np.moveaxis(whole, -1, 0) if layered else whole[None]


def _unpacked(body: bytes, stated: int, path: Path) -> bytes:
    """The bytes that a header states, of gzip; one more where there are more."""
    try:
        with gzip.GzipFile(fileobj=BytesIO(body)) as stream:
            return stream.read(stated + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path) from error


def _affine(fields: Mapping[str, str]) -> NDArray[np.float64]:
    """Index (column, row, slice) -> LPS mm."""
    found = re.findall(r"\(([^)]*)\)", fields["space directions"])
    (origin,) = re.findall(r"\(([^)]*)\)", fields["space origin"])
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([_numbers(each) for each in found]).T
    matrix[:3, 3] = _numbers(origin)
    space = fields["space"].lower()
    if space in ("right-anterior-superior", "ras"):
        return lps_to_ras(matrix)
    if space in ("left-posterior-superior", "lps"):
        return matrix
    raise ValueError(f"unknown space {space}")


def _numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def _segments(fields: Mapping[str, str]) -> list[_Segment]:
    """Every segment, numbered as in the file; old files state neither value nor layer."""
    found: dict[int, dict[str, str]] = {}
    for name, value in fields.items():
        match = _FIELD.fullmatch(name)
        if match is not None:
            found.setdefault(int(match[1]), {})[match[2]] = value
    if not found:
        raise ValueError("no segments")
    return [_segment(number, found[number]) for number in sorted(found)]


def _segment(number: int, said: Mapping[str, str]) -> _Segment:
    tags = dict(each.partition(":")[::2] for each in said.get("Tags", "").split("|") if each)
    terms = [part.split("^") for part in tags.get("TerminologyEntry", "").split("~")]
    scheme, value, meaning = terms[2] if len(terms) > 2 and len(terms[2]) == 3 else ("", "", "")
    phase = tags.get(PHASE_TAG, "")
    return _Segment(
        layer=int(said.get("Layer", number)),
        value=int(said.get("LabelValue", 1)),
        words=Segment(number, said.get("Name", ""), (scheme, value), meaning),
        phase=int(phase) if phase.isdecimal() else None,
    )


def _broken(path: Path) -> ReadError:
    return ReadError(
        f"expected a segmentation of 3D Slicer, found another or a broken NRRD at {path}: save the "
        "segmentation as .seg.nrrd"
    )
