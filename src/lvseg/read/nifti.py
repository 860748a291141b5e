"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz) to :class:`Cine`; RAS exists here and in the writer only.

Fields of the header: NIfTI-1.1, nifti1.h (R. W. Cox, 2004), https://nifti.nimh.nih.gov/nifti-1.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.bounds import ReadingLimits
from lvseg.cine import Cine, Source
from lvseg.errors import ReadError
from lvseg.geometry import Grid
from lvseg.read.nifti_geometry import Axes, geometry_of

_TO_MS = {"sec": 1000.0, "msec": 1.0, "usec": 0.001}


#: Enough for the header of either version.
HEADER_BYTES = 540


def stated_bytes(head: bytes, limits: ReadingLimits, location: str) -> int:
    """How many bytes of a file its header says there are, up to the last voxel.

    :param head: its first :data:`HEADER_BYTES` bytes, unpacked.
    :raises LimitError: more frames or pixels than the limits allow. ReadError: no NIfTI header.
    """
    from nibabel import Nifti1Header, Nifti2Header
    from nibabel.imageglobals import LoggingOutputSuppressor

    second = Nifti2Header.may_contain_header(head)
    kind = Nifti2Header if second else Nifti1Header
    try:
        with LoggingOutputSuppressor():
            header = kind(head[: kind.template_dtype.itemsize], check=False)
            sizes = [int(size) for size in header.get_data_shape()] or [1]
            width = int(header.get_data_dtype().itemsize)
            start = int(max(header["vox_offset"], 0))
    except Exception as error:  # any broken header
        raise _broken(location) from error
    sizes = [max(size, 1) for size in sizes]
    least = math.prod(sizes[3:]) * min(sizes[:3])  # whichever axis holds the slices
    limits.hold("frames", least, location)
    limits.hold("pixels", math.prod(sizes), location)
    return start + math.prod(sizes) * width


def cine_from_nifti(
    content: bytes, *, name: str, location: str, like: Source | None = None
) -> Cine:
    """A NIfTI file of two to four dimensions; its view is unknown because NIfTI does not say it.

    Whichever axis holds the slices, frames are ``[T, Z, Y, X]``; ``source.axes`` says how they lie
    in the file.

    :param content: the bytes of the file, unpacked; :param location: its path.
    :param like: of the NIfTI cine that a mask belongs to; a mask of the same shape that states no
        place has its axes.
    :raises ReadError: broken, colour, complex, more than four dimensions, NaN or infinity.
    """
    image, pixdim = _image(content, location)
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
    header, affine_ras = image.header, np.asarray(image.affine, np.float64)
    del image, content  # as large as the values
    if not np.isfinite(values).all():
        raise ReadError(
            f"expected finite pixel values, found NaN or infinity in {location}: repair the image"
        )
    dimensions = min(len(shape), 3)
    sizes += [1] * (4 - len(sizes))
    volume = (sizes[0], sizes[1], sizes[2])
    steps = [*pixdim[:dimensions], *[1.0] * (3 - dimensions)]
    found = geometry_of(header, steps, volume)
    if like is not None and found.planes is None and shape[:3] == (like.shape or ())[:3]:
        found = geometry_of(header, steps, volume, like.axes)
    data = _frames(values.reshape(sizes, order="A"), found.axes)
    source = Source(
        format="nifti",
        name=name,
        location=location,
        affine_ras=affine_ras,
        shape=shape,
        axes=found.axes,
        nifti_header=bytes(header.binaryblock),
    )
    grid = Grid.of(
        data,
        planes=found.planes,
        pixel_spacing_mm=found.pixel_spacing_mm,
        slice_spacing_mm=found.slice_spacing_mm,
    )
    times = _times(pixdim[3], _to_ms(header), float(header["toffset"]), data.shape[0])
    return Cine(data, source, grid=grid, times_ms=times, issues=found.issues)


def _frames(values: NDArray[np.float32], axes: Axes) -> NDArray[np.float32]:
    """[T, Z, Y, X] of the array of a file whose axes are these."""
    backwards = tuple(abs(axis) - 1 for axis in axes if axis < 0)
    column, row, place = (abs(axis) - 1 for axis in axes)
    return np.ascontiguousarray(np.flip(values, backwards).transpose(3, place, row, column))


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


def _to_ms(header: Any) -> float | None:
    """Milliseconds of a unit of time; None = not stated."""
    try:
        return _TO_MS.get(header.get_xyzt_units()[1])
    except (KeyError, ValueError):
        return None


def _times(
    step: float, to_ms: float | None, offset: float, phases: int
) -> tuple[float, ...] | None:
    if phases < 2 or to_ms is None or not np.isfinite([step, offset]).all() or step <= 0:
        return None
    return tuple((offset + index * step) * to_ms for index in range(phases))
