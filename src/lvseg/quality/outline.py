"""Outline checks: several pieces, holes, a dented or elongated cavity, cavity at the border."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from lvseg.issues import Issue
from lvseg.quality.evidence import Evidence
from lvseg.quality.mask_features import BoolArray, FloatArray, IntArray

#: Side neighbours within a frame; frames do not touch each other.
_IN_PLANE = np.array([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])


def odd_outlines(evidence: Evidence) -> Iterator[Issue]:
    """Several pieces, holes, an outline that is no ventricle's, cavity at the border."""
    features = evidence.features
    held = features.areas_px.ravel() > 0
    frames = features.inside.reshape(-1, *features.inside.shape[2:])
    pieces = _count_pieces(frames)
    several = np.flatnonzero(held & (pieces > 1))
    if several.size:
        text = f"In {several.size} frame(s) the cavity falls into several pieces."
        yield _issue("several-pieces", text, evidence, int(several[0]))
    around = np.pad(~frames, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    holes = np.flatnonzero(_count_pieces(around) > 1)
    if holes.size:
        text = f"In {holes.size} frame(s) the cavity has a hole."
        yield _issue("hole-in-mask", text, evidence, int(holes[0]))
    yield from _dented_or_long(evidence, frames, pieces)
    edge = np.flatnonzero(features.touches.ravel())
    if edge.size:
        text = f"In {edge.size} frame(s) the cavity touches the border of the image."
        yield _issue("touches-border", text, evidence, int(edge[0]))


def _issue(code: str, text: str, evidence: Evidence, frame: int) -> Issue:
    row, index = divmod(frame, evidence.features.areas_px.shape[1])
    return Issue(code, "warning", text, index, evidence.mask.phases[row])


def _count_pieces(frames: BoolArray) -> IntArray:
    """Pieces of each frame, [N, y, x] -> [N]; side neighbours belong together."""
    labels, _ = ndimage.label(frames, structure=_IN_PLANE)
    highest = labels.max(axis=(1, 2))
    # Pieces are numbered in order of frames, so a frame's count is the step of the highest number.
    pieces: IntArray = np.diff(np.maximum.accumulate(np.concatenate([[0], highest])))
    return pieces


def _dented_or_long(evidence: Evidence, frames: BoolArray, pieces: IntArray) -> Iterator[Issue]:
    """Outlines with a deep dent, or much longer than wide; the worst is named.

    Judged where the cavity is one piece.
    """
    features, limits = evidence.features, evidence.limits
    large = features.areas_px.ravel() >= limits.outline_from_px
    judged = np.flatnonzero(large & (pieces == 1))
    if judged.size == 0:
        return
    solid = np.round(solidity(frames[judged]), 3)
    long = np.round(features.elongation.ravel()[judged], 3)
    odd = (solid < limits.solidity_share) | (long > limits.elongation_ratio)
    if not odd.any():
        return
    if solid.min() < limits.solidity_share:
        worst = int(solid.argmin())
        what = f"the worst fills {100 * solid[worst]:.0f} % of its convex hull"
        limit = f"{100 * limits.solidity_share:.0f} % or more is usual"
    else:
        worst = int(long.argmax())
        what = f"the worst is {long[worst]:.1f} times as long as wide"
        limit = f"up to {limits.elongation_ratio:.1f} is usual"
    text = f"In {int(odd.sum())} frame(s) the outline is not a ventricle's: {what} ({limit})."
    yield _issue("odd-outline", text, evidence, int(judged[worst]))


def solidity(frames: BoolArray) -> FloatArray:
    """Area over the area of the convex hull of the pixel squares, [N, y, x] -> [N]; none empty."""
    from scipy.spatial import ConvexHull  # here, for its import takes a while

    result = np.empty(len(frames))
    for index, inside in enumerate(frames):
        y = np.flatnonzero(inside.any(axis=1))
        left = inside[y].argmax(axis=1)
        right = inside.shape[1] - inside[y, ::-1].argmax(axis=1)
        rows = np.tile(np.concatenate([y, y + 1]), 2)
        corners = np.column_stack([rows, np.concatenate([left, left, right, right])])
        result[index] = inside.sum() / ConvexHull(corners).volume  # in the plane: its area
    return result
