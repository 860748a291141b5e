"""What a NIfTI header says of axes, places and lengths, one statement checked against another.

A header states lengths up to three times (sform, qform, pixdim), and the slice axis by spacing, by
``dim_info`` and, by custom, as the third. Fields: NIfTI-1.1, nifti1.h (R. W. Cox, 2004),
https://nifti.nimh.nih.gov/nifti-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import SMALLEST_SIDE_PX
from lvseg.errors import GeometryError, IrregularStackError
from lvseg.geometry import (
    POSITION_TOLERANCE_MM,
    Plane,
    lps_to_ras,
    planes_from_affine,
    slice_positions_mm,
)
from lvseg.issues import Issue
from lvseg.read.lengths import implausible, unit_voxel

FloatArray = NDArray[np.float64]
#: Axes of a file (1, 2, 3) that are columns, rows and slices; a negative one runs backwards.
Axes = tuple[int, int, int]

#: The order that every short-axis NIfTI has by custom: columns, rows, slices.
USUAL_AXES: Axes = (1, 2, 3)
#: One spacing so many times the second is that of the slices: short-axis slices lie 6 to 20 mm
#: apart and pixels 0.7 to 2 mm, while the two sides of a pixel differ by a third at most.
SLICE_SPACING_RATIO = 2.0
#: Lengths that differ by no more than this share are one length, rounded.
LENGTH_TOLERANCE = 0.01
#: The code of the finding about a sform and a qform that are two places.
PLACES_DISAGREE = "places-disagree"
#: Two affines that put no voxel farther apart than this state one place, rounded.
ONE_PLACE_PX = 0.5
_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_WORDS = {1: "first", 2: "second", 3: "third"}


@dataclass(frozen=True, slots=True)
class NiftiGeometry:
    """Where the voxels of a file are, as far as its header is to be believed.

    :param axes: how its axes become columns, rows and slices.
    :param planes: one a slice; None = the place is unknown, the two spacings may be known.
    """

    axes: Axes
    planes: tuple[Plane, ...] | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    slice_spacing_mm: float | None = None
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Stated:
    """Lengths and place before units and axes are looked at.

    :param lengths: of a step along each axis; None = unknown.
    :param matrix: index -> RAS; None = no place.
    """

    lengths: tuple[float | None, float | None, float | None]
    matrix: FloatArray | None = None
    issues: tuple[Issue, ...] = ()


def geometry_of(
    header: Any, pixdim: Sequence[float], sizes: tuple[int, int, int], axes: Axes | None = None
) -> NiftiGeometry:
    """The geometry of a file, with an issue for all that was assumed, repaired or is in doubt.

    :param header: of nibabel; :param pixdim: its entries 1 to 3 as stored, 0 = not stated.
    :param sizes: of the first three axes; 1 where the file has fewer.
    :param axes: given where another file says how the axes lie; else they are found.
    """
    stated = _stated(header, pixdim, sizes)
    scale, issues = _millimetres(header, known=any(stated.lengths))
    issues = (*issues, *stated.issues)
    if axes is None:
        axes, noticed = _axes(stated, header, sizes)
        if _contradict(axes, sizes):
            axes, noticed = USUAL_AXES, (_contradiction(stated.lengths, sizes),)
            stated = _Stated((None, None, None))
        issues = (*issues, *noticed)
    order = [abs(axis) - 1 for axis in axes]
    columns, rows, slices = (sizes[axis] for axis in order)
    x, y, z = (stated.lengths[axis] for axis in order)
    spacing = None if x is None or y is None else (y * scale, x * scale)
    step = None if z is None or slices == 1 else z * scale
    stated_as = f"(unit of the file: {_unit(header)})"
    doubted = implausible((rows, columns), spacing, step, stated=stated_as)
    if doubted:
        return NiftiGeometry(axes, issues=(*issues, *doubted))
    issues = (*issues, *unit_voxel(spacing, step))
    if stated.matrix is None or None in (x, y, z):
        return NiftiGeometry(axes, None, spacing, step, issues)
    matrix = reordered(stated.matrix, axes, sizes)
    matrix[:3] *= scale
    planes, noticed = _planes(matrix, slices)
    if planes is None:
        return NiftiGeometry(axes, issues=(*issues, *noticed))
    return NiftiGeometry(axes, planes, spacing, step, (*issues, *noticed))


def reordered(matrix: FloatArray, axes: Axes, sizes: tuple[int, int, int]) -> FloatArray:
    """The affine of (column, row, slice) from that of the axes of the file, [4, 4].

    >>> reordered(np.diag([2.0, 10.0, 3.0, 1.0]), (-1, 3, 2), (5, 4, 6)).tolist()
    [[-2.0, 0.0, 0.0, 8.0], [0.0, 0.0, 10.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for place, axis in enumerate(axes):
        turn[abs(axis) - 1, place] = np.sign(axis)
        if axis < 0:
            turn[abs(axis) - 1, 3] = sizes[abs(axis) - 1] - 1
    result: FloatArray = matrix @ turn
    return result + 0.0


# Lengths: sform against qform and pixdim


def _stated(header: Any, pixdim: Sequence[float], sizes: tuple[int, int, int]) -> _Stated:
    by_pixdim = _meant(pixdim, sizes)
    matrix, issues = _place(header, pixdim, sizes)
    if matrix is None:
        if not any(by_pixdim):
            text = "the file states no spacing: no millimetres are known"
            return _Stated(by_pixdim, None, (*issues, Issue("no-spacing", "warning", text)))
        text = "the file states sizes of pixels but no place"
        return _Stated(by_pixdim, None, (*issues, Issue("no-orientation", "info", text)))
    if _is_default(matrix):
        if any(by_pixdim):
            text = "the affine of the file is the identity, a default: its pixel sizes are used"
            return _Stated(by_pixdim, None, (*issues, Issue("no-orientation", "info", text)))
        text = (
            "the affine of the file is the identity, a default of tools that know no geometry: no "
            "millimetres are known"
        )
        return _Stated(by_pixdim, None, (*issues, Issue("no-spacing", "warning", text)))
    norms = [float(length) for length in np.linalg.norm(matrix[:3, :3], axis=0)]
    slices = _slice_axis(norms, header, sizes)[0]
    doubted = [
        axis
        for axis, (ours, theirs) in enumerate(zip(norms, by_pixdim, strict=True))
        if sizes[axis] > 1
        and theirs is not None
        and not _agree(theirs, ours)
        and not _agree(theirs, _across(matrix, axis, slices))
    ]
    if not doubted:
        return _Stated((norms[0], norms[1], norms[2]), matrix, issues)
    told = " and ".join(
        f"{norms[axis]:.4g} and {by_pixdim[axis]:.4g} along its {_WORDS[axis + 1]} axis"
        for axis in doubted
    )
    text = (
        f"the affine of the file and its pixel sizes disagree: {told}; that length is taken as "
        "unknown, correct the header"
    )
    lengths = [None if axis in doubted else norms[axis] for axis in range(3)]
    issue = Issue("lengths-disagree", "error", text)
    return _Stated((lengths[0], lengths[1], lengths[2]), matrix, (*issues, issue))


def _meant(
    pixdim: Sequence[float], sizes: tuple[int, int, int]
) -> tuple[float | None, float | None, float | None]:
    """Sizes of pixels that somebody stated: not 0, and not 1 along every axis, a default."""
    found = [float(size) if np.isfinite(size) and size > 0 else None for size in pixdim[:3]]
    needed = [size for size, count in zip(found, sizes, strict=True) if count > 1]
    if None in needed or all(size == 1.0 for size in needed):
        return (None, None, None)
    return (found[0], found[1], found[2])


def _place(
    header: Any, pixdim: Sequence[float], sizes: tuple[int, int, int]
) -> tuple[FloatArray | None, tuple[Issue, ...]]:
    """Index -> RAS of the sform, else of the qform, else nothing; and what was broken or differs.

    The sform goes first because it can state any affine, and the qform neither a shear nor sizes
    of its own. One that is the identity, a default, gives way as a broken one does.
    """
    sform = qform = None
    if int(header["sform_code"]) > 0:
        sform = np.array(header.get_sform(), np.float64)
    if int(header["qform_code"]) > 0 and min(pixdim[:3]) > 0:  # it needs the sizes as well
        try:
            qform = np.array(header.get_qform(), np.float64)
        except Exception:  # a quaternion longer than 1
            qform = None
    whole = qform if qform is not None and _is_whole(qform) else None
    if sform is not None and _is_whole(sform):
        if whole is None or (_is_default(sform) and _is_default(whole)):
            return sform, ()
        if not _is_default(sform):
            return sform, _elsewhere(sform, whole, sizes)
    if whole is not None:
        if sform is None:
            return whole, ()
        state = "the identity, a default" if _is_whole(sform) else "broken"
        text = f"the affine of the file (sform) is {state}: that of its qform is used"
        return whole, (Issue("broken-sform", "info", text),)
    if sform is None and qform is None:
        return None, ()
    text = "the affine of the file is broken: no place is known"
    return None, (Issue("broken-affine", "warning", text),)


def _elsewhere(
    sform: FloatArray, qform: FloatArray, sizes: tuple[int, int, int]
) -> tuple[Issue, ...]:
    """An issue where sform and qform put the same voxels at different places.

    Lengths are those of the sform on both sides (:func:`_stated` holds them against each other),
    and its axes are the nearest ones at right angles, which is all that a qform can state.
    """
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    turns = []
    for steps in (sform[:3, :3] / lengths, qform[:3, :3]):
        left, _, right = np.linalg.svd(steps / np.linalg.norm(steps, axis=0))
        turns.append(left @ right)
    corners = np.array(list(product(*((0, size - 1) for size in sizes))), np.float64) * lengths
    apart = corners @ (turns[0] - turns[1]).T + (sform[:3, 3] - qform[:3, 3])
    farthest = float(np.linalg.norm(apart, axis=1).max()) / float(lengths.min())
    if farthest <= ONE_PLACE_PX:
        return ()
    between = turns[0].T @ turns[1]
    degrees = float(np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))))
    turned = "mirrored" if np.linalg.det(between) < 0 else f"turned by {degrees:.1f} degrees"
    text = (
        f"the two affines of the file disagree: sform and qform put a voxel up to {farthest:.1f} "
        f"pixels apart, {turned}. The sform is taken, which can state any affine; what another "
        "tool places by the qform lies elsewhere"
    )
    return (Issue(PLACES_DISAGREE, "warning", text),)


def _is_whole(matrix: FloatArray) -> bool:
    """Whether an affine is finite, with three steps that do not lie in one plane."""
    steps = matrix[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    if not np.isfinite(matrix).all() or (lengths <= 0).any():
        return False
    return bool(abs(np.linalg.det(steps / lengths)) > 0.01)


def _is_default(matrix: FloatArray) -> bool:
    """Whether an affine is the identity but for signs: LPS and RAS tools have one each."""
    return bool(np.allclose(np.abs(matrix[:3]), np.eye(4)[:3], rtol=0, atol=1e-6))


def _across(matrix: FloatArray, axis: int, slices: int) -> float:
    """How far one step goes across the other axes that it may lean along.

    Slices may be shifted along both axes of their plane. An axis of the plane may lean along the
    other one, a shear that is told as such; it cannot lean out of its own plane.
    """
    step = matrix[:3, axis]
    along = [each for each in range(3) if each not in (axis, slices)]
    basis, _ = np.linalg.qr(matrix[:3, along])
    return float(np.linalg.norm(step - basis @ (basis.T @ step)))


def _agree(one: float, other: float) -> bool:
    return abs(one - other) <= LENGTH_TOLERANCE * max(one, other)


# Units


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except (KeyError, ValueError):
        return "unknown"


def _millimetres(header: Any, *, known: bool) -> tuple[float, tuple[Issue, ...]]:
    """Millimetres of a unit of length, and an issue where it had to be assumed."""
    unit = _unit(header)
    if unit in _TO_MM or not known:
        return _TO_MM.get(unit, 1.0), ()
    text = "the file states no unit of length; millimetres are assumed"
    return 1.0, (Issue("unit-assumed", "info", text),)


# Axes


def _axes(
    stated: _Stated, header: Any, sizes: tuple[int, int, int]
) -> tuple[Axes, tuple[Issue, ...]]:
    """Which axis holds the slices, and how the plane is turned; an issue where it is not usual."""
    slices, why, sure = _slice_axis(stated.lengths, header, sizes)
    word = _WORDS[slices + 1]
    if slices == 2:
        text = f"taken as the slices: the {word} axis of the file, as is custom; {why}"
        return USUAL_AXES, () if sure else (Issue("slice-axis-assumed", "warning", text),)
    first, second = (axis for axis in range(3) if axis != slices)
    axes: Axes = (first + 1, second + 1, slices + 1)
    if stated.matrix is not None:
        axes = _as_displayed(stated.matrix, axes)
    text = f"the slices lie along the {word} axis of the file: {why}"
    return axes, (Issue("slice-axis", "info" if sure else "warning", text),)


def _contradict(axes: Axes, sizes: tuple[int, int, int]) -> bool:
    """Whether the plane that the axes leave is too small for an image, and the usual one is not."""
    left = min(sizes[abs(axis) - 1] for axis in axes[:2])
    return left < SMALLEST_SIDE_PX <= min(sizes[:2])


def _contradiction(lengths: Sequence[float | None], sizes: tuple[int, int, int]) -> Issue:
    told = " x ".join("?" if length is None else f"{length:.4g}" for length in lengths)
    text = (
        f"spacings {told} and shape {' x '.join(map(str, sizes))} of the file name two slice axes: "
        "the third is taken, and no millimetres are known"
    )
    return Issue("lengths-disagree", "error", text)


def _slice_axis(
    lengths: Sequence[float | None], header: Any, sizes: tuple[int, int, int]
) -> tuple[int, str, bool]:
    """(axis, why, whether there is no doubt): by spacing, else dim_info, else the size."""
    if sizes[2] == 1:
        return 2, "there is one slice", True
    least = min(range(3), key=lambda axis: (sizes[axis], -axis))
    others = [count for axis, count in enumerate(sizes) if axis != least]
    by_size = least if sizes[least] * 2 <= min(others) else None
    known = [length for length in lengths if length is not None]
    if len(known) == 3:
        longest = int(np.argmax(known))
        rest = max(length for axis, length in enumerate(known) if axis != longest)
        if known[longest] >= SLICE_SPACING_RATIO * rest:
            told = " x ".join(f"{length:.4g}" for length in known)
            return longest, f"spacings {told}", True
    documented = header.get_dim_info()[2]
    if documented is not None:
        return int(documented), "its header says so (dim_info)", True
    shape = " x ".join(map(str, sizes))
    if by_size is not None:
        return by_size, f"shape {shape}", by_size == 2
    fewest = sizes[2] == min(sizes) and sizes[2] < max(sizes)
    return 2, f"neither spacings nor shape ({shape}) tell", fewest


def _as_displayed(matrix: FloatArray, axes: Axes) -> Axes:
    """The two axes of the plane as scanners display it, for a file that has lost their order.

    In a plane nearest to a transverse one columns run to the patient's left and rows to the back;
    in any other, rows run to the feet, and columns to the left, or to the back if that is nearer.

    :param matrix: index -> RAS.
    """
    steps = {axis: matrix[:3, axis - 1] / np.linalg.norm(matrix[:3, axis - 1]) for axis in axes[:2]}
    first, second = axes[:2]
    across = np.abs(np.cross(steps[first], steps[second]))
    # the patient axis (0 = R, 1 = A, 2 = S) that rows follow, and the one that columns follow
    down, along = {2: (1, 0), 1: (2, 0), 0: (2, 1)}[int(np.argmax(across))]
    row = max((first, second), key=lambda axis: abs(steps[axis][down]))
    column = first if row == second else second
    return (
        column if steps[column][along] < 0 else -column,  # RAS: left, back and feet are negative
        row if steps[row][down] < 0 else -row,
        axes[2],
    )


# Planes


def _planes(matrix: FloatArray, slices: int) -> tuple[tuple[Plane, ...] | None, tuple[Issue, ...]]:
    """Planes of an index -> RAS affine in mm; none where the plane itself is sheared."""
    try:
        planes = planes_from_affine(lps_to_ras(matrix), slices)
        if slices > 1 and abs(float(np.diff(slice_positions_mm(planes[:2]))[0])) < (
            POSITION_TOLERANCE_MM
        ):
            raise IrregularStackError("the slices lie in one plane")
        return planes, ()
    except GeometryError:
        text = (
            "the affine of the file is sheared, so the area of its pixels is not the product of "
            "their sides: no millimetres are known; save it again on a grid with right angles"
        )
        return None, (Issue("sheared-affine", "error", text),)
