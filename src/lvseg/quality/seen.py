"""What the checks look at: one pass over the mask, areas, centres and forms of every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.geometry import Plane
from lvseg.labels import Label
from lvseg.results import LVMeasurements

__all__ = ["BoolArray", "FloatArray", "IntArray", "Seen", "look"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A mask with at least one cavity pixel, and what is counted in it.

    :param inside: cavity ``[F, Z, y, x]`` in the smallest window that holds all of it.
    :param corner: (row, column) of the window in the image; :param size: of the image, (Y, X).
    :param touches: whether the cavity touches the border of the image, [F, Z].
    :param areas: pixels, [F, Z].
    :param centres: (row, column) of the centre in pixels of the image, [F, Z, 2]; NaN: empty.
    :param elongation: longest over shortest axis of the ellipse of equal second moments, [F, Z];
        NaN: empty. A circle has 1. Pixels of unknown spacing are taken as square.
    :param phases: phase of the cine of each row F.
    :param ed: row of end-diastole, or the fullest where that is unknown.
    :param es: row of end-systole; None where unknown.
    :param ordered: neighbouring rows are neighbouring phases.
    :param circle: the rows are the whole cycle, so the first follows the last.
    :param spacing_mm: (between rows, between columns) of each slice, [Z, 2]; None = unknown.
    """

    inside: BoolArray
    corner: tuple[int, int]
    size: tuple[int, int]
    touches: BoolArray
    areas: IntArray
    centres: FloatArray
    elongation: FloatArray
    phases: tuple[int, ...]
    ed: int
    es: int | None
    ordered: bool
    circle: bool
    planes: tuple[Plane, ...] | None
    spacing_mm: FloatArray | None
    slice_spacing_mm: float | None


def look(cine: Cine, mask: Mask, measurements: LVMeasurements) -> Seen | None:
    """Count the mask once; None where it is empty."""
    inside = mask.labels == Label.LV_CAVITY
    held = inside.any(axis=(0, 1))
    if not held.any():
        return None
    rows, columns = np.flatnonzero(held.any(axis=1)), np.flatnonzero(held.any(axis=0))
    window = inside[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    edge = inside[:, :, [0, -1], :].any(axis=(2, 3)) | inside[:, :, :, [0, -1]].any(axis=(2, 3))
    spacing = _spacing_mm(mask)
    corner = (int(rows[0]), int(columns[0]))
    areas, centres, elongation = _moments(window, corner, spacing)
    fullest = int(areas.sum(axis=1).argmax())
    ed, es = (
        _row(mask, phase)
        for phase in (measurements.phases.end_diastole, measurements.phases.end_systole)
    )
    first = mask.phases[0]
    ordered = mask.phases == tuple(range(first, first + len(areas)))
    return Seen(
        inside=window,
        corner=corner,
        size=(inside.shape[2], inside.shape[3]),
        touches=edge,
        areas=areas,
        centres=centres,
        elongation=elongation,
        phases=mask.phases,
        ed=fullest if ed is None or not areas[ed].any() else ed,
        es=es,
        ordered=ordered,
        circle=ordered and len(areas) == cine.shape[0],
        planes=mask.planes,
        spacing_mm=spacing,
        slice_spacing_mm=mask.slice_spacing_mm,
    )


def _row(mask: Mask, phase: int | None) -> int | None:
    return mask.phases.index(phase) if phase in mask.phases else None


def _spacing_mm(mask: Mask) -> FloatArray | None:
    if mask.planes is not None:
        return np.array([plane.pixel_spacing_mm for plane in mask.planes], np.float64)
    if mask.pixel_spacing_mm is None:
        return None
    return np.tile(np.array(mask.pixel_spacing_mm, np.float64), (mask.labels.shape[1], 1))


def _moments(
    window: BoolArray, corner: tuple[int, int], spacing: FloatArray | None
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Areas [F, Z], centres [F, Z, 2] and elongations [F, Z].

    A pixel counts as a square, which adds 1 / 12 to each second moment (Steger, On the calculation
    of arbitrary moments of polygons, technical report FGBV-96-05, TU München 1996).
    """
    shape = window.shape[:2]
    frames = shape[0] * shape[1]
    frame, y, x = np.nonzero(window.reshape(frames, *window.shape[2:]))
    areas: IntArray = np.bincount(frame, minlength=frames)

    def mean(values: NDArray[np.intp]) -> FloatArray:
        sums = np.bincount(frame, values, frames)
        return np.divide(sums, areas, out=np.full(frames, np.nan), where=areas > 0)

    mean_y, mean_x = mean(y), mean(x)
    step_y, step_x = (1.0, 1.0) if spacing is None else np.tile(spacing, (shape[0], 1)).T
    yy = (mean(y * y) - mean_y**2 + 1 / 12) * step_y**2
    xx = (mean(x * x) - mean_x**2 + 1 / 12) * step_x**2
    yx = (mean(y * x) - mean_y * mean_x) * step_y * step_x
    middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    elongation = np.sqrt((middle + half) / (middle - half))
    centres = np.stack([mean_y + corner[0], mean_x + corner[1]], axis=-1)
    return areas.reshape(shape), centres.reshape(*shape, 2), elongation.reshape(shape)
