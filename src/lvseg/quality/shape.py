"""Does the cavity of each frame look like one? One piece, no hole, a compact outline."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy import ndimage

from lvseg.issues import Issue
from lvseg.quality.seen import BoolArray, FloatArray, IntArray, Seen

__all__ = ["shapes", "solidity"]

#: Side neighbours within a frame; frames do not touch each other.
_IN_PLANE = np.array([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])
#: Below this many pixels the outline is a matter of pixels.
OUTLINE_FROM_PX = 50
#: Share of its convex hull that a cavity fills: expert contours of 30 training and validation
#: patients 0.87 and more (521 frames, 0.90 where a slice is not small), masks of the model in three
#: training patients 0.92. A ventricle with a piece of the other one attached fills less.
LEAST_SOLIDITY = 0.85
#: Longest over shortest axis: expert contours of the same patients up to 2.0 (one frame of a
#: thick-walled heart at end-systole), the next 1.6. Two equal circles that touch have 2.24.
MOST_ELONGATED = 2.2


def shapes(seen: Seen) -> Iterator[Issue]:
    """Several pieces, holes, an outline that is no ventricle's, cavity at the border."""
    held = seen.areas.ravel() > 0
    frames = seen.inside.reshape(-1, *seen.inside.shape[2:])
    pieces = _count_pieces(frames)
    several = np.flatnonzero(held & (pieces > 1))
    if several.size:
        text = f"In {several.size} frame(s) the cavity falls into several pieces."
        yield _issue("several-pieces", text, seen, int(several[0]))
    around = np.pad(~frames, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    holes = np.flatnonzero(_count_pieces(around) > 1)
    if holes.size:
        text = f"In {holes.size} frame(s) the cavity has a hole."
        yield _issue("hole-in-mask", text, seen, int(holes[0]))
    yield from _outlines(seen, frames, pieces)
    edge = np.flatnonzero(seen.touches.ravel())
    if edge.size:
        text = f"In {edge.size} frame(s) the cavity touches the border of the image."
        yield _issue("touches-border", text, seen, int(edge[0]))


def _issue(code: str, text: str, seen: Seen, frame: int) -> Issue:
    row, index = divmod(frame, seen.areas.shape[1])
    return Issue(code, "warning", text, index, seen.phases[row])


def _count_pieces(frames: BoolArray) -> IntArray:
    """Pieces of each frame, [N, y, x] -> [N]; side neighbours belong together."""
    labels, _ = ndimage.label(frames, structure=_IN_PLANE)
    highest = labels.max(axis=(1, 2))
    # Pieces are numbered in order of frames, so a frame's count is the step of the highest number.
    pieces: IntArray = np.diff(np.maximum.accumulate(np.concatenate([[0], highest])))
    return pieces


def _outlines(seen: Seen, frames: BoolArray, pieces: IntArray) -> Iterator[Issue]:
    """Outlines with a deep dent, or much longer than wide; the worst is named.

    Judged where the cavity is one piece.
    """
    judged = np.flatnonzero((seen.areas.ravel() >= OUTLINE_FROM_PX) & (pieces == 1))
    if judged.size == 0:
        return
    solid = np.round(solidity(frames[judged]), 3)
    long = np.round(seen.elongation.ravel()[judged], 3)
    odd = (solid < LEAST_SOLIDITY) | (long > MOST_ELONGATED)
    if not odd.any():
        return
    if solid.min() < LEAST_SOLIDITY:
        worst = int(solid.argmin())
        what = f"the worst fills {100 * solid[worst]:.0f} % of its convex hull"
        limit = f"{100 * LEAST_SOLIDITY:.0f} % or more is usual"
    else:
        worst = int(long.argmax())
        what = f"the worst is {long[worst]:.1f} times as long as wide"
        limit = f"up to {MOST_ELONGATED:.1f} is usual"
    text = f"In {int(odd.sum())} frame(s) the outline is not a ventricle's: {what} ({limit})."
    yield _issue("odd-outline", text, seen, int(judged[worst]))


def solidity(frames: BoolArray) -> FloatArray:
    """Area over the area of the convex hull of the pixel squares, [N, y, x] -> [N]; none empty."""
    columns = frames.shape[2]
    left = frames.argmax(axis=2)
    right = columns - frames[:, :, ::-1].argmax(axis=2)
    held: BoolArray = np.asarray(frames.any(axis=2))
    areas = frames.sum(axis=(1, 2))
    result = np.empty(len(frames))
    for index, rows in enumerate(held):
        y = np.flatnonzero(rows)
        low = _chain(y, left[index, y], -1)
        high = _chain(y, right[index, y], 1)
        result[index] = areas[index] / (high - low)
    return result


def _chain(y: IntArray, x: IntArray, side: int) -> float:
    """Area between the axis x = 0 and one side of the hull (Andrew's monotone chain, 1979).

    :param side: 1 for the largest x of each row, -1 for the smallest.
    """
    points = [
        (int(row) + end, int(column)) for row, column in zip(y, x, strict=True) for end in (0, 1)
    ]
    hull: list[tuple[int, int]] = []
    for point in points:
        while len(hull) > 1 and side * _turn(hull[-2], hull[-1], point) >= 0:
            hull.pop()
        hull.append(point)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(hull))


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
