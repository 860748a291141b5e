"""Put scores of ``results`` (p2, p3, external) on the cards of the shipped models.

Usage: ``python benchmarks/card_scores.py``, after ``protocols.py`` (p2, p3) and ``external.py``.
"""

from __future__ import annotations

import json
from typing import Any

from provenance import RESULTS

from lvseg import model_store
from lvseg.atomic import write_text
from lvseg.modelcard import CARD, ModelCard


def read(name: str) -> dict[str, Any]:
    """A result file."""
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return document


def put(model: str, scores: dict[str, dict[str, float]]) -> None:
    """Write the scores on a shipped card."""
    path = model_store.locate(model) / CARD
    card = ModelCard.from_json(path.read_text("utf-8"))
    rounded = {
        name: {key: round(value, 4) for key, value in group.items()}
        for name, group in scores.items()
    }
    write_text(path, card.model_copy(update={"scores": rounded}).to_json())


def overlap(document: dict[str, Any]) -> dict[str, float]:
    """Dice with its interval, and Jaccard, over slices."""
    low, high = document["dice"]["ci95"]
    return {
        "dice": document["dice"]["mean"],
        "dice_ci95_low": low,
        "dice_ci95_high": high,
        "jaccard": document["jaccard"]["mean"],
        "slices": document["n_images"],
        "patients": document["n_patients"],
    }


def main() -> None:
    """The twin gets P2, the default the external patients and P3."""
    modes = ("alone", "by_patient")
    p2, p3, outside = read("p2"), read("p3"), read("external")
    put("lv-sax-30", {f"P2, online patients, {mode}": overlap(p2[mode]) for mode in modes})
    sets = {name: figures(group) for name, group in outside["sets"].items()}
    folds = "P3, five models of this recipe on patients held out"
    put("lv-sax", {**sets, **{f"{folds}, {mode}": overlap(p3[mode]) for mode in modes}})


def figures(group: dict[str, Any]) -> dict[str, float]:
    """Cavity and EF of one external set."""
    cavity, phases = group["LV_CAVITY"], ("ED", "ES")
    return {
        "patients": group["n_patients"],
        **{f"dice_3d_{at.lower()}": cavity["dice_3d"][at]["mean"] for at in phases},
        **{f"volume_ratio_{at.lower()}": cavity["volume_ratio"][at]["mean"] for at in phases},
        "ef_bias_points": group["ef"]["bias"],
        "ef_mae_points": group["ef"]["mae"],
    }


if __name__ == "__main__":
    main()
