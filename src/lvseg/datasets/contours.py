"""Contours of experts: their text files, the images that they were drawn on, and masks.

Contours of the Sunnybrook set name images by number. Slices are told apart by position, counted in
the order of their lowest number; the phase is the rank of a number within its slice.

Points are (x, y) = (column, row) in pixels, pixel centres at whole numbers. Contour files of the
Sunnybrook set step by half a pixel, because they were drawn on images enlarged twice; the centre
of half-pixel number 2x lies a quarter of a pixel before x. Measured on the 204 endocardial
contours whose expert masks are public: mask centroid minus polygon centroid is -0.249 (columns)
and -0.259 (rows) pixels, and the step of grey values across the contour grows the same way.
:mod:`lvseg.contour_files` takes the quarter away, and adds it to what it writes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lvseg.bounds import MOST_JSON_BYTES, read_bytes
from lvseg.contour_files import CONTOUR_KINDS, contour_points
from lvseg.contours import Polygon
from lvseg.errors import DatasetError, GeometryError
from lvseg.geometry import Plane, slice_spacing_mm, sort_order
from lvseg.labels import Label
from lvseg.read.dicom import read_frame_header
from lvseg.read.frames import FrameInfo

PhaseName = Literal["ED", "ES"]
_LAST_NUMBER = re.compile(r"(\d+)$")


def read_contour(path: Path) -> Polygon:
    """Points [N, 2] (x, y) of a contour file with one ``x y`` pair a line, pixel-centre convention.

    :raises DatasetError: unreadable, not two finite numbers a line, or fewer than three points.
    """
    try:
        return contour_points(read_bytes(path, MOST_JSON_BYTES).decode("ascii"))
    except OSError as error:
        raise DatasetError(f"cannot read {path.name}: {error.strerror}") from error
    except ValueError as error:  # no ASCII among them
        raise DatasetError(f"{error} in {path.name}: repair or remove the contour file") from error


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """Where each numbered image of a cine of single images lies.

    :param place: image number -> (slice, phase), indices from 0.
    :param files: image number -> file.
    :param planes: one per slice.
    """

    place: Mapping[int, tuple[int, int]]
    files: Mapping[int, Path]
    planes: tuple[Plane, ...]

    def number_at(self, slice_index: int, phase: int) -> int | None:
        """The image number at a place; None where the slice has no such phase."""
        for number, place in self.place.items():
            if place == (slice_index, phase):
                return number
        return None

    @property
    def slice_spacing_mm(self) -> float | None:
        """Centre-to-centre distance; None for one slice, and for an irregular stack."""
        if len(self.planes) < 2:
            return None
        try:
            return slice_spacing_mm([self.planes[i] for i in sort_order(self.planes)])
        except GeometryError:
            return None


def _number(path: Path, header: FrameInfo) -> int | None:
    """The number at the end of the file name; InstanceNumber where the name has none."""
    match = _LAST_NUMBER.search(path.stem)
    number = match.group(1) if match else header.times.get("InstanceNumber")
    return None if number is None else int(number)


def index_images(folder: Path, wanted: Collection[int] = ()) -> ImageIndex:
    """Index the ``*.dcm`` files under a folder.

    With several series, the one that holds every wanted number is taken; of several such series
    the one with most images.

    :param wanted: image numbers that must be there, for example those with a contour.
    :raises DatasetError: no DICOM images with a position, a wanted number is absent, or two series
        fit equally well.
    """
    series: dict[str, dict[int, tuple[Path, Plane]]] = defaultdict(dict)
    for path in sorted(folder.rglob("*.dcm")):
        header = read_frame_header(path)
        number = _number(path, header)
        if number is not None and header.plane is not None:
            series[header.series_uid][number] = (path, header.plane)
    if not series:
        raise DatasetError(
            f"expected DICOM images (*.dcm) with a position, found none in {folder}: "
            "name the folder that holds the study"
        )
    fit = [images for images in series.values() if set(wanted) <= set(images)]
    fit.sort(key=len, reverse=True)
    if not fit:
        known = set().union(*series.values())
        absent = sorted(set(wanted) - known) or sorted(wanted)
        raise DatasetError(
            f"expected image(s) {absent[:5]} of the contours in one series, found none such in "
            f"{folder}: is this the study the contours were drawn on?"
        )
    if len(fit) > 1 and len(fit[0]) == len(fit[1]):
        raise DatasetError(
            f"expected one series that fits the contours, found {len(fit)} alike in {folder}: "
            "leave only the short-axis cine there"
        )
    return _indexed(fit[0])


def _indexed(images: Mapping[int, tuple[Path, Plane]]) -> ImageIndex:
    slices: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for number in sorted(images):
        position = images[number][1].origin_mm
        slices[tuple(round(value, 1) for value in position)].append(number)
    return ImageIndex(
        place={
            number: (index, phase)
            for index, numbers in enumerate(slices.values())
            for phase, number in enumerate(numbers)
        },
        files={number: path for number, (path, _) in images.items()},
        planes=tuple(images[numbers[0]][1] for numbers in slices.values()),
    )


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
    found = contour_files(folder, Label.LV_CAVITY)
    if not found:
        raise DatasetError(
            f"expected contour files IM-0001-NNNN-icontour-manual.txt, found none in {folder}"
        )
    return found


def contour_files(folder: Path, label: Label) -> dict[int, Path]:
    """Image number -> file with the outer boundary of a label, at any depth; none is no error.

    :raises DatasetError: two for one image.
    """
    kind = next(kind for kind, around in CONTOUR_KINDS.items() if around == label)
    named = re.compile(rf"^IM-\d+-(\d+)-{kind}-manual\.txt$", re.IGNORECASE)
    found: dict[int, Path] = {}
    for path in sorted(folder.rglob("*.txt")):
        match = named.match(path.name)
        if match is None:
            continue
        number = int(match.group(1))
        if number in found:
            raise DatasetError(
                f"expected one contour of the {label.word} an image, found two for image {number} "
                f"in {folder}: name the folder of one reader"
            )
        found[number] = path
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
    usual = {name: usual_phase(names, place, name) for name in ("ED", "ES")}
    cycle = 1 + max(phase for _, phase in place.values())
    for numbers in slices.values():
        if len(numbers) == 1:
            phase = place[numbers[0]][1]
            names[numbers[0]] = _nearest(phase, usual, cycle)
    return names


def usual_phase(
    names: Mapping[int, PhaseName], place: Mapping[int, tuple[int, int]], name: str
) -> int | None:
    """The phase index on which most contours of a name (ED or ES) lie; None where it has none."""
    phases = [place[number][1] for number, given in names.items() if given == name]
    return int(np.bincount(phases).argmax()) if phases else None


def _nearest(phase: int, usual: Mapping[str, int | None], cycle: int) -> PhaseName:
    def distance(name: str) -> int:
        other = usual[name]
        if other is None:
            return cycle
        return min((phase - other) % cycle, (other - phase) % cycle)

    return "ES" if distance("ES") < distance("ED") else "ED"


def empty_frames(index: ImageIndex, contoured: Mapping[int, PhaseName]) -> tuple[EmptyFrame, ...]:
    """Frames at the usual ED and ES phase of a stack that are not among the contoured ones.

    A slice whose contour of that name lies at another phase counts as contoured.

    :param contoured: image number -> ED or ES.
    """
    frames: list[EmptyFrame] = []
    names: tuple[PhaseName, ...] = ("ED", "ES")
    for name in names:
        phase = usual_phase(contoured, index.place, name)
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
