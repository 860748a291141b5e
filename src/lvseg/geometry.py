"""Where slices are.

Patient coordinates are LPS millimetres (DICOM PS3.3 section C.7.6.2.1.1: x to the patient's left,
y to the back, z to the head). Index order is ``[Z, Y, X]`` = slice, row, column. Every slice has a
plane of its own, because real stacks are re-angled, incomplete and sometimes re-acquired. RAS
exists only at the NIfTI border (:func:`lps_to_ras`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import GeometryError, IrregularStackError, UnknownSpacingError

__all__ = [
    "GAP_FACTOR",
    "PARALLEL_TOLERANCE",
    "POSITION_TOLERANCE_MM",
    "Plane",
    "Vec3",
    "affine",
    "are_parallel",
    "gaps",
    "index_to_mm",
    "lps_to_ras",
    "mm_to_index",
    "normal",
    "planes_from_affine",
    "slab_heights_mm",
    "slice_positions_mm",
    "slice_spacing_mm",
    "sort_order",
]

Vec3 = tuple[float, float, float]
FloatArray = NDArray[np.float64]

#: Scanners write direction cosines with about 6 digits; angles of a true re-angulation are degrees.
PARALLEL_TOLERANCE = 1e-3
#: Positions are written to about 0.01 mm; no scanner places two slices closer than 1 mm.
POSITION_TOLERANCE_MM = 0.1
#: A distance this much above the usual one means that a slice is missing between two neighbours.
GAP_FACTOR = 1.5


@dataclass(frozen=True, slots=True)
class Plane:
    """One slice in space.

    :param origin_mm: centre of the pixel at row 0, column 0, LPS.
    :param row_step: unit vector in which the row index grows (down a column of pixels).
    :param column_step: unit vector in which the column index grows (along a row of pixels).
    :param pixel_spacing_mm: distances (between rows, between columns), as DICOM PixelSpacing.
    :param thickness_mm: nominal slice thickness; None where unknown. Never used for volumes.
    :raises GeometryError: vectors that are not orthonormal, or spacings that are not positive.
    """

    origin_mm: Vec3
    row_step: Vec3
    column_step: Vec3
    pixel_spacing_mm: tuple[float, float]
    thickness_mm: float | None = None

    def __post_init__(self) -> None:
        row, column = np.asarray(self.row_step), np.asarray(self.column_step)
        if not np.isfinite([*self.origin_mm, *row, *column, *self.pixel_spacing_mm]).all():
            raise GeometryError("expected finite positions, directions and spacings of a slice")
        lengths = (float(np.linalg.norm(row)), float(np.linalg.norm(column)))
        if max(abs(length - 1) for length in lengths) > PARALLEL_TOLERANCE:
            raise GeometryError(f"expected unit direction vectors, found lengths {lengths}")
        if abs(float(row @ column)) > PARALLEL_TOLERANCE:
            raise GeometryError("expected perpendicular row and column directions of a slice")
        if min(self.pixel_spacing_mm) <= 0:
            raise GeometryError(f"expected positive pixel spacing, found {self.pixel_spacing_mm}")


def _vector(values: NDArray[np.float64]) -> Vec3:
    return (float(values[0]), float(values[1]), float(values[2]))


def normal(plane: Plane) -> FloatArray:
    """Unit normal of a slice, column_step x row_step (DICOM PS3.3 C.7.6.2.1.1), shape [3]."""
    cross = np.cross(np.asarray(plane.column_step), np.asarray(plane.row_step))
    result: FloatArray = cross / np.linalg.norm(cross)
    return result


def are_parallel(planes: Sequence[Plane]) -> bool:
    """Whether all slices share row and column directions within :data:`PARALLEL_TOLERANCE`."""
    first = planes[0]
    return all(
        np.allclose(plane.row_step, first.row_step, atol=PARALLEL_TOLERANCE)
        and np.allclose(plane.column_step, first.column_step, atol=PARALLEL_TOLERANCE)
        for plane in planes
    )


def slice_positions_mm(planes: Sequence[Plane]) -> FloatArray:
    """Positions along the normal of the first slice, shape [Z], mm.

    :raises IrregularStackError: the slices are not parallel.
    """
    if not are_parallel(planes):
        raise IrregularStackError("expected parallel slices, found slices at an angle")
    origins = np.array([plane.origin_mm for plane in planes], np.float64)
    result: FloatArray = origins @ normal(planes[0])
    return result


def sort_order(planes: Sequence[Plane]) -> NDArray[np.intp]:
    """Indices that order slices along the normal (stable; sorting twice changes nothing)."""
    return np.argsort(slice_positions_mm(planes), kind="stable")


def _distances_mm(planes: Sequence[Plane]) -> FloatArray:
    """Centre-to-centre distances of neighbours, shape [Z - 1], mm; raises as its callers say."""
    if len(planes) < 2:
        raise UnknownSpacingError(
            "expected at least two slices to know the distance between them, found one"
        )
    steps = np.diff(slice_positions_mm(planes))
    distances: FloatArray = np.abs(steps)
    if (distances < POSITION_TOLERANCE_MM).any() or not (np.all(steps > 0) or np.all(steps < 0)):
        raise IrregularStackError("expected slices in order along the normal, at distinct places")
    return distances


def slab_heights_mm(planes: Sequence[Plane]) -> FloatArray:
    """The height each slice stands for in Simpson's rule, shape [Z], mm.

    Half the distance to each neighbour, so gaps count; on its open side an outermost slice stands
    for half the usual (median) distance of the stack. Slice thickness is not used.

    :raises UnknownSpacingError: fewer than two slices: nothing says how far one slice reaches.
    :raises IrregularStackError: slices at an angle, out of order or at the same position.
    """
    distances = _distances_mm(planes)
    usual = np.median(distances)
    before = np.concatenate([[usual], distances])
    after = np.concatenate([distances, [usual]])
    result: FloatArray = (before + after) / 2
    return result


def slice_spacing_mm(planes: Sequence[Plane]) -> float:
    """The one centre-to-centre distance of a regular stack, mm.

    :raises UnknownSpacingError: fewer than two slices.
    :raises IrregularStackError: neighbouring distances differ by more than
        :data:`POSITION_TOLERANCE_MM`; slices at an angle, out of order or at the same position.
    """
    distances = _distances_mm(planes)
    if float(np.ptp(distances)) > POSITION_TOLERANCE_MM:
        raise IrregularStackError(
            f"expected one slice distance, found {distances.min():.2f} to {distances.max():.2f} mm"
        )
    return float(distances.mean())


def gaps(planes: Sequence[Plane]) -> tuple[int, ...]:
    """Indices i where slices are missing between slice i and i + 1 (distance > 1.5 x median)."""
    if len(planes) < 3:
        return ()
    distances = np.abs(np.diff(slice_positions_mm(planes)))
    return tuple(int(i) for i in np.flatnonzero(distances > GAP_FACTOR * np.median(distances)))


def affine(planes: Sequence[Plane]) -> FloatArray:
    """Index (column, row, slice) -> LPS mm of a regular stack, shape [4, 4].

    A lone slice with a known thickness takes it as its third step, which is needed to write a
    NIfTI and used for nothing else; a lone slice without one takes a step of 1 mm.

    :raises IrregularStackError: the stack has no single affine (unequal distances or in-plane
        shifts, different pixel spacings, slices at an angle).
    """
    first = planes[0]
    matrix = np.eye(4)
    matrix[:3, 0] = np.asarray(first.column_step) * first.pixel_spacing_mm[1]
    matrix[:3, 1] = np.asarray(first.row_step) * first.pixel_spacing_mm[0]
    matrix[:3, 3] = first.origin_mm
    if len(planes) == 1:
        matrix[:3, 2] = normal(first) * (first.thickness_mm or 1.0)
        return matrix
    slice_spacing_mm(planes)
    origins = np.array([plane.origin_mm for plane in planes])
    step = (origins[-1] - origins[0]) / (len(planes) - 1)
    expected = origins[0] + np.arange(len(planes))[:, None] * step
    if np.abs(origins - expected).max() > POSITION_TOLERANCE_MM or any(
        not np.allclose(plane.pixel_spacing_mm, first.pixel_spacing_mm, atol=1e-4)
        for plane in planes
    ):
        raise IrregularStackError(
            "expected one affine for the stack, found slices shifted or scaled against each other"
        )
    matrix[:3, 2] = step
    return matrix


def planes_from_affine(matrix: FloatArray, slices: int) -> tuple[Plane, ...]:
    """Planes of a regular stack from an index (column, row, slice) -> LPS affine.

    :raises GeometryError: the in-plane axes are not orthogonal (a shear) or have no length.
    """
    steps = matrix[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    if (lengths <= 0).any() or not np.isfinite(matrix).all():
        raise GeometryError("expected an affine with three steps of positive length")
    column, row = steps[:, 0] / lengths[0], steps[:, 1] / lengths[1]
    return tuple(
        Plane(
            origin_mm=_vector(matrix[:3, 3] + index * steps[:, 2]),
            row_step=_vector(row),
            column_step=_vector(column),
            pixel_spacing_mm=(float(lengths[1]), float(lengths[0])),
        )
        for index in range(slices)
    )


def lps_to_ras(matrix: FloatArray) -> FloatArray:
    """Flip the first two patient axes of an affine; its own inverse. Shape [4, 4]."""
    result: FloatArray = np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
    return result


def index_to_mm(plane: Plane, row_column: FloatArray) -> FloatArray:
    """Pixel coordinates [N, 2] (row, column) -> LPS mm [N, 3] (PS3.3 C.7.6.2.1.1, eq. C.7.6.2.1-1).

    The same equation with the roles of row and column named by direction of growth.
    """
    points = np.asarray(row_column, np.float64)
    result: FloatArray = (
        np.asarray(plane.origin_mm)
        + points[:, :1] * plane.pixel_spacing_mm[0] * np.asarray(plane.row_step)
        + points[:, 1:] * plane.pixel_spacing_mm[1] * np.asarray(plane.column_step)
    )
    return result


def mm_to_index(plane: Plane, points_mm: FloatArray) -> FloatArray:
    """LPS mm [N, 3] -> pixel coordinates [N, 2] (row, column) of the foot on the plane."""
    offsets = np.asarray(points_mm, np.float64) - np.asarray(plane.origin_mm)
    rows = offsets @ np.asarray(plane.row_step) / plane.pixel_spacing_mm[0]
    columns = offsets @ np.asarray(plane.column_step) / plane.pixel_spacing_mm[1]
    return np.stack([rows, columns], axis=1)
