"""Display of a study: the square crop around the heart and the grey-level window of its images.

The overlay images and the report take both from here, so that they show the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.geometry import Box
from lvseg.labels import Label

#: Border around what is labelled as a share of its extent: the right ventricle shows whole.
MARGIN = 0.55
#: A tiny ventricle is not magnified beyond a crop of this many pixels.
SMALLEST_CROP_PX = 72
#: These percentiles of the middle of a crop, over all phases, become black and white.
LOW_PERCENT, HIGH_PERCENT = 1.0, 99.7
#: Share of the crop left out on each side for that: fat lies in the corners.
CORNER_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class GreyWindow:
    """Grey-level window: the pixel values shown as black and as white.

    Its width is ``high - low``, its level (centre) their mean (DICOM PS3.3 C.11.2.1.2).
    """

    low: float
    high: float

    @classmethod
    def of(cls, crop: NDArray[np.float32]) -> Self:
        """The window of a crop ``[..., rows, columns]``: percentiles of its middle."""
        rows, columns = crop.shape[-2:]
        across, along = int(rows * CORNER_SHARE), int(columns * CORNER_SHARE)
        middle = crop[..., across : rows - across, along : columns - along]
        low, high = np.percentile(middle, [LOW_PERCENT, HIGH_PERCENT])
        return cls(float(low), float(high))

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Turn pixels of any shape into 0 to 255; an even image is black."""
        if self.high <= self.low:
            return np.zeros(pixels.shape, np.uint8)
        share = (pixels.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        grey: NDArray[np.uint8] = np.rint(np.clip(share, 0, 255)).astype(np.uint8)
        return grey


def heart_box(mask: Mask) -> Box:
    """A box around what is labelled in all frames; in the middle of the image where nothing is.

    It is square in millimetres (in pixels where the spacing is unknown), lies inside the image
    where it fits, and is the same for all phases and slices, so that they can be compared.
    """
    grid = mask.grid
    down_mm, right_mm = grid.pixel_spacing_mm or (1.0, 1.0)  # unknown: only the ratio matters here
    height_mm, width_mm = grid.rows * down_mm, grid.columns * right_mm
    heart = Box.around(mask.labels != Label.BACKGROUND)
    if heart is None:
        heart, edge_mm = Box(0, 0, grid.rows, grid.columns), min(height_mm, width_mm)
    else:
        extent_mm = max(heart.rows * down_mm, heart.columns * right_mm)
        smallest_mm = SMALLEST_CROP_PX * min(down_mm, right_mm)
        edge_mm = max(extent_mm * (1 + 2 * MARGIN), smallest_mm)
        edge_mm = min(edge_mm, max(height_mm, width_mm))
    rows, columns = ceil(edge_mm / down_mm), ceil(edge_mm / right_mm)
    top, left = (heart.top + heart.bottom - rows) // 2, (heart.left + heart.right - columns) // 2
    return Box(
        _moved_inside(top, rows, grid.rows),
        _moved_inside(left, columns, grid.columns),
        rows,
        columns,
    )


def _moved_inside(start: int, length: int, limit: int) -> int:
    """Move a stretch into the image if it fits, or to its middle if it does not."""
    return min(max(start, 0), limit - length) if length <= limit else (limit - length) // 2


def heart_crop(cine: Cine, slice_index: int, box: Box) -> NDArray[np.float32]:
    """All phases of a slice around the heart, ``[T, rows, columns]``, to choose one window from.

    :param box: of :func:`heart_box`; outside the image the crop is as dark as its darkest pixel.
    """
    frames = cine.frames[:, slice_index]
    return box.crop(frames, fill=float(frames.min()))
