"""A model on patients of another scanner, none of whom taught it: Dice in 3D, volumes and EF.

The fifteen ACDC patients are for judging only: nothing is trained or chosen on them, and every
look is written down in docs/accuracy.md. End-diastole and end-systole of a patient go through
``lvseg.pipeline`` as one cine of two phases, full frame.
Usage: ``python benchmarks/external.py [--model NAME]``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from provenance import DATA, save

from lvseg import load_model, measure, pipeline, read_study
from lvseg.cine import Cine, Study
from lvseg.labels import Label
from lvseg.metrics import dice, ef_agreement, summarise
from lvseg.predict import Predictor
from lvseg.read import read_mask

FOLDER = DATA / "acdc-external"
PHASES = ("ED", "ES")


def both_phases(folder: Path) -> tuple[Cine, NDArray[np.bool_]]:
    """ED and ES of a patient as one cine, and the reference cavity, [2, Z, Y, X]."""
    cines = [read_study(folder / f"{phase}_image.nii.gz").short_axis() for phase in PHASES]
    masks = [read_mask(folder / f"{phase}_lv.nii.gz").labels for phase in PHASES]
    cine = replace(cines[0], frames=np.concatenate([each.frames for each in cines]))
    return cine, np.concatenate(masks) == Label.LV_CAVITY


def judge(folder: Path, predictor: Predictor) -> dict[str, Any]:
    """One patient: Dice of each whole phase, volumes and EF beside the reference's."""
    cine, reference = both_phases(folder)
    found = pipeline.run(Study((cine,)), predictor)
    inside = found.mask.labels == Label.LV_CAVITY
    true = measure(replace(found.mask, labels=reference.astype(np.uint8)))
    told = json.loads((folder / "meta.json").read_text("utf-8"))
    slices = [
        float(dice(one, other))
        for phase in range(2)
        for one, other in zip(reference[phase], inside[phase], strict=True)
        if one.any()
    ]
    return {
        "patient": folder.name,
        "group": told["group"],
        "dice_3d": {name: float(dice(reference[i], inside[i])) for i, name in enumerate(PHASES)},
        "dice_slices": slices,
        "edv_ml": found.measurements.edv_ml,
        "esv_ml": found.measurements.esv_ml,
        "ef_percent": found.measurements.ef_percent,
        "reference_edv_ml": true.edv_ml,
        "reference_esv_ml": true.esv_ml,
        "reference_ef_percent": true.ef_percent,
        "stated_ef_percent": told["ef_percent"],
    }


def main() -> None:
    """Judge all, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="a shipped name or a model folder")
    options = parser.parse_args()
    predictor = load_model(options.model)
    rows = [judge(folder, predictor) for folder in sorted(FOLDER.iterdir()) if folder.is_dir()]
    result = {
        "model": predictor.card.name,
        "sha256": predictor.card.sha256,
        "n_patients": len(rows),
        "dice_3d": {
            name: asdict(summarise([row["dice_3d"][name] for row in rows])) for name in PHASES
        },
        "dice_slices": asdict(
            summarise(
                [value for row in rows for value in row["dice_slices"]],
                [row["patient"] for row in rows for _ in row["dice_slices"]],
            )
        ),
        "ef": asdict(
            ef_agreement(
                [row["reference_ef_percent"] for row in rows], [row["ef_percent"] for row in rows]
            )
        ),
        "per_patient": rows,
    }
    for name in PHASES:
        print(f"{name}: 3D Dice {result['dice_3d'][name]['mean']:.4f}")
    print(f"EF: {result['ef']}")
    save("external", __doc__.split("\n\n")[1].replace("\n", " "), result)


if __name__ == "__main__":
    main()
