"""Runs of True in a row, and on the circle of a beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["circular_runs", "runs"]


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
