"""Masks from contours: ``contours.json`` of lvseg, and the text files of the Sunnybrook set.

A pixel belongs to a structure when at least half of it lies inside the polygon, so a mask that was
written as contours comes back pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

from lvseg.bounds import MOST_JSON_BYTES, USUAL, ReadingLimits, read_bytes
from lvseg.cine import Cine, Mask
from lvseg.contour_files import contour_points, image_numbers, numbered_contours
from lvseg.contours import INSIDE_SHARE, Polygon, coverage
from lvseg.errors import GeometryMismatchError, ReadError
from lvseg.geometry import Grid, Plane, Vec3
from lvseg.labels import Label

#: How many widths of the image a contour may reach beyond it.
_WIDTHS_OUTSIDE = 1.0
_SLACK = 1e-9


class _Part(BaseModel):
    model_config = ConfigDict(strict=False, extra="ignore")


class _Shape(_Part):
    phases: PositiveInt
    slices: PositiveInt
    rows: PositiveInt
    columns: PositiveInt


class _Slice(_Part):
    origin_mm: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    column_step: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    row_step: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    pixel_spacing_mm: tuple[FiniteFloat, FiniteFloat]


class _Contour(_Part):
    phase: NonNegativeInt
    slice: NonNegativeInt
    label: Literal["LV_CAVITY", "LV_MYOCARDIUM"]
    hole: bool
    points_px: list[tuple[FiniteFloat, FiniteFloat]]


class _Document(_Part):
    """What ``lvseg.write.contours.write_contours`` writes, as far as a mask needs it."""

    schema_: Literal[1]
    shape: _Shape
    pixel_spacing_mm: tuple[FiniteFloat, FiniteFloat] | None
    slices: list[_Slice] | None
    phase_index: list[NonNegativeInt] | None = None
    contours: list[_Contour]

    model_config = ConfigDict(extra="ignore", alias_generator=lambda name: name.rstrip("_"))


def mask_from_contours(content: bytes, path: Path, limits: ReadingLimits = USUAL) -> Mask:
    """The mask of a ``contours.json``, on the grid that the file states.

    It has the phases that the file says it holds; without such a list, those with a contour.

    :param path: for messages. :raises ReadError: no such JSON, or one that contradicts itself.
        LimitError: larger than the limits allow.
    """
    try:
        document = _Document.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ReadError(
            f"expected contours as lvseg writes them, found {first['msg'].lower()} at {where} in "
            f"{path}: give contours.json of lvseg"
        ) from error
    shape = document.shape
    size = (shape.slices, shape.rows, shape.columns)
    held = sorted({each.phase for each in document.contours}) or [0]
    index = held if document.phase_index is None else document.phase_index
    limits.hold("pixels", len(index) * int(np.prod(size, dtype=object)), path)
    fits = (
        set(held) <= {*index, 0}
        and max(index, default=shape.phases) < shape.phases
        and max((each.slice for each in document.contours), default=0) < shape.slices
        and (document.slices is None or len(document.slices) == shape.slices)
    )
    if not fits:
        raise ReadError(
            f"expected contours inside the shape that the file states, found others in {path}: "
            "copy it again"
        )
    shares: dict[tuple[int, int], dict[Label, NDArray[np.float64]]] = {}
    for each in document.contours:
        polygon = _checked(np.array(each.points_px, np.float64), size[1:], path)
        frame = shares.setdefault((index.index(each.phase), each.slice), {})
        label = Label[each.label]
        share = coverage(polygon, size[1:])
        frame[label] = frame.get(label, np.zeros(size[1:])) + (-share if each.hole else share)
    labels = np.zeros((len(index), *size), np.uint8)
    for place, frame in shares.items():
        for label in sorted(frame, reverse=True):  # the innermost is painted last
            labels[place][frame[label] >= INSIDE_SHARE - _SLACK] = label
    planes = None if document.slices is None else tuple(map(_plane, document.slices))
    pixels = document.pixel_spacing_mm
    return Mask(labels, tuple(index), Grid.of(labels, planes=planes, pixel_spacing_mm=pixels))


def _plane(place: _Slice) -> Plane:
    row: Vec3 = place.row_step
    return Plane(place.origin_mm, row, place.column_step, place.pixel_spacing_mm)


def _checked(polygon: Polygon, size: Sequence[int], path: Path) -> Polygon:
    """The polygon, if it is one and lies about the image.

    :param size: (rows, columns). :raises ReadError: it does not.
    """
    reach = _WIDTHS_OUTSIDE * max(size)
    low, high = -reach, np.array(size[::-1]) + reach
    whole = polygon.ndim == 2 and len(polygon) >= 3
    if not whole or (polygon < low).any() or (polygon > high).any():
        raise ReadError(
            f"expected contours of three or more points about the image of {size[0]} x {size[1]} "
            f"pixels, found others in {path}: copy it again"
        )
    return polygon


def has_contour_files(folder: Path) -> bool:
    """Whether a folder holds contour files of the Sunnybrook kind."""
    return bool(numbered_contours([path for path in folder.iterdir() if path.is_file()]))


def mask_from_contour_files(
    source: Path, like: Cine, source_headers: Mapping[str, Any] | None
) -> Mask:
    """The mask of text files with the contours of single images, on the grid of their cine.

    The epicardium encloses the myocardium; what lies inside the endocardium is cavity. The mask
    has the phases of which an image has a contour.

    :param source: the folder of the files, or one of them.
    :param source_headers: of the cine, for the numbers (:func:`lvseg.contour_files.image_numbers`).
    :raises ReadError: no such file, or a broken one. GeometryMismatchError: a number that no image
        of the cine has.
    """
    paths = [path for path in source.iterdir() if path.is_file()] if source.is_dir() else [source]
    files = numbered_contours(paths)
    if not files:
        raise ReadError(
            "expected contour files named like IM-0001-0048-icontour-manual.txt, found none in "
            f"{source}"
        )
    places = {
        number: (t, z)
        for t, row in enumerate(image_numbers(like, source_headers))
        for z, number in enumerate(row)
    }
    unknown = sorted({number for number, _ in files} - set(places))
    if unknown:
        raise GeometryMismatchError(
            f"expected contours of images of the cine (numbers {min(places)} to {max(places)}), "
            f"found number {unknown[0]} in {source}: give the study that they were drawn on"
        )
    index = tuple(sorted({places[number][0] for number, _ in files}))
    size = like.shape[2:]
    labels = np.zeros((len(index), *like.shape[1:]), np.uint8)
    for number, label in sorted(files, key=lambda key: key[1], reverse=True):
        phase, slice_index = places[number]
        polygon = _checked(_points(files[number, label]), size, source)
        inside = coverage(polygon, size) >= INSIDE_SHARE - _SLACK
        labels[index.index(phase), slice_index][inside] = label
    return Mask(labels, index, like.grid)


def _points(path: Path) -> Polygon:
    try:
        return contour_points(read_bytes(path, MOST_JSON_BYTES).decode("ascii"))
    except OSError as error:
        raise ReadError(f"expected a readable file, found {error.strerror} at {path}") from error
    except ValueError as error:  # no ASCII among them
        raise ReadError(f"{error} in {path.name}: repair or remove the contour file") from error
