"""Distances between the boundaries of two masks.

Two families, each as its source defines it. Hausdorff distances run between *edge pixels* (2D) or
edge voxels (3D). The average perpendicular distance runs between *contours*, polygons halfway
between the pixels inside and those outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lvseg.contours import contour_segments
from lvseg.errors import GeometryError
from lvseg.metrics.overlap import as_pair, empty_case

FloatArray = NDArray[np.float64]
Mask = NDArray[Any]

#: A contour with a smaller average perpendicular distance is "good" (Radau et al. 2009).
GOOD_CONTOUR_MM = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """Every distance between two surfaces: the costly geometry once, cheap statistics after.

    :param reference_to_prediction: from each edge pixel of the reference to the nearest edge pixel
        of the prediction; empty where the reference is.
    :param prediction_to_reference: the same the other way.
    :param unit: "mm" when the spacing was given, otherwise "px".
    """

    reference_to_prediction: FloatArray
    prediction_to_reference: FloatArray
    unit: Literal["mm", "px"]

    def hausdorff(self, percent: float = 100.0) -> float:
        """Larger of the two directed percentiles; 100 = the Hausdorff distance.

        Both masks empty: NaN; one empty: infinite.
        """
        if not 0 <= percent <= 100:
            raise GeometryError(f"expected a percentile from 0 to 100, found {percent}")
        sides = [
            side
            for side in (self.reference_to_prediction, self.prediction_to_reference)
            if side.size
        ]
        if not sides:
            return float("nan")
        if any(np.isinf(side).any() for side in sides):
            return float("inf")
        return max(float(np.percentile(side, percent)) for side in sides)

    def mean(self) -> float:
        """Average symmetric surface distance: the mean over the edge pixels of both masks.

        Both masks empty: NaN; one empty: infinite.
        """
        both = np.concatenate([self.reference_to_prediction, self.prediction_to_reference])
        return float(both.mean()) if both.size else float("nan")


def _steps(spacing_mm: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    if spacing_mm is None:
        return (1.0,) * ndim
    steps = tuple(float(value) for value in spacing_mm)
    if len(steps) != ndim:
        raise GeometryError(f"expected {ndim} spacings for a {ndim}D mask, found {len(steps)}")
    if not all(np.isfinite(value) and value > 0 for value in steps):
        raise GeometryError(f"expected positive spacings in mm, found {steps}")
    return steps


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask with a side neighbour outside it; beyond the array is outside."""
    result: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return result


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    result: tuple[slice, ...] = box
    return result


def surface_distances(
    reference: Mask, prediction: Mask, spacing_mm: Sequence[float] | None = None
) -> SurfaceDistances:
    """Distances from each edge pixel of one mask to the nearest edge pixel of the other.

    :param reference: bool or 0/1, [Y, X] or [Z, Y, X]; ``prediction`` the same shape.
    :param spacing_mm: one per axis, in axis order (slice, row, column); None = unknown: the
        distances are in pixels and say so.
    :raises GeometryMismatchError: shapes differ. GeometryError: spacings that do not fit.

    An empty mask has no edge: its own array is empty and the other one's distances are infinite.
    """
    first, second = as_pair(reference, prediction)
    steps = _steps(spacing_mm, first.ndim)
    unit: Literal["mm", "px"] = "px" if spacing_mm is None else "mm"
    if empty_case(first, second) is not None:
        return SurfaceDistances(
            np.full(np.count_nonzero(_edge(first)), np.inf),
            np.full(np.count_nonzero(_edge(second)), np.inf),
            unit,
        )
    box = _box(first | second)
    edges = _edge(first[box]), _edge(second[box])
    to_first, to_second = (
        np.asarray(ndimage.distance_transform_edt(~edge, sampling=steps), np.float64)
        for edge in edges
    )
    return SurfaceDistances(to_second[edges[0]], to_first[edges[1]], unit)


def hausdorff_mm(
    reference: Mask, prediction: Mask, spacing_mm: Sequence[float] | None, *, percent: float = 100.0
) -> float:
    """Hausdorff distance between the edge pixels of two masks, mm; NaN without spacing.

    The larger of the two directed ``percent`` percentiles (linear interpolation), 100 = maximum
    (Huttenlocher et al., IEEE TPAMI 1993;15:850). Same definition as MONAI.

    :param reference: bool or 0/1, [Y, X] or [Z, Y, X]; ``prediction`` the same shape.
    :param spacing_mm: one per axis, in axis order; None = unknown.
    :raises GeometryMismatchError: shapes differ.

    Both empty: NaN; one empty: infinite.
    """
    if spacing_mm is None:
        as_pair(reference, prediction)
        return float("nan")
    return surface_distances(reference, prediction, spacing_mm).hausdorff(percent)


def hd95_mm(reference: Mask, prediction: Mask, spacing_mm: Sequence[float] | None) -> float:
    """:func:`hausdorff_mm` at the 95th percentile."""
    return hausdorff_mm(reference, prediction, spacing_mm, percent=95.0)


def _distances_to_segments(points: FloatArray, segments: FloatArray) -> FloatArray:
    """Exact distance from each point [N, 2] to the nearest of the segments [M, 2, 2], [N].

    Only segments whose midpoint lies within (distance to the nearest midpoint) + half the longest
    segment can be nearest; a k-d tree finds them.
    """
    starts, directions = segments[:, 0], segments[:, 1] - segments[:, 0]
    squared = np.einsum("ij,ij->i", directions, directions)
    tree = cKDTree(starts + directions / 2)
    reach = float(np.sqrt(squared.max())) / 2
    radius = tree.query(points)[0] + reach + 1e-9
    candidates = tree.query_ball_point(points, radius)
    counts = np.array([len(near) for near in candidates])
    chosen = np.concatenate([np.asarray(near, np.intp) for near in candidates])
    repeated = np.repeat(points, counts, axis=0)
    offset = repeated - starts[chosen]
    along = np.einsum("ij,ij->i", offset, directions[chosen]) / squared[chosen]
    foot = starts[chosen] + along.clip(0, 1)[:, None] * directions[chosen]
    distances = np.linalg.norm(repeated - foot, axis=1)
    result: FloatArray = np.minimum.reduceat(distances, np.concatenate([[0], counts.cumsum()[:-1]]))
    return result


def _average_perpendicular(reference: Mask, prediction: Mask, steps: tuple[float, ...]) -> float:
    first, second = as_pair(reference, prediction)
    if first.ndim != 2:
        raise GeometryError(f"expected one slice [row, column], found shape {first.shape}")
    case = empty_case(first, second)
    if case is not None:
        return case.distance
    scale = np.asarray(steps)
    points, segments = contour_segments(second)[:, 0] * scale, contour_segments(first) * scale
    return float(_distances_to_segments(points, segments).mean())


def average_perpendicular_distance_mm(
    reference: Mask, prediction: Mask, spacing_mm: Sequence[float] | None
) -> float:
    """Mean distance from the automatic contour to the manual one, mm; NaN without spacing.

    Radau et al., The MIDAS Journal 2009: the distance from the automatically drawn contour to the
    corresponding manual contour, averaged over all contour points. Here the points are the
    vertices of the prediction's contour (:func:`lvseg.contours.contour_segments`), and each is
    measured to the nearest place on the reference's. One direction only, as published;
    :meth:`SurfaceDistances.mean` is the symmetric counterpart.

    :param reference: bool or 0/1, one slice [Y, X]; ``prediction`` the same shape.
    :param spacing_mm: (between rows, between columns); None = unknown.
    :raises GeometryMismatchError: shapes differ. GeometryError: not one slice.

    Both empty: NaN; one empty: infinite.
    """
    if spacing_mm is None:
        as_pair(reference, prediction)
        return float("nan")
    return _average_perpendicular(reference, prediction, _steps(spacing_mm, 2))


def average_perpendicular_distance_px(reference: Mask, prediction: Mask) -> float:
    """:func:`average_perpendicular_distance_mm` in pixels, for pictures without a spacing."""
    return _average_perpendicular(reference, prediction, (1.0, 1.0))


def is_good_contour(distance_mm: float) -> bool | None:
    """Whether an average perpendicular distance makes a good contour: below 5 mm (Radau 2009).

    None where the distance is NaN (unknown spacing, or no contour on either side).
    """
    return None if np.isnan(distance_mm) else bool(distance_mm < GOOD_CONTOUR_MM)
