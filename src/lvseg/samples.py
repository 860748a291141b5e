"""Samples of a data set folder as cines: by themselves, or those of a patient as a study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg import manifest
from lvseg.cine import Cine, Source
from lvseg.errors import DatasetError, GeometryMismatchError
from lvseg.geometry import Grid
from lvseg.labels import Label
from lvseg.manifest import Sample
from lvseg.names import PHASES
from lvseg.read import read_mask, read_picture

#: Where each image is in its cine: number of the image -> (phase, slice).
Places = dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Images as the frames of one cine.

    :param numbers: of the image at each phase and slice, ``[T, Z]``; where there is none, that of
        the slice's other phase stands in.
    :param places: of each image.
    """

    numbers: NDArray[np.intp]
    places: Places


def read_sample(
    folder: Path, sample: Sample, label_values: Mapping[int, Label] | None = None
) -> tuple[Cine, NDArray[np.uint8]]:
    """Image of a sample as a cine of one frame, and the labels of its mask [Y, X].

    :param label_values: what the values of the masks mean; None = our own.
    :raises DatasetError: a file is missing, or a mask of more than one picture.
    :raises GeometryMismatchError: image and mask differ in size.
    """
    paths = manifest.image_path(folder, sample), manifest.mask_path(folder, sample)
    for path in paths:
        if not path.is_file():
            raise DatasetError(
                f"expected {path} as the manifest says, found no such file: run  lvseg check"
            )
    image, labels = read_picture(paths[0]), read_mask(paths[1], label_values=label_values).labels
    if labels.shape[:2] != (1, 1):
        raise DatasetError(
            f"expected a mask of one picture, found shape {labels.shape}: {paths[1]}"
        )
    reference: NDArray[np.uint8] = labels[0, 0]
    if image.shape != reference.shape:
        raise GeometryMismatchError(
            f"expected a mask of {image.shape[0]} x {image.shape[1]} pixels like its picture, "
            f"found {reference.shape[0]} x {reference.shape[1]}: {paths[1]}"
        )
    spacing = None if sample.pixel_spacing_mm is None else (sample.pixel_spacing_mm,) * 2
    source = Source(format="picture", name=Path(sample.file).stem, location=str(paths[0]))
    return Cine.of_image(image, source, spacing), reference


def groups(samples: Sequence[Sample], by_patient: bool) -> list[list[int]]:
    """Numbers of the samples, one by one or those of a patient and a pixel spacing together."""
    found = defaultdict[object, list[int]](list)
    for place, sample in enumerate(samples):
        key = (sample.patient_id, sample.pixel_spacing_mm) if by_patient else place
        found[key].append(place)
    return list(found.values())


def arrange(
    samples: Mapping[int, Sample], shapes: Mapping[int, tuple[int, ...]]
) -> Iterator[Arrangement]:
    """How images of one patient and pixel spacing make cines.

    Those of one size whose phase and slice the manifest states make one cine of two phases; where
    a slice has no image of one phase, that of the other stands in. Every other image, and a
    second one of the same place, is a cine by itself.

    :param samples, shapes: under the same numbers.
    """
    held = defaultdict[tuple[int, ...], dict[tuple[int, int], int]](dict)
    for number, sample in samples.items():
        there, index = held[shapes[number]], sample.slice_index
        if sample.phase in PHASES and index is not None:
            key = (PHASES.index(sample.phase), index)
            if there.setdefault(key, number) == number:
                continue
        yield Arrangement(np.array([[number]]), {number: (0, 0)})
    for there in held.values():
        if there:
            yield _together(there)


def _together(there: Mapping[tuple[int, int], int]) -> Arrangement:
    """The images at (phase, slice index) as one cine."""
    phases = sorted({phase for phase, _ in there})
    slices = sorted({index for _, index in there})

    def number(phase: int, index: int) -> int:
        found = there.get((phase, index))
        if found is None:
            found = next(there[other, index] for other in phases if (other, index) in there)
        return found

    numbers = np.array([[number(phase, index) for index in slices] for phase in phases])
    places = {
        number: (phases.index(phase), slices.index(index))
        for (phase, index), number in there.items()
    }
    return Arrangement(numbers, places)


def phases_as_cine(
    samples: Mapping[int, Sample], images: Mapping[int, Cine]
) -> Iterator[tuple[Cine, Places]]:
    """Images of one patient and pixel spacing as cines, arranged by :func:`arrange`.

    :param samples, images: under the same numbers; an image is a cine of one frame.
    """
    shapes = {number: image.shape for number, image in images.items()}
    for found in arrange(samples, shapes):
        one = images[int(found.numbers[0, 0])]
        if found.numbers.size == 1:
            yield one, found.places
            continue
        frames = np.stack([[images[int(n)].frames[0, 0] for n in row] for row in found.numbers])
        grid = Grid.of(frames, pixel_spacing_mm=one.pixel_spacing_mm)
        yield replace(one, frames=frames, grid=grid), found.places
