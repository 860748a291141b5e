"""Wall of the ventricle in one slice: whether it surrounds the cavity, and how thick it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.contours import Polygon, slice_contours, smooth_contour

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

#: Density of the myocardium. Source: Schulz-Menger et al., J Cardiovasc Magn Reson 2013;15:35; it
#: was measured as 1.053 g/ml (Vinnakota and Bassingthwaighte, Am J Physiol Heart Circ Physiol
#: 2004;286:H1742).
DENSITY_G_ML = 1.05
#: Share of the border of the cavity from which on the lack of a wall beside it is a fault, not the
#: coarseness of pixels; and from which on the slice counts as one without wall. At the base a wall
#: around half of the cavity still makes a slice of the ventricle (Schulz-Menger 2013).
OPEN_SHARE, HALF_OPEN_SHARE = 0.1, 0.5


def open_shares(cavity: BoolArray, wall: BoolArray) -> FloatArray:
    """Share of the border of the cavity that has no wall beside it, ``[..., Y, X]`` -> ``[...]``.

    The border is made of pixel sides; 0 is a closed ring, 1 a cavity without any wall. NaN for a
    slice without cavity. What lies outside the image is no wall.
    """
    margin = [(0, 0)] * (cavity.ndim - 2) + [(1, 1), (1, 1)]
    inside, around = np.pad(cavity, margin), np.pad(wall, margin)
    sides, bare = np.zeros(cavity.shape[:-2]), np.zeros(cavity.shape[:-2])
    for axis, step in ((-2, 1), (-2, -1), (-1, 1), (-1, -1)):
        border = inside & ~np.roll(inside, step, axis)
        sides += border.sum(axis=(-2, -1))
        bare += (border & ~np.roll(around, step, axis)).sum(axis=(-2, -1))
    result: FloatArray = np.divide(bare, sides, out=np.full_like(sides, np.nan), where=sides > 0)
    return result


def thickness_mm(cavity: BoolArray, outer: BoolArray, spacing_mm: tuple[float, float]) -> float:
    """Mean thickness of a closed wall of one slice, mm: its area over the length of its centreline.

    That is the mean over the chords of the centreline method, which stand upright on the line
    midway between endocardium and epicardium: a chord of length h stands for the area h ds. The
    centreline is as long as the mean of both boundaries (exactly so for parallel ones). Source of
    the method: Sheehan et al., Circulation 1986;74:293; in MRI van Rugge et al., Circulation
    1994;90:127.

    :param cavity: [Y, X], not empty; :param outer: cavity and wall.
    :param spacing_mm: (between rows, between columns).
    """
    area_mm2 = np.count_nonzero(outer & ~cavity) * spacing_mm[0] * spacing_mm[1]
    inner_mm, outer_mm = (
        _length_mm(smooth_contour(slice_contours(each)[0]), spacing_mm) for each in (cavity, outer)
    )
    return float(2 * area_mm2 / (inner_mm + outer_mm))


def _length_mm(polygon: Polygon, spacing_mm: tuple[float, float]) -> float:
    steps = (np.roll(polygon, -1, axis=0) - polygon) * (spacing_mm[1], spacing_mm[0])
    return float(np.hypot(steps[:, 0], steps[:, 1]).sum())
