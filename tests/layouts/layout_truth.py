"""Truth: the cine that a layout hides, and whether a cine that was read is the same one.

Two cines are the same when every pixel lies where it did in the patient and has its value, with the
phases in order. Rows, columns and the order of slices may be turned, if the planes say so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine
from lvseg.geometry import Plane, index_to_mm, vector

#: Rows and columns of a frame, never equal.
ROWS, COLUMNS = 18, 21
FIRST_MS, STEP_MS = 12.5, 40.0
#: From base to apex the left ventricle points left, forward and down (LPS).
AXIS = np.array([0.64, -0.67, -0.38])


@dataclass(frozen=True, eq=False)
class TrueSlice:
    """One slice: where it lies, and its frames [T, Y, X]."""

    plane: Plane
    frames: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Truth:
    """A cine as it is.

    :param name: which acquisition: "rest", "stress", "first" (the one that was repeated whole), or
        "untilted" (at rest, without the tilted slice).
    :param times_ms: of the phases; None = the layout does not tell them.
    :param tolerance: how far a grey value may be off, for layouts that ask for interpolation.
    :param whole: every pixel must come back; else the reader may crop or pad.
    """

    slices: tuple[TrueSlice, ...]
    times_ms: tuple[float, ...] | None
    tolerance: float = 0.0
    whole: bool = True
    placed: bool = True
    name: str = "rest"

    def without(self, *places: int) -> Truth:
        """The same with slices left out."""
        kept = [one for index, one in enumerate(self.slices) if index not in places]
        return replace(self, slices=tuple(kept))


def directions(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column step and row step of an oblique short axis, up to 20 degrees off the usual one."""
    rng = np.random.default_rng(seed % 32)
    axis = AXIS / np.linalg.norm(AXIS) + rng.uniform(-0.18, 0.18, 3)
    axis = axis / np.linalg.norm(axis) * rng.choice([-1, 1])
    across = np.cross(axis, rng.normal(size=3))
    across /= np.linalg.norm(across)
    return across, np.cross(axis, across)


def spacings(seed: int) -> tuple[float, float, float]:
    """(between rows, between columns, between slices) in mm, never equal."""
    rng = np.random.default_rng([seed % 32, 1])
    return (
        round(float(rng.uniform(1.2, 1.5)), 3),
        round(float(rng.uniform(1.6, 1.9)), 3),
        round(float(rng.uniform(8.0, 11.0)), 2),
    )


@lru_cache(4096)
def picture(stack: str, place: int, moment: float) -> NDArray[np.uint16]:
    """A frame that no other stack, place or moment of the cycle (0 to 1) shares; below 4096."""
    rng = np.random.default_rng([sum(stack.encode()), place, 7])
    rest, one, other = rng.uniform(0, 1, (3, ROWS, COLUMNS))
    y, x = np.mgrid[:ROWS, :COLUMNS]
    rest = rest + 0.5 + ((x - 9) ** 2 + (y - 8) ** 2 < 30)
    turn = 2 * np.pi * moment
    values = 900 * rest + 180 * (one * np.cos(turn) + other * np.sin(turn)) + 400
    result = np.rint(values).astype(np.uint16)
    result.setflags(write=False)
    return result


def plane_at(seed: int, offset_mm: float) -> Plane:
    """A plane of the stack, so far along its normal."""
    across, down = directions(seed)
    row_mm, column_mm, _ = spacings(seed)
    origin = np.array([12.0, -34.0, 56.0]) + np.cross(across, down) * offset_mm
    origin = origin - across * column_mm * COLUMNS / 2 - down * row_mm * ROWS / 2
    return Plane(vector(np.round(origin, 5)), vector(down), vector(across), (row_mm, column_mm))


def times(phases: int) -> tuple[float, ...]:
    """Times of the phases of the ordinary study."""
    return tuple(FIRST_MS + STEP_MS * phase for phase in range(phases))


def differs(truth: Truth, cine: Cine) -> str:
    """How a cine differs from a truth; "" if it is the same."""
    phases, slices = cine.shape[:2]
    if slices != len(truth.slices):
        return f"{slices} slices for {len(truth.slices)}"
    if phases != truth.slices[0].frames.shape[0]:
        return f"{phases} phases for {truth.slices[0].frames.shape[0]}"
    wrong_times = _times_differ(truth, cine)
    if wrong_times:
        return wrong_times
    if not truth.placed:
        return _unplaced_differs(truth, cine)
    if cine.planes is None:
        return "no planes"
    free = list(range(slices))
    for place, plane in enumerate(cine.planes):
        centre = _centre(plane, cine.shape[2:])
        found = min(free, key=lambda i: np.linalg.norm(_true_centre(truth.slices[i]) - centre))
        why = _slice_differs(truth, truth.slices[found], plane, cine.frames[:, place])
        if why:
            return f"slice {place}: {why}"
        free.remove(found)
    return _disordered(cine.planes)


def _disordered(planes: tuple[Plane, ...]) -> str:
    if len(planes) < 2:
        return ""
    origins = np.array([plane.origin_mm for plane in planes])
    axis = np.cross(planes[0].column_step, planes[0].row_step)
    # a slice with axes of its own has its corner elsewhere: judge by the centres
    steps = np.diff(origins @ axis)
    return "" if (steps > 0).all() or (steps < 0).all() else "slices out of order"


def _times_differ(truth: Truth, cine: Cine) -> str:
    if cine.times_ms is None:
        return "" if truth.times_ms is None else "no times"
    stated = truth.times_ms or times(len(cine.times_ms))
    offset = 0.0 if truth.times_ms is not None else cine.times_ms[0] - stated[0]
    far = np.abs(np.subtract(cine.times_ms, stated) - offset).max()
    return "" if far < 2 else f"times {cine.times_ms} for {stated}"


def _centre(plane: Plane, shape: tuple[int, ...]) -> NDArray[np.float64]:
    middle = np.array([[(shape[0] - 1) / 2, (shape[1] - 1) / 2]])
    centre: NDArray[np.float64] = index_to_mm(plane, middle)[0]
    return centre


def _true_centre(one: TrueSlice) -> NDArray[np.float64]:
    return _centre(one.plane, one.frames.shape[1:])


def _slice_differs(truth: Truth, one: TrueSlice, plane: Plane, frames: NDArray[np.float32]) -> str:
    rows, columns = frames.shape[1:]
    index = np.stack(np.meshgrid(range(rows), range(columns), indexing="ij"), -1).reshape(-1, 2)
    offset = index_to_mm(plane, index.astype(float)) - np.array(one.plane.origin_mm)
    far = np.abs(offset @ np.cross(one.plane.column_step, one.plane.row_step)).max()
    if far > 0.4:
        return f"{far:.2f} mm out of its plane"
    row_mm, column_mm = one.plane.pixel_spacing_mm
    at = np.stack(
        [offset @ np.array(one.plane.row_step) / row_mm,
         offset @ np.array(one.plane.column_step) / column_mm], -1
    )  # fmt: skip
    near = np.rint(at).astype(int)
    if np.abs(at - near).max() > 0.25:
        return f"pixels {np.abs(at - near).max():.2f} px beside their places"
    true_rows, true_columns = one.frames.shape[1:]
    inside = ((near >= 0) & (near < (true_rows, true_columns))).all(1)
    if truth.whole and not (inside.all() and len(near) == true_rows * true_columns):
        return f"{rows} x {columns} pixels of which {inside.sum()} lie in the true ones"
    if inside.sum() < 0.6 * true_rows * true_columns:
        return "most of the slice is missing"
    stated = one.frames[:, near[inside, 0], near[inside, 1]]
    found = frames.reshape(len(frames), -1)[:, inside]
    return _values_differ(stated, found, truth.tolerance)


def _values_differ(
    stated: NDArray[np.float32], found: NDArray[np.float32], tolerance: float
) -> str:
    off = np.abs(stated - found).max(axis=1)
    if off.max() <= tolerance + 1e-3 * float(np.abs(stated).max()):
        return ""
    wrong = [int(phase) for phase in np.flatnonzero(off > tolerance + 1)]
    return f"other grey values in phases {wrong} (off by {off.max():.0f})"


def _unplaced_differs(truth: Truth, cine: Cine) -> str:
    """Where nothing tells places: the same slices in one direction or the other, axes as stored."""
    spacing = truth.slices[0].plane.pixel_spacing_mm
    whole = np.stack([one.frames for one in truth.slices], axis=1)
    for frames, stated in ((whole, spacing), (whole.swapaxes(2, 3), spacing[::-1])):
        if frames.shape != cine.shape:
            continue
        if cine.pixel_spacing_mm is not None and not np.allclose(
            cine.pixel_spacing_mm, stated, rtol=1e-3
        ):
            continue
        for signs in np.ndindex(2, 2, 2):
            turned = frames[:, :: 1 - 2 * signs[0], :: 1 - 2 * signs[1], :: 1 - 2 * signs[2]]
            if not _values_differ(
                turned.reshape(len(turned), -1), cine.frames.reshape(len(turned), -1), 0.0
            ):
                return ""
    return "other grey values, sizes or spacings"
