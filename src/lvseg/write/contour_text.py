"""Contours as the text files of the Sunnybrook set, so that official ones and ours lie over each
other.

One file an image, ``IM-0001-NNNN-icontour-auto.txt`` (NNNN = number of the image), one ``x y`` pair
a line. The official contours were drawn on images enlarged twice, so their numbers are pixel-centre
coordinates plus a quarter of a pixel (measured in :mod:`lvseg.datasets.contours`); ours are written
the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lvseg.atomic import write_text
from lvseg.cine import Cine, Mask
from lvseg.contours import Polygon
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.write.contours import true_contours

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: What a kind of contour of the official files goes round.
_KINDS: Mapping[str, tuple[Label, ...]] = {"icontour": (Label.LV_CAVITY,)}
#: Added to the numbers of a contour file to give pixel-centre coordinates.
CONTOUR_OFFSET_PX = -0.25


def contour_text(polygon: Polygon) -> str:
    """A polygon [N, 2] (x, y), pixel centres at whole numbers, as the text of an official file.

    Two digits after the point as in the official files: 0.005 pixel.
    """
    # + 0.0 turns a negative zero into zero
    points = np.round(polygon - CONTOUR_OFFSET_PX, 2) + 0.0
    return "".join(f"{x:.2f} {y:.2f}\n" for x, y in points)


def write_contour_text(
    mask: Mask, cine: Cine, folder: Path, source_headers: Mapping[str, Dataset] | None = None
) -> tuple[tuple[Path, ...], tuple[Issue, ...]]:
    """Write the contour of every frame with cavity; equal masks give equal bytes.

    The number of an image is its Instance Number (PS3.3 C.7.6.1), as in the official files, where
    ``source_headers`` gives a different one for each image. Otherwise images are counted from 1
    slice by slice, the phases of a slice one after the other, as scanners number a cine.

    :param source_headers: SOP Instance UID -> header of the source object.
    :returns: the files, by phase then slice (none for an empty mask), and an issue
        ``contour-simplified`` when a frame has holes or several pieces: a file holds one outline,
        that of the largest piece.
    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    phases, slices = cine.shape[:2]
    mask.on(cine)
    numbers = _instance_numbers(cine, source_headers) or [
        [z * phases + t + 1 for z in range(slices)] for t in range(phases)
    ]
    written, simplified = [], 0
    for kind, around in _KINDS.items():
        if around[-1] not in mask.labels_present:
            continue
        for inside, phase in zip(np.isin(mask.labels, around), mask.phases, strict=True):
            for index, slice_inside in enumerate(inside):
                polygons = true_contours(slice_inside)
                if not polygons:
                    continue
                name = f"IM-0001-{numbers[phase][index]:04d}-{kind}-auto.txt"
                written.append(write_text(folder / name, contour_text(polygons[0])))
                simplified += len(polygons) > 1
    if not simplified:
        return tuple(written), ()
    text = f"{simplified} contour file(s) hold the largest piece only, without its holes"
    return tuple(written), (Issue("contour-simplified", "warning", text),)


def _instance_numbers(
    cine: Cine, source_headers: Mapping[str, Dataset] | None
) -> list[list[int]] | None:
    """Instance Numbers [T][Z]; None unless each image has one of its own."""
    instances = cine.source.instances
    if instances is None or not source_headers:
        return None
    numbers = [
        [_instance_number(source_headers.get(ref.sop_instance_uid)) for ref in row]
        for row in instances
    ]
    known = [[value for value in row if value is not None] for row in numbers]
    flat = [value for row in known for value in row]
    return known if known == numbers and len(set(flat)) == len(flat) else None


def _instance_number(header: Dataset | None) -> int | None:
    """None where it is absent or no whole number from 0."""
    if header is None:
        return None
    try:
        number = int(str(header["InstanceNumber"].value))
    except (KeyError, ValueError, TypeError):
        return None
    return number if number >= 0 else None
