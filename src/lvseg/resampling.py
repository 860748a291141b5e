"""A mask resampled onto another grid in patient space, where index space says nothing.

Two tools may store one stack with its axes reversed or exchanged, cropped, or with slices in
another order. Each pixel of the new grid takes the label of the nearest pixel of the old one, so a
grid of the same pixels gets them unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Mask
from lvseg.errors import GeometryError, GeometryMismatchError
from lvseg.geometry import (
    POSITION_TOLERANCE_MM,
    Grid,
    Plane,
    affine,
    are_parallel,
    best_fit_affine,
    disc_thickness_mm,
    index_to_mm,
    normal,
    planes_from_affine,
    same_plane,
    sort_order,
)
from lvseg.issues import Issue

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: Nearer than this to a pixel of the other grid, a pixel is that pixel: tools round positions.
SAME_PIXEL = 0.1
#: Half a slab, rounding allowed: a point on the border of two belongs to one.
_HALF = 0.5 + 1e-6
#: A share of the labelled pixels below this may lie outside without a word: one rim of a crop.
_SPILT_SHARE = 0.001


def onto_grid(mask: Mask, grid: Grid) -> Mask:
    """Give the labels of a mask on another grid, both with known planes.

    :returns: the mask with that grid, and what was noticed: ``resampled`` where its pixels are not
        those of the grid, ``mask-outside`` where a part of it lies outside.
    :raises GeometryMismatchError: a grid without planes, slices at an angle, or nothing of the mask
        lies on the grid.
    """
    if mask.planes is None or grid.planes is None:
        raise GeometryMismatchError(
            "expected two grids with known planes, found one of unknown place: give the mask on "
            "the grid of the cine"
        )
    if mask.grid.same_place(grid) or _is_fit(mask.grid, grid) or _is_fit(grid, mask.grid):
        return replace(mask, grid=grid)
    labels, exact = _sampled(mask, grid)
    issues = () if exact else (_resampled(mask.grid, grid),)
    drawn = np.argwhere(mask.labels.any(axis=0))
    if len(drawn):
        outside = _share_outside(drawn, mask.planes, grid)
        if outside == 1:
            away = _apart_mm(drawn, mask, grid)
            raise GeometryMismatchError(
                f"expected two grids at one place, found the mask {away:.0f} mm away from the "
                "other grid: one of the two affines is wrong"
            )
        if outside > _SPILT_SHARE:
            text = f"{outside:.1%} of the mask lies outside the grid it is brought onto and is lost"
            issues = (*issues, Issue("mask-outside", "warning", text))
    return replace(mask, labels=labels, grid=grid, issues=(*mask.issues, *issues))


def _is_fit(one: Grid, stack: Grid) -> bool:
    """Whether a grid is what a NIfTI can say of a stack without an affine: its slices are the same.

    Distances that differ, or slices shifted against each other, are lost in such a file.
    """
    planes = stack.planes or ()
    if one.shape != stack.shape or len(planes) < 2:
        return False
    try:
        affine(planes)
    except GeometryError:
        try:
            fit = planes_from_affine(best_fit_affine(planes)[0], len(planes))
        except GeometryError:
            return False
        return all(same_plane(*pair) for pair in zip(fit, one.planes or (), strict=True))
    return False


def _resampled(old: Grid, new: Grid) -> Issue:
    text = (
        f"the mask lies on other pixels ({_size(old)}) than the grid it is brought onto "
        f"({_size(new)}): the nearest ones are taken"
    )
    return Issue("resampled", "warning", text)


def _size(grid: Grid) -> str:
    rows, columns = grid.pixel_spacing_mm or (0.0, 0.0)
    return f"{grid.slices} x {grid.rows} x {grid.columns}, pixels of {rows:.3g} x {columns:.3g} mm"


def _sampled(mask: Mask, grid: Grid) -> tuple[NDArray[np.uint8], bool]:
    """Labels [F, Z, Y, X] of the pixels of a grid, and whether they are the very same pixels."""
    old, new = mask.planes or (), grid.planes or ()
    labels = np.zeros((len(mask.labels), *grid.shape), np.uint8)
    rows, columns = np.mgrid[: grid.rows, : grid.columns]
    pixels = np.stack([rows.ravel(), columns.ravel()], axis=1).astype(np.float64)
    exact = True
    for z, plane in enumerate(new):
        points = index_to_mm(plane, pixels)
        indices, offset = _indices(points, old, plane)
        inside = _inside(indices, mask.grid)
        at = indices[inside].T
        flat = labels[:, z].reshape(len(labels), -1)
        flat[:, inside] = mask.labels[:, at[0], at[1], at[2]]
        exact = exact and bool((offset[inside] <= SAME_PIXEL).all())
    return labels, exact


def _indices(
    points: FloatArray, planes: Sequence[Plane], own: Plane | None = None
) -> tuple[IntArray, FloatArray]:
    """(slice, row, column) of the nearest pixel of each point [N, 3], and how far it is, in pixels.

    Slice -1 where a point lies beyond the slab of every slice.

    :param own: the slice that holds all points; one of ``planes`` that is the same is taken for it.
    """
    place = next((z for z, plane in enumerate(planes) if own and same_plane(own, plane)), None)
    if place is not None:
        slices = np.full(len(points), place, np.intp)
        depth = np.zeros(len(points))
    else:
        slices, depth = _nearest_slices(points, planes)
    origins = np.array([plane.origin_mm for plane in planes])[slices]
    spacings = np.array([plane.pixel_spacing_mm for plane in planes])[slices]
    downs = np.array([plane.row_step for plane in planes])[slices]
    alongs = np.array([plane.column_step for plane in planes])[slices]
    away = points - origins
    exact = np.stack([(away * downs).sum(axis=1), (away * alongs).sum(axis=1)], axis=1) / spacings
    nearest = np.rint(exact)
    offset = np.maximum(np.abs(exact - nearest).max(axis=1), depth)
    indices = np.concatenate([slices[:, None], nearest.astype(np.intp)], axis=1)
    return indices, offset


def _nearest_slices(points: FloatArray, planes: Sequence[Plane]) -> tuple[IntArray, FloatArray]:
    """The slice whose slab holds each point, -1 = none, and how far off it is in slabs."""
    if not are_parallel(planes):
        raise GeometryMismatchError(
            "expected parallel slices to bring a mask onto another grid, found slices at an angle"
        )
    axis = normal(planes[0])
    origins = np.array([plane.origin_mm for plane in planes]) @ axis
    order = sort_order(planes)
    try:
        slabs = np.empty(len(planes))
        slabs[order] = disc_thickness_mm([planes[z] for z in order])
    except GeometryError:  # one slice: nothing says how far it reaches
        slabs = np.full(len(planes), 2 * POSITION_TOLERANCE_MM)
    heights = points @ axis
    edges = (origins[order][1:] + origins[order][:-1]) / 2
    slices: IntArray = order[np.searchsorted(edges, heights)]
    depth: FloatArray = np.abs(heights - origins[slices]) / slabs[slices]
    return np.where(depth <= _HALF, slices, -1), depth


def _inside(indices: IntArray, grid: Grid) -> NDArray[np.bool_]:
    within = (indices >= 0) & (indices < np.array(grid.shape))
    result: NDArray[np.bool_] = np.asarray(within.all(axis=1))
    return result


def _share_outside(drawn: IntArray, planes: Sequence[Plane], grid: Grid) -> float:
    """Of labelled pixels (slice, row, column) [N, 3], the share beyond a grid."""
    held = 0
    for z in np.unique(drawn[:, 0]):
        points = index_to_mm(planes[z], drawn[drawn[:, 0] == z, 1:].astype(np.float64))
        indices, _ = _indices(points, grid.planes or (), planes[z])
        held += int(_inside(indices, grid).sum())
    return 1 - held / len(drawn)


def _apart_mm(drawn: IntArray, mask: Mask, grid: Grid) -> float:
    """From the centre of a drawn region to the centre of a grid."""
    centre = drawn.mean(axis=0)
    old, new = (mask.planes or ())[round(float(centre[0]))], (grid.planes or ())[grid.slices // 2]
    here = index_to_mm(old, centre[None, 1:])[0]
    there = index_to_mm(new, np.array([[(grid.rows - 1) / 2, (grid.columns - 1) / 2]]))[0]
    return float(np.linalg.norm(here - there))
