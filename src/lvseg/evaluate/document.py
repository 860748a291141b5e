"""An evaluation as the JSON object of ``--json``, and as the rows of a printed table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lvseg import metrics
from lvseg.evaluate.rows import HEADLINE, REGIONS, SCORES, Evaluation, ImageRow, PatientRow
from lvseg.json_text import jsonable
from lvseg.metrics import Summary
from lvseg.names import PHASES

_HEADER = ("over", "images", "Dice", "95 % CI", "Jaccard", "APD", "HD95", "good %")
_DASH = "-"


def document(evaluation: Evaluation) -> dict[str, Any]:
    """Object that ``evaluate --json`` and ``compare --json`` print; valid JSON.

    What is unknown or infinite is None; ``n_infinite`` and ``n_unknown`` count what a mean leaves
    out. The figures are those of :data:`lvseg.evaluate.rows.HEADLINE`; ``by_label`` has a group for
    every label that a mask holds. Millimetres are None where no spacing is known; pixels are given
    besides.
    """
    seed = evaluation.seed
    by_label = {label: evaluation.of(label) for label in (HEADLINE, *evaluation.labels)}
    groups = {label: _group(part.images, seed) for label, part in by_label.items()}
    images, patients = by_label[HEADLINE].images, by_label[HEADLINE].patients
    ef = metrics.ef_agreement(
        [row.ef_reference_percent for row in patients],
        [row.ef_prediction_percent for row in patients],
    )
    pathologies = sorted({row.pathology for row in images if row.pathology})
    result = {
        **groups[HEADLINE],
        "per_patient_mean": _over_patients(patients, seed),
        "good_only": _group([row for row in images if row.good], seed),
        "labelled_only": _group([row for row in images if row.reference_px], seed),
        "without_cavity": _without_cavity(images),
        "per_patient": [
            {
                **_values(row),
                "dice_3d": [{"phase": at, "dice": value} for at, value in row.dice_3d],
                "volume_ratio": [{"phase": at, "ratio": value} for at, value in row.volume_ratio],
            }
            for row in patients
        ],
        "per_image": [{**_values(row), "good": row.good} for row in images],
        "by_phase": _by_phase(evaluation),
        "by_region": {
            region: _group([row for row in images if row.region == region], seed)
            for region in REGIONS
        },
        "by_pathology": {
            name: _group([row for row in images if row.pathology == name], seed)
            for name in pathologies
        },
        "by_label": {label.name: group for label, group in groups.items() if group["n_images"]},
        "ef": asdict(ef),
        "leaked_patients": list(evaluation.leaked_patients),
        "findings": [issue.to_dict() for issue in evaluation.issues],
        "model": evaluation.model,
        "split": evaluation.split,
        "by_patient": evaluation.by_patient,
        "flips": evaluation.flips,
        "seed": seed,
    }
    cleaned: dict[str, Any] = jsonable(result)
    return cleaned


def _group(rows: Sequence[ImageRow], seed: int) -> dict[str, Any]:
    """Summaries over the slices of a group; intervals by patient."""
    who = [row.patient_id for row in rows]
    good = [row.good for row in rows if row.good is not None]
    result: dict[str, Any] = {"n_images": len(rows), "n_patients": len(set(who))}
    for name in SCORES:
        values = [getattr(row, name) for row in rows]
        result[name] = _summary(metrics.summarise(values, who, seed=seed))
    result["good_contours_percent"] = 100 * sum(good) / len(good) if good else None
    result["n_below_half"] = sum(row.dice < 0.5 for row in rows)
    return result


def _by_phase(evaluation: Evaluation) -> dict[str, Any]:
    """At ED and at ES, label by label: slices, 3D Dice and ratio of volumes over patients."""
    found: dict[str, Any] = {}
    for phase in PHASES:
        for label in evaluation.labels:
            part = evaluation.of(label)
            rows = [row for row in part.images if row.phase == phase]
            if not rows:
                continue
            seed = evaluation.seed
            group = _group([row for row in rows if row.reference_px], seed)
            for name in ("dice_3d", "volume_ratio"):
                values = [dict(getattr(row, name)).get(phase) for row in part.patients]
                known = [value for value in values if value is not None]
                group[name] = _summary(metrics.summarise(known, seed=seed))
            found.setdefault(phase, {})[label.name] = group
    return found


def _over_patients(rows: Sequence[PatientRow], seed: int) -> dict[str, Any]:
    """Summaries over the patients' means: each patient counts once."""
    result: dict[str, Any] = {"n_patients": len(rows)}
    for name in SCORES:
        values = [getattr(row, name) for row in rows]
        result[name] = _summary(metrics.summarise(values, seed=seed))
    whole = [metrics.summarise([value for _, value in row.dice_3d]).mean for row in rows]
    result["dice_3d"] = _summary(metrics.summarise(whole, seed=seed))
    return result


def _summary(summary: Summary) -> dict[str, Any] | None:
    """Summary as JSON, None when nothing was known at all."""
    if summary.n == 0 and summary.n_infinite == 0:
        return None
    result = asdict(summary)
    result["ci95"] = None if math.isnan(summary.ci95[0]) else list(summary.ci95)
    return result


def _without_cavity(rows: Sequence[ImageRow]) -> dict[str, int]:
    empty = [row for row in rows if not row.reference_px]
    return {"n_images": len(empty), "n_false_positive": sum(row.prediction_px > 0 for row in empty)}


def _values(row: ImageRow | PatientRow) -> dict[str, Any]:
    """A row without its label, which its place in the document says."""
    return {key: value for key, value in asdict(row).items() if key != "label"}


def table(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of text for a printed table, the header first.

    :param document: what :func:`document` returned.

    Distances are in mm where the spacing is known, otherwise in px and say so.
    """
    rows = [_HEADER, _line("slices", document)]
    patients = document["per_patient_mean"]
    rows.append(_line("patients", {**patients, "n_images": None, "good_contours_percent": None}))
    if document["without_cavity"]["n_images"]:
        rows.append(_line("slices with a reference contour", document["labelled_only"]))
    if document["good_only"]["n_images"]:
        rows.append(_line("good contours only", document["good_only"]))
    kinds = ["by_region", "by_pathology"]
    if len(document["by_label"]) > 1:
        kinds.append("by_label")
    for kind in kinds:
        for name, group in document[kind].items():
            if group["n_images"]:
                rows.append(_line(name, group))
    return rows


def _line(name: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    dice, interval = group["dice"], None
    if dice and dice["ci95"]:
        interval = "{:.3f} to {:.3f}".format(*dice["ci95"])
    images, good = group["n_images"], group["good_contours_percent"]
    return (
        name,
        _DASH if images is None else str(images),
        _mean(dice, "{:.3f}"),
        interval or _DASH,
        _mean(group["jaccard"], "{:.3f}"),
        _distance(group, "apd"),
        _distance(group, "hd95"),
        _DASH if good is None else f"{good:.1f}",
    )


def _mean(summary: Mapping[str, Any] | None, form: str) -> str:
    if summary is None or summary["mean"] is None:
        return _DASH
    return form.format(summary["mean"])


def _distance(group: Mapping[str, Any], name: str) -> str:
    for unit in ("mm", "px"):
        summary = group.get(f"{name}_{unit}")
        if summary is not None:
            return _mean(summary, "{:.2f} " + unit)
    return _DASH
