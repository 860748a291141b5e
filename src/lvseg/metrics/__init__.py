"""Agreement of two masks, and of two series of numbers.

Masks come as ``reference, prediction``, in that order, as boolean or 0/1 arrays of equal shape.
Definitions, sources and the table of empty masks are in ``docs/metrics.md``; the table itself is
:data:`EMPTY_MASKS`.
"""

from __future__ import annotations

from lvseg.metrics.overlap import EMPTY_MASKS, EmptyCase, dice, jaccard
from lvseg.metrics.statistics import (
    Agreement,
    BlandAltman,
    Summary,
    bland_altman,
    bootstrap,
    ef_agreement,
    summarise,
)
from lvseg.metrics.surface import (
    GOOD_CONTOUR_MM,
    SurfaceDistances,
    average_perpendicular_distance_mm,
    average_perpendicular_distance_px,
    hausdorff_mm,
    hd95_mm,
    is_good_contour,
    surface_distances,
)

__all__ = [
    "EMPTY_MASKS",
    "GOOD_CONTOUR_MM",
    "Agreement",
    "BlandAltman",
    "EmptyCase",
    "Summary",
    "SurfaceDistances",
    "average_perpendicular_distance_mm",
    "average_perpendicular_distance_px",
    "bland_altman",
    "bootstrap",
    "dice",
    "ef_agreement",
    "hausdorff_mm",
    "hd95_mm",
    "is_good_contour",
    "jaccard",
    "summarise",
    "surface_distances",
]
