"""Outlines of a binary slice as polygons, for files, pictures and pages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Polygon", "outlines", "signed_area_px"]

Polygon = NDArray[np.float64]


def outlines(inside: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """Trace the outlines of a slice by marching squares at 0.5, each [N, 2] (x, y).

    x = column, y = row, pixel centres at integers: an outline runs half a pixel outside the outer
    centres and closes at the border of the image too. The first point is not repeated at the
    end. Corners on one straight line are left out. Holes come as polygons of their own, wound the
    other way. A slice without cavity has no outline.

    :param inside: [Y, X].
    Source: Lorensen and Cline, Marching cubes, SIGGRAPH Computer Graphics 1987;21(4):163-169, in
    two dimensions; the walk itself is contourpy's.
    """
    rows = np.flatnonzero(inside.any(axis=1))
    if rows.size == 0:
        return ()
    columns = np.flatnonzero(inside[rows[0] : rows[-1] + 1].any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    padded = np.zeros((int(rows[-1]) - top + 3, int(columns[-1]) - left + 3))
    padded[1:-1, 1:-1] = inside[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    from contourpy import contour_generator

    lines = contour_generator(z=padded, name="serial").lines(0.5)
    corner = np.array([left - 1, top - 1], np.float64)
    polygons = [_without_flat_corners(np.asarray(line)[:-1]) + corner for line in lines]
    return tuple(sorted(polygons, key=lambda polygon: (-abs(signed_area_px(polygon)), *polygon[0])))


def _without_flat_corners(points: Polygon) -> Polygon:
    steps = np.diff(points[[-1, *range(len(points)), 0]], axis=0)
    bend = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
    kept: Polygon = points[np.abs(bend) > 1e-9]
    return kept


def signed_area_px(polygon: Polygon) -> float:
    """Area inside a polygon ``[N, 2]`` (x, y) in square pixels; negative around a hole.

    Source: the shoelace formula (Meister 1769).
    """
    x, y = polygon[:, 0], polygon[:, 1]
    return float(x[:-1] @ y[1:] - y[:-1] @ x[1:] + x[-1] * y[0] - y[-1] * x[0]) / 2
