"""What int8 costs in Dice: every model of a protocol beside its int8 form, on the same patients.

The int8 form takes its ranges from the patients that taught the model. Both are judged on the
patients held out, full frame, every contour: each picture alone and a patient's as a study. It may
ship where it loses at most 0.002 of the mean Dice in every row of P2 and P3; ``--develop`` judges a
model that the 15 training patients taught on the 15 validation patients, for choosing. Models
are those of ``protocols.py``, int8 forms are kept beside them.
Usage: ``python benchmarks/int8.py DATASET WORK p2 p3`` or ``... --develop MODEL``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from protocols import Part, parts
from provenance import RESULTS, save

from lvseg import evaluate as judging
from lvseg.predict import available_runtimes, load_model
from lvseg.train.quantise import quantise

ALLOWED, SEED = 0.002, 0


def scores(part: Part, model: Path, by_patient: bool) -> dict[str, float]:
    """Dice of every picture with a contour."""
    found = judging.evaluate(part.dataset, part.judged, load_model(model), by_patient=by_patient)
    if found.leaked_patients:
        raise SystemExit(f"{part.name}: the model was taught {', '.join(found.leaked_patients)}")
    return {row.file: row.dice for row in found.of().images if row.reference_px}


def compared(chosen: list[tuple[Part, Path]]) -> dict[str, Any]:
    """Float and int8 over all parts of a protocol."""
    rows: dict[str, Any] = {}
    for by_patient in (False, True):
        exact: dict[str, float] = {}
        rounded: dict[str, float] = {}
        for part, model in chosen:
            small = model.with_name(model.name + "-int8")
            if not small.exists():
                quantise(model, small, part.dataset)
            exact |= scores(part, model, by_patient)
            rounded |= scores(part, small, by_patient)
        differences = [rounded[file] - exact[file] for file in exact]
        loss = -float(np.mean(differences))
        rows["by_patient" if by_patient else "alone"] = {
            "pictures": len(exact),
            "dice_float": round(float(np.mean(list(exact.values()))), 4),
            "dice_int8": round(float(np.mean(list(rounded.values()))), 4),
            "loss": round(loss, 4),
            "largest_fall_of_a_picture": round(-min(differences), 3),
            "within_gate": loss <= ALLOWED,
        }
    return rows


def main() -> None:
    """Compare, and keep what earlier calls found for other protocols."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("protocols", nargs="*", metavar="p2|p3")
    parser.add_argument("--develop", type=Path)
    options = parser.parse_args()
    file = RESULTS / "int8.json"
    found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    rows = found.get("rows", {})
    if options.develop:
        part = Part("development", options.dataset, "training", "validation")
        rows["development"] = compared([(part, options.develop)])
    for name in options.protocols:
        chosen = parts(name, options.dataset, options.work)
        rows[name] = compared([(part, options.work / f"{part.name}-model") for part in chosen])
    print(json.dumps(rows, indent=1))
    about = " ".join(__doc__.split("\n\n")[1].split("Models are")[0].split())
    facts = {"allowed_loss": ALLOWED, "engine": available_runtimes()[0], "rows": rows}
    save("int8", about, facts, seed=SEED)


if __name__ == "__main__":
    main()
