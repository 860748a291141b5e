"""PNG, JPEG and TIFF to grey values. A picture knows no millimetres unless the user states them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lvseg.bounds import USUAL, ReadingLimits
from lvseg.cine import SMALLEST_SIDE_PX, Cine, Source
from lvseg.errors import LimitError, NotACineError, ReadError
from lvseg.issues import Issue
from lvseg.read.lengths import implausible

if TYPE_CHECKING:
    from PIL.Image import Image

#: Grey stored as colour: channels may differ by rounding, and in JPEG by chroma coding.
LOSSLESS_TOLERANCE = 2.0
JPEG_TOLERANCE = 10.0
#: Share of pixels that must be grey within the tolerance.
GREY_SHARE = 0.995
_ORIENTATION_TAG = 0x0112


def decode(
    content: bytes, label: str, limits: ReadingLimits = USUAL
) -> tuple[NDArray[np.float32], tuple[Issue, ...]]:
    """Grey values ``[Y, X]`` of a picture as stored, and what was noticed.

    :param content: bytes of the file; :param label: its path, for messages.
    :raises ReadError: broken, several pages. LimitError: more pixels than the limits allow.
    :raises NotACineError: a colour picture.
    """
    # the plugins register their formats when they are imported
    from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin  # noqa: F401

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(content), formats=("PNG", "JPEG", "TIFF")) as image:
                _check(image, label, limits)
                image.load()
                turned = image.getexif().get(_ORIENTATION_TAG, 1)
                values = _grey(image, label)
    except ReadError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, above ours
        raise LimitError(
            f"expected at most {limits.frame_pixels} pixels in a frame, found far more in {label}: "
            "crop or shrink it"
        ) from error
    except Exception as error:  # decoders raise what they like
        raise ReadError(
            f"expected a PNG, JPEG or TIFF picture, found something else or a part of one in "
            f"{label}: check the file"
        ) from error
    if turned in (0, 1):
        return values, ()
    text = "the picture carries a rotation for display (EXIF); pixels are used as stored"
    return values, (Issue("exif-rotation", "info", text),)


def _check(image: Image, label: str, limits: ReadingLimits) -> None:
    limits.hold("frame_pixels", image.width * image.height, label)
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":
        raise ReadError(
            f"expected one picture, found {pages} pages in {label}: save each page as a file"
        )


def _grey(image: Image, label: str) -> NDArray[np.float32]:
    if image.mode == "1":
        return np.asarray(image.convert("L"), np.float32)
    if image.mode in ("L", "F", "I") or image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.float32)
    if image.mode in ("LA", "La"):
        return np.asarray(image.convert("LA"), np.float32)[..., 0]
    pixels = np.asarray(image.convert("RGB"), np.float32)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    limit = JPEG_TOLERANCE if image.format in ("JPEG", "MPO") else LOSSLESS_TOLERANCE
    if float((spread <= limit).mean()) < GREY_SHARE:
        raise NotACineError(
            f"expected a grey MR image, found a colour picture in {label}: "
            "give the original image without colour"
        )
    values: NDArray[np.float32] = pixels.mean(axis=2, dtype=np.float32)
    return values


def cine_from_picture(
    content: bytes,
    *,
    name: str,
    location: str,
    spacing_mm: float | None,
    limits: ReadingLimits = USUAL,
) -> Cine:
    """A picture as a cine of one phase and one slice, without planes.

    :param spacing_mm: distance of pixels, rows and columns alike; None = unknown, as is one that
        no picture of a heart has.
    :raises ReadError: see :func:`decode`; fewer than 16 pixels a side; NaN.
    """
    values, issues = decode(content, location, limits)
    if min(values.shape) < SMALLEST_SIDE_PX:
        raise ReadError(
            f"expected a picture of at least {SMALLEST_SIDE_PX} pixels a side, found "
            f"{values.shape[1]} x {values.shape[0]} in {location}: the picture is too small"
        )
    if not np.isfinite(values).all():
        raise ReadError(
            f"expected finite pixel values, found NaN or infinity in {location}: repair the image"
        )
    source = Source(format="picture", name=name, location=location, shape=values.shape)
    spacing = None if spacing_mm is None else (spacing_mm, spacing_mm)
    rows, columns = values.shape
    stated, remedy = "as the spacing of the picture", "correct --spacing"
    doubted = implausible((rows, columns), spacing, stated=stated, remedy=remedy)
    cine = Cine.of_image(values, source, None if doubted else spacing)
    return replace(cine, issues=(*issues, *doubted))
