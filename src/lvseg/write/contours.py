"""Contours of every label as sub-pixel polygons: ``contours.json``, and Sunnybrook's text files.

An outline runs through the middles of the pixel edges between inside and outside, so it has no
staircase. That alone cuts every corner and loses half a square pixel a piece; each polygon is
therefore scaled and moved, by hundredths of a pixel where a piece is as large as a ventricle, until
area and centroid are those of its pixels. Volumes and centroids of the polygons are then those of
the mask.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lvseg.atomic import write_text
from lvseg.cine import Cine, Mask
from lvseg.contour_files import CONTOUR_KINDS, contour_name, contour_text, image_numbers
from lvseg.contours import Polygon, centroid_px, signed_area_px, slice_contours
from lvseg.errors import GeometryError
from lvseg.geometry import Grid, index_to_mm
from lvseg.issues import Issue

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Digits after the point, pixels and millimetres: keeps the area of a single pixel to 0.02 %.
DECIMALS = 4


def true_contours(inside: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """Contours of a label in a slice [Y, X], each [N, 2] (x, y), largest first; holes negative.

    Pixel centres are at whole numbers. Signed areas and centroids of the polygons add up to those
    of the pixels. A slice without the label has none.
    """
    return tuple(map(_true_to_pixels, slice_contours(inside)))


def _true_to_pixels(polygon: Polygon) -> Polygon:
    """Scale and move an outline so that area and centroid are those of the pixels in it."""
    pixels = _pixel_corners(polygon)
    scale = np.sqrt(signed_area_px(pixels) / signed_area_px(polygon))
    result: Polygon = centroid_px(pixels) + scale * (polygon - centroid_px(polygon))
    return result


def _pixel_corners(polygon: Polygon) -> Polygon:
    """The outline along pixel edges, [M, 2], of the one through the middles of these edges."""
    step = np.roll(polygon, -1, axis=0) - polygon
    # a slanted line passes one edge every half pixel; a straight one needs its end only
    count = np.where((step != 0).all(axis=1), np.rint(2 * np.abs(step[:, 0])), 1).astype(np.intp)
    part = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    each = np.repeat(step / count[:, None], count, axis=0)
    start = np.repeat(polygon, count, axis=0) + part[:, None] * each
    end = start + each
    upright = start[:, 0] != np.rint(start[:, 0])  # x at a half: an edge between two columns
    corners: Polygon = np.where(
        upright[:, None],
        np.stack([start[:, 0], end[:, 1]], axis=1),
        np.stack([end[:, 0], start[:, 1]], axis=1),
    )
    return corners


def _rounded(points: NDArray[np.float64]) -> list[object]:
    # + 0.0 turns a negative zero into zero: one spelling for one number.
    rounded: list[object] = (np.round(points, DECIMALS) + 0.0).tolist()
    return rounded


def _entries(mask: Mask) -> Iterator[dict[str, object]]:
    inside = {label: mask.of(label) for label in mask.labels_present}
    for (row, phase), index in product(enumerate(mask.phases), range(mask.grid.slices)):
        plane = None if mask.planes is None else mask.planes[index]
        for label in inside:
            for polygon in true_contours(inside[label][row, index]):
                yield {
                    "phase": phase,
                    "slice": index,
                    "label": label.name,
                    "hole": signed_area_px(polygon) < 0,
                    "points_px": _rounded(polygon),
                    "points_mm": (
                        None if plane is None else _rounded(index_to_mm(plane, polygon[:, ::-1]))
                    ),
                }


def _slices(grid: Grid) -> list[dict[str, object]] | None:
    """Where each slice is and which height it stands for, so that the file can be measured."""
    planes = grid.planes
    if planes is None:
        return None
    try:
        heights_mm: list[float | None] = np.round(grid.disc_thickness_mm(), DECIMALS).tolist()
    except GeometryError:  # one slice, or slices at an angle: a volume is not known
        heights_mm = [None] * len(planes)
    return [
        {
            "origin_mm": _rounded(np.asarray(plane.origin_mm)),
            "column_step": list(plane.column_step),
            "row_step": list(plane.row_step),
            "pixel_spacing_mm": list(plane.pixel_spacing_mm),
            "slab_height_mm": height_mm,
        }
        for plane, height_mm in zip(planes, heights_mm, strict=True)
    ]


def write_contours(mask: Mask, cine: Cine, path: Path) -> None:
    """Write every outline of a mask as JSON; equal masks give equal bytes.

    ::

        {"schema": 1,
         "pixel": "x = column, y = row, from 0, pixel centres at integers",
         "patient": "LPS mm" or null,
         "shape": {"phases": T, "slices": Z, "rows": Y, "columns": X},
         "pixel_spacing_mm": [between rows, between columns] or null,
         "slices": null, or for each slice {"origin_mm", "column_step", "row_step",
           "pixel_spacing_mm", "slab_height_mm": height it stands for in a volume, or null},
         "phase_index": the phases that the mask holds, outlined or empty,
         "contours": [
          {"phase": 0, "slice": 3, "label": "LV_CAVITY", "hole": false,
           "points_px": [[x, y], ...], "points_mm": [[x, y, z], ...] or null}]}

    One contour a line, ordered by phase, slice, label, then area (largest first). Polygons are
    closed implicitly. ``hole`` is true for an outline around a hole of the label. ``points_mm`` is
    null where the place of the slice is not known. An empty mask has an empty list. A volume is the
    sum of polygon area (less holes) times slab height, equal to that of the mask.

    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    mask.on(cine)
    phases, slices, rows, columns = cine.shape
    document = {
        "schema": 1,
        "pixel": "x = column, y = row, from 0, pixel centres at integers",
        "patient": None if mask.planes is None else "LPS mm",
        "shape": {"phases": phases, "slices": slices, "rows": rows, "columns": columns},
        "pixel_spacing_mm": mask.pixel_spacing_mm,
        "slices": _slices(mask.grid),
        "phase_index": list(mask.phases),
    }
    head = json.dumps(document, separators=(",", ":"))[:-1]
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in _entries(mask))
    write_text(path, f'{head},\n"contours":[' + (f"\n{lines}\n" if lines else "") + "]}\n")


def write_contour_text(
    mask: Mask, cine: Cine, folder: Path, source_headers: Mapping[str, Dataset] | None = None
) -> tuple[tuple[Path, ...], tuple[Issue, ...]]:
    """Write the contours of every frame as text files (:mod:`lvseg.contour_files`).

    ``icontour`` is the outline of the cavity, ``ocontour`` the epicardium, where the mask has it.
    Equal masks give equal bytes.

    :param source_headers: SOP Instance UID -> header of the source object.
    :returns: the files, by phase then slice (none for an empty mask), and an issue
        ``contour-simplified`` when a frame has holes or several pieces: a file holds one outline,
        that of the largest piece.
    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    mask.on(cine)
    numbers = image_numbers(cine, source_headers)
    written, simplified = [], 0
    for kind, around in CONTOUR_KINDS.items():
        if around not in mask.labels_present:
            continue
        for inside, phase in zip(mask.within(around), mask.phases, strict=True):
            for index, slice_inside in enumerate(inside):
                polygons = true_contours(slice_inside)
                if not polygons:
                    continue
                name = contour_name(numbers[phase][index], kind)
                written.append(write_text(folder / name, contour_text(polygons[0])))
                simplified += len(polygons) > 1
    if not simplified:
        return tuple(written), ()
    text = f"{simplified} contour file(s) hold the largest piece only, without its holes"
    return tuple(written), (Issue("contour-simplified", "warning", text),)
