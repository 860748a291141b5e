"""Soft shapes and random textures, the brushes of the phantom.

Fat has a negative signal: at the echo time of balanced SSFP fat and water are opposed, so a pixel
that holds both is dark. The magnitude taken at the end draws the black outlines of such images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.phantom.shape import SliceGrid

Float32Array = NDArray[np.float32]


def soft(inside_mm: Float32Array, pixel_mm: float) -> Float32Array:
    """Share of a pixel covered by a shape whose border is ``inside_mm`` away (positive inside).

    The ramp of 1.8 pixels stands for partial volume and the point spread of the scanner.
    """
    result = inside_mm * np.float32(1 / (1.8 * pixel_mm))
    result += np.float32(0.5)
    clipped: Float32Array = np.clip(result, 0, 1, out=result)
    return clipped


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
        self.image = image
        self.grain = grain
        self._pixel_mm = grid.pixel_mm

    def paint(
        self, inside_mm: Float32Array, signal: float | Float32Array, rough: float = 0
    ) -> None:
        """Cover a shape with a signal; ``rough`` is the relative strength of the tissue texture."""
        share = soft(inside_mm, self._pixel_mm)
        value = np.float32(signal) * (1 + np.float32(rough) * self.grain)
        self.image += share * (value - self.image)
