"""The pictures of a page: every frame around the heart, and the contours that lie over them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from math import ceil, isqrt, sqrt

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.contours import slice_contours, smooth_contour
from lvseg.labels import Label

__all__ = ["Atlas", "Window", "atlas", "contours", "heart_window"]

#: Border around the cavity of all frames as a share of its extent: the whole heart shows.
MARGIN = 0.55
#: A tiny cavity is not magnified beyond a window of this many pixels.
SMALLEST_WINDOW_PX = 72
#: Edge of a frame: more shows nothing new, and a page holds hundreds of frames.
LARGEST_EDGE_PX, LARGEST_CINE_EDGE_PX, SMALLEST_EDGE_PX = 384, 160, 48
#: All frames together, so that long cines make no larger page than short ones.
MOST_PIXELS = 240 * 160**2
#: JPEG codes blocks of 8 pixels: edges of whole blocks keep neighbouring frames apart.
BLOCK_PX = 8
QUALITY = 84
#: These percentiles of the middle of a slice, over its phases, become black and white.
LOW_PERCENT, HIGH_PERCENT = 1.0, 99.7
#: Share of the window cut off on each side for that: fat lies in the corners.
CORNER_SHARE = 0.2
#: Steps of a coordinate a pixel of a frame.
STEPS = 10


@dataclass(frozen=True, slots=True)
class Window:
    """The part of every slice that is shown, square in mm; it may reach outside the image.

    :param top, left: its first row and column; :param rows, columns: its size in pixels.
    """

    top: int
    left: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Atlas:
    """One JPEG a slice with all its phases, row by row.

    :param images: ``data:`` addresses, [Z]; :param edge_px: of the square frames.
    :param columns, rows: frames beside and below each other.
    """

    images: tuple[str, ...]
    edge_px: int
    columns: int
    rows: int

    def corner_px(self, phase: int) -> tuple[int, int]:
        """Where a phase begins, (x, y)."""
        return phase % self.columns * self.edge_px, phase // self.columns * self.edge_px


def heart_window(mask: Mask) -> Window:
    """A square around the cavity of all frames; the middle of the image where there is none."""
    down_mm, right_mm = mask.pixel_spacing_mm or (1.0, 1.0)  # unknown: only the ratio matters here
    height, width = mask.labels.shape[2:]
    seen = (mask.labels == Label.LV_CAVITY).any(axis=(0, 1))
    if seen.any():
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        extent = max((np.ptp(rows) + 1) * down_mm, (np.ptp(columns) + 1) * right_mm)
        smallest = SMALLEST_WINDOW_PX * min(down_mm, right_mm)
        edge = min(
            max(extent * (1 + 2 * MARGIN), smallest), max(height * down_mm, width * right_mm)
        )
        middle = int(rows[0] + rows[-1] + 1), int(columns[0] + columns[-1] + 1)
    else:
        edge, middle = min(height * down_mm, width * right_mm), (height, width)
    size = ceil(edge / down_mm), ceil(edge / right_mm)
    top, left = (
        _inside((centre - length) // 2, length, limit)
        for centre, length, limit in zip(middle, size, (height, width), strict=True)
    )
    return Window(top, left, *size)


def _inside(start: int, length: int, limit: int) -> int:
    """Move a window into the image if it fits, or to its middle if it does not."""
    return min(max(start, 0), limit - length) if length <= limit else (limit - length) // 2


def atlas(cine: Cine, window: Window) -> Atlas:
    """Draw every frame of a cine in grey, brightness chosen slice by slice."""
    from PIL import Image

    phases, slices = cine.shape[:2]
    edge = _edge_px(phases * slices, window)
    columns = isqrt(phases - 1) + 1
    rows = ceil(phases / columns)
    images = []
    for index in range(slices):
        sheet = Image.new("L", (columns * edge, rows * edge))
        for phase, grey in enumerate(_grey(_cut(cine.frames[:, index], window))):
            tile = Image.fromarray(grey).resize((edge, edge), Image.Resampling.BICUBIC)
            sheet.paste(tile, (phase % columns * edge, phase // columns * edge))
        file = BytesIO()
        sheet.save(file, format="JPEG", quality=QUALITY)
        images.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
    return Atlas(tuple(images), edge, columns, rows)


def _edge_px(frames: int, window: Window) -> int:
    """The edge of a frame: twice its pixels at most, and fewer the more frames there are."""
    most = min(
        sqrt(MOST_PIXELS / frames),
        2 * max(window.rows, window.columns),
        LARGEST_EDGE_PX if frames == 1 else LARGEST_CINE_EDGE_PX,
    )
    return max(SMALLEST_EDGE_PX, int(most) // BLOCK_PX * BLOCK_PX)


def _cut(frames: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Cut the window out of [T, Y, X]; what lies outside is as dark as the darkest pixel."""
    height, width = frames.shape[1:]
    bottom, right = window.top + window.rows, window.left + window.columns
    rows, columns = (
        slice(max(window.top, 0), min(bottom, height)),
        slice(max(window.left, 0), min(right, width)),
    )
    part = frames[:, rows, columns]
    outside = (
        (0, 0),
        (rows.start - window.top, bottom - rows.stop),
        (columns.start - window.left, right - columns.stop),
    )
    return np.pad(part, outside, constant_values=float(frames.min())) if np.any(outside) else part


def _grey(frames: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn [T, rows, columns] of one slice into 0 to 255; an even picture is black."""
    rows, columns = (int(length * CORNER_SHARE) for length in frames.shape[1:])
    height, width = frames.shape[1:]
    middle = frames[:, rows : height - rows, columns : width - columns]
    low, high = np.percentile(middle, [LOW_PERCENT, HIGH_PERCENT])
    if high <= low:
        return np.zeros(frames.shape, np.uint8)
    grey: NDArray[np.uint8] = np.rint(np.clip((frames - low) * (255 / (high - low)), 0, 255))
    return grey.astype(np.uint8)


def contours(mask: Mask, cine: Cine, window: Window, edge_px: int) -> list[list[list[list[int]]]]:
    """List the contours of each phase and slice of the cine, [T][Z], in tenths of a frame's pixel.

    Every second point of the smoothed contour, to be drawn as a curve, in one flat list: x and y of
    the first point, then the steps to the next ones. A frame without cavity, or that the mask does
    not hold, has no contour.

    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    mask.on(cine)
    drawn: list[list[list[list[int]]]] = [[[] for _ in range(cine.shape[1])] for _ in cine.frames]
    corner = np.array([window.left, window.top]) - 0.5  # pixel centres are whole numbers
    scale = STEPS * edge_px / np.array([window.columns, window.rows])
    for labels, phase in zip(mask.labels, mask.phases, strict=True):
        for index, slice_labels in enumerate(labels):
            for polygon in slice_contours(slice_labels == Label.LV_CAVITY):
                points = np.rint((smooth_contour(polygon)[::2] - corner) * scale).astype(int)
                steps = np.diff(points, axis=0, prepend=[[0, 0]])
                drawn[phase][index].append(steps.ravel().tolist())
    return drawn
