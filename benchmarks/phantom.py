"""Measured against true volumes of phantoms: sizes, ejection fractions, positions, noise.

Phantoms go to DICOM and come back through the reader, as a study would.
Usage: ``python benchmarks/phantom.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from provenance import save

from lvseg import model_store
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine
from lvseg.pipeline import run
from lvseg.predict import Predictor, load_model

#: name -> what differs from the default phantom.
PHANTOMS: dict[str, dict[str, Any]] = {
    "default": {},
    "dilated, EF 30": {"edv_ml": 220.0, "ef_percent": 30.0, "seed": 1},
    "small, EF 70": {"edv_ml": 100.0, "ef_percent": 70.0, "seed": 2},
    "off centre": {"seed": 3, "heart_offset_mm": (25.0, -20.0)},
    "unequal spacing": {"seed": 4, "pixel_spacing_mm": (1.25, 1.45)},
}


def row(name: str, changes: dict[str, Any], predictor: Predictor) -> dict[str, Any]:
    """One phantom."""
    cine, _, truth = beating_ventricle(PhantomOptions(**changes))
    with tempfile.TemporaryDirectory() as folder:
        write_dicom_cine(cine, Path(folder))
        ours = run(Path(folder), predictor).measurements
    return {
        "phantom": name,
        "true": {"edv_ml": truth.edv_ml, "esv_ml": truth.esv_ml, "ef_percent": truth.ef_percent},
        "measured": {"edv_ml": ours.edv_ml, "esv_ml": ours.esv_ml, "ef_percent": ours.ef_percent},
    }


def main() -> None:
    """Measure and save."""
    predictor = load_model(model_store.locate(model_store.DEFAULT))
    rows = [row(name, changes, predictor) for name, changes in PHANTOMS.items()]
    for entry in rows:
        print(entry["phantom"], entry["true"], entry["measured"])
    protocol = "phantom cine -> DICOM -> reader -> pipeline with no option; truth in closed form"
    model = {"name": predictor.card.name, "sha256": predictor.card.sha256}
    save("phantom", protocol, {"model": model, "phantoms": rows}, seed=0)


if __name__ == "__main__":
    main()
