"""Cine, mask and study: the image objects every step takes and returns.

Axes are always ``[T, Z, Y, X]`` = phase, slice, row, column. Objects are checked when they are
built and their arrays are read-only; a function returns a new object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import GeometryError, GeometryMismatchError, NotACineError, ReadError
from lvseg.geometry import Grid, Plane
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.subject import UNKNOWN, Subject

#: Fewer pixels than this on a side cannot show a ventricle.
SMALLEST_SIDE_PX = 16

View = Literal["short-axis", "long-axis", "unknown"]
#: No grid was given: a new object takes one of the size of its array, with nothing else known.
_OF_ARRAY = cast(Grid, None)


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """Which DICOM frame a pixel plane came from (frame is 1-based, PS3.3 section 10.3).

    :param same_pixels: False where the plane was turned, cropped, padded or blended in time.
    """

    sop_class_uid: str
    sop_instance_uid: str
    frame: int | None = None
    same_pixels: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where a cine came from, for writing results back. No patient name, no birth date.

    :param name: a label that is safe as a file name.
    :param location: the path as the user gave it.
    :param affine_ras: NIfTI only, index (i, j, k) -> RAS mm exactly as in the file, [4, 4].
    :param shape: NIfTI only, the array shape in the file.
    :param axes: NIfTI only, the axes of the file (1, 2, 3) that are columns, rows and slices; a
        negative one runs backwards.
    :param nifti_header: NIfTI only, the header as in the file: units, sizes and how they are meant.
    :param instances: DICOM only, ``[T][Z]`` references to the source frames.
    :param phase_names: what the source calls its phases, as ``("ED", "ES")``; () = nothing.
    :param order_rule: how the phases were put in order, e.g. ``"TriggerTime"``.
    """

    format: Literal["dicom", "nifti", "picture", "array"]
    name: str
    location: str = ""
    study_uid: str | None = None
    series_uid: str | None = None
    affine_ras: NDArray[np.float64] | None = None
    shape: tuple[int, ...] | None = None
    axes: tuple[int, int, int] = (1, 2, 3)
    nifti_header: bytes | None = field(default=None, repr=False)
    instances: tuple[tuple[InstanceRef, ...], ...] | None = None
    order_rule: str = ""
    phase_names: tuple[str, ...] = ()


def _with_all_axes(array: NDArray[Any], what: str) -> NDArray[Any]:
    """The array as [phase, slice, row, column]; of three axes it is one phase.

    :param what: it is, for the message. :raises GeometryMismatchError: any other number of axes.
    """
    if array.ndim == 3:
        return array[None]
    if array.ndim != 4:
        raise GeometryMismatchError(
            f"expected {what} of 4 axes [phase, slice, row, column], or of 3 [slice, row, column] "
            f"for one phase, found {array.ndim} axes of shape {array.shape}: add the axes that "
            "lack, each of length 1"
        )
    return array


def _grid_of_array(
    array: NDArray[Any],
    pixel_spacing_mm: tuple[float, float] | None,
    slice_spacing_mm: float | None,
) -> Grid:
    pixels = pixel_spacing_mm
    if pixels is not None:
        if np.shape(pixels) != (2,):
            raise GeometryError(
                "expected pixel_spacing_mm as two numbers (between rows, between columns), found "
                f"{pixels}"
            )
        pixels = (float(pixels[0]), float(pixels[1]))
    distance = None if slice_spacing_mm is None else float(slice_spacing_mm)
    return Grid.of(array, pixel_spacing_mm=pixels, slice_spacing_mm=distance)


class _OnGrid:
    """What lies on a grid: its geometry is that of :class:`lvseg.geometry.Grid`."""

    __slots__ = ()
    grid: Grid

    def _set_grid(self, array: NDArray[Any]) -> None:
        """Give a new object the grid of its array, or hold the one it was given to it."""
        grid = self.grid or Grid.of(array)
        if grid.shape != array.shape[1:]:
            raise GeometryMismatchError(
                f"expected a grid [slice, row, column] of {array.shape[1:]}, found {grid.shape}"
            )
        object.__setattr__(self, "grid", grid)

    @property
    def planes(self) -> tuple[Plane, ...] | None:
        return self.grid.planes

    @property
    def pixel_spacing_mm(self) -> tuple[float, float] | None:
        return self.grid.pixel_spacing_mm

    @property
    def slice_spacing_mm(self) -> float | None:
        return self.grid.slice_spacing_mm

    @property
    def complete(self) -> bool:
        return self.grid.complete


@dataclass(frozen=True, slots=True, eq=False)
class Cine(_OnGrid):
    """A short-axis stack over time.

    :param frames: float32 ``[T, Z, Y, X]``, finite; made read-only.
    :param grid: where the pixels are; not given = nothing is known but their number.
    :param times_ms: time of each phase after the R wave, ascending; None = unknown.
    :param heart_rate_bpm: beats a minute while the cine was acquired; None = unknown.
    :param issues: what the reader noticed.
    :param subject: the person as the header states it, whether or not that can be.
    :raises ReadError: broken arrays. GeometryMismatchError: counts that do not fit.
    """

    frames: NDArray[np.float32]
    source: Source
    grid: Grid = _OF_ARRAY
    times_ms: tuple[float, ...] | None = None
    view: View = "unknown"
    issues: tuple[Issue, ...] = ()
    heart_rate_bpm: float | None = None
    subject: Subject = UNKNOWN

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or min(self.frames.shape) < 1:
            raise ReadError(
                f"expected frames [phase, slice, row, column], found shape {self.frames.shape}"
            )
        if not np.isfinite(self.frames).all():
            raise ReadError("expected finite pixel values, found NaN or infinity: repair the image")
        phases = self.frames.shape[0]
        self._set_grid(self.frames)
        if self.times_ms is not None:
            if len(self.times_ms) != phases:
                raise GeometryMismatchError(
                    f"expected {phases} phase times, found {len(self.times_ms)}"
                )
            if any(b <= a for a, b in zip(self.times_ms, self.times_ms[1:], strict=False)):
                raise ReadError("expected ascending phase times, found times out of order")
        frames = np.ascontiguousarray(self.frames, np.float32)
        frames.setflags(write=False)
        object.__setattr__(self, "frames", frames)

    @classmethod
    def of_image(
        cls,
        image: NDArray[np.float32],
        source: Source,
        pixel_spacing_mm: tuple[float, float] | None = None,
    ) -> Self:
        """One image ``[Y, X]`` as a cine of one frame."""
        frames = image[None, None]
        return cls(frames, source, Grid.of(frames, pixel_spacing_mm=pixel_spacing_mm))

    @classmethod
    def of_array(
        cls,
        array: NDArray[Any],
        *,
        pixel_spacing_mm: tuple[float, float] | None = None,
        slice_spacing_mm: float | None = None,
    ) -> Self:
        """Grey values ``[phase, slice, row, column]``, or of one phase ``[slice, row, column]``.

        :param pixel_spacing_mm: (between rows, between columns); None = unknown.
        :param slice_spacing_mm: centre to centre; None = unknown.
        :raises GeometryMismatchError: another number of axes. ReadError: no real numbers.
        :raises GeometryError: a spacing that no image of a heart has.
        """
        if array.dtype.kind not in "biuf":
            raise ReadError(f"expected an array of real numbers, found {array.dtype}")
        frames = _with_all_axes(array, "an image").astype(np.float32)
        grid = _grid_of_array(frames, pixel_spacing_mm, slice_spacing_mm)
        return cls(frames, Source("array", "array"), grid)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, Z, Y, X)."""
        phases, slices, rows, columns = self.frames.shape
        return (phases, slices, rows, columns)


@dataclass(frozen=True, slots=True, eq=False)
class Mask(_OnGrid):
    """Labels on some frames of a cine.

    :param labels: uint8 ``[F, Z, Y, X]``, values of :class:`lvseg.labels.Label`; read-only.
    :param phases: which phases of the cine these are (a reference often has only two).
    :param grid: as in :class:`Cine`.
    :param issues: what was noticed when it was read.
    :param labels_present: those of which the mask holds a pixel, in the order of their numbers;
        counted, not given.
    :raises GeometryMismatchError: counts that do not fit, or a phase named twice.
    :raises GeometryError: other labels.
    """

    labels: NDArray[np.uint8]
    phases: tuple[int, ...]
    grid: Grid = _OF_ARRAY
    issues: tuple[Issue, ...] = ()
    labels_present: tuple[Label, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.labels.ndim != 4 or min(self.labels.shape) < 1:
            raise GeometryMismatchError(
                f"expected labels [phase, slice, row, column], found shape {self.labels.shape}"
            )
        if len(self.phases) != self.labels.shape[0]:
            raise GeometryMismatchError(
                f"expected {self.labels.shape[0]} frame indices, found {len(self.phases)}"
            )
        if len(set(self.phases)) != len(self.phases) or min(self.phases) < 0:
            raise GeometryMismatchError(
                f"expected each phase once, as an index from 0, found {self.phases}"
            )
        self._set_grid(self.labels)
        labels = np.ascontiguousarray(self.labels, np.uint8)
        most = int(labels.max())
        if most > max(Label) or not (labels is self.labels or (labels == self.labels).all()):
            raise GeometryError(
                f"expected the labels {[int(label) for label in Label]}, found values from "
                f"{self.labels.min()} to {self.labels.max()}: cut or remap the mask first"
            )
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        lower = [label for label in Label if 0 < label < most and (labels == label).any()]
        present = (*lower, Label(most)) if most else ()
        object.__setattr__(self, "labels_present", present)

    @classmethod
    def of_array(
        cls,
        array: NDArray[Any],
        *,
        pixel_spacing_mm: tuple[float, float] | None = None,
        slice_spacing_mm: float | None = None,
    ) -> Self:
        """Labels ``[phase, slice, row, column]``, or of one phase ``[slice, row, column]``.

        True and 1 are the cavity, 2 is the myocardium. Spacings as in :meth:`Cine.of_array`.

        :raises GeometryMismatchError: another number of axes. GeometryError: other values, or a
            spacing that no image of a heart has.
        """
        whole = array.dtype.kind in "biu" or (
            array.dtype.kind == "f" and bool((array == np.rint(array)).all())
        )
        if not whole:
            raise GeometryError(
                f"expected whole numbers as labels, found an array of {array.dtype} with others: "
                "cut probabilities at one half first"
            )
        labels = _with_all_axes(array, "a mask")
        if array.size and not 0 <= array.min() <= array.max() <= max(Label):
            raise GeometryError(
                f"expected the labels {[int(label) for label in Label]}, found values from "
                f"{array.min():g} to {array.max():g}: cut or remap the mask first"
            )
        grid = _grid_of_array(labels, pixel_spacing_mm, slice_spacing_mm)
        return cls(labels.astype(np.uint8), tuple(range(len(labels))), grid)

    def of(self, label: Label) -> NDArray[np.bool_]:
        """Where a label is, ``[F, Z, Y, X]``; not to be written to."""
        if label == 1 and self.labels_present == (label,):
            return self.labels.view(np.bool_)  # zeros and ones: nothing is copied
        result: NDArray[np.bool_] = self.labels == label
        return result

    def within(self, label: Label) -> NDArray[np.bool_]:
        """What the outer boundary of a label encloses, ``[F, Z, Y, X]``; not to be written to.

        Structures are nested by their numbers: the epicardium encloses myocardium and cavity. A
        frame without the label has no such boundary.
        """
        own = self.of(label)
        if label == Label.LV_CAVITY:
            return own
        inside = (self.labels > 0) & (self.labels <= label)
        result: NDArray[np.bool_] = inside & own.any(axis=(2, 3), keepdims=True)
        return result

    def on(self, cine: Cine) -> None:
        """Check that this is a mask on that cine: its size, its place and its phases.

        :raises GeometryMismatchError: it is not.
        """
        if max(self.phases) >= cine.shape[0] or not self.grid.same_place(cine.grid):
            raise GeometryMismatchError(
                f"expected a mask on the cine [phase, slice, row, column] {cine.shape}, found one "
                f"of {self.labels.shape} with phases up to {max(self.phases)}"
                + (", at another place" if self.grid.shape == cine.grid.shape else "")
            )


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series as ``lvseg list`` shows it.

    :param slices: distinct positions; :param phases: the usual number of phases per position.
    :param score: higher is a better short-axis cine; 0 = not one. ``reason`` says why.
    """

    study_uid: str
    series_uid: str
    description: str
    modality: str
    files: int
    rows: int
    columns: int
    slices: int
    phases: int
    pixel_spacing_mm: tuple[float, float] | None
    slice_spacing_mm: float | None
    view: View
    score: float
    reason: str
    chosen: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Everything readable of one examination; ``cines`` best short-axis candidate first."""

    cines: tuple[Cine, ...]
    series: tuple[SeriesSummary, ...] = field(default=())

    def short_axis(self) -> Cine:
        """The cine to measure.

        :raises NotACineError: the study has none.
        """
        if not self.cines:
            raise NotACineError("expected a short-axis cine, found none in this study")
        return self.cines[0]


def base_first(areas: NDArray[Any]) -> bool | None:
    """Tell which end of a stack is the base: the ventricle is wider in its basal third.

    :param areas: cavity area of each slice, [Z], any unit; the thirds are those of the slices from
        the first to the last with cavity.
    :returns: True for the end of slice 0; None where both thirds hold as much, or nothing.

    >>> base_first(np.array([0, 9, 8, 6, 3, 0])), base_first(np.array([4, 4]))
    (True, None)
    """
    held = np.flatnonzero(areas)
    if held.size == 0:
        return None
    first, last = int(held[0]), int(held[-1])
    third = max(1, (last - first + 1) // 3)
    head, tail = areas[first : first + third].sum(), areas[last + 1 - third : last + 1].sum()
    return None if head == tail else bool(head > tail)
