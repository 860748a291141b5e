"""The nouns: a cine, a mask on its frames, and a study.

Axes are always ``[T, Z, Y, X]`` = phase, slice, row, column. Objects are checked when they are
built and their arrays are read-only; a function returns a new object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import GeometryError, GeometryMismatchError, NotACineError, ReadError
from lvseg.geometry import Plane, slice_spacing_mm
from lvseg.issues import Issue
from lvseg.labels import Label

__all__ = [
    "SMALLEST_SIDE_PX",
    "Cine",
    "InstanceRef",
    "Mask",
    "SeriesSummary",
    "Source",
    "Study",
    "View",
    "base_first",
]

#: Fewer pixels than this on a side cannot show a ventricle.
SMALLEST_SIDE_PX = 16

View = Literal["short-axis", "long-axis", "unknown"]


def _place(grid: Cine | Mask, slices: int) -> None:
    """Check the geometry of a new object; where it has planes, its spacings are theirs."""
    if grid.planes is not None:
        if len(grid.planes) != slices:
            raise GeometryMismatchError(f"expected {slices} planes, found {len(grid.planes)}")
        object.__setattr__(grid, "pixel_spacing_mm", grid.planes[0].pixel_spacing_mm)
        object.__setattr__(grid, "slice_spacing_mm", _slice_spacing_mm(grid.planes))
    stated = (*(grid.pixel_spacing_mm or ()), grid.slice_spacing_mm)
    known = [value for value in stated if value is not None]
    if not all(np.isfinite(value) and value > 0 for value in known):
        raise GeometryError(
            f"expected spacings above 0 mm (or None where they are unknown), found {known}"
        )


def _slice_spacing_mm(planes: tuple[Plane, ...]) -> float | None:
    try:
        return slice_spacing_mm(planes)
    except GeometryError:  # one slice, or an irregular stack: there is no single distance
        return None


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """Which DICOM frame a pixel plane came from (frame is 1-based, PS3.3 section 10.3)."""

    sop_class_uid: str
    sop_instance_uid: str
    frame: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where a cine came from, for writing results back. No patient name, no birth date.

    :param name: a label that is safe as a file name.
    :param location: the path as the user gave it.
    :param affine_ras: NIfTI only, index (i, j, k) -> RAS mm exactly as in the file, [4, 4].
    :param shape: NIfTI only, the array shape in the file.
    :param nifti_header: NIfTI only, the header as in the file: units, sizes and how they are meant.
    :param instances: DICOM only, ``[T][Z]`` references to the source frames.
    :param order_rule: how the phases were put in order, e.g. ``"TriggerTime"``.
    """

    format: Literal["dicom", "nifti", "picture", "array"]
    name: str
    location: str = ""
    study_uid: str | None = None
    series_uid: str | None = None
    affine_ras: NDArray[np.float64] | None = None
    shape: tuple[int, ...] | None = None
    nifti_header: bytes | None = field(default=None, repr=False)
    instances: tuple[tuple[InstanceRef, ...], ...] | None = None
    order_rule: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Cine:
    """A short-axis stack over time.

    :param frames: float32 ``[T, Z, Y, X]``, finite; made read-only.
    :param planes: one per slice, in order along the normal; None = geometry unknown (pictures).
        Slices with known spacing but unknown place have ``planes=None`` and the two spacings;
        with planes, the spacings are those of the planes whatever is given.
    :param pixel_spacing_mm: (between rows, between columns); None = unknown, never 1.
    :param slice_spacing_mm: centre to centre; None = unknown, or not the same everywhere.
    :param times_ms: time of each phase after the R wave, ascending; None = unknown.
    :param heart_rate_bpm: beats a minute while the cine was acquired; None = unknown.
    :param issues: what the reader noticed.
    :param complete: False when the reader left slices out (they lack phases, or lie at an angle),
        so that a volume summed over this stack would be wrong.
    :raises ReadError: broken arrays. GeometryMismatchError: counts that do not fit.
    :raises GeometryError: a spacing that is not above 0.
    """

    frames: NDArray[np.float32]
    source: Source
    planes: tuple[Plane, ...] | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    slice_spacing_mm: float | None = None
    times_ms: tuple[float, ...] | None = None
    view: View = "unknown"
    issues: tuple[Issue, ...] = ()
    complete: bool = True
    heart_rate_bpm: float | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or min(self.frames.shape) < 1:
            raise ReadError(
                f"expected frames [phase, slice, row, column], found shape {self.frames.shape}"
            )
        if not np.isfinite(self.frames).all():
            raise ReadError("expected finite pixel values, found NaN or infinity: repair the image")
        phases, slices = self.frames.shape[:2]
        _place(self, slices)
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

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, Z, Y, X)."""
        phases, slices, rows, columns = self.frames.shape
        return (phases, slices, rows, columns)


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Labels on some frames of a cine.

    :param labels: uint8 ``[F, Z, Y, X]``, values of :class:`lvseg.labels.Label`; read-only.
    :param phases: which phases of the cine these are (a reference often has only two).
    :param planes: as in :class:`Cine`.
    :param pixel_spacing_mm: as in :class:`Cine`.
    :param slice_spacing_mm: as in :class:`Cine`.
    :param complete: as in :class:`Cine`.
    :raises GeometryMismatchError: counts that do not fit, or a phase named twice.
    :raises GeometryError: other labels, or a spacing that is not above 0.
    """

    labels: NDArray[np.uint8]
    phases: tuple[int, ...]
    planes: tuple[Plane, ...] | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    slice_spacing_mm: float | None = None
    complete: bool = True

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
        _place(self, self.labels.shape[1])
        labels = np.ascontiguousarray(self.labels, np.uint8)
        if labels.max() > max(Label) or not (
            labels is self.labels or (labels == self.labels).all()
        ):
            raise GeometryError(
                f"expected the labels {[int(label) for label in Label]}, found values from "
                f"{self.labels.min()} to {self.labels.max()}: cut or remap the mask first"
            )
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)


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
