"""Evaluation of a model on the images of a data set folder, full frame, as ``segment`` runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lvseg import manifest, pipeline
from lvseg.evaluate.rows import (
    Evaluation,
    ImageRow,
    compare_slice,
    finish,
    foreground,
    without_reference,
)
from lvseg.issues import Issue
from lvseg.manifest import Sample
from lvseg.modelcard import TrainingData
from lvseg.predict import Predictor
from lvseg.samples import groups, phases_as_cine, read_sample
from lvseg.settings import Settings


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
    for group in groups(chosen, by_patient):
        pairs = {place: read_sample(folder, chosen[place]) for place in group}
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
