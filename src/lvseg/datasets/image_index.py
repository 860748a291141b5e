"""Index of the images of a DICOM folder: image number -> slice and phase.

Contours of the Sunnybrook set name images by number. Slices are told apart by position, counted in
the order of their lowest number; the phase is the rank of a number within its slice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import DatasetError, GeometryError
from lvseg.geometry import Plane, disc_thickness_mm, slice_spacing_mm, sort_order
from lvseg.read.dicom import read_frame_header
from lvseg.read.frames import FrameInfo

_LAST_NUMBER = re.compile(r"(\d+)$")


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


def disc_thickness_of(planes: tuple[Plane, ...]) -> NDArray[np.float64]:
    """:func:`lvseg.geometry.disc_thickness_mm` for slices in any order, shape [Z], mm."""
    order = sort_order(planes)
    heights = np.empty(len(planes))
    heights[order] = disc_thickness_mm([planes[i] for i in order])
    return heights


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
