"""Preprocessing: from a cine to network input, and the exact way back.

The steps are those of the model card's :class:`~lvseg.modelcard.InputSpec`, and training uses the
same functions: scale intensities per slice, bring in-plane spacing to the model's, localize the
heart on a few full frames (coarse pass), crop one square box around it, and after the network put
the probabilities back on the grid the study came on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.cine import SMALLEST_SIDE_PX, Cine
from lvseg.errors import ModelInputError
from lvseg.geometry import Box
from lvseg.issues import Issue
from lvseg.modelcard import InputSpec

FloatArray = NDArray[np.float32]

#: Frames per slice of the coarse pass: contraction moves the cavity's edge, hardly its centre.
LOCATOR_FRAMES_PER_SLICE = 2
#: Probability above which a pixel of the coarse pass votes for the place of the heart.
LOCATOR_THRESHOLD = 0.5
#: Room around the cavity of the coarse pass on each side of the crop: wall, motion, missed rims.
CROP_MARGIN_PX = 16

IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Frames of a cine by phase and slice, two arrays of one shape.

    :param opposite: for each phase of the cine, the phase most unlike it, [T].
    :param slices: number of slices of the cine.
    """

    phase: IntArray
    slice: IntArray
    opposite: IntArray
    slices: int

    def beside(self, step: int) -> Places:
        """The same phases ``step`` slices on; the end slices stand in for what is beyond them."""
        return replace(self, slice=np.clip(self.slice + step, 0, self.slices - 1))

    def opposed(self) -> Places:
        """The same slices at the phase most unlike: end-systole for end-diastole, and back."""
        return replace(self, phase=self.opposite[self.phase])


#: What an input channel shows: the places to segment -> the frames it shows for them, by the name
#: that a model card has in ``input.channels``. Neighbours and the other end of the heartbeat tell
#: a cavity from fat, lung, atrium and outflow, which look alike in one frame.
CHANNELS: Mapping[str, Callable[[Places], Places]] = MappingProxyType(
    {
        "frame": lambda places: places,
        "opposite-phase": lambda places: places.opposed(),
        "slice-before": lambda places: places.beside(-1),
        "slice-after": lambda places: places.beside(1),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A cine as the model wants it, ``[T, Z, Y, X]``, and how to go back.

    Frames are made when they are asked for, so that a long cine is not held twice.

    :param source: frames of the cine, ``[T, Z, Y, X]`` float32.
    :param limits: the intensities of each slice that become 0 and 1, ``[Z, 2]``.
    :param factors: model pixels per source pixel along (rows, columns); 1.0 = not resampled.
    :param opposite: for each phase, the phase most unlike it, [T].
    """

    source: FloatArray
    limits: FloatArray
    factors: tuple[float, float]
    spec: InputSpec
    opposite: IntArray
    issues: tuple[Issue, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the source grid."""
        return (self.source.shape[2], self.source.shape[3])

    @property
    def sides(self) -> tuple[int, int]:
        """(rows, columns) of the model's grid."""
        return resampled_size(self.shape, self.factors)

    def frames_of(self, index: int, phases: Sequence[int] | None = None) -> FloatArray:
        """Frames of a slice on the model's grid in 0..1, ``[T, Y, X]``; None = every phase."""
        frames = self.source[:, index] if phases is None else self.source[list(phases), index]
        return resample(_scaled(frames, *self.limits[index]), self.factors)

    def network_input(
        self, phases: Sequence[int], cut: Callable[[FloatArray], FloatArray]
    ) -> FloatArray:
        """What the network sees of some phases of every slice, ``[P * Z, C, rows, columns]``.

        :param cut: from frames of a slice on the model's grid ``[T, Y, X]`` to what is shown.
        """
        slices = self.source.shape[1]
        phase, place = np.meshgrid(np.asarray(phases), np.arange(slices), indexing="ij")
        places = Places(phase.ravel(), place.ravel(), self.opposite, slices)
        shown = [CHANNELS[name](places) for name in self.spec.channels]
        needed = np.unique(np.concatenate([each.phase for each in shown]))
        held = [cut(self.frames_of(index, needed.tolist())) for index in range(slices)]
        frames = np.stack(held, axis=1)
        at = [(np.searchsorted(needed, each.phase), each.slice) for each in shown]
        return np.stack([frames[place] for place in at], axis=1)


def normalise(frames: FloatArray, spec: InputSpec) -> FloatArray:
    """Scale each channel of a slice to 0..1 between two percentiles over its phases, and clip.

    Every second row and column is enough to find a percentile, in a quarter of the time.

    :param frames: ``[T, C, Y, X]``. A channel without contrast becomes 0.
    """
    result = np.empty(frames.shape, np.float32)
    for channel in range(frames.shape[1]):
        values = frames[:, channel]
        result[:, channel] = _scaled(values, *_limits(values, spec))
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
    sides = shape or resampled_size((frames.shape[-2], frames.shape[-1]), factors)
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


def resampled_size(shape: tuple[int, int], factors: tuple[float, float]) -> tuple[int, int]:
    """(rows, columns) that cover a grid of another size once it is resampled."""
    rows, columns = (
        max(1, int(np.ceil(n * f - 1e-6))) for n, f in zip(shape, factors, strict=True)
    )
    return (rows, columns)


def prepare(cine: Cine, spec: InputSpec) -> Prepared:
    """Bring a cine to the model's intensity scale and in-plane spacing.

    :raises ModelInputError: the frames are too small to show a ventricle, or the model wants a
        channel that is not in :data:`CHANNELS`.
    """
    unknown = [name for name in spec.channels if name not in CHANNELS]
    if unknown:
        raise ModelInputError(
            f"expected input channels out of {', '.join(CHANNELS)}, found {', '.join(unknown)}: "
            "use a model made for this version of lvseg"
        )
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
    opposite = opposite_phases(cine.frames)
    return Prepared(cine.frames, np.array(limits, np.float32), factors, spec, opposite, issues)


def opposite_phases(frames: FloatArray) -> IntArray:
    """For each phase of a cine ``[T, Z, Y, X]`` the phase most unlike it, [T].

    By the squared difference over every fourth pixel of all slices, of which the heart's are most:
    end-systole for phases around end-diastole, and end-diastole for the rest.
    """
    seen = frames[:, :, ::4, ::4].reshape(len(frames), -1).astype(np.float64)
    seen -= seen.mean(axis=0)
    size = (seen**2).sum(axis=1)
    result: IntArray = np.argmax(size[:, None] + size - 2 * seen @ seen.T, axis=1)
    return result


def pad_to_multiple(frames: FloatArray, multiple: int) -> FloatArray:
    """Zero-pad the last two axes at their ends to a multiple, ``[..., Y, X]``."""
    rows, columns = (-side % multiple for side in frames.shape[-2:])
    if not rows and not columns:
        return frames
    return np.pad(frames, [(0, 0)] * (frames.ndim - 2) + [(0, rows), (0, columns)])


def locator_frames(prepared: Prepared) -> FloatArray:
    """Full frames of the coarse pass, ``[N, C, Y, X]``: two phases a slice, half a cycle apart.

    N = phases x slices; zero-padded to the network's multiple.
    """
    every = len(prepared.source)
    count = min(LOCATOR_FRAMES_PER_SLICE, every)
    phases = [index * every // count for index in range(count)]
    frames = prepared.network_input(phases, lambda frames: frames)
    return pad_to_multiple(frames, prepared.spec.multiple_px)


def find_box(prepared: Prepared, probabilities: FloatArray) -> Box:
    """The square box, on the model's grid, that holds the ventricle in every slice.

    All frames of the coarse pass vote together: their cavity pixels are summed over slices and
    phases, the connected component with most votes is the heart, and the box is centred on it and
    grown in steps of the network's multiple until the component fits with a margin. A slice that
    finds something bright elsewhere is outvoted by its neighbours.

    :param probabilities: of the cavity in :func:`locator_frames`, ``[N, Y, X]``. No vote at all:
        the frame's centre.
    """
    rows, columns = prepared.sides
    votes = (probabilities[:, :rows, :columns] > LOCATOR_THRESHOLD).sum(axis=0)
    spec = prepared.spec
    components, count = ndimage.label(votes > 0, np.ones((3, 3)))
    if not count:
        return Box.centred((rows - 1) / 2, (columns - 1) / 2, spec.crop_px, spec.crop_px)
    weight = ndimage.sum_labels(votes, components, np.arange(1, count + 1))
    heart = Box.around(components == 1 + int(np.argmax(weight)))
    assert heart is not None  # noqa: S101 - a component has a pixel
    extent = max(heart.rows, heart.columns) + 2 * CROP_MARGIN_PX
    size = max(spec.crop_px, -(-extent // spec.multiple_px) * spec.multiple_px)
    return Box.centred(*heart.centre, size, size)


def crop(prepared: Prepared, box: Box) -> FloatArray:
    """The box of every frame, ``[T * Z, C, rows, columns]``; outside the frame is 0.

    Intensities are scaled once more inside the box, so that bright fat far from the heart does not
    decide how bright the heart looks to the network.
    """

    def cut(frames: FloatArray) -> FloatArray:
        return normalise(box.crop(frames)[:, None], prepared.spec)[:, 0]

    return prepared.network_input(range(len(prepared.source)), cut)


def source_box(prepared: Prepared, box: Box) -> Box:
    """The part of the source grid outside which a box on the model's grid says nothing."""
    inside = box.clip(*prepared.sides)
    ends = []
    for part, factor, side in zip(inside.slices, prepared.factors, prepared.shape, strict=True):
        stop = min(side, int(part.stop / factor) + 3)  # two pixels more: neighbours interpolate
        ends.append((min(stop, max(0, int(part.start / factor) - 2)), stop))
    (top, bottom), (left, right) = ends
    return Box(top, left, bottom - top, right - left)


def restore(probabilities: FloatArray, prepared: Prepared, box: Box) -> FloatArray:
    """Put the probabilities of a box back on the source grid, ``[C, T, Z, y, x]``.

    :param probabilities: for :func:`crop`, ``[T * Z, C, rows, columns]``.
    :returns: those of :func:`source_box`; outside they are 0.
    """
    phases, slices = prepared.source.shape[:2]
    channels = probabilities.shape[1]
    stack = probabilities.reshape(phases, slices, channels, box.rows, box.columns)
    kept = source_box(prepared, box)
    result = np.empty((channels, phases, slices, kept.rows, kept.columns), np.float32)
    back = (1 / prepared.factors[0], 1 / prepared.factors[1])
    frames = np.zeros((phases, *prepared.sides), np.float32)
    for channel in range(channels):
        for index in range(slices):
            box.paste(stack[:, index, channel], frames)
            result[channel, :, index] = kept.crop(resample(frames, back, prepared.shape))
    return result
