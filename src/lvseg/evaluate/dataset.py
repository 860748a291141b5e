"""A model on the pictures of a data set folder, full frame, exactly as ``segment`` runs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg import cases as manifest
from lvseg import pipeline
from lvseg.cases import Case
from lvseg.cine import Cine, Source
from lvseg.errors import DatasetError, GeometryMismatchError
from lvseg.evaluate.rows import Evaluation, ImageRow, compare_slice, finish
from lvseg.evaluate.stacks import stacks
from lvseg.findings import Finding
from lvseg.labels import Label
from lvseg.modelcard import ModelCard
from lvseg.predict import Predictor
from lvseg.read import read_mask, read_picture

__all__ = ["evaluate", "leaked_patients"]


def evaluate(
    folder: Path,
    split: str,
    predictor: Predictor,
    settings: pipeline.Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    by_patient: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Judge a model on the cases of a split.

    Each picture goes full frame through :func:`lvseg.pipeline.segment`, with the pixel spacing that
    the manifest states for it, or none.

    :param split: split names joined by '+', or 'all'. :param seed: of the bootstrap.
    :param by_patient: the pictures of a patient go together, as a study of two phases: the heart is
        looked for on all of them, intensities are scaled and masks cleaned as of a study.
    :param progress: called with (pictures done, pictures).
    :raises DatasetError: a broken folder. PatientLeakError: a patient in two splits.
    :raises UsageError: a split that the manifest does not have.
    :raises GeometryMismatchError: a mask that does not fit its picture.
    """
    every = manifest.read_manifest(folder)
    chosen = manifest.select(every, split)
    leaked = leaked_patients(folder, chosen, predictor.card)
    rows = dict[int, ImageRow]()
    for group in _groups(chosen, by_patient):
        pairs = {place: _read(folder, chosen[place]) for place in group}
        pictures = {place: cine for place, (cine, _) in pairs.items()}
        for cine, places in stacks({place: chosen[place] for place in group}, pictures):
            mask = pipeline.segment(cine, predictor, settings)
            for place, at in places.items():
                inside = mask.labels[at] == Label.LV_CAVITY
                rows[place] = _row(chosen[place], cine, pairs[place][1], inside)
            if progress is not None:
                progress(len(rows), len(chosen))
    images, patients = finish([rows[place] for place in sorted(rows)])
    findings = tuple(
        Finding("training-patient", "warning", f"patient {name} is among the model's training data")
        for name in leaked
    )
    name = predictor.card.name
    flips = (settings or pipeline.Settings()).flips
    return Evaluation(images, patients, leaked, findings, name, split, seed, by_patient, flips)


def leaked_patients(folder: Path, cases: Sequence[Case], card: ModelCard) -> tuple[str, ...]:
    """Patients that taught the model: by number, or by the bytes of any of their pictures."""
    taught, pictures = set(card.training.patients), set(card.training.image_sha256)
    leaked = {case.patient_id for case in cases if case.patient_id in taught}
    if pictures:
        hashes = manifest.image_hashes(folder, cases)
        leaked |= {case.patient_id for case in cases if hashes[case.file] in pictures}
    return tuple(sorted(leaked))


def _groups(cases: Sequence[Case], by_patient: bool) -> list[list[int]]:
    """Places of the cases, one by one or those of a patient and a pixel spacing together."""
    found = defaultdict[object, list[int]](list)
    for place, case in enumerate(cases):
        key = (case.patient_id, case.pixel_spacing_mm) if by_patient else place
        found[key].append(place)
    return list(found.values())


def _read(folder: Path, case: Case) -> tuple[Cine, NDArray[np.bool_]]:
    """A picture as a cine of one frame, and its cavity [Y, X]."""
    paths = manifest.image_path(folder, case), manifest.mask_path(folder, case)
    for path in paths:
        if not path.is_file():
            raise DatasetError(
                f"expected {path} as the manifest says, found no such file: run  lvseg check"
            )
    picture, reference = read_picture(paths[0]), _cavity(paths[1])
    if picture.shape != reference.shape:
        raise GeometryMismatchError(
            f"expected a mask of {picture.shape[0]} x {picture.shape[1]} pixels like its picture, "
            f"found {reference.shape[0]} x {reference.shape[1]}: {paths[1]}"
        )
    spacing = None if case.pixel_spacing_mm is None else (case.pixel_spacing_mm,) * 2
    source = Source(format="picture", name=Path(case.file).stem, location=str(paths[0]))
    return Cine(picture[None, None], source, pixel_spacing_mm=spacing), reference


def _row(
    case: Case, cine: Cine, reference: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> ImageRow:
    row = compare_slice(
        reference,
        inside,
        file=case.file,
        patient_id=case.patient_id,
        pixel_spacing_mm=cine.pixel_spacing_mm,
    )
    return replace(row, phase=case.phase, slice_index=case.slice_index, pathology=case.pathology)


def _cavity(path: Path) -> NDArray[np.bool_]:
    """Cavity of a mask picture, [Y, X]."""
    labels = read_mask(path).labels
    if labels.shape[:2] != (1, 1):
        raise DatasetError(f"expected a mask of one picture, found shape {labels.shape}: {path}")
    result: NDArray[np.bool_] = labels[0, 0] == Label.LV_CAVITY
    return result
