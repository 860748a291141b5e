"""Pixels of a slice put on the frame of its stack without resampling: turned, cropped, padded.

Operators turn the field of view by 90 degrees against wrap, or change its width between two
breath-holds. Such a slice shows the same heart at its place: quarter turns, flips and whole pixels
bring it on the frame of its neighbours, no grey value is changed and its plane says where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import Box, Plane, vector

#: A slice that shares less than this of its pixels with the frame of the stack shows another field.
LEAST_SHARED = 0.5


@dataclass(frozen=True, slots=True)
class Placement:
    """How the pixels of a slice come on the frame of its stack.

    :param swap: exchange rows and columns; :param flip: then turn the order of (rows, columns).
    :param top, left: then the place of the first pixel in the frame.
    :param resized: whether the slice has another size than the frame.
    """

    swap: bool = False
    flip: tuple[bool, bool] = (False, False)
    top: int = 0
    left: int = 0
    resized: bool = False

    def turned(self, image: NDArray[Any]) -> NDArray[Any]:
        """An image ``[Y, X]`` with its axes along those of the stack."""
        turned = image.T if self.swap else image
        steps = [-1 if reverse else 1 for reverse in self.flip]
        return turned[:: steps[0], :: steps[1]]

    def on_frame(self, image: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
        """An image of the slice on the frame; what it does not hold is 0."""
        turned = self.turned(image)
        return Box(-self.top, -self.left, rows, columns).crop(turned)


def placement_of(
    plane: Plane, size: tuple[int, int], like: Plane, frame: tuple[int, int]
) -> tuple[Placement, Plane] | None:
    """How a slice comes on the frame (rows, columns) of a stack, and its plane there.

    :param size: rows and columns of the slice; :param like: the plane of the nearest slice that
        already is on the frame. A slice of the same size stays where it is.
    :returns: None where the fields or the pixel spacings differ too much.
    """
    rows, columns = np.array(plane.row_step), np.array(plane.column_step)
    down, across = np.array(like.row_step), np.array(like.column_step)
    swap = abs(float(down @ rows)) < abs(float(down @ columns))
    axes, sizes, spacing = (rows, columns), size, plane.pixel_spacing_mm
    if swap:
        axes, sizes, spacing = (columns, rows), size[::-1], spacing[::-1]
    flip = (float(down @ axes[0]) < 0, float(across @ axes[1]) < 0)
    origin = np.array(plane.origin_mm)
    steps = []
    for axis, reverse, count, step_mm in zip(axes, flip, sizes, spacing, strict=True):
        origin = origin + (count - 1) * step_mm * axis * reverse
        steps.append(-axis if reverse else axis)
    top = left = 0
    if tuple(sizes) != frame:
        offset = origin - np.array(like.origin_mm)
        top = round(float(offset @ down) / spacing[0])
        left = round(float(offset @ across) / spacing[1])
        origin = origin - top * spacing[0] * steps[0] - left * spacing[1] * steps[1]
        shared = Box(top, left, sizes[0], sizes[1]).clip(*frame)
        if shared.rows * shared.columns < LEAST_SHARED * max(
            sizes[0] * sizes[1], frame[0] * frame[1]
        ):
            return None
    placement = Placement(swap, flip, top, left, tuple(sizes) != frame)
    if placement == Placement():
        return placement, plane
    turned = replace(
        plane,
        origin_mm=vector(origin),
        row_step=vector(steps[0]),
        column_step=vector(steps[1]),
        pixel_spacing_mm=(spacing[0], spacing[1]),
    )
    return placement, turned
