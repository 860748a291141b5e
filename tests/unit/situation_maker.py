"""A heart whose volumes are counted by hand, as DICOM, NIfTI and masks: the odd studies start here.

Grey is 250 in the cavity and 12 elsewhere, both with a slight shade. Pixels are 1.35 x 1.25 mm and
slices 9 mm apart, so that a pixel of a slice stands for 0.0151875 ml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nifti_maker
import numpy as np
from pydicom.dataset import Dataset
from read_maker import image

SLICES, PHASES, ROWS, COLUMNS = 7, 6, 64, 60
PIXEL_MM, STEP_MM = (1.35, 1.25), 9.0
#: The double-oblique place of ``nifti_maker``, with these steps.
AFFINE = nifti_maker.SHORT_AXIS.copy()
AFFINE[:3, :3] *= np.array([PIXEL_MM[1] / 1.5, PIXEL_MM[0] / 1.25, STEP_MM / 9.0])


def cavity(phase: float, position: int) -> np.ndarray:
    """Where the cavity is, [rows, columns]: a disc off the middle, smallest in phase 3 of 6."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    radius = (14 + position) * (1 - 0.3 * np.sin(np.pi * phase / PHASES) ** 2)
    inside: np.ndarray = (rows - 33) ** 2 + (columns - 28) ** 2 < radius**2
    return inside


def grey(phase: float, position: int) -> np.ndarray:
    """The image of it."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    shade = (rows + columns) % 16
    return (np.where(cavity(phase, position), 250, 12) + shade).astype(np.uint16)


def true_ml() -> tuple[float, float]:
    """(EDV, ESV): pixels counted x 1.35 x 1.25 x 9 / 1000."""
    counts = [sum(int(cavity(t, z).sum()) for z in range(SLICES)) for t in range(PHASES)]
    return max(counts) * 0.0151875, min(counts) * 0.0151875


def images(**changes: Any) -> list[list[Dataset]]:
    """The study as scanners write it, [slice][phase]; ``changes`` as in ``read_maker.image``."""
    values = {"PixelSpacing": list(PIXEL_MM), **changes}
    return [
        [image(t, z, pixels=grey(t, z), **values) for t in range(PHASES)] for z in range(SLICES)
    ]


def flat(stack: list[list[Dataset]]) -> list[Dataset]:
    return [each for place in stack for each in place]


def nifti_greys() -> np.ndarray:
    """The cine as NIfTI has it, [column, row, slice, phase]."""
    frames = [[grey(t, z).T for t in range(PHASES)] for z in range(SLICES)]
    return np.array(frames, np.int16).transpose(2, 3, 0, 1)


def labels(*, cavity_value: int = 1, others: tuple[int, ...] = ()) -> np.ndarray:
    """The mask of every phase, [column, row, slice, phase]; ``others`` stand in a corner."""
    inside = [[cavity(t, z).T for t in range(PHASES)] for z in range(SLICES)]
    mask = np.array(inside, np.uint8).transpose(2, 3, 0, 1) * np.uint8(cavity_value)
    for place, value in enumerate(others):
        mask[3 * place : 3 * place + 3, :4] = value
    return mask


def save_nifti(
    path: Path, data: np.ndarray, affine: np.ndarray | None = AFFINE, **more: Any
) -> Path:
    return nifti_maker.save(path, data, affine, **more)
