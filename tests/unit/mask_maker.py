"""Masks of a cavity and the myocardium around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.cine import Mask
from lvseg.labels import Label


def cavity_alone(mask: Mask) -> Mask:
    """The mask as a reader of the cavity alone would draw it."""
    return replace(mask, labels=mask.of(Label.LV_CAVITY).astype(np.uint8))


def with_myocardium(mask: Mask, thickness_px: int = 4) -> Mask:
    """The mask with a wall of so many pixels around the cavity of each frame."""
    cavity = mask.of(Label.LV_CAVITY)
    cross = ndimage.generate_binary_structure(2, 1)[None, None]
    outer = ndimage.binary_dilation(cavity, cross, iterations=thickness_px)
    labels: NDArray[np.uint8] = np.where(cavity, 1, np.where(outer, 2, 0)).astype(np.uint8)
    return replace(mask, labels=labels)
