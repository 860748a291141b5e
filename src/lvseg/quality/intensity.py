"""Intensity check: the blood pool inside the mask is brighter than the muscle around it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from lvseg.geometry import Box
from lvseg.issues import Issue
from lvseg.quality.evidence import Evidence


def blood_pool_contrast(evidence: Evidence) -> Iterator[Issue]:
    """Whether the cavity is brighter than its surroundings at end-diastole and end-systole.

    Says nothing for images without contrast, or a mask that does not fit the cine.
    """
    darker, limits = darker_shares(evidence), evidence.limits
    if len(darker) < limits.ring_from_frames:
        return
    middle = float(np.median(darker))
    if middle >= limits.darker_ring_share:
        return
    text = (
        f"The cavity is brighter than only {100 * middle:.0f} % of its surroundings "
        f"({100 * limits.darker_ring_share:.0f} % or more is usual): the mask may not lie on the "
        "ventricle."
    )
    phase = evidence.mask.phases[evidence.features.ed]
    yield Issue("cavity-not-brighter", "warning", text, phase=phase)


def darker_shares(evidence: Evidence) -> list[float]:
    """Share of the ring that is darker than the cavity, for each slice at both ends of the beat.

    Nothing for images without contrast, small cavities, or a mask that does not fit the cine.
    """
    features, mask, shape = evidence.features, evidence.mask, evidence.cine.shape
    if mask.grid.shape != shape[1:] or max(mask.phases) >= shape[0]:
        return []
    rows = sorted({features.ed, features.ed if features.es is None else features.es})
    large = features.areas_px >= max(1, evidence.limits.ring_from_px)
    places = [(row, int(z)) for row in rows for z in np.flatnonzero(large[row])]
    return [share for row, z in places if (share := _darker(evidence, row, z)) is not None]


def _darker(evidence: Evidence, row: int, index: int) -> float | None:
    """Share of the ring that is darker than the middle value of the cavity; None: no contrast."""
    features, limits = evidence.features, evidence.limits
    spacing = None if features.spacing_mm is None else features.spacing_mm[index]
    low, high = limits.ring_px if spacing is None else limits.ring_mm
    step = np.ones(2) if spacing is None else spacing
    down, across = (int(margin) for margin in np.ceil(high / step))
    image, box = evidence.cine.frames[evidence.mask.phases[row], index], features.box
    around = Box(
        box.top - down, box.left - across, box.rows + 2 * down, box.columns + 2 * across
    ).clip(*image.shape)
    inside = around.relative_to(box).crop(features.inside[row, index])
    values = around.crop(image)
    away = ndimage.distance_transform_edt(~inside, sampling=step)
    ring = values[(away > low) & (away <= high)]
    blood = values[inside]
    if ring.size == 0 or float(np.ptp(np.concatenate([ring, blood]))) == 0:
        return None
    middle = np.median(blood)
    return float((ring < middle).mean() + (ring == middle).mean() / 2)
