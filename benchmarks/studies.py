"""EDV, ESV and EF of real DICOM studies beside the experts' contours.

The experts' volumes come from their contour files by Simpson's rule over the slices they
contoured. Ours are given twice: over every slice that the pipeline found, which is what
``lvseg segment`` reports, and over the experts' slices and phases alone.
Usage: ``python benchmarks/studies.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from provenance import DATA, save
from reference_volumes import reference_volumes

from lvseg import model_store
from lvseg.measurement import ejection_fraction_percent
from lvseg.pipeline import run
from lvseg.predict import load_model

#: DICOM folder -> patient id of the contour folder (the set's own table).
STUDIES = {"SCD0000101": "SC-HF-I-01", "SCD0000201": "SC-HF-I-02", "SCD0000301": "SC-HF-I-04"}


def row(name: str, patient: str, predictor: Any) -> dict[str, Any]:
    """One study."""
    dicom: Path = DATA / "sunnybrook-dicom" / name / "dicom"
    experts = reference_volumes(DATA / "sunnybrook" / "contours" / patient, dicom)
    result = run(dicom, predictor)
    ours = result.measurements
    areas = np.array(ours.area_mm2)
    order = order_to_experts(result.cine, dicom)
    same = {
        phase: sum(
            areas[frame.phase, order[frame.slice]] * frame.slab_height_mm
            for frame in experts.of(phase)
        )
        / 1000
        for phase in ("ED", "ES")
    }
    steps = np.diff([*ours.volume_ml, ours.volume_ml[0]])
    return {
        "study": name,
        "patient": patient,
        "leaked": patient in predictor.card.training.patients,
        "experts": {
            "ed_phase": experts.ed_phase, "es_phase": experts.es_phase,
            "edv_ml": experts.edv_ml, "esv_ml": experts.esv_ml, "ef_percent": experts.ef_percent,
        },
        "ours": {
            "ed_phase": ours.phases.end_diastole, "es_phase": ours.phases.end_systole,
            "edv_ml": ours.edv_ml, "esv_ml": ours.esv_ml, "ef_percent": ours.ef_percent,
            "verdict": result.verdict, "findings": [f.code for f in result.issues],
        },
        "ours_on_the_experts_frames": {
            "edv_ml": same["ED"], "esv_ml": same["ES"],
            "ef_percent": ejection_fraction_percent(same["ED"], same["ES"]),
        },
        "ef_difference_points": ours.ef_percent - experts.ef_percent,
        "edv_difference_percent": 100 * (ours.edv_ml / experts.edv_ml - 1),
        "volume_ml": list(ours.volume_ml),
        "largest_step_percent_of_edv": float(100 * np.abs(steps).max() / ours.edv_ml),
    }  # fmt: skip


def order_to_experts(cine: Any, dicom: Path) -> list[int]:
    """The experts' slice index (order of image numbers) -> ours (order along the normal)."""
    from lvseg.datasets.contours import index_images

    index = index_images(dicom, range(1, 1 + cine.shape[0] * cine.shape[1]))
    places = np.array([plane.origin_mm for plane in cine.planes])
    return [
        int(np.linalg.norm(places - np.array(plane.origin_mm), axis=1).argmin())
        for plane in index.planes
    ]


def main() -> None:
    """Measure and save."""
    predictor = load_model(model_store.locate(model_store.DEFAULT))
    rows = [row(name, patient, predictor) for name, patient in STUDIES.items()]
    for entry in rows:
        print(
            entry["study"],
            f"EF {entry['ours']['ef_percent']:.1f} / {entry['experts']['ef_percent']:.1f}",
            f"EDV {entry['ours']['edv_ml']:.1f} / {entry['experts']['edv_ml']:.1f}",
        )
    protocol = (
        "whole DICOM study through the pipeline with no option; experts: contour files, polygon "
        "areas, Simpson over the contoured slices. The patients are in the model's training data"
    )
    model = {"name": predictor.card.name, "sha256": predictor.card.sha256}
    save("studies", protocol, {"model": model, "runtime": predictor.runtime, "studies": rows})


if __name__ == "__main__":
    main()
