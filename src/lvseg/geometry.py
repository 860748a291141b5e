"""Geometry of a stack: planes, grids, and boxes in the plane of a slice.

Patient coordinates are LPS millimetres (DICOM PS3.3 section C.7.6.2.1.1: x to the patient's left,
y to the back, z to the head). Index order is ``[Z, Y, X]`` = slice, row, column. Every slice has a
plane of its own, because real stacks are re-angled, incomplete and sometimes re-acquired. RAS
exists only at the NIfTI border (:func:`lps_to_ras`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import (
    GeometryError,
    GeometryMismatchError,
    IrregularStackError,
    UnknownSpacingError,
)

Vec3 = tuple[float, float, float]
FloatArray = NDArray[np.float64]

#: Scanners write direction cosines with about 6 digits: what differs by less is one direction.
PARALLEL_TOLERANCE = 1e-3
#: Slices tilted against each other by no more belong to one stack and keep their own planes: where
#: two planes 3 degrees apart meet the wall of a ventricle, 30 mm from its axis, their distance
#: differs by 1.6 mm, a fifth of a usual one. This is the one tolerance for the angle of slices.
SMALL_TILT_DEGREES = 3.0
#: Positions are written to about 0.01 mm; no scanner places two slices closer than 1 mm.
POSITION_TOLERANCE_MM = 0.1
#: Two tools may write the direction cosines and the spacing of one slice this differently.
_SAME_DIRECTION, _SAME_SPACING = 0.01, 0.01
#: Distances of pixels and of slices that an image of a heart can have, mm. Below lie mice and slips
#: of a unit, above them no scanner: a heart of 10 cm would be ten pixels, or one slice.
PIXEL_SPACING_RANGE_MM, SLICE_SPACING_RANGE_MM = (0.1, 10.0), (0.1, 100.0)
#: No bore is wider. With the range of pixels it bounds what resampling can ask of the memory.
WIDEST_FIELD_MM = 1000.0
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
        row, column = self.row_step, self.column_step
        if not all(map(math.isfinite, (*self.origin_mm, *row, *column, *self.pixel_spacing_mm))):
            raise GeometryError("expected finite positions, directions and spacings of a slice")
        lengths = (math.hypot(*row), math.hypot(*column))
        if max(abs(length - 1) for length in lengths) > PARALLEL_TOLERANCE:
            raise GeometryError(f"expected unit direction vectors, found lengths {lengths}")
        if abs(sum(a * b for a, b in zip(row, column, strict=True))) > PARALLEL_TOLERANCE:
            raise GeometryError("expected perpendicular row and column directions of a slice")
        if min(self.pixel_spacing_mm) <= 0:
            raise GeometryError(f"expected positive pixel spacing, found {self.pixel_spacing_mm}")


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pixels of a stack are: geometry without pixels, shared by a cine and its masks.

    Slices with known spacing but unknown place have ``planes=None`` and the two spacings; with
    planes, the spacings are those of the planes whatever is given.

    :param rows, columns, slices: the size of the stack.
    :param planes: one per slice, in order along the normal; None = place unknown (pictures).
    :param pixel_spacing_mm: (between rows, between columns); None = unknown, never 1.
    :param slice_spacing_mm: centre to centre; None = unknown, or not the same everywhere.
    :param complete: False when the reader left slices out (they lack phases, or lie at an angle),
        so that a volume summed over this stack would be wrong.
    :raises GeometryMismatchError: not one plane a slice.
    :raises GeometryError: a spacing that no image of a heart has (:func:`why_implausible`).
    """

    rows: int
    columns: int
    slices: int
    planes: tuple[Plane, ...] | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    slice_spacing_mm: float | None = None
    complete: bool = True

    def __post_init__(self) -> None:
        if self.planes is not None:
            if len(self.planes) != self.slices:
                raise GeometryMismatchError(
                    f"expected {self.slices} planes, found {len(self.planes)}"
                )
            object.__setattr__(self, "pixel_spacing_mm", self.planes[0].pixel_spacing_mm)
            object.__setattr__(self, "slice_spacing_mm", self._regular_spacing_mm())
        sides, pixels = (self.rows, self.columns), self.pixel_spacing_mm
        spacings = {plane.pixel_spacing_mm for plane in self.planes or ()} | {pixels}
        for spacing in spacings:
            why = why_implausible(sides, spacing, self.slice_spacing_mm)
            if why:
                raise GeometryError(
                    f"{why}: correct the header, or leave it out where it is unknown"
                )

    @classmethod
    def of(cls, array: NDArray[Any], **geometry: Any) -> Self:
        """The grid of an array ``[..., Z, Y, X]``.

        :param geometry: ``planes``, ``pixel_spacing_mm``, ``slice_spacing_mm``, ``complete``.
        """
        slices, rows, columns = array.shape[-3:]
        return cls(rows, columns, slices, **geometry)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return (self.slices, self.rows, self.columns)

    @property
    def pixel_spacings_mm(self) -> FloatArray | None:
        """(between rows, between columns) of each slice, [Z, 2]; None = unknown."""
        if self.planes is not None:
            return np.array([plane.pixel_spacing_mm for plane in self.planes], np.float64)
        if self.pixel_spacing_mm is None:
            return None
        return np.tile(np.array(self.pixel_spacing_mm, np.float64), (self.slices, 1))

    @property
    def centre_px(self) -> tuple[float, float]:
        """(row, column) of the middle of a slice, pixel centres at integers."""
        return ((self.rows - 1) / 2, (self.columns - 1) / 2)

    def disc_thickness_mm(self) -> FloatArray:
        """:func:`disc_thickness_mm` of its planes, measured in the middle of the slices.

        :raises UnknownSpacingError: no planes, or one. IrregularStackError: as there.
        """
        return disc_thickness_mm(self.planes or (), self.centre_px)

    def _regular_spacing_mm(self) -> float | None:
        try:
            return slice_spacing_mm(self.planes or (), self.centre_px)
        except GeometryError:  # one slice, or an irregular stack: there is no single distance
            return None

    def same_place(self, other: Grid) -> bool:
        """Whether both are of one size and, where both know their planes, at one place."""
        if self.shape != other.shape:
            return False
        if self.planes is None or other.planes is None or self.planes is other.planes:
            return True
        return all(map(same_plane, self.planes, other.planes))


def why_implausible(
    sides: tuple[int, int],
    pixel_spacing_mm: tuple[float, float] | None,
    slice_spacing_mm: float | None = None,
) -> str:
    """Say why no image of a heart has these spacings; "" where one may, or they are unknown.

    :param sides: (rows, columns); :param pixel_spacing_mm: along them.

    >>> why_implausible((256, 256), (1.4, 1.4), 8.0)
    ''
    >>> why_implausible((256, 256), (2000.0, 2000.0))
    'expected a pixel spacing of 0.1 to 10 mm, found 2000 x 2000 mm'
    """
    if pixel_spacing_mm is not None:
        low, high = PIXEL_SPACING_RANGE_MM
        found = " x ".join(f"{value:.4g}" for value in pixel_spacing_mm)
        if not all(low <= value <= high for value in pixel_spacing_mm):
            return f"expected a pixel spacing of {low:g} to {high:g} mm, found {found} mm"
        field_mm = [n * value for n, value in zip(sides, pixel_spacing_mm, strict=True)]
        if max(field_mm) > WIDEST_FIELD_MM:
            return (
                f"expected a field of view of at most {WIDEST_FIELD_MM:g} mm, found {sides[0]} x "
                f"{sides[1]} pixels of {found} mm"
            )
    low, high = SLICE_SPACING_RANGE_MM
    if slice_spacing_mm is not None and not low <= slice_spacing_mm <= high:
        return (
            f"expected a slice distance of {low:g} to {high:g} mm, found {slice_spacing_mm:.4g} mm"
        )
    return ""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels in the plane of a slice; it may reach outside the image.

    :param top, left: the first row and column; :param rows, columns: its size.
    """

    top: int
    left: int
    rows: int
    columns: int

    @classmethod
    def around(cls, flags: NDArray[np.bool_]) -> Self | None:
        """The smallest box that holds everything true in ``[..., Y, X]``; None where nothing is."""
        sides = flags.shape[-2:]
        rows = np.flatnonzero(np.any(flags, axis=-1).reshape(-1, sides[0]).any(axis=0))
        if rows.size == 0:
            return None
        top = int(rows[0])
        held = np.any(flags[..., top : int(rows[-1]) + 1, :], axis=-2).reshape(-1, sides[1])
        columns = np.flatnonzero(held.any(axis=0))
        left = int(columns[0])
        return cls(top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left)

    @classmethod
    def centred(cls, row: float, column: float, rows: int, columns: int) -> Self:
        """The box of a size whose centre is nearest to (row, column), pixel centres at integers."""
        return cls(round(row - (rows - 1) / 2), round(column - (columns - 1) / 2), rows, columns)

    @property
    def bottom(self) -> int:
        """The row after the last."""
        return self.top + self.rows

    @property
    def right(self) -> int:
        """The column after the last."""
        return self.left + self.columns

    @property
    def centre(self) -> tuple[float, float]:
        """(row, column), pixel centres at integers."""
        return (self.top + (self.rows - 1) / 2, self.left + (self.columns - 1) / 2)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns to index an image with; for a box inside the image."""
        return (slice(self.top, self.bottom), slice(self.left, self.right))

    def grow(self, rows: int, columns: int) -> Self:
        """The box with so many rows and columns more on every side."""
        return replace(
            self,
            top=self.top - rows,
            left=self.left - columns,
            rows=self.rows + 2 * rows,
            columns=self.columns + 2 * columns,
        )

    def clip(self, rows: int, columns: int) -> Self:
        """The part of the box inside an image of that size; empty where they do not meet."""
        top, left = min(max(0, self.top), rows), min(max(0, self.left), columns)
        bottom, right = max(top, min(rows, self.bottom)), max(left, min(columns, self.right))
        return replace(self, top=top, left=left, rows=bottom - top, columns=right - left)

    def relative_to(self, other: Box) -> Self:
        """The same pixels counted from the first row and column of another box."""
        return replace(self, top=self.top - other.top, left=self.left - other.left)

    def crop(self, image: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Cut the box out of ``[..., Y, X]``; what lies outside the image is ``fill``."""
        inside = self.clip(image.shape[-2], image.shape[-1])
        if inside == self:
            return image[..., *self.slices]
        result = np.full((*image.shape[:-2], self.rows, self.columns), fill, image.dtype)
        result[..., *inside.relative_to(self).slices] = image[..., *inside.slices]
        return result

    def paste(self, crop: NDArray[Any], image: NDArray[Any]) -> None:
        """Put a crop ``[..., rows, columns]`` back into ``image`` ``[..., Y, X]``, in place.

        What lies outside the image is dropped.
        """
        inside = self.clip(image.shape[-2], image.shape[-1])
        image[..., *inside.slices] = crop[..., *inside.relative_to(self).slices]


def vector(values: NDArray[np.float64]) -> Vec3:
    """An array of shape [3] as a plane holds it."""
    return (float(values[0]), float(values[1]), float(values[2]))


def normal(plane: Plane) -> FloatArray:
    """Unit normal of a slice, column_step x row_step (DICOM PS3.3 C.7.6.2.1.1), shape [3]."""
    cross = np.cross(np.asarray(plane.column_step), np.asarray(plane.row_step))
    result: FloatArray = cross / np.linalg.norm(cross)
    return result


def same_plane(one: Plane, other: Plane, *, within_px: float = 0.0) -> bool:
    """Whether two slices have the same pixels: equal spacing, turned alike, at one place.

    :param within_px: how far apart they may be in the plane, where a tool may have rounded; never
        less than :data:`POSITION_TOLERANCE_MM`, which holds along the normal.
    """
    offset = np.subtract(one.origin_mm, other.origin_mm)
    far_mm = max(within_px * min(other.pixel_spacing_mm), POSITION_TOLERANCE_MM)
    directions = (*one.row_step, *one.column_step), (*other.row_step, *other.column_step)
    return bool(
        np.linalg.norm(offset) <= far_mm
        and abs(float(offset @ normal(other))) <= POSITION_TOLERANCE_MM
        and np.allclose(*directions, rtol=0, atol=_SAME_DIRECTION)
        and np.allclose(one.pixel_spacing_mm, other.pixel_spacing_mm, rtol=_SAME_SPACING)
    )


def _same_directions(one: Plane, other: Plane) -> bool:
    """Whether two slices have one orientation but for the rounding of their cosines."""
    directions = (*one.row_step, *one.column_step), (*other.row_step, *other.column_step)
    return all(abs(a - b) <= PARALLEL_TOLERANCE for a, b in zip(*directions, strict=True))


def tilt_degrees(one: Plane, other: Plane) -> float:
    """Angle between two planes, 0 to 90 degrees; which side a slice is seen from does not count."""
    a, b = normal(one), normal(other)
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), abs(float(a @ b)))))


def are_parallel(planes: Sequence[Plane]) -> bool:
    """Whether no slice is tilted against the first by more than :data:`SMALL_TILT_DEGREES`."""
    first = planes[0]
    alike = {(plane.row_step, plane.column_step): plane for plane in planes}
    return all(tilt_degrees(first, plane) <= SMALL_TILT_DEGREES for plane in alike.values())


def slice_positions_mm(
    planes: Sequence[Plane], at_px: tuple[float, float] = (0.0, 0.0)
) -> FloatArray:
    """Positions along the normal of the stack, shape [Z], mm.

    The normal is the mean one, on the side of the first slice.

    :param at_px: the (row, column) of which the position is meant. For slices of one orientation
        all are the same; planes that are tilted against each other are nearer on one side.
    :raises IrregularStackError: slices at more than a small angle.
    """
    if not are_parallel(planes):
        raise IrregularStackError("expected parallel slices, found slices at an angle")
    origins = np.array([plane.origin_mm for plane in planes], np.float64)
    first = planes[0]
    if all(_same_directions(first, plane) for plane in planes):
        result: FloatArray = origins @ normal(first)
        return result
    normals = np.array([normal(plane) for plane in planes])
    normals *= np.where(normals @ normals[0] < 0, -1.0, 1.0)[:, None]
    axis = normals.mean(axis=0)
    points = np.array([index_to_mm(plane, np.array([at_px]))[0] for plane in planes])
    tilted: FloatArray = points @ (axis / np.linalg.norm(axis))
    return tilted


def sort_order(planes: Sequence[Plane]) -> NDArray[np.intp]:
    """Indices that order slices along the normal (stable; sorting twice changes nothing)."""
    return np.argsort(slice_positions_mm(planes), kind="stable")


def _distances_mm(planes: Sequence[Plane], at_px: tuple[float, float]) -> FloatArray:
    """Centre-to-centre distances of neighbours, shape [Z - 1], mm; raises as its callers say."""
    if len(planes) < 2:
        raise UnknownSpacingError(
            "expected at least two slices to know the distance between them, found one"
        )
    steps = np.diff(slice_positions_mm(planes, at_px))
    distances: FloatArray = np.abs(steps)
    if (distances < POSITION_TOLERANCE_MM).any() or not (np.all(steps > 0) or np.all(steps < 0)):
        raise IrregularStackError("expected slices in order along the normal, at distinct places")
    return distances


def disc_thickness_mm(
    planes: Sequence[Plane], at_px: tuple[float, float] = (0.0, 0.0)
) -> FloatArray:
    """The thickness of the disc that each slice stands for (method of discs), shape [Z], mm.

    Half the distance to each neighbour, so gaps count; on its open side an outermost slice stands
    for half the usual (median) distance of the stack. Slice thickness is not used.

    :param at_px: where tilted slices are measured, see :func:`slice_positions_mm`.
    :raises UnknownSpacingError: fewer than two slices: nothing says how far one slice reaches.
    :raises IrregularStackError: slices at an angle, out of order or at the same position.
    """
    distances = _distances_mm(planes, at_px)
    usual = np.median(distances)
    before = np.concatenate([[usual], distances])
    after = np.concatenate([distances, [usual]])
    result: FloatArray = (before + after) / 2
    return result


def slice_spacing_mm(planes: Sequence[Plane], at_px: tuple[float, float] = (0.0, 0.0)) -> float:
    """The one centre-to-centre distance of a regular stack, mm.

    :param at_px: where tilted slices are measured, see :func:`slice_positions_mm`.
    :raises UnknownSpacingError: fewer than two slices.
    :raises IrregularStackError: neighbouring distances differ by more than
        :data:`POSITION_TOLERANCE_MM`; slices at an angle, out of order or at the same position.
    """
    distances = _distances_mm(planes, at_px)
    if float(np.ptp(distances)) > POSITION_TOLERANCE_MM:
        raise IrregularStackError(
            f"expected one slice distance, found {distances.min():.2f} to {distances.max():.2f} mm"
        )
    return float(distances.mean())


def gaps(
    planes: Sequence[Plane], factor: float = GAP_FACTOR, at_px: tuple[float, float] = (0.0, 0.0)
) -> tuple[int, ...]:
    """Indices i where slices are missing between slice i and i + 1 (distance > factor x median)."""
    if len(planes) < 3:
        return ()
    distances = np.abs(np.diff(slice_positions_mm(planes, at_px)))
    return tuple(int(i) for i in np.flatnonzero(distances > factor * np.median(distances)))


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
    if not all(_same_directions(first, plane) for plane in planes):
        raise IrregularStackError("expected one affine for the stack, found slices at an angle")
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


def best_fit_affine(planes: Sequence[Plane]) -> tuple[FloatArray, float]:
    """The affine nearest to a stack that has none, and how far off it is at worst, mm.

    A least-squares line through the origins of the slices, with the directions of the middle one;
    what a NIfTI of such a stack states.
    """
    origins = np.array([plane.origin_mm for plane in planes], np.float64)
    index = np.arange(len(planes)) - (len(planes) - 1) / 2
    step = index @ origins / float(index @ index)
    start = origins.mean(axis=0) + index[0] * step
    middle = planes[len(planes) // 2]
    matrix = np.eye(4)
    matrix[:3, 0] = np.asarray(middle.column_step) * middle.pixel_spacing_mm[1]
    matrix[:3, 1] = np.asarray(middle.row_step) * middle.pixel_spacing_mm[0]
    matrix[:3, 2], matrix[:3, 3] = step, start
    worst = np.linalg.norm(origins - (start + np.arange(len(planes))[:, None] * step), axis=1)
    return matrix, float(worst.max())


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
            origin_mm=vector(matrix[:3, 3] + index * steps[:, 2]),
            row_step=vector(row),
            column_step=vector(column),
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
