"""Outlines of a data set: the polygons beside its masks, and polygons recovered from masks.

A mask that was filled together with its line is too large, by the line; small cavities most. The
polygon behind such a mask can be recovered from it, and filled by exact area coverage at any
resolution. ``outlines/<name>.json`` of a data set folder holds the polygons of an image: of each
label its outer boundary, points as everywhere (:mod:`lvseg.contours`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage

from lvseg.atomic import write_text
from lvseg.bounds import MOST_JSON_BYTES, read_bytes
from lvseg.contours import Polygon, coverage
from lvseg.errors import DatasetError
from lvseg.labels import Label

#: Folder of a data set.
OUTLINES = "outlines"
#: Standard deviation, in points along the chain of outline pixels, of the smoothing that takes the
#: whole numbers off a recovered outline (docs/dataset.md says how near the result comes).
SMOOTHING_POINTS = 1.5
#: Just below the value of an inside pixel: a contour there runs through outer pixel centres.
_ALMOST_INSIDE = 1 - 1e-6
#: Digits of a stored coordinate.
_DECIMALS = 3

OutlineSource = Literal["contour file", "recovered from the mask"]


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The outer boundary of a label in an image.

    :param points: [N, 2] (x, y) in pixels, pixel centres at whole numbers.
    """

    label: Label
    points: Polygon
    source: OutlineSource


def recover_outline(inside: NDArray[np.bool_]) -> Polygon:
    """The polygon behind a mask [Y, X] that was filled together with its line.

    The chain of its outline pixels, smoothed along itself. Such masks hold the polygon with its
    coordinates cut to whole pixels (:func:`fill_with_line`), so each outline pixel lies where the
    line went, but for the quarter of a pixel that is cut off on average and that contour files of
    the Sunnybrook set are off by themselves (:mod:`lvseg.datasets.contours`).

    :raises DatasetError: the mask is empty.
    """
    from contourpy import contour_generator

    if not inside.any():
        raise DatasetError("expected a mask with a structure in it, found an empty one")
    padded = np.pad(inside.astype(np.float64), 1)
    lines = contour_generator(z=padded, name="serial").lines(_ALMOST_INSIDE)
    longest = max((np.asarray(line) for line in lines), key=len)
    chain = np.rint(longest).astype(np.intp) - 1
    steps = np.any(chain != np.roll(chain, 1, axis=0), axis=1)
    chain = chain[steps] if steps.any() else chain[:1]
    smooth: Polygon = ndimage.gaussian_filter1d(
        chain.astype(np.float64), SMOOTHING_POINTS, axis=0, mode="wrap"
    )
    return smooth


def fill_with_line(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a polygon as the public Sunnybrook masks were filled, [Y, X].

    Coordinates are cut to whole pixels; inside is every pixel whose centre the polygon holds, and
    every pixel of its line (Bresenham 1965). All 204 endocardial and all 106 epicardial masks whose
    contour files are public are given back to the pixel. It is what OpenCV's ``fillPoly`` does.

    :param points: [N, 2] (x, y) as in the contour files.
    """
    corners = np.trunc(points).astype(np.intp)
    inside = np.zeros((shape[0], shape[1] + 1), np.intp)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        (x0, y0), (x1, y1) = sorted((start.tolist(), end.tolist()), key=lambda point: point[1])
        rows = np.arange(max(y0, 0), min(y1, shape[0]))
        crossing = x0 + (rows - y0) * (x1 - x0) / max(y1 - y0, 1)
        columns = np.clip(np.floor(crossing).astype(np.intp) + 1, 0, shape[1])
        np.add.at(inside, (rows, columns), 1)  # everything right of the edge changes sides
    filled: NDArray[np.bool_] = np.cumsum(inside, axis=1)[:, :-1] % 2 == 1
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        for x, y in _line(*start.tolist(), *end.tolist()):
            if 0 <= x < shape[1] and 0 <= y < shape[0]:
                filled[y, x] = True
    return filled


def _line(x: int, y: int, x_end: int, y_end: int) -> Iterator[tuple[int, int]]:
    """Pixels of a line, both ends included."""
    dx, dy = abs(x_end - x), abs(y_end - y)
    step_x, step_y = (1 if x_end >= x else -1), (1 if y_end >= y else -1)
    error = dx - dy
    yield x, y
    while (x, y) != (x_end, y_end):
        twice = 2 * error
        if twice > -dy:
            error -= dy
            x += step_x
        if twice < dx:
            error += dx
            y += step_y
        yield x, y


@dataclass(frozen=True, slots=True)
class _Stored:
    label: str
    source: OutlineSource
    points_px: list[tuple[float, float]]


_STORED = TypeAdapter(list[_Stored])


def outlines_path(folder: Path, file: str) -> Path:
    """Outlines of an image of a data set folder, by its file name."""
    return folder / OUTLINES / f"{file.rpartition('.')[0] or file}.json"


def write_outlines(outlines: Sequence[Outline], path: Path) -> Path:
    """Write the outlines of an image, whole or not at all; none gives an empty list."""
    stored = [
        {
            "label": outline.label.name,
            "source": outline.source,
            "points_px": np.round(outline.points, _DECIMALS).tolist(),
        }
        for outline in outlines
    ]
    path.parent.mkdir(exist_ok=True)
    return write_text(path, json.dumps(stored) + "\n")


def read_outlines(path: Path) -> tuple[Outline, ...]:
    """Outlines of an image as :func:`write_outlines` wrote them.

    :raises DatasetError: unreadable, or not such outlines.
    """
    try:
        stored = _STORED.validate_json(read_bytes(path, MOST_JSON_BYTES))
        return tuple(
            Outline(Label[each.label], _points(each.points_px), each.source) for each in stored
        )
    except (OSError, ValidationError, KeyError, ValueError) as error:
        raise DatasetError(
            f"expected outlines of labels with at least three finite points in {path}, found "
            "something else: make the data set again with  lvseg prepare"
        ) from error


def _points(values: list[tuple[float, float]]) -> Polygon:
    points = np.array(values, np.float64).reshape(-1, 2)
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError("no polygon")
    return points


def inside_share(
    outlines: Mapping[Label, Polygon],
    labels: Sequence[Label],
    factors: tuple[float, float],
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Share of each pixel inside the outer boundary of each label, ``[labels, Y, X]`` in 0..1.

    :param outlines: label -> its outer boundary on the image; a label without one is nowhere.
    :param labels: the innermost first. :param factors: pixels of the result per pixel of the image
        along (rows, columns). :param shape: (rows, columns) of the result.
    """
    result = np.zeros((len(labels), *shape), np.float32)
    scale = np.array([factors[1], factors[0]])
    for channel, label in enumerate(labels):
        if label in outlines:
            result[channel] = coverage((outlines[label] + 0.5) * scale - 0.5, shape)
    return result
