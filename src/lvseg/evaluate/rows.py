"""Metrics of each image and of each patient, label by label, from two masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lvseg import metrics
from lvseg.cine import base_first
from lvseg.errors import GeometryMismatchError
from lvseg.issues import Issue
from lvseg.labels import Label

#: The label whose figures stand at the top of a document; the others stand under ``by_label``.
HEADLINE = Label.LV_CAVITY

Region = Literal["base", "mid", "apex"]
REGIONS: tuple[Region, ...] = ("base", "mid", "apex")
#: Figures of a row that are summed up over slices.
SCORES = ("dice", "jaccard", "apd_mm", "hd95_mm", "apd_px", "hd95_px")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """Agreement on one label in one slice of one phase.

    :param phase: "ED", "ES", another name, a phase index from 0, or None.
    :param slice_index: from 0, either end may be the base. :param region: third of the ventricle.
    :param shared_px: pixels inside both masks.
    :param apd_mm: average perpendicular distance; NaN where unknown, infinite where one mask is
        empty. ``hd95_mm`` likewise; ``apd_px`` and ``hd95_px`` need no spacing.
    """

    file: str
    patient_id: str
    label: Label
    dice: float
    jaccard: float
    apd_mm: float
    hd95_mm: float
    apd_px: float
    hd95_px: float
    reference_px: int
    prediction_px: int
    shared_px: int
    phase: str | int | None = None
    slice_index: int | None = None
    pathology: str | None = None
    region: Region | None = None

    @property
    def good(self) -> bool | None:
        """Whether the reference's contour was met within 5 mm; None: unknown, or no contour."""
        return metrics.is_good_contour(self.apd_mm) if self.reference_px else None


@dataclass(frozen=True, slots=True)
class PatientRow:
    """Means over the slices of one patient for one label, overlap of whole phases, and EF.

    :param dice_3d: (phase, Dice over all slices of that phase together).
    :param volume_ratio: (phase, predicted over reference volume, from areas summed over slices);
        NaN where the reference holds nothing.
    :param ef_reference_percent: from areas summed over slices; None without two phases.
    """

    patient_id: str
    label: Label
    pathology: str | None
    n_images: int
    dice: float
    jaccard: float
    apd_mm: float
    hd95_mm: float
    apd_px: float
    hd95_px: float
    dice_3d: tuple[tuple[str | int | None, float], ...]
    volume_ratio: tuple[tuple[str | int | None, float], ...]
    ef_reference_percent: float | None
    ef_prediction_percent: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that the document and the table are made from; rows of all labels.

    :param by_patient: the images of a patient went together, as a study.
    :param flips: four mirror images were averaged.
    """

    images: tuple[ImageRow, ...]
    patients: tuple[PatientRow, ...]
    leaked_patients: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()
    model: str | None = None
    split: str | None = None
    seed: int = 0
    by_patient: bool = False
    flips: bool = False

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels that have rows, by value."""
        return tuple(sorted({row.label for row in self.images}))

    def of(self, label: Label = HEADLINE) -> Evaluation:
        """The same with the rows of one label."""
        return replace(
            self,
            images=tuple(row for row in self.images if row.label == label),
            patients=tuple(row for row in self.patients if row.label == label),
        )


def foreground() -> tuple[Label, ...]:
    """Every label that a mask can hold, by value."""
    return tuple(label for label in Label if label != Label.BACKGROUND)


def compare_slice(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    *,
    file: str,
    patient_id: str,
    label: Label,
    pixel_spacing_mm: tuple[float, float] | None,
    phase: str | int | None,
    slice_index: int | None,
    pathology: str | None,
) -> ImageRow:
    """Every metric of one label in one slice.

    :param reference: where the label is, bool or 0/1, [Y, X]; ``prediction`` the same shape.
    :param phase, slice_index, pathology: as in :class:`ImageRow`.
    :raises GeometryMismatchError: shapes differ.
    """
    if reference.shape != prediction.shape:
        raise GeometryMismatchError(
            f"{file}: expected a prediction of shape {reference.shape} as the reference, found "
            f"{prediction.shape}: put both on the same grid"
        )
    inside = reference.astype(bool), prediction.astype(bool)
    return ImageRow(
        file=file,
        patient_id=patient_id,
        label=label,
        dice=metrics.dice(*inside),
        jaccard=metrics.jaccard(*inside),
        apd_mm=metrics.average_perpendicular_distance_mm(*inside, pixel_spacing_mm),
        hd95_mm=metrics.hd95_mm(*inside, pixel_spacing_mm),
        apd_px=metrics.average_perpendicular_distance_px(*inside),
        hd95_px=metrics.surface_distances(*inside).hausdorff(95.0),
        reference_px=int(np.count_nonzero(inside[0])),
        prediction_px=int(np.count_nonzero(inside[1])),
        shared_px=int(np.count_nonzero(inside[0] & inside[1])),
        phase=phase,
        slice_index=slice_index,
        pathology=pathology,
    )


def finish(rows: Iterable[ImageRow]) -> tuple[tuple[ImageRow, ...], tuple[PatientRow, ...]]:
    """Give each row its region and sum up each patient and label, in the order of their rows.

    Rows of a label that no mask holds anywhere are left out, apart from :data:`HEADLINE`.
    """
    every = tuple(rows)
    held = {row.label for row in every if row.reference_px or row.prediction_px} | {HEADLINE}
    groups: dict[tuple[str, Label], list[ImageRow]] = {}
    for row in every:
        if row.label in held:
            groups.setdefault((row.patient_id, row.label), []).append(row)
    placed = [_with_regions(own) for own in groups.values()]
    images = tuple(row for own in placed for row in own)
    return images, tuple(_patient(own) for own in placed)


def without_reference(images: Iterable[ImageRow]) -> tuple[Issue, ...]:
    """One issue for each label that predictions hold and no reference does."""
    rows = tuple(images)
    drawn = {row.label for row in rows if row.reference_px}
    found = sorted({row.label for row in rows if row.prediction_px} - drawn)
    return tuple(
        Issue(
            "label-without-reference",
            "info",
            f"no reference holds the label {label.name}: its figures say nothing of the prediction",
        )
        for label in found
        if label != HEADLINE
    )


def _areas(rows: Sequence[ImageRow], side: str) -> dict[str | int | None, int]:
    """Pixels of each phase, summed over slices."""
    areas: dict[str | int | None, int] = {}
    for row in rows:
        areas[row.phase] = areas.get(row.phase, 0) + int(getattr(row, side))
    return areas


def _phase_named(areas: Mapping[str | int | None, object], name: str) -> str | int | None:
    return next((key for key in areas if isinstance(key, str) and key.upper() == name), None)


def _with_regions(rows: list[ImageRow]) -> list[ImageRow]:
    """Thirds of the slices on which the reference has the label; the larger end at ED is the base.

    A slice beyond them belongs to the end next to it. Fewer than three slices have no thirds.
    """
    known = [row for row in rows if row.slice_index is not None and row.reference_px]
    order = sorted({row.slice_index for row in known if row.slice_index is not None})
    if len(order) < len(REGIONS):
        return rows
    areas = _areas(known, "reference_px")
    diastole = _phase_named(areas, "ED")
    if diastole is None:
        diastole = max(areas, key=lambda phase: areas[phase])
    at_ed = [row for row in known if row.phase == diastole]
    held = [sum(row.reference_px for row in at_ed if row.slice_index == index) for index in order]
    regions = REGIONS[::-1] if base_first(np.array(held)) is False else REGIONS
    result = []
    for row in rows:
        if row.slice_index is None:
            result.append(row)
            continue
        place = min(sum(index < row.slice_index for index in order), len(order) - 1)
        result.append(replace(row, region=regions[3 * place // len(order)]))
    return result


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _patient(rows: Sequence[ImageRow]) -> PatientRow:
    phases = list(dict.fromkeys(row.phase for row in rows))
    reference, prediction = _areas(rows, "reference_px"), _areas(rows, "prediction_px")
    shared = _areas(rows, "shared_px")
    pooled = [
        2 * shared[phase] / total if (total := reference[phase] + prediction[phase]) else 1.0
        for phase in phases
    ]
    ratios = [
        prediction[phase] / reference[phase] if reference[phase] else float("nan")
        for phase in phases
    ]
    ef = _ejection_fractions(reference, prediction)
    return PatientRow(
        patient_id=rows[0].patient_id,
        label=rows[0].label,
        pathology=next((row.pathology for row in rows if row.pathology), None),
        n_images=len(rows),
        **{name: _mean(getattr(row, name) for row in rows) for name in SCORES},
        dice_3d=tuple(zip(phases, pooled, strict=True)),
        volume_ratio=tuple(zip(phases, ratios, strict=True)),
        ef_reference_percent=ef[0],
        ef_prediction_percent=ef[1],
    )


def _ejection_fractions(
    reference: dict[str | int | None, int], prediction: dict[str | int | None, int]
) -> tuple[float | None, float | None]:
    """1 - ES / ED of areas summed over slices: equal slice distances cancel.

    Phases called ED and ES are used where both exist; phase indices otherwise, each mask with its
    own largest and smallest phase.
    """
    names = _phase_named(reference, "ED"), _phase_named(reference, "ES")
    if None not in names:
        pairs = [(areas[names[0]], areas[names[1]]) for areas in (reference, prediction)]
    else:
        curves = [
            [area for phase, area in areas.items() if isinstance(phase, int)]
            for areas in (reference, prediction)
        ]
        if len(curves[0]) < 2:
            return None, None
        pairs = [(max(curve), min(curve)) for curve in curves]
    found = [100 * (1 - es / ed) if ed else None for ed, es in pairs]
    return found[0], found[1]
