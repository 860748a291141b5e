"""Does the mask lie on the blood? In a cine the cavity is brighter than the muscle around it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from lvseg.cine import Cine
from lvseg.issues import Issue
from lvseg.quality.seen import Seen

__all__ = ["brightness", "darker_shares"]

#: The ring around the cavity that is compared with it: beyond the blur of the border, within the
#: wall, which is 6 mm thick or more in most hearts.
RING_MM = (1.5, 5.5)
#: The same in pixels where the spacing is unknown.
RING_PX = (1.0, 4.0)
#: Median over frames of the share of ring pixels that are darker than the middle value of the
#: cavity (equal values count half). A place chosen by chance has half. Expert contours of 29 of 30
#: training and validation patients have 0.92 and more; in the other one (0.59) they lie beside the
#: ventricle. Masks of the model in three training patients have 1.00.
LEAST_DARKER = 0.8
#: Slices smaller than this are blurred by the wall.
SIGNAL_FROM_PX = 50
#: One frame may hold a bright ring of fat or of the right ventricle; a median of several does not.
FEWEST_FRAMES = 3


def brightness(cine: Cine, seen: Seen) -> Iterator[Issue]:
    """Whether the cavity is brighter than its surroundings at end-diastole and end-systole.

    Says nothing for images without contrast, or a mask that does not fit the cine.
    """
    darker = darker_shares(cine, seen)
    if len(darker) < FEWEST_FRAMES or (middle := float(np.median(darker))) >= LEAST_DARKER:
        return
    text = (
        f"The cavity is brighter than only {100 * middle:.0f} % of its surroundings "
        f"({100 * LEAST_DARKER:.0f} % or more is usual): the mask may not lie on the ventricle."
    )
    yield Issue("cavity-not-brighter", "warning", text, phase=seen.phases[seen.ed])


def darker_shares(cine: Cine, seen: Seen) -> list[float]:
    """Share of the ring that is darker than the cavity, for each slice at both ends of the beat.

    Nothing for images without contrast, small cavities, or a mask that does not fit the cine.
    """
    if (seen.areas.shape[1], *seen.size) != cine.shape[1:] or max(seen.phases) >= cine.shape[0]:
        return []
    rows = sorted({seen.ed, seen.ed if seen.es is None else seen.es})
    places = [(row, int(z)) for row in rows for z in np.flatnonzero(seen.areas[row])]
    places = [place for place in places if seen.areas[place] >= SIGNAL_FROM_PX]
    return [share for row, z in places if (share := _darker(cine, seen, row, z)) is not None]


def _darker(cine: Cine, seen: Seen, row: int, index: int) -> float | None:
    """Share of the ring that is darker than the middle value of the cavity; None: no contrast."""
    spacing = None if seen.spacing_mm is None else seen.spacing_mm[index]
    low, high = RING_PX if spacing is None else RING_MM
    step = np.ones(2) if spacing is None else spacing
    margin = np.ceil(high / step).astype(np.intp)
    top, left = np.array(seen.corner) - margin
    shape = np.array(seen.inside.shape[2:]) + 2 * margin
    image = cine.frames[seen.phases[row], index]
    rows, columns = np.arange(top, top + shape[0]), np.arange(left, left + shape[1])
    inside = np.pad(seen.inside[row, index], ((margin[0],) * 2, (margin[1],) * 2))
    keep_rows = (rows >= 0) & (rows < image.shape[0])
    keep_columns = (columns >= 0) & (columns < image.shape[1])
    inside = inside[keep_rows][:, keep_columns]
    values = image[rows[keep_rows]][:, columns[keep_columns]]
    away = ndimage.distance_transform_edt(~inside, sampling=step)
    ring = values[(away > low) & (away <= high)]
    blood = values[inside]
    if ring.size == 0 or float(np.ptp(np.concatenate([ring, blood]))) == 0:
        return None
    middle = np.median(blood)
    return float((ring < middle).mean() + (ring == middle).mean() / 2)
