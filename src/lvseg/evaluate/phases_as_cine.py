"""Images of a data set put together as the cine they came from: end-diastole, end-systole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine
from lvseg.geometry import Grid
from lvseg.manifest import Sample

#: What the manifest calls end-diastole and end-systole.
PHASES = ("ED", "ES")

#: Where each image is in its cine: number of the image -> (phase, slice).
Places = dict[int, tuple[int, int]]


def phases_as_cine(
    samples: Mapping[int, Sample], images: Mapping[int, Cine]
) -> Iterator[tuple[Cine, Places]]:
    """Images of one patient and pixel spacing as cines.

    Those of one size whose phase and slice the manifest states make one cine of two phases; where
    a slice has no image of one phase, that of the other stands in. Every other image, and a
    second one of the same place, is a cine by itself.

    :param samples, images: under the same numbers; an image is a cine of one frame.
    """
    held = defaultdict[tuple[int, ...], dict[tuple[int, int], int]](dict)
    for number, sample in samples.items():
        there, index = held[images[number].shape], sample.slice_index
        if sample.phase in PHASES and index is not None:
            key = (PHASES.index(sample.phase), index)
            if there.setdefault(key, number) == number:
                continue
        yield images[number], {number: (0, 0)}
    for there in held.values():
        if there:
            yield _stack(there, images)


def _stack(there: Mapping[tuple[int, int], int], images: Mapping[int, Cine]) -> tuple[Cine, Places]:
    """One cine of the images at (phase, slice index)."""
    phases = sorted({phase for phase, _ in there})
    slices = sorted({index for _, index in there})

    def frame(phase: int, index: int) -> NDArray[np.float32]:
        number = there.get((phase, index))
        if number is None:
            number = next(there[other, index] for other in phases if (other, index) in there)
        found: NDArray[np.float32] = images[number].frames[0, 0]
        return found

    frames = np.stack([[frame(phase, index) for index in slices] for phase in phases])
    places = {
        number: (phases.index(phase), slices.index(index))
        for (phase, index), number in there.items()
    }
    one = images[next(iter(there.values()))]
    grid = Grid.of(frames, pixel_spacing_mm=one.pixel_spacing_mm)
    return replace(one, frames=frames, grid=grid), places
