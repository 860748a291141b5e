"""Values on the cardiac cycle, where the last phase is followed by the first: runs, smoothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, length) of every run of True in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def circular_runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, length) of every run of True on a circle; all True is one run from 0."""
    found = runs(flags)
    if len(found) > 1 and flags[0] and flags[-1]:
        start, length = found.pop()
        found[0] = (start, length + found[0][1])
    return found


def smooth_cycle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each value [T] with both neighbours on the cycle, by 1/4, 1/2, 1/4."""
    result: NDArray[np.float64] = (np.roll(values, 1) + 2 * values + np.roll(values, -1)) / 4
    return result
