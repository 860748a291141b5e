"""Lengths that no image of a heart has: the one rule for DICOM, NIfTI, pictures and masks.

Such an image is read and segmented in pixels. Its lengths are taken as unknown, so that there are
no millilitres, and a finding of severity error names what was found. A voxel of exactly 1 mm3 may
be true: it is measured, with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence

from lvseg.errors import GeometryError
from lvseg.geometry import Plane, slice_spacing_mm, why_implausible
from lvseg.issues import Issue

#: Closer to a whole cubic millimetre a voxel has no spacing of its own, but a default.
_UNIT_VOXEL = 1e-5


def implausible(
    sides: tuple[int, int],
    pixel_spacing_mm: tuple[float, float] | None,
    slice_spacing_mm: float | None = None,
    *,
    stated: str,
    remedy: str = "correct the header",
) -> tuple[Issue, ...]:
    """The finding about lengths that :func:`lvseg.geometry.why_implausible` names; () for others.

    :param sides: (rows, columns); :param stated: where the lengths stand, and :param remedy: what
        to do, for its text.

    >>> implausible((256, 256), (1.4, 1.4), 8.0, stated="in the header")
    ()
    """
    why = why_implausible(sides, pixel_spacing_mm, slice_spacing_mm)
    if not why:
        return ()
    text = f"{why} {stated}: no millimetres are known; {remedy}"
    return (Issue("implausible-spacing", "error", text),)


def unit_voxel(
    pixel_spacing_mm: tuple[float, float] | None, slice_spacing_mm: float | None
) -> tuple[Issue, ...]:
    """The finding about a voxel of exactly a cubic millimetre; () for others.

    >>> unit_voxel((1.4, 1.4), 8.0)
    ()
    """
    if pixel_spacing_mm is None or slice_spacing_mm is None:
        return ()
    rows_mm, columns_mm = pixel_spacing_mm
    if abs(rows_mm * columns_mm * slice_spacing_mm - 1) >= _UNIT_VOXEL:
        return ()
    text = (
        "a voxel has exactly 1 mm3, which tools write where they know no spacing: check it before "
        "a volume is used"
    )
    return (Issue("unit-voxel", "warning", text),)


def why_not_believed(sides: tuple[int, int], pixel_spacing_mm: tuple[float, float]) -> str:
    """Why images of that pixel spacing have no place in a stack; "" where they may have."""
    why = why_implausible(sides, pixel_spacing_mm)
    return f"lengths that no heart has ({why})" if why else ""


def implausible_planes(
    planes: Sequence[Plane], sides: tuple[int, int], *, stated: str
) -> tuple[Issue, ...]:
    """:func:`implausible` of the slices of a stack, one finding for all."""
    step_mm = distance_mm(planes, sides)
    for spacing_mm in sorted({plane.pixel_spacing_mm for plane in planes}):
        issues = implausible(sides, spacing_mm, step_mm, stated=stated)
        if issues:
            return issues
    return ()


def distance_mm(planes: Sequence[Plane], sides: tuple[int, int]) -> float | None:
    """The one distance between slices, measured in their middle; None where there is none."""
    try:
        return round(slice_spacing_mm(planes, ((sides[0] - 1) / 2, (sides[1] - 1) / 2)), 6)
    except GeometryError:
        return None
