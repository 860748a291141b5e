"""Still parts of the phantom: chest wall, lungs, diaphragm, liver, stomach, spleen, spine, aorta.

Sizes are mm from the axis of the ventricle (right, down in the image); signals are relative to
blood. The chest wall lies up and left, the liver down and left, the left lung up and right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.phantom.paint import Canvas, ellipse_mm, texture
from lvseg.phantom.shape import SliceGrid

Float32Array = NDArray[np.float32]

_FAT, _MUSCLE, _LUNG, _LIVER = -0.88, 0.27, 0.05, 0.37


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
    _chest(canvas, grid, coarse, fine)
    _lung_vessels(canvas, grid, rng)
    _spine(canvas, grid)
    _abdomen(canvas, grid, coarse, rng)
    _mediastinum(canvas, grid, coarse)
    return canvas


def _chest(canvas: Canvas, grid: SliceGrid, coarse: Float32Array, fine: Float32Array) -> None:
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


def _lung_vessels(canvas: Canvas, grid: SliceGrid, rng: np.random.Generator) -> None:
    """Bright dots and short strokes, dense at the hilum to the right of the heart."""
    from scipy.ndimage import gaussian_filter

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


def _spine(canvas: Canvas, grid: SliceGrid) -> None:
    right, down = grid.right, grid.down
    canvas.paint(ellipse_mm(right, down, (112, 96), (46, 40), -40), -0.45, 0.35)
    canvas.paint(ellipse_mm(right, down, (100, 82), (24, 20), -30), 0.10)
    canvas.paint(ellipse_mm(right, down, (100, 82), (21.5, 17.5), -30), 0.26, 0.25)
    canvas.paint(ellipse_mm(right, down, (118, 101), (9, 7), -30), 0.95)
    canvas.paint(ellipse_mm(right, down, (118, 101), (4, 3.5), -30), 0.40)


def _abdomen(
    canvas: Canvas, grid: SliceGrid, coarse: Float32Array, rng: np.random.Generator
) -> None:
    """Under the diaphragm, which stands higher towards the apex and to the left."""
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


def _mediastinum(canvas: Canvas, grid: SliceGrid, coarse: Float32Array) -> None:
    """Descending aorta, oesophagus and the fat between heart and chest wall."""
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
