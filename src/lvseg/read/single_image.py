"""One DICOM image by itself, pixels and plane: for data sets that name single images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import ReadError
from lvseg.geometry import Plane
from lvseg.read.frames import FrameInfo
from lvseg.read.headers import BrokenHeaderError, read_headers
from lvseg.read.pixels import stored_frames
from lvseg.read.sources import Blob, Files


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What one single-frame image says about itself; no name, no dates.

    :param number: InstanceNumber (0020,0013); None where absent.
    :param plane: None where position, orientation or spacing is absent or broken.
    """

    series_uid: str
    number: int | None
    plane: Plane | None


def _frame(path: Path, files: Files) -> FrameInfo:
    blob = Blob(path)
    try:
        with files.open(blob) as stream:
            frames = read_headers(stream, blob)
    except BrokenHeaderError as error:
        raise ReadError(
            f"expected a DICOM image, found something else in {path.name}: check the file"
        ) from error
    if len(frames) != 1 or frames[0].rejected_because:
        found = frames[0].rejected_because if frames else "a list of files"
        raise ReadError(
            f"expected one grey frame [row, column], found {found or len(frames)} in {path.name}: "
            "use the single-frame series"
        )
    return frames[0]


def read_frame_header(path: Path) -> FrameHeader:
    """Series, number and plane of a single-frame image; the pixels are not read.

    :raises ReadError: no DICOM image, more than one frame, colour.
    """
    with Files() as files:
        frame = _frame(path, files)
    number = frame.times.get("InstanceNumber")
    return FrameHeader(frame.series_uid, None if number is None else int(number), frame.plane)


def read_dicom_frame(path: Path) -> tuple[NDArray[np.float32], Plane | None]:
    """Stored values of a grey single-frame image ``[Y, X]``, larger is brighter, and its plane.

    Rescale slope and intercept are not applied: they carry no unit in MR images and the experts'
    images of the public sets were made from the stored values.

    :raises ReadError: no DICOM image, no pixels that can be decoded, more than one frame, colour.
    """
    with Files() as files:
        frame = _frame(path, files)
        (pixels,) = stored_frames(frame.instance, files, [0])
    return pixels.astype(np.float32), frame.plane
