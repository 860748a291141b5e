"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz) to :class:`Cine`; RAS exists here and in the writer only.

Fields of the header: NIfTI-1.1, nifti1.h (R. W. Cox, 2004), https://nifti.nimh.nih.gov/nifti-1.
"""

from __future__ import annotations

import gzip
import warnings
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Source
from lvseg.errors import GeometryError, IrregularStackError, ReadError
from lvseg.geometry import (
    POSITION_TOLERANCE_MM,
    Grid,
    Plane,
    lps_to_ras,
    planes_from_affine,
    slice_positions_mm,
)
from lvseg.issues import Issue

_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_TO_MS = {"sec": 1000.0, "msec": 1.0, "usec": 0.001}


def cine_from_nifti(content: bytes, *, name: str, location: str) -> Cine:
    """A NIfTI file of two to four dimensions; its view is unknown because NIfTI does not say it.

    :param content: the bytes of the file, gzipped or not; :param location: its path.
    :raises ReadError: broken, colour, complex, more than four dimensions, NaN or infinity.
    """
    image, pixdim = _image(_inflated(content, location), location)
    shape = tuple(int(size) for size in image.shape)
    sizes = list(shape)
    while len(sizes) > 4 and sizes[-1] == 1:
        sizes.pop()
    dtype = image.get_data_dtype()
    if len(sizes) not in (2, 3, 4) or min(sizes) < 1:
        raise ReadError(
            f"expected 2 to 4 dimensions, found shape {shape} in {location}: "
            "save each cine as a file of its own"
        )
    if dtype.fields is not None or dtype.kind not in "iuf":
        raise ReadError(f"expected grey values, found {dtype} (colour or complex) in {location}")
    try:
        values = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"), np.float32)
    except Exception as error:  # short data, broken scaling
        raise _broken(location) from error
    if not np.isfinite(values).all():
        raise ReadError(
            f"expected finite pixel values, found NaN or infinity in {location}: repair the image"
        )
    sizes += [1] * (4 - len(sizes))
    data = np.ascontiguousarray(values.reshape(sizes, order="A").transpose(3, 2, 1, 0))
    grid, times_ms, issues = _placed(image, pixdim, data, len(shape))
    source = Source(
        format="nifti",
        name=name,
        location=location,
        affine_ras=np.asarray(image.affine, np.float64),
        shape=shape,
        nifti_header=bytes(image.header.binaryblock),
    )
    return Cine(data, source, grid=grid, times_ms=times_ms, issues=issues)


def _inflated(content: bytes, label: str) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(
            f"expected an intact .nii.gz, found broken gzip data in {label}: copy it again"
        ) from error


def _broken(label: str) -> ReadError:
    return ReadError(
        f"expected a NIfTI image, found something else or a part of one in {label}: "
        "check the file or copy it again"
    )


def _image(content: bytes, label: str) -> tuple[Any, list[float]]:
    """The image and pixdim[1:5] as stored: nibabel turns absent sizes (0) into 1."""
    from nibabel import Nifti1Image, Nifti2Image
    from nibabel.imageglobals import LoggingOutputSuppressor

    try:
        second = Nifti2Image.header_class.may_contain_header(content)
        kind = Nifti2Image if second else Nifti1Image
        with LoggingOutputSuppressor(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = kind.from_bytes(content)
            size = int(image.header["sizeof_hdr"])
            raw = kind.header_class(content[:size], check=False)
            return image, [float(value) for value in raw["pixdim"][1:5]]
    except Exception as error:  # any broken header
        raise _broken(label) from error


def _units(header: Any) -> tuple[float, float | None, tuple[Issue, ...]]:
    """(millimetres per unit of length, milliseconds per unit of time or None, issues)."""
    try:
        length, time = header.get_xyzt_units()
    except (KeyError, ValueError):
        length, time = "unknown", "unknown"
    issues: tuple[Issue, ...] = ()
    if length not in _TO_MM:
        text = "the file states no unit of length; millimetres are assumed"
        issues = (Issue("unit-assumed", "info", text),)
    return _TO_MM.get(length, 1.0), _TO_MS.get(time), issues


def _placed(
    image: Any, pixdim: list[float], data: NDArray[np.float32], dimensions: int
) -> tuple[Grid, tuple[float, ...] | None, tuple[Issue, ...]]:
    """Geometry and times, as far as the header states them, and what was noticed."""
    header = image.header
    scale, to_ms, issues = _units(header)
    zooms = pixdim[: min(dimensions, 3)]
    by_quaternion = int(header["qform_code"]) > 0 and min(zooms) > 0  # needs the sizes as well
    planes, spacing, step = None, None, None
    if int(header["sform_code"]) > 0 or by_quaternion:
        matrix = np.array(image.affine, np.float64)
        matrix[:3] *= scale
        planes, spacing, step, noticed = _from_affine(matrix, data.shape[1])
        issues += noticed
    else:
        spacing, step, noticed = _from_zooms(zooms, scale)
        issues = (*issues, *noticed) if spacing else noticed
    grid = Grid.of(
        data,
        planes=planes,
        pixel_spacing_mm=spacing,
        slice_spacing_mm=step if data.shape[1] > 1 else None,
    )
    return grid, _times(pixdim[3], to_ms, float(header["toffset"]), data.shape[0]), issues


_Geometry = tuple[
    tuple[Plane, ...] | None, tuple[float, float] | None, float | None, tuple[Issue, ...]
]


def _from_affine(matrix: NDArray[np.float64], slices: int) -> _Geometry:
    """(planes, pixel spacing, slice spacing where there are no planes, issues)."""
    try:
        planes = planes_from_affine(lps_to_ras(matrix), slices)
        if slices > 1 and abs(float(np.diff(slice_positions_mm(planes[:2]))[0])) < (
            POSITION_TOLERANCE_MM
        ):
            raise IrregularStackError("the slices lie in one plane")
        return planes, planes[0].pixel_spacing_mm, None, ()
    except GeometryError:
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        if not np.isfinite(lengths).all() or (lengths <= 0).any():
            text = "the affine of the file is broken: no spacing is known"
            return None, None, None, (Issue("broken-affine", "warning", text),)
        text = "the affine of the file is sheared: its spacing is used, its places are not"
        spacing = (float(lengths[1]), float(lengths[0]))
        found = Issue("sheared-affine", "warning", text)
        return None, spacing, float(lengths[2]), (found,)


def _from_zooms(
    zooms: list[float], scale: float
) -> tuple[tuple[float, float] | None, float | None, tuple[Issue, ...]]:
    """Spacings of a file that states no place; sizes that are all 1 are a default, not a fact."""
    meant = all(np.isfinite(size) and size > 0 for size in zooms) and any(s != 1.0 for s in zooms)
    if not meant:
        text = "the file states no spacing: no millimetres are known"
        return None, None, (Issue("no-spacing", "warning", text),)
    note = Issue("no-orientation", "info", "the file states sizes of pixels but no place")
    step = zooms[2] * scale if len(zooms) > 2 else None
    return (zooms[1] * scale, zooms[0] * scale), step, (note,)


def _times(
    step: float, to_ms: float | None, offset: float, phases: int
) -> tuple[float, ...] | None:
    if phases < 2 or to_ms is None or not np.isfinite([step, offset]).all() or step <= 0:
        return None
    return tuple((offset + index * step) * to_ms for index in range(phases))
