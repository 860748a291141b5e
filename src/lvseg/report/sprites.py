"""Sprite sheets of a page: every frame around the heart, and the contours that lie over them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from math import ceil, isqrt, sqrt

import numpy as np

from lvseg.cine import Cine, Mask
from lvseg.contours import Polygon, slice_contours, smooth_contour
from lvseg.display import GreyWindow, heart_crop
from lvseg.geometry import Box
from lvseg.labels import Label

#: Edge of a frame: more shows nothing new, and a page holds hundreds of frames.
LARGEST_EDGE_PX, LARGEST_CINE_EDGE_PX, SMALLEST_EDGE_PX = 384, 160, 48
#: All frames together, so that long cines make no larger page than short ones.
MOST_PIXELS = 240 * 160**2
#: JPEG codes blocks of 8 pixels: edges of whole blocks keep neighbouring frames apart.
BLOCK_PX = 8
QUALITY = 84
#: Steps of a coordinate a pixel of a frame.
STEPS = 10

#: The contours of one label, [T][Z]: of each frame a list, each one as :func:`frame_contours` says.
Contours = list[list[list[list[int]]]]


@dataclass(frozen=True, slots=True)
class SpriteSheets:
    """One JPEG a slice with all its phases as square frames, row by row.

    :param images: ``data:`` addresses, [Z]; :param edge_px: of a frame.
    :param columns, rows: frames beside and below each other.
    """

    images: tuple[str, ...]
    edge_px: int
    columns: int
    rows: int

    def corner_px(self, phase: int) -> tuple[int, int]:
        """Where a phase begins, (x, y)."""
        return phase % self.columns * self.edge_px, phase // self.columns * self.edge_px


def sprite_sheets(cine: Cine, box: Box) -> SpriteSheets:
    """Draw every frame of a cine in grey as :mod:`lvseg.display` shows it.

    :param box: of :func:`lvseg.display.heart_box`.
    """
    from PIL import Image

    phases, slices = cine.shape[:2]
    edge = _edge_px(phases * slices, box)
    columns = isqrt(phases - 1) + 1
    rows = ceil(phases / columns)
    images = []
    for index in range(slices):
        sheet = Image.new("L", (columns * edge, rows * edge))
        crop = heart_crop(cine, index, box)
        for phase, grey in enumerate(GreyWindow.of(crop).apply(crop)):
            frame = Image.fromarray(grey).resize((edge, edge), Image.Resampling.BICUBIC)
            sheet.paste(frame, (phase % columns * edge, phase // columns * edge))
        file = BytesIO()
        sheet.save(file, format="JPEG", quality=QUALITY)
        images.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
    return SpriteSheets(tuple(images), edge, columns, rows)


def _edge_px(frames: int, box: Box) -> int:
    """The edge of a frame: twice its pixels at most, and fewer the more frames there are."""
    most = min(
        sqrt(MOST_PIXELS / frames),
        2 * max(box.rows, box.columns),
        LARGEST_EDGE_PX if frames == 1 else LARGEST_CINE_EDGE_PX,
    )
    return max(SMALLEST_EDGE_PX, int(most) // BLOCK_PX * BLOCK_PX)


def frame_contours(mask: Mask, cine: Cine, box: Box, edge_px: int) -> dict[Label, Contours]:
    """List the outer boundaries of each label present, by phase and slice, in tenths of a pixel.

    Every second point of the smoothed contour, to be drawn as a curve, in one flat list: x and y of
    the first point, then the steps to the next ones, in pixels of a frame. A frame without the
    label, or that the mask does not hold, has none. The last label comes first, so that an inner
    one is drawn over one around it.

    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    mask.on(cine)
    corner = np.array([box.left, box.top]) - 0.5  # pixel centres are whole numbers
    scale = STEPS * edge_px / np.array([box.columns, box.rows])

    def steps(polygon: Polygon) -> list[int]:
        points = np.rint((smooth_contour(polygon)[::2] - corner) * scale).astype(int)
        flat: list[int] = np.diff(points, axis=0, prepend=[[0, 0]]).ravel().tolist()
        return flat

    found: dict[Label, Contours] = {}
    for label in reversed(mask.labels_present):
        found[label] = [[[] for _ in range(cine.shape[1])] for _ in cine.frames]
        for slices, phase in zip(mask.within(label), mask.phases, strict=True):
            found[label][phase] = [[steps(each) for each in slice_contours(one)] for one in slices]
    return found
