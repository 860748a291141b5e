"""Masks and cines as NIfTI-1, the same bytes for the same content."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.atomic import atomic_write
from lvseg.cine import Cine, Mask, Source
from lvseg.errors import GeometryMismatchError, IrregularStackError
from lvseg.geometry import Grid, Plane, affine, best_fit_affine, lps_to_ras
from lvseg.issues import Issue

FloatArray = NDArray[np.float64]

#: NIfTI-1 codes of a transform: coordinates of the scanner, or of nothing in particular.
_SCANNER, _UNKNOWN = 1, 0
#: What a NIfTI header says about place and units besides ``pixdim``.
_PLACE_FIELDS = (
    *("sform_code", "srow_x", "srow_y", "srow_z", "qform_code", "quatern_b", "quatern_c"),
    *("quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units", "toffset"),
)
#: Masks are mostly zeros: higher levels cost time and save nothing.
_COMPRESSION_LEVEL = 6


def write_nifti_mask(
    mask: Mask, path: Path, source: Source, times_ms: tuple[float, ...] | None = None
) -> tuple[Issue, ...]:
    """Write the labels as uint8 NIfTI; the suffix ``.nii.gz`` or ``.nii`` decides on compression.

    From a NIfTI source: shape (2D, 3D or 4D), affine, sizes and units of that file, so that what
    it does not know stays unknown. Otherwise 4D (column, row,
    slice, phase) with an index -> RAS affine in mm and, with ``times_ms``, the time step in ms.

    :returns: a warning ``irregular-affine`` when the stack has no single affine, so that the one
        written is its best fit; ``no-affine`` when the geometry is unknown (unit steps without a
        coordinate system are written).
    :raises GeometryMismatchError: labels that do not fit the shape of the source file.
    """
    # [F, Z, Y, X] -> (column, row, slice, phase)
    data = np.ascontiguousarray(mask.labels.transpose(3, 2, 1, 0))
    if source.format == "nifti":
        data = _in_file(data, source.axes)
    if source.format == "nifti" and source.shape is not None:
        # a file of one slice or one phase may lack these axes, or carry more of length 1
        if data.size != int(np.prod(source.shape)) or not _fits(data.shape, source.shape):
            raise GeometryMismatchError(
                f"expected labels for the source's shape {tuple(source.shape)}, found "
                f"{data.shape} (column, row, slice, phase): pass the source the mask was made from"
            )
        data = data.reshape(source.shape)
    if source.format == "nifti" and source.nifti_header is not None:
        _store(_like_source(data, source.nifti_header), path)
        return ()
    if source.format == "nifti" and source.affine_ras is not None:
        _save(data, source.affine_ras, path, _step_ms(times_ms), known=True)
        return ()
    matrix, issues = _ras_affine(mask.grid)
    _save(data, matrix, path, _step_ms(times_ms), known=mask.planes is not None)
    return issues


def write_cine_nifti(cine: Cine, path: Path) -> tuple[Issue, ...]:
    """Write the frames as 4D NIfTI (column, row, slice, phase), RAS affine in mm, time step in ms.

    Whole numbers that fit are stored as int16, others as float32. One phase is written as 3D.

    :returns: issues as :func:`write_nifti_mask`.
    """
    frames = cine.frames.transpose(3, 2, 1, 0)
    whole = bool((frames == np.rint(frames)).all()) and float(np.abs(frames).max()) < 2**15
    data = np.ascontiguousarray(frames, np.int16 if whole else np.float32)
    matrix, issues = _ras_affine(cine.grid)
    data = data[..., 0] if data.shape[3] == 1 else data
    _save(data, matrix, path, _step_ms(cine.times_ms), known=cine.planes is not None)
    return issues


def _in_file(data: NDArray[np.uint8], axes: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(column, row, slice, phase) as the axes of a file lie (``Source.axes``)."""
    places = [abs(axis) - 1 for axis in axes]
    turned = data.transpose(*(places.index(axis) for axis in range(3)), 3)
    return np.ascontiguousarray(np.flip(turned, tuple(abs(axis) - 1 for axis in axes if axis < 0)))


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether two shapes differ only by axes of length 1."""
    return [n for n in shape if n > 1] == [n for n in target if n > 1]


def _step_ms(times_ms: tuple[float, ...] | None) -> float | None:
    if times_ms is None or len(times_ms) < 2:
        return None
    return (times_ms[-1] - times_ms[0]) / (len(times_ms) - 1)


def _ras_affine(grid: Grid) -> tuple[FloatArray, tuple[Issue, ...]]:
    planes = grid.planes
    if planes is None:
        rows, columns = grid.pixel_spacing_mm or (1.0, 1.0)
        text = "position and orientation unknown: the NIfTI header carries no coordinate system"
        matrix = np.diag([columns, rows, grid.slice_spacing_mm or 1.0, 1.0])
        return matrix, (Issue("no-affine", "info", text),)
    matrix, issues = stack_affine(planes)
    return lps_to_ras(matrix), issues


def stack_affine(planes: Sequence[Plane]) -> tuple[FloatArray, tuple[Issue, ...]]:
    """The affine of a stack, index (column, row, slice) -> LPS mm; its best fit where it has none.

    :returns: the affine, and a warning ``irregular-affine`` where it is a fit.
    """
    try:
        return affine(planes), ()
    except IrregularStackError as error:
        matrix, worst_mm = best_fit_affine(planes)
        text = (
            f"{error}: NIfTI and NRRD hold one affine, its best fit is off by up to "
            f"{worst_mm:.1f} mm; measure from the mask in its DICOM geometry"
        )
        return matrix, (Issue("irregular-affine", "warning", text),)


def _save(
    data: NDArray[np.generic], matrix: FloatArray, path: Path, step_ms: float | None, *, known: bool
) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(data, None, dtype=data.dtype)  # transforms are ours to set
    code = _SCANNER if known else _UNKNOWN
    zooms = np.linalg.norm(matrix[:3, :3], axis=0)
    image.header["pixdim"][1:4] = zooms
    image.header.set_sform(matrix, code=code)
    if abs(float(np.linalg.det(matrix[:3, :3]))) > 0:  # a quaternion cannot hold a flat affine
        image.header.set_qform(matrix, code=code, strip_shears=True)
    image.header.set_xyzt_units("mm" if known else "unknown", "msec" if step_ms else "unknown")
    if step_ms is not None and data.ndim == 4:
        image.header["pixdim"][4] = step_ms
    _store(image, path)


def _like_source(data: NDArray[np.generic], content: bytes) -> Any:
    """An image with the place, the sizes and the units of another header, and none of its texts."""
    import nibabel as nib

    second = nib.Nifti2Header.may_contain_header(content)
    source = (nib.Nifti2Header if second else nib.Nifti1Header)(content, check=False)
    image = nib.Nifti1Image(data, None, dtype=data.dtype)
    for name in _PLACE_FIELDS:
        image.header[name] = source[name]
    image.header["pixdim"][: data.ndim + 1] = source["pixdim"][: data.ndim + 1]
    return image


def _store(image: Any, path: Path) -> None:
    payload = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        # no time and no name in the header: equal content gives equal bytes
        payload = gzip.compress(payload, _COMPRESSION_LEVEL, mtime=0)
    with atomic_write(path) as temporary:
        temporary.write_bytes(payload)
