"""Put the scores of ``results/p2.json`` and ``results/external.json`` on the cards of the models.

Usage: ``python benchmarks/card_scores.py``, after ``protocols.py`` (p2) and ``external.py``.
"""

from __future__ import annotations

import json
from typing import Any

from header import RESULTS

from lvseg import weights
from lvseg.modelcard import CARD, ModelCard
from lvseg.write import write_text


def read(name: str) -> dict[str, Any]:
    """A result file."""
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return document


def put(model: str, scores: dict[str, dict[str, float]]) -> None:
    """Write the scores on a shipped card."""
    path = weights.locate(model) / CARD
    card = ModelCard.from_json(path.read_text("utf-8"))
    rounded = {
        name: {key: round(value, 4) for key, value in group.items()}
        for name, group in scores.items()
    }
    write_text(path, card.model_copy(update={"scores": rounded}).to_json())


def main() -> None:
    """The twin gets P2, the default the external patients."""
    scores = {}
    for mode in ("alone", "by_patient"):
        found = read("p2")[mode]
        low, high = found["dice"]["ci95"]
        scores[f"P2, online patients, {mode}"] = {
            "dice": found["dice"]["mean"],
            "dice_ci95_low": low,
            "dice_ci95_high": high,
            "jaccard": found["jaccard"]["mean"],
            "slices": found["n_images"],
            "patients": found["n_patients"],
        }
    put("lv-sax-30", scores)
    outside = read("external")
    found = {}
    for phase, values in outside["dice_3d"].items():
        low, high = values["ci95"]
        found |= {
            f"dice_3d_{phase.lower()}": values["mean"],
            f"dice_3d_{phase.lower()}_ci95_low": low,
            f"dice_3d_{phase.lower()}_ci95_high": high,
        }
    found |= {"ef_mae_percent": outside["ef"]["mae"], "patients": outside["n_patients"]}
    put("lv-sax", {"external, ACDC": found})


if __name__ == "__main__":
    main()
