"""Evaluation of a model on the images of a data set folder, full frame, as ``segment`` runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg import manifest, pipeline
from lvseg.cine import Mask
from lvseg.contour_files import CONTOUR_OFFSET_PX
from lvseg.contours import slice_contours
from lvseg.evaluate.rows import (
    Evaluation,
    ImageRow,
    compare_slice,
    finish,
    foreground,
    without_reference,
)
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.manifest import Sample
from lvseg.modelcard import TrainingData
from lvseg.outlines import fill_with_line
from lvseg.predict import Predictor
from lvseg.samples import groups, phases_as_cine, read_sample
from lvseg.settings import Settings

BoolArray = NDArray[np.bool_]


def evaluate(
    folder: Path,
    split: str,
    predictor: Predictor,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    by_patient: bool = False,
    with_line: bool = False,
    label_values: Mapping[int, Label] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Judge a model on the samples of a split.

    Each image goes full frame through :func:`lvseg.pipeline.segment_mask`, with the spacing that
    the manifest states for it, or none. A label is judged where the mask says where it is.

    :param split: split names joined by '+', or 'all'. :param seed: of the bootstrap.
    :param by_patient: the images of a patient go together, as a study of two phases: the heart is
        looked for on all of them, intensities are scaled and masks cleaned as of a study.
    :param with_line: masks of the model are drawn again with their line before they are compared,
        as the public Sunnybrook masks were (:func:`lvseg.outlines.fill_with_line`): for a model
        that learnt the outlines behind them.
    :param label_values: what the values of the masks mean; None = our own.
    :param progress: called with (images done, images).
    :raises DatasetError: a broken folder. PatientLeakError: a patient in two splits.
    :raises UsageError: a split that the manifest does not have.
    :raises GeometryMismatchError: a mask that does not fit its image.
    """
    every = manifest.read_manifest(folder)
    chosen = manifest.select(every, split)
    leaked = leaked_patients(folder, chosen, predictor.card.training)
    rows = dict[int, list[ImageRow]]()
    for group in groups(chosen, by_patient):
        pairs = {place: read_sample(folder, chosen[place], label_values) for place in group}
        cines = {place: cine for place, (cine, _) in pairs.items()}
        for cine, places in phases_as_cine({place: chosen[place] for place in group}, cines):
            mask = pipeline.segment_mask(cine, predictor, settings)
            for place, at in places.items():
                sample = chosen[place]
                rows[place] = [
                    compare_slice(
                        pairs[place][1] == label,
                        _structure(mask, label, at, with_line),
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


def _structure(mask: Mask, label: Label, at: tuple[int, int], with_line: bool) -> BoolArray:
    """A structure of a mask at one place, [Y, X]."""
    if with_line:
        own, within = (_filled_with_line(mask.labels[at], end) for end in (label, label - 1))
        return own & ~within
    inside: BoolArray = mask.of(label)[at]
    return inside


def _filled_with_line(labels: NDArray[np.uint8], last: int) -> BoolArray:
    """Inside the outer boundary of the structures up to ``last``, with the line [Y, X]."""
    inside = (labels > 0) & (labels <= last)
    filled = np.zeros_like(inside)
    for polygon in slice_contours(inside):
        filled |= fill_with_line(polygon - CONTOUR_OFFSET_PX, inside.shape)
    return filled


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
