"""Anatomy of the phantom: soft shapes, still parts of the thorax, beating parts of the heart.

Sizes are mm from the axis of the ventricle (right, down in the image); signals are relative to
blood. The chest wall lies up and left, the liver down and left, the left lung up and right. Fat has
a negative signal: at the echo time of balanced SSFP fat and water are opposed, so a pixel that
holds both is dark. The magnitude taken at the end draws the black outlines of such images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.phantom.shape import Float32Array, PhantomOptions, SliceGrid, Ventricle

_FAT, _MUSCLE, _LUNG, _LIVER = -0.88, 0.27, 0.05, 0.37
_BLOOD, _WALL, _TRABECULAE = 1.0, 0.29, 0.5
#: Angle (degrees, clockwise from image right) and size (mm) of the heads of papillary muscles.
_PAPILLARIES = ((-40.0, 5.2), (-14.0, 3.9), (58.0, 5.4), (86.0, 3.8))


# Brushes


def ellipse_mm(
    right: Float32Array,
    down: Float32Array,
    centre: tuple[float, float],
    axes: tuple[float, float],
    turn_degrees: float = 0.0,
) -> Float32Array:
    """Approximate distance inside an ellipse, mm; ``centre`` and ``axes`` are (right, down)."""
    cos, sin = np.cos(np.radians(turn_degrees)), np.sin(np.radians(turn_degrees))
    x, y = right - np.float32(centre[0]), down - np.float32(centre[1])
    along = (x * np.float32(cos) + y * np.float32(sin)) / np.float32(axes[0])
    across = (y * np.float32(cos) - x * np.float32(sin)) / np.float32(axes[1])
    level = np.sqrt(along * along + across * across)
    result: Float32Array = (1 - level) * np.float32(np.sqrt(axes[0] * axes[1]))
    return result


def texture(
    rng: np.random.Generator, shape: tuple[int, int], pixel_mm: float, grain_mm: float
) -> Float32Array:
    """Smooth random field of about unit variance with features of ``grain_mm``, [Y, X]."""
    from scipy.ndimage import zoom

    step = max(grain_mm / pixel_mm, 1.0)
    coarse = rng.standard_normal(tuple(int(n / step) + 3 for n in shape)).astype(np.float32)
    factors = tuple((n + step) / size for n, size in zip(shape, coarse.shape, strict=True))
    fine = zoom(coarse, factors, order=2, mode="nearest")
    grown = np.pad(
        fine, [(0, max(0, n - m)) for n, m in zip(shape, fine.shape, strict=True)], "edge"
    )
    result: Float32Array = np.float32(1.4) * grown[: shape[0], : shape[1]]
    return result


class Canvas:
    """A signed image ``[..., Y, X]`` that shapes are painted on, later ones over earlier ones."""

    def __init__(self, image: Float32Array, grid: SliceGrid, grain: Float32Array) -> None:
        self.image, self.grid, self.grain = image, grid, grain

    def paint(
        self, inside_mm: Float32Array, signal: float | Float32Array, rough: float = 0
    ) -> None:
        """Cover a shape with a signal; ``rough`` is the relative strength of the tissue texture.

        The border of the shape is ``inside_mm`` away (positive inside). The share of a pixel that
        it covers is a ramp of 1.8 pixels: partial volume and the point spread of the scanner.
        """
        share = inside_mm * np.float32(1 / (1.8 * self.grid.pixel_mm))
        share += np.float32(0.5)
        np.clip(share, 0, 1, out=share)
        value = np.float32(signal) * (1 + np.float32(rough) * self.grain)
        self.image += share * (value - self.image)


# Still parts: chest wall, lungs, diaphragm, liver, stomach, spleen, spine, aorta


def _skin_mm(grid: SliceGrid) -> Float32Array:
    """Distance below the skin, negative in the air around the body, [Y, X]."""
    lean = float(np.clip(0.09 * grid.depth_mm, -4, 9))
    return ellipse_mm(
        grid.right, grid.down, (28.0 - 0.5 * lean, 46.0 - 0.5 * lean), (205.0, 130.0), -41.0
    )


def coil_shading(grid: SliceGrid) -> Float32Array:
    """Sensitivity of surface coils: strong under the skin, 1 at the heart, [Y, X]."""
    depth = np.clip(_skin_mm(grid), 0, None)
    lean = (grid.right * 0.66 + grid.down * 0.75) / 150  # grows away from the chest wall
    shading = (0.80 + 1.9 * np.exp(-depth / 24)) * (1.0 - 0.28 * lean)
    return shading.astype(np.float32)


def thorax(grid: SliceGrid, rng: np.random.Generator) -> Canvas:
    """Paint everything around the heart on a new canvas, [Y, X]."""
    shape = (grid.reach.shape[0], grid.reach.shape[1])
    coarse = texture(rng, shape, grid.pixel_mm, 22)
    fine = texture(rng, shape, grid.pixel_mm, 4)
    canvas = Canvas(np.zeros(shape, np.float32), grid, 0.8 * coarse + 0.35 * fine)
    _chest(canvas, coarse, fine)
    _lung_vessels(canvas, rng)
    _spine(canvas)
    _abdomen(canvas, coarse, rng)
    _mediastinum(canvas, coarse)
    return canvas


def _chest(canvas: Canvas, coarse: Float32Array, fine: Float32Array) -> None:
    grid = canvas.grid
    skin = _skin_mm(grid)
    along = grid.right * np.float32(0.755) - grid.down * np.float32(0.656)
    fat = 10 + 2.5 * coarse + 3 * np.sin(along / 37)
    muscle = fat + 9 + 1.5 * coarse
    wall = muscle + 8 + 1.5 * np.sin(along / 9)
    canvas.paint(skin, 0.25, 0.1)
    canvas.paint(skin - 1.8, _FAT, 0.10)
    canvas.paint(skin - fat, _MUSCLE + 0.05 * fine, 0.15)
    canvas.paint(skin - muscle, -0.45, 0.35)
    canvas.paint(skin - muscle - 1.5, 0.20, 0.3)
    ribs = 5.5 * np.cos(along / 5.2 + 0.8 * coarse) - np.abs(skin - muscle - 5.0)
    canvas.paint(ribs.astype(np.float32), 0.05)
    canvas.paint((ribs - 1.6).astype(np.float32), -0.42, 0.3)
    canvas.paint(skin - wall, _LUNG, 0.35)


def _lung_vessels(canvas: Canvas, rng: np.random.Generator) -> None:
    """Bright dots and short strokes, dense at the hilum to the right of the heart."""
    from scipy.ndimage import gaussian_filter

    grid = canvas.grid
    rows, columns = grid.reach.shape
    count = 240
    right = rng.normal(66, 30, count)
    down = rng.normal(-8, 32, count)
    near = np.exp(-(((right - 58) / 26) ** 2) - ((down + 2) / 26) ** 2)
    size = rng.gamma(1.0, 0.22, count) * (0.5 + 2.2 * near)
    length = rng.uniform(0, 1.3, count) ** 2
    dots = np.zeros((rows, columns), np.float32)
    slope = rng.uniform(-np.pi, np.pi, count)
    for step in np.linspace(-3.5, 3.5, 8):
        reach = step * length
        x = np.searchsorted(grid.right[0], right + reach * np.cos(slope))
        y = np.searchsorted(grid.down[:, 0], down + reach * np.sin(slope))
        seen = (x < columns) & (y < rows) & (x > 0) & (y > 0)
        np.add.at(dots, (y[seen], x[seen]), size[seen].astype(np.float32))
    in_lung = np.abs(canvas.image - _LUNG) < 0.04
    canvas.image += np.clip(gaussian_filter(dots, 0.9), 0, 0.9) * in_lung * np.float32(0.55)


def _spine(canvas: Canvas) -> None:
    right, down = canvas.grid.right, canvas.grid.down
    canvas.paint(ellipse_mm(right, down, (112, 96), (46, 40), -40), -0.45, 0.35)
    canvas.paint(ellipse_mm(right, down, (100, 82), (24, 20), -30), 0.10)
    canvas.paint(ellipse_mm(right, down, (100, 82), (21.5, 17.5), -30), 0.26, 0.25)
    canvas.paint(ellipse_mm(right, down, (118, 101), (9, 7), -30), 0.95)
    canvas.paint(ellipse_mm(right, down, (118, 101), (4, 3.5), -30), 0.40)


def _abdomen(canvas: Canvas, coarse: Float32Array, rng: np.random.Generator) -> None:
    """Under the diaphragm, which stands higher towards the apex and to the left."""
    grid = canvas.grid
    right, down = grid.right, grid.down
    rise = float(np.clip(0.10 * grid.depth_mm, -3, 10))
    dome = 43 - rise + 0.0020 * (right + 15) ** 2 + 1.5 * coarse
    dome = dome.astype(np.float32)
    inside = np.minimum(_skin_mm(grid) - 30, down - dome)
    canvas.paint(inside, 0.22)
    canvas.paint(inside - 2.5, -0.62, 0.25)
    spleen = np.minimum(inside - 5, ellipse_mm(right, down, (86, 92), (22, 38), -25))
    canvas.paint(spleen, 0.42, 0.10)
    folded = ellipse_mm(right, down, (38, 78 - rise), (30, 15), 8) + 2.0 * coarse
    stomach = np.minimum(inside - 4, folded)
    canvas.paint(stomach, 0.22)
    canvas.paint(stomach - 3.5, 0.50, 0.45)
    bowel = ellipse_mm(right, down, (28, 118 - rise), (44, 20), -6) + 4 * coarse
    canvas.paint(np.minimum(inside - 5, bowel), 0.18, 0.5)
    canvas.paint(np.minimum(inside - 5, bowel - 4), 0.30, 0.7)
    liver = ellipse_mm(right, down, (-66, 108 - rise), (80, 72), -14)
    liver = np.minimum(inside - 2.5, liver + 2 * coarse)
    canvas.paint(liver, _LIVER, 0.11)
    for _ in range(9):
        centre = (float(rng.uniform(-90, -10)), float(rng.uniform(65, 110)))
        axes = (float(rng.uniform(2, 9)), float(rng.uniform(1.2, 2.4)))
        vessel = ellipse_mm(right, down, centre, axes, float(rng.uniform(-60, 60)))
        canvas.paint(np.minimum(vessel, liver - 6), 0.60)


def _mediastinum(canvas: Canvas, coarse: Float32Array) -> None:
    """Descending aorta, oesophagus and the fat between heart and chest wall."""
    grid = canvas.grid
    right, down = grid.right, grid.down
    canvas.paint(ellipse_mm(right, down, (56, 46), (21, 16), 30) + 2 * coarse, -0.35, 0.3)
    canvas.paint(ellipse_mm(right, down, (62, 48), (12.5, 12), 0), 0.18)
    canvas.paint(ellipse_mm(right, down, (62, 48), (11, 10.5), 0), 0.92, 0.04)
    canvas.paint(ellipse_mm(right, down, (44, 44), (6, 4.5), 20), 0.28, 0.2)
    small = float(np.clip((grid.depth_mm - 70) / 25, 0, 1))  # the pad fills the room below the apex
    pad = ellipse_mm(
        right, down, (-26 + 16 * small, 8 + 12 * small), (52 - 12 * small, 36 - 8 * small), -16
    )
    canvas.paint(pad + 2 * coarse, -0.50, 0.30)


# Beating parts: ventricles, the atria above them, papillary muscles, trabeculae. All phases of a
# slice are painted at once, [T, Y, X], in a window around the heart.


def _column(values: NDArray[np.float64]) -> Float32Array:
    return values.astype(np.float32)[:, None, None]


def beat(canvas: Canvas, heart: Ventricle, options: PhantomOptions, flow: Float32Array) -> None:
    """Paint the heart of one slice.

    :param canvas: image [T, Y, X] that already holds the surroundings.
    :param flow: slow variation of the blood signal, [Y, X], about unit variance.
    """
    grid = canvas.grid
    depth = grid.depth_mm - heart.base_mm
    outer = heart.outer_radius_at_mm(grid.depth_mm)
    above = depth < 0
    blood: Float32Array = np.float32(_BLOOD) * (1 + 0.05 * flow - 0.04 * _column(heart.ejected))
    if above.any():
        _atria(canvas, heart, above, blood)
    if (outer > 0).any():
        _right_ventricle(canvas, heart, outer, blood)
        reach = grid.reach[None]
        canvas.paint(np.where(above[:, None, None], -9, _column(outer) - reach), _WALL, 0.07)
        _left_cavity(canvas, heart, options, blood)


def _only(when: NDArray[np.bool_], inside_mm: Float32Array) -> Float32Array:
    """Keep a shape in some phases only, [T, Y, X]."""
    result: Float32Array = np.where(when[:, None, None], inside_mm, np.float32(-9))
    return result


def _atria(canvas: Canvas, heart: Ventricle, above: NDArray[np.bool_], blood: Float32Array) -> None:
    """Left and right atrium, aortic root, outflow tract of the right ventricle."""
    grid = canvas.grid
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
    canvas: Canvas, heart: Ventricle, outer: NDArray[np.float64], blood: Float32Array
) -> None:
    """Paint a crescent: an ellipse to the left whose right part the left ventricle covers."""
    grid = canvas.grid
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
    canvas: Canvas, heart: Ventricle, options: PhantomOptions, blood: Float32Array
) -> None:
    grid = canvas.grid
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
        _papillaries(canvas, radius, share, inside)


def _papillaries(
    canvas: Canvas, radius: NDArray[np.float64], share: NDArray[np.float64], inside: Float32Array
) -> None:
    """Muscles from near the wall at mid level to the apical third, free of it near the base."""
    grid = canvas.grid
    swell = np.sqrt(np.clip(1 - ((share - 0.50) / 0.32) ** 2, 0, 1))
    for degrees, size_mm in _PAPILLARIES:
        size = size_mm * swell * np.clip(radius / 16, 0.5, 1)
        away = np.maximum(radius - size * np.clip(1.7 - 1.5 * share, 0.6, 1.4), 0)
        x = grid.right[None] - _column(away * np.cos(np.radians(degrees)))
        y = grid.down[None] - _column(away * np.sin(np.radians(degrees)))
        muscle = _column(size) - np.sqrt(x * x + y * y)
        shape = np.where(_column(size) > 1.0, np.minimum(muscle, inside), -9)
        canvas.paint(shape.astype(np.float32), 0.33)
