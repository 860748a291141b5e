"""PNG images: masks, plain images, and overlays of the contours on the cine.

Pillow only: drawing a study takes a fraction of a second and needs no plotting library.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lvseg.atomic import atomic_write
from lvseg.cine import Cine, Mask
from lvseg.contours import Polygon, slice_contours
from lvseg.display import GreyWindow, heart_box, heart_crop
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Box
from lvseg.labels import LABELS, Label

#: Lines are drawn this much larger and then averaged down, which smooths their edges.
SUPERSAMPLE = 3
#: Higher levels of PNG take several times as long and save little on grey images with noise.
COMPRESSION_LEVEL = 3
#: Edge of one slice in a montage; twelve of them fit a laptop screen.
TILE_PX = 240
#: Between two slices; the words above take this part of a slice's edge (one eighth).
GAP_PX, HEAD = 2, 8
#: Width of a contour, thin enough to see the edge under it.
LINE_PX = 1.6


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
    inside = mask.of(Label.LV_CAVITY)[0, 0]
    write_picture(path, np.where(inside, 255, 0).astype(np.uint8))


def write_overlay(cine: Cine, mask: Mask, path: Path, *, phase: int = 0, title: str = "") -> None:
    """Write the contours of every label over the image as PNG.

    A picture keeps its size; a stack becomes a montage of its slices at one phase.

    :param phase: index into the cine.
    :param title: first words above a montage, e.g. ``"end-diastole"``; no patient name.
    :raises GeometryMismatchError: mask and cine are not on the same grid, or the mask has no such
        phase.
    """
    if cine.source.format == "picture":
        write_picture(path, picture_overlay(cine, mask))
    else:
        write_picture(path, montage(cine, mask, phase=phase, title=title))


def picture_overlay(cine: Cine, mask: Mask) -> NDArray[np.uint8]:
    """Draw the first frame with its contours, RGB [Y, X, 3], the size of the source.

    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    phase = mask.phases[0]
    contours = _contours_by_slice(mask, cine, phase)[0]
    grey = GreyWindow.of(heart_crop(cine, 0, heart_box(mask))).apply(cine.frames[phase, 0])
    image = Image.fromarray(grey).convert("RGB")
    _draw_contours(image, contours, Box(0, 0, image.height, image.width))
    return np.asarray(image)


def montage(
    cine: Cine, mask: Mask, *, phase: int, title: str = "", tile_px: int = TILE_PX
) -> NDArray[np.uint8]:
    """All slices of one phase around the heart with the contours of the mask, RGB [H, W, 3].

    Slices run in stack order, row by row. Every montage of a study shows the same crop
    (:func:`lvseg.display.heart_box`), so that end-diastole and end-systole can be compared.

    :param phase: index into the cine; :param tile_px: edge of one slice.
    :raises GeometryMismatchError: mask and cine are not on the same grid, or the mask has no such
        phase.
    """
    contours = _contours_by_slice(mask, cine, phase)
    box = heart_box(mask)
    columns, rows = _layout(cine.shape[1])
    right, bottom = _corner(columns - 1, rows - 1, tile_px)
    canvas = Image.new("RGB", (right + tile_px, bottom + tile_px))
    for index in range(cine.shape[1]):
        crop = heart_crop(cine, index, box)
        grey = Image.fromarray(GreyWindow.of(crop).apply(crop[phase]))
        tile = grey.resize((tile_px, tile_px), Image.Resampling.BICUBIC).convert("RGB")
        _draw_contours(tile, contours[index], box)
        _write_words(tile, f"slice {index}", (7, 5), 15)
        canvas.paste(tile, _corner(index % columns, index // columns, tile_px))
    words = f"{title}, phase {phase}" if title else f"phase {phase}"
    if cine.times_ms is not None:
        words += f" ({cine.times_ms[phase]:.0f} ms)"
    _write_words(canvas, words, (7, (tile_px // HEAD - 21) // 2), 18)
    return np.asarray(canvas)


def tile_box(slices: int, index: int, tile_px: int = TILE_PX) -> Box:
    """Where one slice lies in a montage of so many."""
    columns, _ = _layout(slices)
    left, top = _corner(index % columns, index // columns, tile_px)
    return Box(top, left, tile_px, tile_px)


def _corner(column: int, row: int, tile_px: int) -> tuple[int, int]:
    """Left and top edge of a tile, below the words of the montage."""
    return column * (tile_px + GAP_PX), tile_px // HEAD + row * (tile_px + GAP_PX)


def _contours_by_slice(
    mask: Mask, cine: Cine, phase: int
) -> list[dict[Label, tuple[Polygon, ...]]]:
    """The outer boundaries at one phase, slice by slice; the innermost label comes last."""
    mask.on(cine)
    if phase not in mask.phases:
        raise GeometryMismatchError(
            f"expected a phase that cine and mask both have, found phase {phase}"
        )
    at = mask.phases.index(phase)
    inside = {label: mask.within(label)[at] for label in reversed(mask.labels_present)}
    return [
        {label: slice_contours(flags[index]) for label, flags in inside.items()}
        for index in range(cine.shape[1])
    ]


def _layout(tiles: int) -> tuple[int, int]:
    """Columns and rows, a little wider than high."""
    columns = min(tiles, ceil(sqrt(tiles * 1.4)))
    rows = ceil(tiles / columns)
    return ceil(tiles / rows), rows


def _draw_contours(
    image: Image.Image, contours: Mapping[Label, tuple[Polygon, ...]], box: Box
) -> None:
    """Draw contours on the image of a box; pixel (x, y) has its centre half a pixel inside."""
    size = (image.width * SUPERSAMPLE, image.height * SUPERSAMPLE)
    factor = np.array(size) / (box.columns, box.rows)
    for label, polygons in contours.items():
        if not polygons:
            continue
        alpha = Image.new("L", size)
        pen = ImageDraw.Draw(alpha)
        for polygon in polygons:
            points = (polygon - (box.left, box.top) + 0.5) * factor - 0.5
            path = [(float(x), float(y)) for x, y in [*points, *points[:2]]]
            pen.line(path, fill=255, width=round(LINE_PX * SUPERSAMPLE), joint="curve")
        alpha = alpha.resize(image.size, Image.Resampling.BOX)
        image.paste(LABELS[label].colour, (0, 0, *image.size), alpha)


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
