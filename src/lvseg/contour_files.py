"""Contour files of the Sunnybrook set: one text file an image, its name, its number, its points.

``IM-0001-NNNN-icontour-manual.txt`` holds one ``x y`` pair a line; NNNN is the number of the image,
``auto`` stands for ``manual`` where a program drew it. The official contours were drawn on images
enlarged twice, so their numbers are pixel-centre coordinates plus a quarter of a pixel (measured in
:mod:`lvseg.datasets.contours`); ours are written the same way, so that both lie over each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lvseg.cine import Cine
from lvseg.contours import Polygon
from lvseg.labels import Label

#: A kind of contour of the official files is the outer boundary of this label.
CONTOUR_KINDS: Mapping[str, Label] = MappingProxyType(
    {"icontour": Label.LV_CAVITY, "ocontour": Label.LV_MYOCARDIUM}
)
#: Added to the numbers of a contour file to give pixel-centre coordinates.
CONTOUR_OFFSET_PX = -0.25
_NAME = re.compile(rf"-(\d+)-({'|'.join(CONTOUR_KINDS)})-(auto|manual)\.txt$", re.IGNORECASE)


def contour_name(number: int, kind: str) -> str:
    """The name of a file that a program drew.

    >>> contour_name(48, "icontour")
    'IM-0001-0048-icontour-auto.txt'
    """
    return f"IM-0001-{number:04d}-{kind}-auto.txt"


def numbered_contours(paths: list[Path]) -> dict[tuple[int, Label], Path]:
    """The contour files among these: (number of the image, label that it goes around) -> file.

    What a person drew goes before what a program drew. Papillary muscles count as cavity, and
    their files (``p1contour``) are left out.
    """
    found: dict[tuple[int, Label], Path] = {}
    for path in sorted(paths, key=lambda path: ("manual" in path.name.lower(), path.name)):
        match = _NAME.search(path.name)
        if match is not None:
            found[int(match[1]), CONTOUR_KINDS[match[2].lower()]] = path
    return found


def contour_text(polygon: Polygon) -> str:
    """A polygon [N, 2] (x, y), pixel centres at whole numbers, as the text of an official file.

    Two digits after the point as in the official files: 0.005 pixel.
    """
    # + 0.0 turns a negative zero into zero
    points = np.round(polygon - CONTOUR_OFFSET_PX, 2) + 0.0
    return "".join(f"{x:.2f} {y:.2f}\n" for x, y in points)


def contour_points(text: str) -> Polygon:
    """The polygon [N, 2] (x, y) of the text of an official file, pixel centres at whole numbers.

    :raises ValueError: not two finite numbers a line, or fewer than three points; the text says
        what was expected and what was found.
    """
    try:
        lines = [line.split() for line in text.split("\n") if line.strip()]
        points = np.array([[float(word) for word in line] for line in lines])
    except ValueError as error:
        raise ValueError(
            "expected one 'x y' pair of numbers a line, found something else"
        ) from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(
            f"expected at least three finite points 'x y', found an array {points.shape}"
        )
    result: Polygon = points + CONTOUR_OFFSET_PX
    return result


def image_numbers(cine: Cine, source_headers: Mapping[str, Any] | None) -> list[list[int]]:
    """The number of each image, [T][Z].

    It is the Instance Number (PS3.3 C.7.6.1), as in the official files, where the headers give a
    different one for each image. Otherwise images are counted from 1 slice by slice, the phases of
    a slice one after the other, as scanners number a cine.

    :param source_headers: SOP Instance UID -> header of the source object.
    """
    phases, slices = cine.shape[:2]
    counted = [[z * phases + t + 1 for z in range(slices)] for t in range(phases)]
    instances = cine.source.instances
    if instances is None or not source_headers:
        return counted
    numbers = [
        [_instance_number(source_headers.get(ref.sop_instance_uid)) for ref in row]
        for row in instances
    ]
    known = [[value for value in row if value is not None] for row in numbers]
    flat = [value for row in known for value in row]
    return known if known == numbers and len(set(flat)) == len(flat) else counted


def _instance_number(header: Any) -> int | None:
    """None where it is absent or no whole number from 0."""
    if header is None:
        return None
    try:
        number = int(str(header["InstanceNumber"].value))
    except (KeyError, ValueError, TypeError):
        return None
    return number if number >= 0 else None
