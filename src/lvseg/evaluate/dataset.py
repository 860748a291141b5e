"""Evaluation of a model on the images of a data set folder, full frame, as ``segment`` runs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg import manifest, pipeline
from lvseg.cine import Cine, Source
from lvseg.errors import DatasetError, GeometryMismatchError
from lvseg.evaluate.rows import (
    Evaluation,
    ImageRow,
    compare_slice,
    finish,
    foreground,
    without_reference,
)
from lvseg.geometry import Grid
from lvseg.issues import Issue
from lvseg.manifest import Sample
from lvseg.modelcard import TrainingData
from lvseg.names import PHASES
from lvseg.predict import Predictor
from lvseg.read import read_mask, read_picture
from lvseg.settings import Settings

#: Where each image is in its cine: number of the image -> (phase, slice).
Places = dict[int, tuple[int, int]]


def evaluate(
    folder: Path,
    split: str,
    predictor: Predictor,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    by_patient: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Judge a model on the samples of a split.

    Each image goes full frame through :func:`lvseg.pipeline.segment_mask`, with the spacing that
    the manifest states for it, or none. A label is judged where the mask says where it is.

    :param split: split names joined by '+', or 'all'. :param seed: of the bootstrap.
    :param by_patient: the images of a patient go together, as a study of two phases: the heart is
        looked for on all of them, intensities are scaled and masks cleaned as of a study.
    :param progress: called with (images done, images).
    :raises DatasetError: a broken folder. PatientLeakError: a patient in two splits.
    :raises UsageError: a split that the manifest does not have.
    :raises GeometryMismatchError: a mask that does not fit its image.
    """
    every = manifest.read_manifest(folder)
    chosen = manifest.select(every, split)
    leaked = leaked_patients(folder, chosen, predictor.card.training)
    rows = dict[int, list[ImageRow]]()
    for group in _groups(chosen, by_patient):
        pairs = {place: _read(folder, chosen[place]) for place in group}
        cines = {place: cine for place, (cine, _) in pairs.items()}
        for cine, places in phases_as_cine({place: chosen[place] for place in group}, cines):
            mask = pipeline.segment_mask(cine, predictor, settings)
            for place, at in places.items():
                sample = chosen[place]
                rows[place] = [
                    compare_slice(
                        pairs[place][1] == label,
                        mask.of(label)[at],
                        file=sample.file,
                        patient_id=sample.patient_id,
                        label=label,
                        pixel_spacing_mm=cine.pixel_spacing_mm,
                        phase=sample.phase,
                        slice_index=sample.slice_index,
                        pathology=sample.pathology,
                    )
                    for label in foreground()
                    if manifest.labelled(sample, label)
                ]
            if progress is not None:
                progress(len(rows), len(chosen))
    images, patients = finish(row for place in sorted(rows) for row in rows[place])
    issues = without_reference(images) + tuple(
        Issue("training-patient", "warning", f"patient {name} is among the model's training data")
        for name in leaked
    )
    name = predictor.card.name
    flips = (settings or Settings()).flips
    return Evaluation(images, patients, leaked, issues, name, split, seed, by_patient, flips)


def leaked_patients(
    folder: Path, samples: Sequence[Sample], training: TrainingData
) -> tuple[str, ...]:
    """Patients the model was trained on: by number, or by the bytes of any of their images."""
    trained, known = set(training.patients), set(training.image_sha256)
    leaked = {sample.patient_id for sample in samples if sample.patient_id in trained}
    if known:
        hashes = manifest.image_hashes(folder, samples)
        leaked |= {sample.patient_id for sample in samples if hashes[sample.file] in known}
    return tuple(sorted(leaked))


def _groups(samples: Sequence[Sample], by_patient: bool) -> list[list[int]]:
    """Places of the samples, one by one or those of a patient and a pixel spacing together."""
    found = defaultdict[object, list[int]](list)
    for place, sample in enumerate(samples):
        key = (sample.patient_id, sample.pixel_spacing_mm) if by_patient else place
        found[key].append(place)
    return list(found.values())


def _read(folder: Path, sample: Sample) -> tuple[Cine, NDArray[np.uint8]]:
    """An image as a cine of one frame, and the labels of its mask [Y, X]."""
    paths = manifest.image_path(folder, sample), manifest.mask_path(folder, sample)
    for path in paths:
        if not path.is_file():
            raise DatasetError(
                f"expected {path} as the manifest says, found no such file: run  lvseg check"
            )
    image, labels = read_picture(paths[0]), read_mask(paths[1]).labels
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
