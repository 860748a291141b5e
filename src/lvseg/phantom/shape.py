"""The ventricle as formulas: options, volume curve, radii of every slice, planes, cavity mask.

The cavity is a half ellipsoid that stands on the base plane: at depth ``s`` below the base its
cross-section has the area ``pi R^2 (1 - s^2 / L^2)``, its volume is ``2/3 pi R^2 L``. Shearing the
axis, shifting slices and giving the outline an angular wobble of unchanged area leave that volume
as it is (Cavalieri), so the truth stays closed form. The epicardium is a longer and wider half
ellipsoid on the same plane; what lies between both is the myocardium.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import UsageError
from lvseg.geometry import Plane, Vec3, vector
from lvseg.wall import DENSITY_G_ML

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

#: Directions of a common short-axis prescription, LPS: image right (to the left-posterior side of
#: the patient) and image down (to the feet). Their cross product points from apex to base.
_RIGHT = np.array([0.770, 0.618, 0.158])
_DOWN = np.array([-0.152, 0.414, -0.898])
#: Where the middle of the base plane lies in the patient, LPS mm.
_BASE_MM = np.array([18.0, -12.0, 35.0])
#: Angular wobble of the outline: relative amplitude and direction (radian) for orders 2 and 3.
_WOBBLE = ((2, 0.045, 0.6), (3, 0.020, 2.1))
#: Drift of the axis on its way from base to apex, mm (right, down).
_DRIFT_MM = (6.0, 5.0)


@dataclass(frozen=True, slots=True)
class PhantomOptions:
    """What to simulate. Slice 0 is the most apical one; positions grow from apex to base.

    :param pixel_spacing_mm: (between rows, between columns).
    :param thickness_mm: slice thickness; :param gap_mm: between slices, so that neighbouring
        centres are ``thickness_mm + gap_mm`` apart (a negative gap means overlap).
    :param slices_above_base: slices through the atria at end-diastole. The base plane lies on the
        border of two slabs, so that area times slab height adds up to the closed form.
    :param shortening_slabs: by how many whole slabs the base moves to the apex in systole. It
        moves at once when half of the blood is ejected; the radius keeps the volume smooth.
    :param missing_slices: indices left out of images, planes and mask; the truth is unchanged.
    :param tilt_degrees: turns of the whole stack in the patient about the L, P and S axis.
    :param heart_offset_mm: how far the heart lies from the image centre (down, right).
    :param breathing_mm: standard deviation of a random in-plane shift of each slice.
    :param noise_percent: standard deviation of the noise in each channel, of the blood signal.
    :param papillary: muscles inside the cavity; they count as cavity in the truth.
    :param trabeculation: 0 smooth to 1 rough endocardium; the roughness counts as cavity too.
    :raises UsageError: a value that makes no heart.
    """

    phases: int = 20
    slices: int = 12
    rows: int = 256
    columns: int = 256
    pixel_spacing_mm: tuple[float, float] = (1.37, 1.37)
    thickness_mm: float = 8.0
    gap_mm: float = 2.0
    slices_above_base: int = 2
    shortening_slabs: int = 1
    missing_slices: tuple[int, ...] = ()
    tilt_degrees: Vec3 = (0.0, 0.0, 0.0)
    heart_offset_mm: tuple[float, float] = (0.0, 0.0)
    breathing_mm: float = 0.0
    edv_ml: float = 140.0
    ef_percent: float = 60.0
    length_mm: float = 90.0
    wall_mm: float = 9.5
    heart_rate_bpm: float = 65.0
    noise_percent: float = 3.5
    papillary: bool = True
    trabeculation: float = 0.6
    circular_fov: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.phases >= 2, "at least 2 phases", self.phases)
        sizes = (self.slices, self.rows, self.columns)
        _check(min(sizes) >= 1, "a size of at least 1", sizes)
        _check(min(self.pixel_spacing_mm) > 0, "positive pixel spacing", self.pixel_spacing_mm)
        _check(self.thickness_mm > 0, "a positive slice thickness", self.thickness_mm)
        _check(self.slice_spacing_mm > 0, "slices that do not coincide", self.gap_mm)
        _check(self.edv_ml > 0, "a positive volume", self.edv_ml)
        _check(0 < self.ef_percent < 100, "an ejection fraction between 0 and 100", self.ef_percent)
        _check(self.heart_rate_bpm > 0, "a positive heart rate", self.heart_rate_bpm)
        shortest = self.length_mm - self.shortening_slabs * self.slice_spacing_mm
        _check(self.shortening_slabs >= 0, "a base that moves to the apex", self.shortening_slabs)
        _check(shortest > 0, "a ventricle longer than its shortening", self.length_mm)
        outside = [i for i in self.missing_slices if not 0 <= i < self.slices]
        _check(not outside, f"missing slices from 0 to {self.slices - 1}", outside)
        _check(len(self.kept_slices) > 0, "at least one slice that is not missing", ())

    @property
    def slice_spacing_mm(self) -> float:
        """Centre to centre, mm."""
        return self.thickness_mm + self.gap_mm

    @property
    def kept_slices(self) -> tuple[int, ...]:
        """Indices of the slices that are not missing."""
        return tuple(i for i in range(self.slices) if i not in self.missing_slices)


def _check(true: bool, expected: str, found: object) -> None:
    if not true:
        raise UsageError(f"expected {expected} for the phantom, found {found}: change that option")


@dataclass(frozen=True, slots=True)
class Truth:
    """What a perfect measurement of the phantom finds; ``volume_ml`` of each phase, [T].

    :param mass_g: of the myocardium, the same in all phases.
    """

    volume_ml: tuple[float, ...]
    edv_ml: float
    esv_ml: float
    ef_percent: float
    mass_g: float
    ed_phase: int
    es_phase: int


def _smooth_step(x: FloatArray) -> FloatArray:
    result: FloatArray = (1 - np.cos(np.pi * np.clip(x, 0, 1))) / 2
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Ventricle:
    """Size of the ventricle over time, every array [T]: ejected fraction 0..1, volume ml, mm."""

    ejected: FloatArray
    volume_ml: FloatArray
    base_mm: FloatArray
    length_mm: FloatArray
    radius_mm: FloatArray
    outer_length_mm: FloatArray
    outer_radius_mm: FloatArray
    es_phase: int

    @classmethod
    def of(cls, options: PhantomOptions) -> Ventricle:
        """Ejection until about 37 % of the cycle, early filling, rest, atrial filling.

        Myocardial volume is constant, so the wall thickens as the cavity shrinks.
        """
        es_phase = min(max(round(0.37 * options.phases), 1), options.phases - 1)
        cycle = np.arange(options.phases) / options.phases
        end = es_phase / options.phases
        rest = (cycle - end) / (1 - end)
        filled = 0.70 * _smooth_step(rest / 0.5) + 0.30 * _smooth_step((rest - 0.65) / 0.35)
        ejected = np.where(cycle <= end, _smooth_step(cycle / end), 1 - filled)
        volume = options.edv_ml * (1 - ejected * options.ef_percent / 100)
        base = np.where(ejected > 0.5, options.shortening_slabs * options.slice_spacing_mm, 0.0)
        length = options.length_mm - base
        radius = np.sqrt(1.5e3 * volume / (np.pi * length))
        tip = 0.65 * options.wall_mm
        outer_length = length + tip
        myocardium = (radius[0] + options.wall_mm) ** 2 * outer_length[0] - radius[0] ** 2 * length[
            0
        ]
        outer_radius = np.sqrt((radius**2 * length + myocardium) / outer_length)
        return cls(ejected, volume, base, length, radius, outer_length, outer_radius, es_phase)

    def cavity_radius_mm(self, depth_mm: float) -> FloatArray:
        """Radius of the circle of equal area at a depth below the first base, [T]; 0: none."""
        return _section(self.radius_mm, self.length_mm, depth_mm - self.base_mm)

    def outer_radius_at_mm(self, depth_mm: float) -> FloatArray:
        """Give the same radius for the epicardium, [T]."""
        return _section(self.outer_radius_mm, self.outer_length_mm, depth_mm - self.base_mm)

    def truth(self) -> Truth:
        """Closed-form volumes and mass."""
        edv, esv = float(self.volume_ml[0]), float(self.volume_ml[self.es_phase])
        volumes = tuple(float(v) for v in self.volume_ml)
        outer_ml = 2 / 3 * np.pi * self.outer_radius_mm[0] ** 2 * self.outer_length_mm[0] / 1000
        mass_g = DENSITY_G_ML * (float(outer_ml) - edv)
        return Truth(volumes, edv, esv, 100 * (edv - esv) / edv, mass_g, 0, self.es_phase)


def _section(radius: FloatArray, length: FloatArray, depth: FloatArray) -> FloatArray:
    inside = (depth >= 0) & (depth < length)
    return np.where(inside, radius * np.sqrt(np.clip(1 - (depth / length) ** 2, 0, 1)), 0.0)


def _rotation(degrees: Vec3) -> FloatArray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def depth_mm(options: PhantomOptions, index: int) -> float:
    """How far slice ``index`` lies below the end-diastolic base, mm; negative above it."""
    from_base = options.slices - 1 - index - options.slices_above_base
    return (from_base + 0.5) * options.slice_spacing_mm


def planes_of(options: PhantomOptions) -> tuple[Plane, ...]:
    """One plane per kept slice, from apex to base, LPS mm."""
    turn = _rotation(options.tilt_degrees)
    right = _RIGHT / np.linalg.norm(_RIGHT)
    down = _DOWN - right * float(_DOWN @ right)
    right, down = turn @ right, turn @ (down / np.linalg.norm(down))
    upward = np.cross(right, down)
    row_mm, column_mm = options.pixel_spacing_mm
    corner = turn @ _BASE_MM - (
        down * (row_mm * (options.rows - 1) / 2 + options.heart_offset_mm[0])
        + right * (column_mm * (options.columns - 1) / 2 + options.heart_offset_mm[1])
    )
    return tuple(
        Plane(
            origin_mm=vector(corner - upward * depth_mm(options, index)),
            row_step=vector(down),
            column_step=vector(right),
            pixel_spacing_mm=options.pixel_spacing_mm,
            thickness_mm=options.thickness_mm,
        )
        for index in options.kept_slices
    )


@dataclass(frozen=True, slots=True, eq=False)
class SliceGrid:
    """Pixel centres of one slice, mm.

    :param right, down: from the axis of the ventricle, [1, X] and [Y, 1].
    :param reach: distance from the axis divided by the wobble of the outline, [Y, X]: a pixel is
        inside a contour of equal-area radius r exactly where ``reach < r``.
    :param angle: 0 to the right, growing clockwise in the image, [Y, X].
    """

    index: int
    depth_mm: float
    pixel_mm: float
    right: Float32Array
    down: Float32Array
    reach: Float32Array
    angle: Float32Array
    from_centre: Float32Array


def slice_grid(options: PhantomOptions, index: int) -> SliceGrid:
    """Coordinates of one slice, with its breathing shift and the drift of the axis."""
    depth = depth_mm(options, index)
    shift = np.random.default_rng([options.seed, index, 1]).normal(0, 1, 2) * options.breathing_mm
    share = np.clip(depth / options.length_mm, -0.3, 1.2)
    row_mm, column_mm = options.pixel_spacing_mm
    across = (np.arange(options.columns)[None, :] - (options.columns - 1) / 2) * column_mm
    along = (np.arange(options.rows)[:, None] - (options.rows - 1) / 2) * row_mm
    right = across - options.heart_offset_mm[1] - shift[1] - _DRIFT_MM[0] * share
    down = along - options.heart_offset_mm[0] - shift[0] - _DRIFT_MM[1] * share
    angle = np.arctan2(down, right)
    # area of r(a) = r0 (1 + sum e_k cos k(a - a_k)) is pi r0^2 (1 + sum e_k^2 / 2)
    wobble = 1 + sum(size * np.cos(order * (angle - turn)) for order, size, turn in _WOBBLE)
    wobble /= np.sqrt(1 + sum(size**2 / 2 for _, size, _ in _WOBBLE))
    return SliceGrid(
        index=index,
        depth_mm=depth,
        pixel_mm=(row_mm + column_mm) / 2,
        right=right.astype(np.float32),
        down=down.astype(np.float32),
        reach=(np.hypot(right, down) / wobble).astype(np.float32),
        angle=angle.astype(np.float32),
        from_centre=np.hypot(across, along).astype(np.float32),
    )
