"""Contours as sub-pixel polygons: from the pixels of a slice, area, centroid, and back to pixels.

Points are (x, y) = (column, row) in pixels, pixel centres at whole numbers; polygons are closed,
the first point is not repeated at the end.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import Box

#: [N, 2], (x, y).
Polygon = NDArray[np.float64]

#: A drawn contour is averaged over points 1 and 2 pixels away: the stairs of the pixels go. The
#: line moves by less than a pixel, at a sharp corner that is.
_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def slice_contours(inside: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """Trace the contours of a slice by marching squares at 0.5, largest first.

    A contour runs half a pixel outside the outer pixel centres and closes at the border of the
    image too. Pixels that touch only at a corner have contours of their own. Points on one
    straight line are left out. Holes come as polygons of their own, wound the other way. A slice
    without any pixel has no contour.

    :param inside: [Y, X].
    Source: Lorensen and Cline, Marching cubes, SIGGRAPH Computer Graphics 1987;21(4):163-169, in
    two dimensions; the walk itself is contourpy's.
    """
    polygons = [_without_flat_corners(polygon) for polygon in _trace(inside)]
    return tuple(sorted(polygons, key=lambda polygon: (-area_px(polygon), *polygon[0])))


def contour_segments(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sides of all contours of a slice [Y, X], [N, 2 ends, 2] as (row, column) in pixels.

    The contours of :func:`slice_contours` before points are left out: one vertex halfway between
    each two side neighbours of which one is inside and one outside, and each vertex is the first
    end of one side and the second end of another.
    """
    sides = [np.stack([line, np.roll(line, -1, axis=0)], axis=1) for line in _trace(inside)]
    return np.concatenate([np.empty((0, 2, 2)), *sides])[..., ::-1]


def _trace(inside: NDArray[np.bool_]) -> list[Polygon]:
    held = Box.around(inside)
    if held is None:
        return []
    box = held.grow(1, 1)
    padded = box.crop(inside).astype(np.float64)
    from contourpy import contour_generator  # only where contours are drawn: it costs start-up time

    lines = contour_generator(z=padded, name="serial").lines(0.5)
    return [np.asarray(line)[:-1] + np.array([box.left, box.top], np.float64) for line in lines]


def _without_flat_corners(points: Polygon) -> Polygon:
    steps = np.diff(points[[-1, *range(len(points)), 0]], axis=0)
    bend = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
    kept: Polygon = points[np.abs(bend) > 1e-9]
    return kept


def signed_area_px(polygon: Polygon) -> float:
    """Area inside a polygon in square pixels; negative around a hole.

    Source: the shoelace formula (Meister 1769).
    """
    x, y = (polygon - polygon[0]).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def area_px(polygon: Polygon) -> float:
    """Area of a polygon in square pixels, whichever way it is wound.

    >>> area_px(np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0], [0.0, 3.0]]))
    6.0
    """
    return abs(signed_area_px(polygon))


def centroid_px(polygon: Polygon) -> tuple[float, float]:
    """Centre of mass (x, y) of a polygon (Green's theorem); the mean point when it has no area."""
    area = signed_area_px(polygon)
    if area == 0:
        return (float(polygon[:, 0].mean()), float(polygon[:, 1].mean()))
    here = polygon - polygon[0]
    after = np.roll(here, -1, axis=0)
    cross = here[:, 0] * after[:, 1] - after[:, 0] * here[:, 1]
    x, y = ((here + after) * cross[:, None]).sum(axis=0) / (6 * area) + polygon[0]
    return (float(x), float(y))


def smooth_contour(polygon: Polygon) -> Polygon:
    """Take the stairs of the pixels off a contour, [N, 2]; no point moves by a pixel.

    The result has a point about every pixel, an even number of them, 8 at least.
    """
    closed = np.concatenate([polygon, polygon[:1]])
    steps = closed[1:] - closed[:-1]
    along = np.concatenate([[0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    count = max(8, 2 * round(along[-1] / 2))
    places = np.arange(-2, count + 2) * (along[-1] / count) % along[-1]
    even = np.stack([np.interp(places, along, closed[:, axis]) for axis in (0, 1)], axis=1)
    result: Polygon = np.zeros((count, 2))
    for start, share in enumerate(_KERNEL):
        result += share * even[start : start + count]
    return result


#: A pixel belongs to a structure when at least this share of it lies inside the contour.
INSIDE_SHARE = 0.5


def _split(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on an edge, both ends included, so that no piece crosses a line of the pixel grid."""
    cuts = [np.array([0.0, 1.0])]
    for axis in (0, 1):
        low, high = sorted((start[axis], end[axis]))
        lines = np.arange(np.floor(low) + 1, np.ceil(high))
        if len(lines):
            cuts.append((lines - start[axis]) / (end[axis] - start[axis]))
    steps = np.unique(np.clip(np.concatenate(cuts), 0, 1))
    points: NDArray[np.float64] = start + steps[:, None] * (end - start)
    points[-1] = end
    return points


def coverage(polygon: Polygon, shape: tuple[int, int]) -> NDArray[np.float64]:
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
    share: NDArray[np.float64] = np.clip(np.abs(np.cumsum(steps, axis=1)[:, :columns]), 0, 1)
    return share


def fill(polygon: Polygon, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Mask [Y, X] of a closed polygon [N, 2]: 1 where at least half of the pixel lies inside.

    >>> square = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 1.5], [0.5, 1.5]])
    >>> fill(square, (3, 4)).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    # A little slack: an edge through the middle of a pixel must not depend on rounding.
    result: NDArray[np.uint8] = (coverage(polygon, shape) >= INSIDE_SHARE - 1e-9).astype(np.uint8)
    return result
