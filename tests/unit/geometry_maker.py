"""The inverse of :func:`lvseg.geometry.index_to_mm`, for tests."""

from __future__ import annotations

import numpy as np

from lvseg.geometry import FloatArray, Plane


def mm_to_index(plane: Plane, points_mm: FloatArray) -> FloatArray:
    """LPS mm [N, 3] -> pixel coordinates [N, 2] (row, column) of the foot on the plane."""
    offsets = np.asarray(points_mm, np.float64) - np.asarray(plane.origin_mm)
    rows = offsets @ np.asarray(plane.row_step) / plane.pixel_spacing_mm[0]
    columns = offsets @ np.asarray(plane.column_step) / plane.pixel_spacing_mm[1]
    return np.stack([rows, columns], axis=1)
