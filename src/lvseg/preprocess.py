"""Cine -> network input, and the exact way back.

The steps are those of the model card's :class:`~lvseg.modelcard.InputSpec`, and training uses the
same functions: scale intensities per slice, bring in-plane spacing to the model's, find the
heart on a few scout frames, cut one square window around it, and after the network put the
probabilities back on the grid the study came on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.cine import SMALLEST_SIDE_PX, Cine
from lvseg.errors import ModelInputError
from lvseg.issues import Issue
from lvseg.modelcard import InputSpec

__all__ = [
    "Prepared",
    "Window",
    "cut",
    "find_window",
    "normalise",
    "pad_to_multiple",
    "prepare",
    "region",
    "resample",
    "restore",
    "restore_region",
    "scale_factors",
    "scout_phases",
    "scouts",
]

FloatArray = NDArray[np.float32]

#: Scout frames per slice: the contraction moves the cavity's edge, hardly its centre.
SCOUTS_PER_SLICE = 2
#: Probability above which a scout pixel votes for the place of the heart.
SCOUT_THRESHOLD = 0.5
#: Room around the scouts' cavity on each side of the window: wall, motion and missed rims.
WINDOW_MARGIN_PX = 16


@dataclass(frozen=True, slots=True)
class Window:
    """A square of ``size`` pixels at (row, column) on the model's grid; it may reach outside."""

    row: int
    column: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A cine as the model wants it, ``[T, Z, Y, X]``, and how to go back.

    Frames are made when they are asked for, so that a long cine is not held twice.

    :param source: frames of the cine, ``[T, Z, Y, X]`` float32.
    :param limits: the intensities of each slice that become 0 and 1, ``[Z, 2]``.
    :param factors: model pixels per source pixel along (rows, columns); 1.0 = not resampled.
    """

    source: FloatArray
    limits: FloatArray
    factors: tuple[float, float]
    spec: InputSpec
    issues: tuple[Issue, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the source grid."""
        return (self.source.shape[2], self.source.shape[3])

    @property
    def sides(self) -> tuple[int, int]:
        """(rows, columns) of the model's grid."""
        return _sides(self.shape, self.factors)

    def frames_of(self, index: int, phases: Sequence[int] | None = None) -> FloatArray:
        """Frames of a slice on the model's grid in 0..1, ``[T, Y, X]``; None = every phase."""
        frames = self.source[:, index] if phases is None else self.source[list(phases), index]
        return resample(_scaled(frames, *self.limits[index]), self.factors)


def normalise(frames: FloatArray, spec: InputSpec) -> FloatArray:
    """Scale each slice to 0..1 between two percentiles over all its phases, and clip.

    Every second row and column is enough to find a percentile, in a quarter of the time.

    :param frames: ``[T, Z, Y, X]``. A slice without contrast becomes 0.
    """
    result = np.empty(frames.shape, np.float32)
    for index in range(frames.shape[1]):
        values = frames[:, index]
        result[:, index] = _scaled(values, *_limits(values, spec))
    return result


def _limits(values: FloatArray, spec: InputSpec) -> tuple[float, float]:
    """The intensities of a slice ``[T, Y, X]`` that become 0 and 1."""
    low, high = np.percentile(values[:, ::2, ::2], [spec.low_percent, spec.high_percent])
    if high <= low:
        low, high = values.min(), values.max()
    return (float(low), float(high))


def _scaled(values: FloatArray, low: float, high: float) -> FloatArray:
    scale = 1.0 / (high - low) if high > low else 0.0
    result: FloatArray = (values - np.float32(low)) * np.float32(scale)
    return np.clip(result, 0, 1, out=result)


def scale_factors(
    pixel_spacing_mm: tuple[float, float] | None, spec: InputSpec
) -> tuple[float, float]:
    """Model pixels per source pixel along (rows, columns).

    1.0 where the spacing is unknown, or within the card's tolerance, which the training's scale
    augmentation covers.

    >>> scale_factors((2.66, 1.35), InputSpec(spacing_mm=1.33))
    (2.0, 1.0)
    """
    if pixel_spacing_mm is None:
        return (1.0, 1.0)
    rows, columns = (value / spec.spacing_mm for value in pixel_spacing_mm)
    tolerance = spec.spacing_tolerance_percent / 100
    return (
        1.0 if abs(rows - 1) <= tolerance else rows,
        1.0 if abs(columns - 1) <= tolerance else columns,
    )


def resample(
    frames: FloatArray, factors: tuple[float, float], shape: tuple[int, int] | None = None
) -> FloatArray:
    """Resample the last two axes linearly, pixel areas aligned (not pixel centres).

    Pixel ``i`` of the source covers ``[i, i + 1)``; output pixel ``j`` has its centre at source
    coordinate ``(j + 0.5) / factor - 0.5``. Shrinking averages first, so nothing aliases.

    :param frames: ``[..., Y, X]``.
    :param factors: output pixels per source pixel along (rows, columns).
    :param shape: output (rows, columns); None = rounded up to cover the source.
    """
    sides = shape or _sides((frames.shape[-2], frames.shape[-1]), factors)
    if sides == frames.shape[-2:] and factors == (1.0, 1.0):
        return frames
    flat = frames.reshape(-1, *frames.shape[-2:])
    result = np.empty((len(flat), *sides), np.float32)
    sigma = [max(0.0, (1 / factor - 1) / 2) for factor in factors]
    offset = [0.5 / factor - 0.5 for factor in factors]
    for index, frame in enumerate(flat):
        smooth = ndimage.gaussian_filter(frame, sigma) if max(sigma) > 0 else frame
        ndimage.affine_transform(
            smooth,
            [1 / factor for factor in factors],
            offset=offset,
            output_shape=sides,
            output=result[index],
            order=1,
            mode="nearest",
        )
    return result.reshape(*frames.shape[:-2], *sides)


def _sides(shape: tuple[int, int], factors: tuple[float, float]) -> tuple[int, int]:
    """(rows, columns) that cover a grid once it is resampled."""
    rows, columns = (
        max(1, int(np.ceil(n * f - 1e-6))) for n, f in zip(shape, factors, strict=True)
    )
    return (rows, columns)


def prepare(cine: Cine, spec: InputSpec) -> Prepared:
    """Bring a cine to the model's intensity scale and in-plane spacing.

    :raises ModelInputError: the frames are too small to show a ventricle.
    """
    rows, columns = cine.shape[2:]
    if min(rows, columns) < SMALLEST_SIDE_PX:
        raise ModelInputError(
            f"expected at least {SMALLEST_SIDE_PX} x {SMALLEST_SIDE_PX} pixels, "
            f"found {rows} x {columns}"
        )
    issues: tuple[Issue, ...] = ()
    if cine.pixel_spacing_mm is None:
        text = (
            "pixel spacing is unknown: the image is taken as it is, which fits pixels of about "
            f"{spec.spacing_mm:g} mm; give the spacing if it is known"
        )
        issues = (Issue("unscaled-input", "info", text),)
    factors = scale_factors(cine.pixel_spacing_mm, spec)
    limits = [_limits(cine.frames[:, index], spec) for index in range(cine.shape[1])]
    return Prepared(cine.frames, np.array(limits, np.float32), factors, spec, issues)


def scout_phases(phases: int) -> tuple[int, ...]:
    """The phases whose full frames are searched for the heart, spread over the cycle.

    >>> scout_phases(20), scout_phases(1)
    ((0, 10), (0,))
    """
    count = min(SCOUTS_PER_SLICE, phases)
    return tuple(index * phases // count for index in range(count))


def pad_to_multiple(frames: FloatArray, multiple: int) -> FloatArray:
    """Zero-pad the last two axes at their ends to a multiple, ``[..., Y, X]``."""
    rows, columns = (-side % multiple for side in frames.shape[-2:])
    if not rows and not columns:
        return frames
    return np.pad(frames, [(0, 0)] * (frames.ndim - 2) + [(0, rows), (0, columns)])


def scouts(prepared: Prepared) -> FloatArray:
    """Full frames to search for the heart, ``[N, 1, Y, X]``, N = scout phases x slices."""
    phases = scout_phases(prepared.source.shape[0])
    slices = range(prepared.source.shape[1])
    frames = np.stack([prepared.frames_of(index, phases) for index in slices], axis=1)
    return pad_to_multiple(frames.reshape(-1, 1, *prepared.sides), prepared.spec.multiple_px)


def find_window(prepared: Prepared, probabilities: FloatArray) -> Window:
    """The window that holds the ventricle in every slice.

    All scouts vote together: their cavity pixels are summed over slices and phases, the
    connected region with most votes is the heart, and the window is centred on it and grown in
    steps of the network's multiple until the region fits with a margin. A slice that finds
    something bright elsewhere is outvoted by its neighbours.

    :param probabilities: of :func:`scouts`, ``[N, 1, Y, X]``. No vote at all: the frame's centre.
    """
    rows, columns = prepared.sides
    votes = (probabilities[:, 0, :rows, :columns] > SCOUT_THRESHOLD).sum(axis=0)
    spec = prepared.spec
    if not votes.any():
        return _centred((rows - 1) / 2, (columns - 1) / 2, spec.window_px)
    components, count = ndimage.label(votes > 0, np.ones((3, 3)))
    weight = ndimage.sum_labels(votes, components, np.arange(1, count + 1))
    heart = np.where(components == 1 + int(np.argmax(weight)), votes, 0)
    places = np.argwhere(heart)
    low, high = places.min(axis=0), places.max(axis=0)
    extent = int((high - low).max()) + 1 + 2 * WINDOW_MARGIN_PX
    size = max(spec.window_px, -(-extent // spec.multiple_px) * spec.multiple_px)
    centre = (low + high) / 2
    return _centred(float(centre[0]), float(centre[1]), size)


def _centred(row: float, column: float, size: int) -> Window:
    return Window(round(row - (size - 1) / 2), round(column - (size - 1) / 2), size)


def cut(prepared: Prepared, window: Window) -> FloatArray:
    """The window of every frame, ``[T * Z, 1, size, size]``; outside the frame is 0.

    Intensities are scaled once more inside the window, so that bright fat far from the heart does
    not decide how bright the heart looks to the network.
    """
    phases, slices = prepared.source.shape[:2]
    result = np.zeros((phases, slices, window.size, window.size), np.float32)
    inside, target = _overlap(window, *prepared.sides)
    for index in range(slices):
        frames = prepared.frames_of(index)
        result[:, index, target[0], target[1]] = frames[:, inside[0], inside[1]]
    return normalise(result, prepared.spec).reshape(-1, 1, window.size, window.size)


def _overlap(
    window: Window, rows: int, columns: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the frame inside the window, in frame and in window coordinates."""
    top, left = max(0, window.row), max(0, window.column)
    bottom = max(top, min(rows, window.row + window.size))
    right = max(left, min(columns, window.column + window.size))
    inside = (slice(top, bottom), slice(left, right))
    target = (
        slice(top - window.row, bottom - window.row),
        slice(left - window.column, right - window.column),
    )
    return inside, target


def region(prepared: Prepared, window: Window) -> tuple[slice, slice]:
    """Rows and columns of the source grid outside which a window says nothing."""
    inside, _ = _overlap(window, *prepared.sides)
    found = []
    for part, factor, side in zip(inside, prepared.factors, prepared.shape, strict=True):
        stop = min(side, int(part.stop / factor) + 3)  # two pixels more: neighbours interpolate
        found.append(slice(min(stop, max(0, int(part.start / factor) - 2)), stop))
    return (found[0], found[1])


def restore(probabilities: FloatArray, prepared: Prepared, window: Window) -> FloatArray:
    """Put window probabilities back on the source grid, ``[T, Z, Y, X]``; outside is 0.

    :param probabilities: of :func:`cut`, ``[T * Z, 1, size, size]``.
    """
    rows, columns = region(prepared, window)
    result = np.zeros(prepared.source.shape, np.float32)
    result[:, :, rows, columns] = restore_region(probabilities, prepared, window)
    return result


def restore_region(probabilities: FloatArray, prepared: Prepared, window: Window) -> FloatArray:
    """What :func:`restore` says of the :func:`region`, ``[T, Z, y, x]``, in less memory."""
    phases, slices = prepared.source.shape[:2]
    inside, target = _overlap(window, *prepared.sides)
    stack = probabilities.reshape(phases, slices, window.size, window.size)
    rows, columns = region(prepared, window)
    result = np.empty(
        (phases, slices, rows.stop - rows.start, columns.stop - columns.start), np.float32
    )
    back = (1 / prepared.factors[0], 1 / prepared.factors[1])
    frames = np.zeros((phases, *prepared.sides), np.float32)
    for index in range(slices):
        frames[:, inside[0], inside[1]] = stack[:, index, target[0], target[1]]
        result[:, index] = resample(frames, back, prepared.shape)[:, rows, columns]
    return result
