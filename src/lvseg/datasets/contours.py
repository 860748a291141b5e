"""Contours of experts: text files of points, and masks at sub-pixel accuracy.

Points are (x, y) = (column, row) in pixels, pixel centres at whole numbers. Contour files of the
Sunnybrook set step by half a pixel, because they were drawn on images enlarged twice; the centre
of half-pixel number 2x lies a quarter of a pixel before x. Measured on the 204 endocardial
contours whose expert masks are public: mask centroid minus polygon centroid is -0.249 (columns)
and -0.259 (rows) pixels, and the step of grey values across the contour grows the same way.
:func:`read_contour` takes the quarter away, :mod:`lvseg.write.contours` adds it.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import DatasetError
from lvseg.write.contours import CONTOUR_OFFSET_PX

FloatArray = NDArray[np.float64]

#: A pixel belongs to the cavity when at least this share of it lies inside the contour.
INSIDE_SHARE = 0.5


def read_contour(path: Path) -> FloatArray:
    """Points [N, 2] (x, y) of a contour file with one ``x y`` pair a line, pixel-centre convention.

    :raises DatasetError: unreadable, not two finite numbers a line, or fewer than three points.
    """
    try:
        lines = path.read_text(encoding="ascii").split("\n")
        points = np.array(
            [[float(word) for word in line.split()] for line in lines if line.strip()]
        )
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"expected one 'x y' pair of numbers a line, found something else in {path.name}"
        ) from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise DatasetError(
            f"expected at least three finite points 'x y', found an array {points.shape} "
            f"in {path.name}: repair or remove the contour file"
        )
    result: FloatArray = points + CONTOUR_OFFSET_PX
    return result


def _split(start: FloatArray, end: FloatArray) -> FloatArray:
    """Points on an edge, both ends included, so that no piece crosses a line of the pixel grid."""
    cuts = [np.array([0.0, 1.0])]
    for axis in (0, 1):
        low, high = sorted((start[axis], end[axis]))
        lines = np.arange(np.floor(low) + 1, np.ceil(high))
        if len(lines):
            cuts.append((lines - start[axis]) / (end[axis] - start[axis]))
    steps = np.unique(np.clip(np.concatenate(cuts), 0, 1))
    points: FloatArray = start + steps[:, None] * (end - start)
    points[-1] = end
    return points


def coverage(polygon: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Share of each pixel inside a closed polygon [N, 2], exact, float64 [Y, X] in 0..1.

    Edges are cut at the pixel grid; every piece adds its height to all pixels on its right and
    the trapezoid beside it to its own pixel (Green's theorem). What lies outside the image is cut
    off. Parts that a self-crossing contour encloses more than once count once.
    """
    rows, columns = shape
    corners = np.asarray(polygon, np.float64) + 0.5  # pixel (0, 0) now covers 0..1
    ring = np.concatenate([corners, corners[:1]])
    pieces = [_split(a, b) for a, b in pairwise(ring)]
    first = np.concatenate([piece[:-1] for piece in pieces])
    last = np.concatenate([piece[1:] for piece in pieces])
    middle = (first + last) / 2
    row = np.floor(middle[:, 1]).astype(np.intp)
    kept = (row >= 0) & (row < rows)
    row, x = row[kept], np.clip(middle[kept, 0], 0, columns)
    height = (last[:, 1] - first[:, 1])[kept]
    column = np.floor(x).astype(np.intp)
    own = height * (1 - (x - column))
    steps = np.zeros((rows, columns + 2))
    np.add.at(steps, (row, column), own)
    np.add.at(steps, (row, column + 1), height - own)
    share: FloatArray = np.clip(np.abs(np.cumsum(steps, axis=1)[:, :columns]), 0, 1)
    return share


def fill(polygon: FloatArray, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Mask [Y, X] of a closed polygon [N, 2]: 1 where at least half of the pixel lies inside.

    >>> square = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 1.5], [0.5, 1.5]])
    >>> fill(square, (3, 4)).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    # A little slack: an edge through the middle of a pixel must not depend on rounding.
    result: NDArray[np.uint8] = (coverage(polygon, shape) >= INSIDE_SHARE - 1e-9).astype(np.uint8)
    return result
