"""Reference contours of a study: their volumes, and the frames that the experts left empty."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lvseg.contours import area_px
from lvseg.datasets.contours import read_contour
from lvseg.datasets.image_index import ImageIndex, disc_thickness_of, index_images
from lvseg.errors import DatasetError

PhaseName = Literal["ED", "ES"]

_NAME = re.compile(r"^IM-\d+-(\d+)-icontour-manual\.txt$", re.IGNORECASE)


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


@dataclass(frozen=True, slots=True)
class EmptyFrame:
    """A frame at ED or ES that the experts left without a contour.

    :param distance_from_contoured: slices to the nearest contoured slice of the same phase; at 1
        the cavity may still be in part of the image.
    """

    image_number: int
    slice: int
    phase: int
    name: PhaseName
    distance_from_contoured: int


def endocardial_contours(folder: Path) -> dict[int, Path]:
    """Image number -> contour file ``IM-xxxx-NNNN-icontour-manual.txt``, at any depth.

    :raises DatasetError: no such file, or two for one image.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.rglob("*.txt")):
        match = _NAME.match(path.name)
        if match is None:
            continue
        number = int(match.group(1))
        if number in found:
            raise DatasetError(
                f"expected one endocardial contour an image, found two for image {number} "
                f"in {folder}: name the folder of one reader"
            )
        found[number] = path
    if not found:
        raise DatasetError(
            f"expected contour files IM-0001-NNNN-icontour-manual.txt, found none in {folder}"
        )
    return found


def label_phases(
    areas: Mapping[int, float], place: Mapping[int, tuple[int, int]]
) -> dict[int, PhaseName]:
    """Image number -> ED or ES, from the areas of the contours.

    On a slice with two contours the larger is ED. A slice with one contour takes the name whose
    phases, on the other slices, lie closer (the cycle is closed: the last phase precedes phase 0,
    so this is a distance on a circle). With no slice of two contours all count as ED.

    :param areas: image number -> area in any unit.
    :param place: image number -> (slice, phase).
    :raises DatasetError: more than two contours on a slice.
    """
    slices: dict[int, list[int]] = {}
    for number in areas:
        slices.setdefault(place[number][0], []).append(number)
    names: dict[int, PhaseName] = {}
    for z, numbers in slices.items():
        if len(numbers) > 2:
            raise DatasetError(
                f"expected contours at two phases a slice, found {len(numbers)} on slice {z}"
            )
        if len(numbers) == 2:
            small, large = sorted(numbers, key=lambda number: areas[number])
            names[large], names[small] = "ED", "ES"
    usual = {name: _usual_phase(names, place, name) for name in ("ED", "ES")}
    cycle = 1 + max(phase for _, phase in place.values())
    for numbers in slices.values():
        if len(numbers) == 1:
            phase = place[numbers[0]][1]
            names[numbers[0]] = _nearest(phase, usual, cycle)
    return names


def _usual_phase(
    names: Mapping[int, PhaseName], place: Mapping[int, tuple[int, int]], name: str
) -> int | None:
    phases = [place[number][1] for number, given in names.items() if given == name]
    return int(np.bincount(phases).argmax()) if phases else None


def _nearest(phase: int, usual: Mapping[str, int | None], cycle: int) -> PhaseName:
    def distance(name: str) -> int:
        other = usual[name]
        if other is None:
            return cycle
        return min((phase - other) % cycle, (other - phase) % cycle)

    return "ES" if distance("ES") < distance("ED") else "ED"


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
        ed_phase=_usual_phase(names, index.place, "ED") or 0,
        es_phase=_usual_phase(names, index.place, "ES") or 0,
        edv_ml=edv_ml,
        esv_ml=esv_ml,
        ef_percent=100 * (edv_ml - esv_ml) / edv_ml,
    )


def _heights(numbers: Collection[int], index: ImageIndex) -> dict[int, float]:
    slices = sorted({index.place[number][0] for number in numbers})
    if len(slices) == 1:
        whole = disc_thickness_of(index.planes)
        height_of = {slices[0]: float(whole[slices[0]])}
    else:
        values = disc_thickness_of(tuple(index.planes[z] for z in slices))
        height_of = dict(zip(slices, values.tolist(), strict=True))
    return {number: height_of[index.place[number][0]] for number in numbers}


def empty_frames(index: ImageIndex, contoured: Mapping[int, PhaseName]) -> tuple[EmptyFrame, ...]:
    """Frames at the usual ED and ES phase of a stack that are not among the contoured ones.

    A slice whose contour of that name lies at another phase counts as contoured.

    :param contoured: image number -> ED or ES.
    """
    frames: list[EmptyFrame] = []
    names: tuple[PhaseName, ...] = ("ED", "ES")
    for name in names:
        phase = _usual_phase(contoured, index.place, name)
        if phase is None:
            continue
        drawn = {index.place[number][0] for number, given in contoured.items() if given == name}
        for z in range(len(index.planes)):
            number = index.number_at(z, phase)
            if z in drawn or number is None or number in contoured:
                continue
            distance = min(abs(z - other) for other in drawn)
            frames.append(EmptyFrame(number, z, phase, name, distance))
    return tuple(sorted(frames, key=lambda frame: frame.image_number))
