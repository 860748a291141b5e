"""Volumes of the experts' contours of a study, as the benchmarks compare with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.contours import area_px
from lvseg.datasets.contours import (
    ImageIndex,
    PhaseName,
    endocardial_contours,
    index_images,
    label_phases,
    read_contour,
    usual_phase,
)
from lvseg.errors import DatasetError
from lvseg.geometry import Plane, disc_thickness_mm, sort_order


@dataclass(frozen=True, slots=True)
class ContouredFrame:
    """One endocardial contour: where it is, and the area of its polygon."""

    image_number: int
    slice: int
    phase: int
    name: PhaseName
    area_mm2: float
    slab_height_mm: float


@dataclass(frozen=True, slots=True)
class ReferenceVolumes:
    """Volumes of the experts' endocardial contours of one study.

    :param frames: every contour, in the order of image numbers.
    :param ed_phase: the phase index on which most end-diastolic contours lie, likewise ``es``.
    :param edv_ml: Simpson's rule over the contoured slices.
    """

    frames: tuple[ContouredFrame, ...]
    ed_phase: int
    es_phase: int
    edv_ml: float
    esv_ml: float
    ef_percent: float

    def of(self, name: PhaseName) -> tuple[ContouredFrame, ...]:
        """The contours of one phase."""
        return tuple(frame for frame in self.frames if frame.name == name)

    def slices(self, name: PhaseName) -> tuple[int, ...]:
        """The slices that have a contour at this phase, ascending."""
        return tuple(sorted(frame.slice for frame in self.of(name)))


def reference_volumes(contours: Path, dicom: Path) -> ReferenceVolumes:
    """Volumes and ejection fraction of the endocardial contours of one study.

    Area: the shoelace formula on the polygon itself, times the pixel area. Volume: Simpson's rule
    over the contoured slices, each standing for half the distance to its neighbours
    (:func:`lvseg.geometry.disc_thickness_mm` of those slices; a lone slice takes its height in the
    whole stack). Papillary muscles count as cavity. EF = 100 (EDV - ESV) / EDV.

    :param contours: folder with the patient's ``IM-xxxx-NNNN-icontour-manual.txt``, at any depth.
    :param dicom: folder with the patient's DICOM images, number NNNN = ``NNNN.dcm``.
    :raises DatasetError: no contours, images that do not fit them, or one phase only.
    """
    files = endocardial_contours(contours)
    index = index_images(dicom, files)
    areas = {}
    for number, path in files.items():
        rows_mm, columns_mm = index.planes[index.place[number][0]].pixel_spacing_mm
        areas[number] = area_px(read_contour(path)) * rows_mm * columns_mm
    names = label_phases(areas, index.place)
    if set(names.values()) != {"ED", "ES"}:
        raise DatasetError(f"expected contours at two phases, found one phase in {contours}")
    heights: dict[int, float] = {}
    for name in ("ED", "ES"):
        heights |= _heights([n for n, given in names.items() if given == name], index)
    frames = tuple(
        ContouredFrame(number, *index.place[number], names[number], areas[number], heights[number])
        for number in sorted(files)
    )
    edv_ml, esv_ml = (
        sum(f.area_mm2 * f.slab_height_mm for f in frames if f.name == name) / 1000
        for name in ("ED", "ES")
    )
    return ReferenceVolumes(
        frames=frames,
        ed_phase=usual_phase(names, index.place, "ED") or 0,
        es_phase=usual_phase(names, index.place, "ES") or 0,
        edv_ml=edv_ml,
        esv_ml=esv_ml,
        ef_percent=100 * (edv_ml - esv_ml) / edv_ml,
    )


def _heights(numbers: Collection[int], index: ImageIndex) -> dict[int, float]:
    slices = sorted({index.place[number][0] for number in numbers})
    if len(slices) == 1:
        whole = _disc_thickness_of(index.planes)
        height_of = {slices[0]: float(whole[slices[0]])}
    else:
        values = _disc_thickness_of(tuple(index.planes[z] for z in slices))
        height_of = dict(zip(slices, values.tolist(), strict=True))
    return {number: height_of[index.place[number][0]] for number in numbers}


def _disc_thickness_of(planes: tuple[Plane, ...]) -> NDArray[np.float64]:
    """:func:`lvseg.geometry.disc_thickness_mm` for slices in any order, shape [Z], mm."""
    order = sort_order(planes)
    heights = np.empty(len(planes))
    heights[order] = disc_thickness_mm([planes[i] for i in order])
    return heights
