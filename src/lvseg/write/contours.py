"""Outlines of the cavity as polygons: ``contours.json`` and the lines of the overlays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import index_to_mm
from lvseg.labels import Label
from lvseg.outlines import outlines, signed_area_px
from lvseg.write.files import write_text

__all__ = ["contours_document", "write_contours"]

#: Digits after the point: a thousandth of a pixel or of a millimetre, far below any reading error.
DECIMALS = 3


def _listed(points: NDArray[np.float64]) -> list[list[float]]:
    # + 0.0 turns a negative zero into zero: one spelling for one number.
    rounded: list[list[float]] = (np.round(points, DECIMALS) + 0.0).tolist()
    return rounded


def _entries(mask: Mask) -> Iterator[dict[str, object]]:
    for labels, phase in zip(mask.labels, mask.frame_index, strict=True):
        for index, slice_labels in enumerate(labels):
            plane = None if mask.planes is None else mask.planes[index]
            for polygon in outlines(slice_labels == Label.LV_CAVITY):
                yield {
                    "phase": phase,
                    "slice": index,
                    "label": "LV_CAVITY",
                    "hole": signed_area_px(polygon) < 0,
                    "points_px": _listed(polygon),
                    "points_mm": (
                        None if plane is None else _listed(index_to_mm(plane, polygon[:, ::-1]))
                    ),
                }


def contours_document(mask: Mask, cine: Cine) -> dict[str, object]:
    """Describe a mask as ``contours.json`` does; see :func:`write_contours`.

    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    if mask.labels.shape[1:] != cine.shape[1:]:
        raise GeometryMismatchError(
            f"expected a mask of the shape {cine.shape[1:]} of the cine, "
            f"found {mask.labels.shape[1:]}"
        )
    return {
        "schema": 1,
        "pixel": "x = column, y = row, from 0, pixel centres at integers",
        "patient": None if mask.planes is None else "LPS mm",
        "shape": {"phases": cine.shape[0], "slices": cine.shape[1]}
        | {"rows": cine.shape[2], "columns": cine.shape[3]},
        "pixel_spacing_mm": None if mask.pixel_spacing_mm is None else list(mask.pixel_spacing_mm),
        "contours": list(_entries(mask)),
    }


def write_contours(mask: Mask, cine: Cine, path: Path) -> None:
    """Write every outline of a mask as JSON; equal masks give equal bytes.

    ::

        {"schema": 1,
         "pixel": "x = column, y = row, from 0, pixel centres at integers",
         "patient": "LPS mm" or null,
         "shape": {"phases": T, "slices": Z, "rows": Y, "columns": X},
         "pixel_spacing_mm": [between rows, between columns] or null,
         "contours": [
          {"phase": 0, "slice": 3, "label": "LV_CAVITY", "hole": false,
           "points_px": [[x, y], ...], "points_mm": [[x, y, z], ...] or null}]}

    One contour a line, ordered by phase, slice, then area (largest first). Polygons are closed
    implicitly. ``hole`` is true for an outline around a hole of the cavity. ``points_mm`` is null
    where the place of the slice is not known. An empty mask has an empty list.

    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    document = contours_document(mask, cine)
    entries = document.pop("contours")
    assert isinstance(entries, list)  # noqa: S101 - narrows the type for mypy
    head = json.dumps(document, separators=(",", ":"))[:-1]
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    text = f'{head},\n"contours":[\n{lines}\n]}}\n' if entries else f'{head},\n"contours":[]}}\n'
    write_text(path, text)
