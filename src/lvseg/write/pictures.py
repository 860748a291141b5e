"""PNG files: masks, plain pictures, and overlays to look at.

Pillow only: drawing a study takes a fraction of a second and needs no plotting library.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lvseg.atomic import atomic_write
from lvseg.cine import Cine, Mask
from lvseg.contours import slice_contours
from lvseg.errors import GeometryMismatchError
from lvseg.labels import LABELS, Label

__all__ = [
    "OverlayOptions",
    "montage",
    "picture_overlay",
    "write_overlay",
    "write_picture",
    "write_picture_mask",
]

#: Lines are drawn this much larger and then averaged down, which smooths their edges.
SUPERSAMPLE = 3
#: Higher levels of PNG take several times as long and save little on grey images with noise.
COMPRESSION_LEVEL = 3
#: Share of the crop cut off on each side when the brightness is chosen: fat lies in the corners.
CORNER_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class OverlayOptions:
    """How an overlay looks.

    :param tile_px: edge of one slice in the montage; twelve of them fit a laptop screen.
    :param margin: border around the heart as a share of its extent, so that the neighbours show.
    :param smallest_crop_px: a tiny cavity is not magnified beyond this window.
    :param line_px: width of the outline, thin enough to see the edge under it.
    :param low_percent: this intensity percentile around the heart becomes black.
    :param high_percent: this intensity percentile around the heart becomes white.
    """

    tile_px: int = 240
    margin: float = 0.45
    smallest_crop_px: int = 72
    line_px: float = 1.6
    low_percent: float = 1.0
    high_percent: float = 99.7


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a grey [Y, X] or colour [Y, X, 3] picture as PNG.

    :raises GeometryMismatchError: any other shape.
    """
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] == 3):
        raise GeometryMismatchError(f"expected a picture [Y, X] or [Y, X, 3], found {pixels.shape}")
    with atomic_write(path) as target:
        image = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
        image.save(target, format="PNG", compress_level=COMPRESSION_LEVEL)


def write_picture_mask(mask: Mask, path: Path) -> None:
    """Write the mask of one picture as PNG, 0 outside and 255 inside, size of the source.

    :raises GeometryMismatchError: the mask has more than one phase or slice.
    """
    if mask.labels.shape[:2] != (1, 1):
        raise GeometryMismatchError(
            "expected the mask of one picture, found "
            f"{mask.labels.shape[0]} phases of {mask.labels.shape[1]} slices: write a NIfTI instead"
        )
    inside = mask.labels[0, 0] == Label.LV_CAVITY
    write_picture(path, np.where(inside, 255, 0).astype(np.uint8))


def write_overlay(
    cine: Cine,
    mask: Mask,
    path: Path,
    *,
    phase: int = 0,
    title: str = "",
    options: OverlayOptions | None = None,
) -> None:
    """Write the outline of the cavity over the image as PNG.

    A picture keeps its size; a stack becomes a montage of its slices at one phase.

    :param phase: index into the cine.
    :param title: first words above a montage, e.g. ``"end-diastole"``; no patient name.
    :raises GeometryMismatchError: mask and cine are not on the same grid, or the mask has no such
        phase.
    """
    chosen = options or OverlayOptions()
    if cine.source.format == "picture":
        write_picture(path, picture_overlay(cine, mask, options=chosen))
    else:
        write_picture(path, montage(cine, mask, phase=phase, title=title, options=chosen))


def picture_overlay(
    cine: Cine, mask: Mask, *, options: OverlayOptions | None = None
) -> NDArray[np.uint8]:
    """Draw the first frame with its outline, RGB [Y, X, 3], the size of the source.

    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    chosen = options or OverlayOptions()
    labels = _labels_of(mask, cine, mask.phases[0])[0]
    crop = _crop(cine.frames[:, 0], *_heart_window(mask.labels, chosen))
    grey = _grey(cine.frames[mask.phases[0], 0], _window(crop, chosen))
    image = Image.fromarray(grey).convert("RGB")
    _draw_contours(image, labels, offset=(0, 0), scale=1.0, options=chosen)
    return np.asarray(image)


def montage(
    cine: Cine,
    mask: Mask,
    *,
    phase: int,
    title: str = "",
    options: OverlayOptions | None = None,
) -> NDArray[np.uint8]:
    """All slices of one phase around the heart with the outline of the cavity, RGB [H, W, 3].

    Slices run in stack order, row by row. Every montage of a study shows the same window in the
    image, so that end-diastole and end-systole can be compared. A mask without cavity shows the
    middle of the image.

    :param phase: index into the cine.
    :raises GeometryMismatchError: mask and cine are not on the same grid, or the mask has no such
        phase.
    """
    chosen = options or OverlayOptions()
    labels = _labels_of(mask, cine, phase)
    top, left, edge = _heart_window(mask.labels, chosen)
    scale = chosen.tile_px / edge
    columns, rows = _layout(cine.shape[1])
    head_px = chosen.tile_px // 8
    gap_px = 2
    pitch = chosen.tile_px + gap_px
    canvas = Image.new("RGB", (columns * pitch - gap_px, head_px + rows * pitch - gap_px))
    for index in range(cine.shape[1]):
        crop = _crop(cine.frames[:, index], top, left, edge)
        grey = _grey(crop[phase], _window(crop, chosen))
        size = (chosen.tile_px, chosen.tile_px)
        tile = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")
        _draw_contours(tile, labels[index], offset=(left, top), scale=scale, options=chosen)
        _write_words(tile, f"slice {index}", (7, 5), 15)
        canvas.paste(tile, (index % columns * pitch, head_px + index // columns * pitch))
    words = f"{title}, phase {phase}" if title else f"phase {phase}"
    if cine.times_ms is not None:
        words += f" ({cine.times_ms[phase]:.0f} ms)"
    _write_words(canvas, words, (7, (head_px - 21) // 2), 18)
    return np.asarray(canvas)


def _labels_of(mask: Mask, cine: Cine, phase: int) -> NDArray[np.uint8]:
    mask.on(cine)
    if phase not in mask.phases:
        raise GeometryMismatchError(
            f"expected a phase that cine and mask both have, found phase {phase}"
        )
    labels: NDArray[np.uint8] = mask.labels[mask.phases.index(phase)]
    return labels


def _layout(tiles: int) -> tuple[int, int]:
    """Columns and rows, a little wider than high."""
    columns = min(tiles, ceil(sqrt(tiles * 1.4)))
    rows = ceil(tiles / columns)
    return ceil(tiles / rows), rows


def _heart_window(labels: NDArray[np.uint8], options: OverlayOptions) -> tuple[int, int, int]:
    """Top, left and edge of a square around the cavity of all phases; may reach outside."""
    seen = (labels == Label.LV_CAVITY).any(axis=(0, 1))
    height, width = seen.shape
    if not seen.any():
        edge = min(height, width)
        return (height - edge) // 2, (width - edge) // 2, edge
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    edge = max(options.smallest_crop_px, ceil(extent * (1 + 2 * options.margin)))
    middle = (int(rows[0] + rows[-1] + 1), int(columns[0] + columns[-1] + 1))
    return (middle[0] - edge) // 2, (middle[1] - edge) // 2, edge


def _crop(frames: NDArray[np.float32], top: int, left: int, edge: int) -> NDArray[np.float32]:
    """Cut [T, edge, edge] out; what lies outside the image is as dark as the darkest pixel."""
    height, width = frames.shape[-2:]
    out = np.full((*frames.shape[:-2], edge, edge), frames.min(), np.float32)
    y0, y1 = max(top, 0), min(top + edge, height)
    x0, x1 = max(left, 0), min(left + edge, width)
    out[..., y0 - top : y1 - top, x0 - left : x1 - left] = frames[..., y0:y1, x0:x1]
    return out


def _window(pixels: NDArray[np.float32], options: OverlayOptions) -> tuple[float, float]:
    """The values shown as black and white: percentiles of the middle of a crop [T, edge, edge]."""
    cut = int(pixels.shape[-1] * CORNER_SHARE)
    middle = pixels[..., cut : pixels.shape[-2] - cut, cut : pixels.shape[-1] - cut]
    low, high = np.percentile(middle, [options.low_percent, options.high_percent])
    return float(low), float(high)


def _grey(pixels: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    share = (pixels - low) / (high - low) if high > low else np.zeros_like(pixels)
    grey: NDArray[np.uint8] = np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return grey


def _draw_contours(
    image: Image.Image,
    labels: NDArray[np.uint8],
    *,
    offset: tuple[int, int],
    scale: float,
    options: OverlayOptions,
) -> None:
    """Paint the contours of a slice; a pixel centre (x, y) stands at scale * (x - left + 0.5)."""
    polygons = slice_contours(labels == Label.LV_CAVITY)
    if not polygons:
        return
    factor = scale * SUPERSAMPLE
    size = (image.width * SUPERSAMPLE, image.height * SUPERSAMPLE)
    alpha = Image.new("L", size)
    pen = ImageDraw.Draw(alpha)
    for polygon in polygons:
        points = (polygon - offset + 0.5) * factor - 0.5
        path = [(float(x), float(y)) for x, y in [*points, *points[:2]]]
        pen.line(path, fill=255, width=round(options.line_px * SUPERSAMPLE), joint="curve")
    alpha = alpha.resize(image.size, Image.Resampling.BOX)
    image.paste(LABELS[Label.LV_CAVITY].colour, (0, 0, *image.size), alpha)


def _write_words(image: Image.Image, words: str, place: tuple[int, int], size: int) -> None:
    """White words with a dark rim, readable on any grey."""
    ImageDraw.Draw(image).text(
        place,
        words,
        fill=(255, 255, 255),
        font=ImageFont.load_default(size),
        stroke_width=1,
        stroke_fill=(0, 0, 0),
    )
