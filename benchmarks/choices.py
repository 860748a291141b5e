"""Threshold and mirror images, chosen on the official validation patients.

The model is of the shipped recipe, taught by the 15 training patients alone; the pictures of a
patient go together, as a study.
Usage: ``python benchmarks/choices.py DATASET MODEL``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from provenance import save

from lvseg import evaluate as judging
from lvseg.predict import load_model
from lvseg.settings import Settings

THRESHOLDS = (0.4, 0.5, 0.6)


def main() -> None:
    """Every threshold without mirror images, the usual one with them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path)
    options = parser.parse_args()
    predictor = load_model(options.model)
    card, rows = predictor.card, {}
    for threshold, flips in [*((value, False) for value in THRESHOLDS), (0.5, True)]:
        output = card.output.model_copy(update={"threshold": threshold})
        predictor.card = card.model_copy(update={"output": output})
        found = judging.document(
            judging.evaluate(
                options.dataset, "validation", predictor, Settings(flips=flips), by_patient=True
            )
        )
        if found["leaked_patients"]:
            raise SystemExit("the model was taught validation patients")
        name = f"threshold {threshold:g}" + (", mirror images averaged" if flips else "")
        rows[name] = {
            "dice_mean": found["labelled_only"]["dice"]["mean"],
            "dice_median": found["labelled_only"]["dice"]["median"],
            "ef_bias": found["ef"]["bias"],
            "ef_mae": found["ef"]["mae"],
        }
        print(name, rows[name], flush=True)
    protocol = __doc__.split("\n\n")[1].split("Usage")[0].replace("\n", " ").strip()
    save("choices", protocol, {"recipe": card.recipe, "rows": rows})


if __name__ == "__main__":
    main()
