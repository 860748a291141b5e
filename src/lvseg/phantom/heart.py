"""Beating parts of the phantom: ventricles, the atria above them, papillary muscles, trabeculae.

All phases of a slice are painted at once, ``[T, Y, X]``, in a window around the heart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.phantom.paint import Canvas, ellipse_mm
from lvseg.phantom.shape import PhantomOptions, SliceGrid, Ventricle

Float32Array = NDArray[np.float32]

_BLOOD, _WALL, _TRABECULAE = 1.0, 0.29, 0.5
#: Angle (degrees, clockwise from image right) and size (mm) of the heads of papillary muscles.
_PAPILLARIES = ((-40.0, 5.2), (-14.0, 3.9), (58.0, 5.4), (86.0, 3.8))


def _column(values: NDArray[np.float64]) -> Float32Array:
    return values.astype(np.float32)[:, None, None]


def beat(
    canvas: Canvas, grid: SliceGrid, heart: Ventricle, options: PhantomOptions, flow: Float32Array
) -> None:
    """Paint the heart of one slice.

    :param canvas: image [T, Y, X] that already holds the surroundings.
    :param flow: slow variation of the blood signal, [Y, X], about unit variance.
    """
    depth = grid.depth_mm - heart.base_mm
    outer = heart.outer_radius_at_mm(grid.depth_mm)
    above = depth < 0
    blood: Float32Array = np.float32(_BLOOD) * (1 + 0.05 * flow - 0.04 * _column(heart.ejected))
    if above.any():
        _atria(canvas, grid, heart, above, blood)
    if (outer > 0).any():
        _right_ventricle(canvas, grid, heart, outer, blood)
        reach = grid.reach[None]
        canvas.paint(np.where(above[:, None, None], -9, _column(outer) - reach), _WALL, 0.07)
        _left_cavity(canvas, grid, heart, options, blood)


def _only(when: NDArray[np.bool_], inside_mm: Float32Array) -> Float32Array:
    """Keep a shape in some phases only, [T, Y, X]."""
    result: Float32Array = np.where(when[:, None, None], inside_mm, np.float32(-9))
    return result


def _atria(
    canvas: Canvas, grid: SliceGrid, heart: Ventricle, above: NDArray[np.bool_], blood: Float32Array
) -> None:
    """Left and right atrium, aortic root, outflow tract of the right ventricle."""
    right, down = grid.right, grid.down
    high = float(np.clip(-grid.depth_mm / 20, 0, 1))  # 0 at the valves, 1 two slices further up
    fill = 1 + 0.08 * _column(heart.ejected)
    sac = ellipse_mm(right, down, (-18, -4), (66, 48), -18)
    canvas.paint(_only(above, sac), -0.5, 0.25)
    chambers = (
        ((12.0, 12.0), (30.0, 24.0 - 3 * high), -20.0, 1.8),  # left atrium
        ((-42.0, 14.0), (24.0, 29.0), -10.0, 1.8),  # right atrium
        ((-34.0 + 8 * high, -32.0 - 4 * high), (21.0 - 6 * high, 15.0), -35.0, 2.2),  # outflow
        ((-13.0, -10.0), (15.5, 14.5), 0.0, 2.0),  # aortic root
    )
    for centre, axes, turn, wall in chambers:
        shape = ellipse_mm(right, down, centre, axes, turn)[None] * fill
        canvas.paint(_only(above, shape + np.float32(wall)), 0.22)
        canvas.paint(_only(above, shape), 0.94 * blood)


def _right_ventricle(
    canvas: Canvas,
    grid: SliceGrid,
    heart: Ventricle,
    outer: NDArray[np.float64],
    blood: Float32Array,
) -> None:
    """Paint a crescent: an ellipse to the left whose right part the left ventricle covers."""
    share = np.clip((grid.depth_mm - heart.base_mm) / (0.90 * heart.length_mm), 0, 1)
    taper = np.sqrt(1 - share**2)
    width = (32 - 9 * heart.ejected) * taper
    seen = (width > 6) & (outer > 0)
    if not seen.any():
        return
    half_width = _column(np.maximum(0.45 * outer + width, 1))
    half_height = _column(np.maximum((0.84 - 0.04 * heart.ejected) * outer + 2 * taper, 1))
    x = grid.right[None] + _column(0.55 * outer)
    y = grid.down[None] + _column(1.0 * taper)
    cos, sin = np.float32(np.cos(0.30)), np.float32(np.sin(0.30))
    along, across = (x * cos + y * sin) / half_width, (y * cos - x * sin) / half_height
    level = np.sqrt(along * along + across * across)
    inside = (1 - level) * np.sqrt(half_width * half_height)
    canvas.paint(_only(seen, inside + 7.5), -0.62, 0.2)
    canvas.paint(_only(seen, inside + 2.6 + 1.4 * _column(heart.ejected)), 0.27, 0.1)
    ragged = 1.3 * np.cos(9 * grid.angle + grid.index) + 0.9 * np.cos(17 * grid.angle)
    canvas.paint(_only(seen, inside - np.clip(ragged[None], 0, 2)), 0.97 * blood)
    band = ellipse_mm(grid.right, grid.down, (-46 - 0.05 * grid.depth_mm, 14), (7, 2.2), -50)
    canvas.paint(_only(seen, np.minimum(band, inside - 1)), 0.40)


def _left_cavity(
    canvas: Canvas, grid: SliceGrid, heart: Ventricle, options: PhantomOptions, blood: Float32Array
) -> None:
    radius = heart.cavity_radius_mm(grid.depth_mm)
    if not (radius > 0).any():
        return
    share = np.clip((grid.depth_mm - heart.base_mm) / heart.length_mm, 0, 1)
    rough = np.clip(np.cos(11 * grid.angle + 0.9 * grid.index), 0, 1) ** 2
    rough += 0.7 * np.clip(np.cos(19 * grid.angle - grid.index), 0, 1) ** 2
    depth = options.trabeculation * (0.4 + 2.2 * share) * np.clip(radius / 14, 0, 1)
    # a layer where blood runs between trabeculae, which crowd together in systole
    layer = options.trabeculation * (4.0 + 5.5 * heart.ejected) * np.clip(radius / 14, 0.3, 1)
    inside = _column(radius) - grid.reach[None]
    gone = _column(radius) <= 0
    canvas.paint(np.where(gone, -9, inside), _TRABECULAE, 0.15)
    bright = inside - _column(layer) - _column(depth) * rough[None]
    canvas.paint(np.where(gone, -9, bright), blood)
    if options.papillary:
        _papillaries(canvas, grid, radius, share, inside)


def _papillaries(
    canvas: Canvas,
    grid: SliceGrid,
    radius: NDArray[np.float64],
    share: NDArray[np.float64],
    inside: Float32Array,
) -> None:
    """Muscles from near the wall at mid level to the apical third, free of it near the base."""
    swell = np.sqrt(np.clip(1 - ((share - 0.50) / 0.32) ** 2, 0, 1))
    for degrees, size_mm in _PAPILLARIES:
        size = size_mm * swell * np.clip(radius / 16, 0.5, 1)
        away = np.maximum(radius - size * np.clip(1.7 - 1.5 * share, 0.6, 1.4), 0)
        x = grid.right[None] - _column(away * np.cos(np.radians(degrees)))
        y = grid.down[None] - _column(away * np.sin(np.radians(degrees)))
        muscle = _column(size) - np.sqrt(x * x + y * y)
        shape = np.where(_column(size) > 1.0, np.minimum(muscle, inside), -9)
        canvas.paint(shape.astype(np.float32), 0.33)
