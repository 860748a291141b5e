"""A small DICOM cine and a mask of it, for the tests of DICOM Segmentations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from enhanced_export import EXPORTS
from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid, Plane
from lvseg.modelcard import InputSpec, ModelCard, OutputSpec, TrainingData
from lvseg.read import read_source_headers, read_study
from lvseg.results import LVMeasurements, Phases, StudyResult

#: A tilted stack: rows grow along ROW, columns along COLUMN, slices along (0, 0.8, 0.6).
ROW, COLUMN = (0.0, 0.6, -0.8), (1.0, 0.0, 0.0)
#: Unequal distances, and one slice missing between the third and the fourth.
HEIGHTS_MM = (0.0, 8.5, 17.5, 35.0, 43.5)
PHASES, SIZE = 4, (20, 26)
PATIENT = "PHANTOM-SEG"


def planes(heights_mm: tuple[float, ...] = HEIGHTS_MM, thickness: float | None = 7.0):
    return tuple(
        Plane((-40.0, 0.8 * h - 30, 0.6 * h + 10), ROW, COLUMN, (1.5, 1.25), thickness)
        for h in heights_mm
    )


def drawn_cine(where: tuple[Plane, ...] | None = None, phases: int = PHASES) -> Cine:
    where = planes() if where is None else where
    frames = np.arange(phases * len(where) * SIZE[0] * SIZE[1], dtype=np.float32) % 997
    return Cine(
        frames=frames.reshape(phases, len(where), *SIZE),
        source=Source("array", "made"),
        grid=Grid.of(frames.reshape(phases, len(where), *SIZE), planes=where),
        times_ms=tuple(20.0 + 190.0 * t for t in range(phases)),
        view="short-axis",
    )


def card() -> ModelCard:
    return ModelCard(
        name="tiny",
        version="7",
        sha256="ab" * 32,
        input=InputSpec(spacing_mm=1.3),
        output=OutputSpec(),
        training=TrainingData(
            name="none", citation="none", licence="none", patients=("p1",), split="training"
        ),
        parameters=2,
        intended_use="tests",
    )


def labels_of(cine: Cine, seed: int = 3) -> np.ndarray:
    """Random pixels in the middle; empty: phase 2, the first and last slice, slice 2 of phase 1."""
    labels = np.zeros(cine.shape, np.uint8)
    labels[:, :, 4:15, 5:22] = np.random.default_rng(seed).integers(0, 2, (*cine.shape[:2], 11, 17))
    if cine.shape[0] > 2 and cine.shape[1] > 3:
        labels[2] = labels[:, 0] = labels[:, -1] = labels[1, 2] = 0
    return labels


def result_of(cine: Cine, labels: np.ndarray | None = None, **more: object) -> StudyResult:
    """A result whose end-diastole is phase 0 and end-systole phase 3, with one phase unknown."""
    labels = labels_of(cine) if labels is None else labels
    index = more.pop("phases", tuple(range(len(labels))))
    known = len(labels) > 1
    phases = Phases(0 if known else None, len(labels) - 1 if known else None, "by hand")
    measurements = LVMeasurements(phases, None, None, (), None, None, None, None)
    return StudyResult(
        cine=cine,
        mask=Mask(labels, index, grid=Grid.of(labels, planes=cine.planes)),
        measurements=measurements,
        issues=(),
        card=more.pop("card", card()),
        **more,
    )


def study(
    folder: Path, cine: Cine | None = None, *, enhanced: bool = False
) -> tuple[Cine, dict[str, Dataset]]:
    """The cine as DICOM files, read back; and the headers of these files."""
    EXPORTS[enhanced](cine or drawn_cine(), folder, patient_id=PATIENT)
    read = read_study(folder).short_axis()
    return read, read_source_headers(folder, read)
