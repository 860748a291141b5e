"""Does the stack hold the whole ventricle, from the apex past the base, without a slice missing?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lvseg.cine import Cine, base_first
from lvseg.geometry import POSITION_TOLERANCE_MM, are_parallel, gaps, slice_positions_mm
from lvseg.issues import Issue
from lvseg.quality.seen import IntArray, Seen

__all__ = ["extent", "missing_slices"]

#: The apical slice of a stack that reaches the apex is small; above this share of the largest
#: slice at least one more slice would hold cavity.
APEX_CUT_SHARE = 0.3
#: Above this share on the apical and :data:`APEX_CUT_SHARE` on the basal side, the stack shows the
#: middle of the ventricle only: what lies outside is a large part of the volume.
MIDDLE_ONLY_SHARE = 0.6
#: The base moves 10 mm and more towards the apex in systole, so a stack that begins at the base
#: loses cavity in its first slice. Where that slice still holds this share of the largest one, at
#: end-diastole and at end-systole, the stack begins below the base.
BASE_CUT_SHARE = 0.95
#: Fewer slices describe a ventricle of 7 to 10 cm too coarsely for Simpson's rule.
FEWEST_SLICES = 5


def missing_slices(cine: Cine, seen: Seen) -> Iterator[Issue]:
    """A distance between slices far above the usual one, unless the reader has reported it."""
    told = any(issue.code == "missing-slice" for issue in cine.issues)
    if told or seen.planes is None or not are_parallel(seen.planes):
        return
    wide = gaps(seen.planes)
    distances = np.abs(np.diff(slice_positions_mm(seen.planes)))
    if not wide or float(np.median(distances)) < POSITION_TOLERANCE_MM:
        return
    usual = float(np.median(distances))
    worst = max(wide, key=lambda index: (round(float(distances[index]), 2), -index))
    missing = max(1, round(float(distances[worst]) / usual) - 1)
    text = (
        f"Two slices lie {distances[worst]:.1f} mm apart where {usual:.1f} mm is usual: about "
        f"{missing} slice(s) are missing, and the volume spans the gap."
    )
    yield Issue("missing-slice", "warning", text, worst)


def extent(seen: Seen) -> Iterator[Issue]:
    """Whether the stack reaches past apex and base at end-diastole."""
    areas, phase = seen.areas[seen.ed], seen.phases[seen.ed]
    if len(areas) == 1:
        return
    held = np.flatnonzero(areas)
    if held.size < FEWEST_SLICES:
        text = f"Only {held.size} slice(s) hold cavity at end-diastole, too few for a good volume."
        yield Issue("few-slices", "warning", text, phase=phase)
    apex, base = _ends(areas)
    apical, basal = areas[apex] / areas.max(), areas[base] / areas.max()
    middle_only = apical > MIDDLE_ONLY_SHARE and basal > APEX_CUT_SHARE
    if middle_only:
        text = (
            "The cavity is large at both ends of the stack: it does not cover the ventricle, and "
            "volumes and ejection fraction must not be used."
        )
        yield Issue("stack-does-not-cover-ventricle", "error", text, phase=phase)
    elif apical > APEX_CUT_SHARE:
        text = (
            f"The cavity at the apical end is still {100 * apical:.0f} % of the largest slice: the "
            "apex seems to be cut off."
        )
        yield Issue("apex-cut-off", "warning", text, apex, phase)
    if not middle_only and _base_cut(seen, base):
        text = (
            "The outermost slice at the base is as large as any, at end-diastole and at "
            "end-systole: the base of the ventricle seems to be cut off."
        )
        yield Issue("base-cut-off", "warning", text, base, phase)
    elif basal > 0:
        text = "The last slice at the base holds cavity: the stack may begin below the valve."
        yield Issue("base-not-passed", "info", text, base, phase)


def _ends(areas: IntArray) -> tuple[int, int]:
    """Slices at the apical and at the basal end of the stack; the smaller is apical in doubt."""
    last = len(areas) - 1
    at_first = base_first(areas)
    if at_first is None:
        at_first = bool(areas[0] >= areas[last])
    return (last, 0) if at_first else (0, last)


def _base_cut(seen: Seen, base: int) -> bool:
    if seen.es is None:
        return False
    full, small = seen.areas[seen.ed], seen.areas[seen.es]
    return bool(
        small.any()
        and full[base] >= BASE_CUT_SHARE * full.max()
        and small[base] >= BASE_CUT_SHARE * small.max()
    )
