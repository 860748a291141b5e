"""One DICOM image by itself: pixels and place. For data sets that name single images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import ReadError
from lvseg.geometry import Plane
from lvseg.read.frames import plane_from

__all__ = ["FrameHeader", "read_dicom_frame", "read_frame_header"]


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What one single-frame image says about itself; no name, no dates.

    :param number: InstanceNumber (0020,0013); None where absent.
    :param plane: None where position, orientation or spacing is absent or broken.
    """

    series_uid: str
    number: int | None
    plane: Plane | None


def _open(path: Path, *, pixels: bool) -> object:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(path, stop_before_pixels=not pixels)
    except (InvalidDicomError, OSError, ValueError, KeyError, EOFError) as error:
        raise ReadError(
            f"expected a DICOM image, found something else in {path.name}: check the file"
        ) from error


def _plane(dataset: object) -> Plane | None:
    position = getattr(dataset, "ImagePositionPatient", None)
    cosines = getattr(dataset, "ImageOrientationPatient", None)
    spacing = getattr(dataset, "PixelSpacing", None)
    if position is None or cosines is None or spacing is None:
        return None
    try:
        place, turns, steps = (
            [float(value) for value in each] for each in (position, cosines, spacing)
        )
    except (ValueError, TypeError):
        return None
    if (len(place), len(turns), len(steps)) != (3, 6, 2):
        return None
    return plane_from(place, turns, steps, None)


def read_frame_header(path: Path) -> FrameHeader:
    """Series, number and plane of a single-frame image; the pixels are not read.

    :raises ReadError: no DICOM image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid UIDs are common in old studies
        dataset = _open(path, pixels=False)
        number = getattr(dataset, "InstanceNumber", None)
        return FrameHeader(
            series_uid=str(getattr(dataset, "SeriesInstanceUID", "")),
            number=None if number is None else int(number),
            plane=_plane(dataset),
        )


def read_dicom_frame(path: Path) -> tuple[NDArray[np.float32], Plane | None]:
    """Stored values of a grey single-frame image ``[Y, X]``, and its plane.

    Rescale slope and intercept are not applied: they carry no unit in MR images and the experts'
    pictures of the public sets were made from the stored values.

    :raises ReadError: no DICOM image, no pixels that can be decoded, more than one frame, colour.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _open(path, pixels=True)
        try:
            pixels = np.asarray(dataset.pixel_array, np.float32)  # type: ignore[attr-defined]
        except Exception as error:  # the decoders behind pydicom raise what they like
            raise ReadError(
                f"expected pixels that can be decoded, found none in {path.name}: "
                "store the image uncompressed"
            ) from error
    if pixels.ndim != 2:
        raise ReadError(
            f"expected one grey frame [row, column], found shape {pixels.shape} in {path.name}: "
            "use the single-frame series"
        )
    return pixels, _plane(dataset)
