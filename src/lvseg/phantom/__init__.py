"""A beating left ventricle with volumes and mass known in closed form, inside a thorax.

The images look like balanced-SSFP cine in short axis: bright blood, dark muscle, darker lungs,
bright fat with black outlines, coil shading and Rician noise. Nothing in them comes from a patient.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid
from lvseg.labels import Label
from lvseg.phantom.anatomy import Canvas, beat, coil_shading, texture, thorax
from lvseg.phantom.shape import (
    Float32Array,
    PhantomOptions,
    SliceGrid,
    Truth,
    Ventricle,
    planes_of,
    slice_grid,
)

__all__ = ["PhantomOptions", "Truth", "beating_ventricle"]

#: Pixel value of blood at the heart; scanners store about this much.
_BLOOD_VALUE = 260.0
#: The heart with its surroundings that move lies within this many mm of the axis.
_WINDOW_MM = 92.0


def beating_ventricle(options: PhantomOptions | None = None) -> tuple[Cine, Mask, Truth]:
    """Simulate a short-axis cine study, the mask of its cavity and wall, and the true figures.

    :returns: cine ``[T, Z, Y, X]`` of whole non-negative numbers, planes ordered from apex to base;
        mask of every phase: a pixel is cavity, or myocardium, when its centre is (papillary
        muscles and trabeculae count as cavity); truth, which does not depend on pixels or slices.
        The same options give the same bytes; leaving out slices changes nothing in the others.
    :raises UsageError: options that make no heart (raised when they are built).
    """
    options = options or PhantomOptions()
    heart = Ventricle.of(options)
    kept = options.kept_slices
    shape = (options.phases, len(kept), options.rows, options.columns)
    frames, labels = np.empty(shape, np.float32), np.zeros(shape, np.uint8)
    for place, index in enumerate(kept):
        grid = slice_grid(options, index)
        for label, radius in (
            (Label.LV_MYOCARDIUM, heart.outer_radius_at_mm(grid.depth_mm)),
            (Label.LV_CAVITY, heart.cavity_radius_mm(grid.depth_mm)),
        ):
            inside = grid.reach[None] < radius.astype(np.float32)[:, None, None]
            np.copyto(labels[:, place], np.uint8(label), where=inside)
        frames[:, place] = _frames(grid, heart, options)
    cycle_ms = 60000 / options.heart_rate_bpm
    times = tuple(cycle_ms * phase / options.phases for phase in range(options.phases))
    planes = planes_of(options)
    stack = Grid.of(frames, planes=planes, complete=not options.missing_slices)
    cine = Cine(
        frames,
        Source(format="array", name="phantom", order_rule="simulated time"),
        grid=stack,
        times_ms=times,
        view="short-axis",
        heart_rate_bpm=options.heart_rate_bpm,
    )
    mask = Mask(labels, tuple(range(options.phases)), grid=stack)
    return cine, mask, heart.truth()


def _frames(grid: SliceGrid, heart: Ventricle, options: PhantomOptions) -> Float32Array:
    """All phases of one slice, [T, Y, X]."""
    rng = np.random.default_rng([options.seed, grid.index])
    still = thorax(grid, rng)
    flow = texture(rng, (options.rows, options.columns), grid.pixel_mm, 12)
    image = np.repeat(still.image[None], options.phases, axis=0)
    window = _window(grid)
    if window is not None:
        rows, columns, small = window
        canvas = Canvas(
            image[:, rows, columns].copy(), small, np.ascontiguousarray(still.grain[rows, columns])
        )
        beat(canvas, heart, options, flow[rows, columns])
        image[:, rows, columns] = canvas.image
    image *= coil_shading(grid)
    return _scanned(image, grid, options, rng)


def _window(grid: SliceGrid) -> tuple[slice, slice, SliceGrid] | None:
    """Cut out the part of a slice that holds the heart; None when it lies outside the image."""
    down = np.flatnonzero(np.abs(grid.down[:, 0]) < _WINDOW_MM)
    right = np.flatnonzero(np.abs(grid.right[0]) < _WINDOW_MM)
    if not (down.size and right.size):
        return None
    rows, columns = slice(down[0], down[-1] + 1), slice(right[0], right[-1] + 1)
    small = replace(
        grid,
        right=grid.right[:, columns],
        down=grid.down[rows],
        reach=grid.reach[rows, columns],
        angle=grid.angle[rows, columns],
        from_centre=grid.from_centre[rows, columns],
    )
    return rows, columns, small


def _scanned(
    signal: Float32Array, grid: SliceGrid, options: PhantomOptions, rng: np.random.Generator
) -> Float32Array:
    """Magnitude with Rician noise, cut to the circle of the scanner, whole numbers.

    Noise in both channels of the complex signal: H. Gudbjartsson and S. Patz, "The Rician
    distribution of noisy MRI data", Magnetic Resonance in Medicine 34 (1995), equation 1.
    """
    sigma = np.float32(options.noise_percent / 100)
    signal += sigma * rng.standard_normal(signal.shape, np.float32)
    other = sigma * rng.standard_normal(signal.shape, np.float32)
    image: Float32Array = np.rint(np.hypot(signal, other) * np.float32(_BLOOD_VALUE))
    if options.circular_fov:
        extent = (
            options.rows * options.pixel_spacing_mm[0],
            options.columns * options.pixel_spacing_mm[1],
        )
        image *= grid.from_centre < 0.48 * max(extent)
    return image
