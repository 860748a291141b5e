"""A model on patients of other scanners, none of whom taught it: Dice in 3D, volumes and EF.

Fifteen ACDC patients and thirty M&Ms patients of two other vendors are for judging only: nothing is
trained or chosen on them, and every look is written down in docs/accuracy.md. End-diastole and
end-systole of a patient go through ``lvseg.pipeline`` as one cine of two phases, full frame. The
pixel size of the M&Ms crops is lost: Dice, volume ratios and EF count there, millilitres do not.
Usage: ``python benchmarks/external.py [--model NAME]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from provenance import DATA, save

from lvseg import load_model, pipeline, read_study
from lvseg.cine import Cine, Study
from lvseg.labels import Label
from lvseg.measurement import ejection_fraction_percent
from lvseg.metrics import dice, ef_agreement, summarise
from lvseg.predict import Predictor
from lvseg.read import read_mask

SETS = ("acdc-external", "mnms-external")
PHASES = ("ED", "ES")
#: File of a reference mask -> what it shows.
STRUCTURES = {"lv": Label.LV_CAVITY, "myo": Label.LV_MYOCARDIUM}

Row = dict[str, Any]


def both_phases(folder: Path) -> tuple[Cine, dict[Label, NDArray[np.bool_]]]:
    """ED and ES of a patient as one cine, and each reference structure, [2, Z, Y, X]."""
    cines = [read_study(folder / f"{phase}_image.nii.gz").short_axis() for phase in PHASES]
    cine = replace(cines[0], frames=np.concatenate([each.frames for each in cines]))
    references = {}
    for name, label in STRUCTURES.items():
        paths = [folder / f"{phase}_{name}.nii.gz" for phase in PHASES]
        if all(path.is_file() for path in paths):
            masks = [read_mask(path, label_values={1: label}).labels for path in paths]
            references[label] = np.concatenate(masks) == label
    return cine, references


def judge(folder: Path, predictor: Predictor) -> Row:
    """One patient: Dice and volume ratio of each whole phase, EF beside the reference's."""
    cine, references = both_phases(folder)
    found = pipeline.run(Study((cine,)), predictor)
    row: Row = {"patient": folder.name}
    for label, reference in references.items():
        if label not in predictor.card.labels:
            continue
        inside = found.mask.labels == label
        pairs = list(zip(reference, inside, strict=True))
        row[label.name] = {
            "dice_3d": {p: float(dice(*pair)) for p, pair in zip(PHASES, pairs, strict=True)},
            "volume_ratio": {
                phase: float(pair[1].sum() / pair[0].sum())
                for phase, pair in zip(PHASES, pairs, strict=True)
                if pair[0].any()
            },
            "dice_slices": [
                float(dice(one, other))
                for pair in pairs
                for one, other in zip(*pair, strict=True)
                if one.any()
            ],
            "slices_missed": sum(
                int(one.any() and not other.any())
                for pair in pairs
                for one, other in zip(*pair, strict=True)
            ),
            "slices_without_reference_drawn": sum(
                int(other.any() and not one.any())
                for pair in pairs
                for one, other in zip(*pair, strict=True)
            ),
        }
    cavity = references[Label.LV_CAVITY]
    values = found.measurements
    row["ef_percent"] = values.ef_percent
    row["reference_ef_percent"] = ejection_fraction_percent(
        *(float(phase.sum()) for phase in cavity)
    )
    row["ef_percent_interval"] = values.ef_percent_interval
    row["verdict"] = found.verdict
    row["expected_dice"] = None if found.confidence is None else found.confidence.expected_dice
    return row


def covered(rows: Sequence[Row]) -> Row:
    """How many intervals of EF hold the reference's EF."""
    held = [
        low <= row["reference_ef_percent"] <= high
        for row in rows
        if row["ef_percent_interval"] is not None
        for low, high in [row["ef_percent_interval"]]
    ]
    widths = [
        high - low
        for row in rows
        if row["ef_percent_interval"] is not None
        for low, high in [row["ef_percent_interval"]]
    ]
    return {
        "n": len(rows),
        "with_interval": len(held),
        "coverage": sum(held) / len(held) if held else None,
        "width_points_mean": float(np.mean(widths)) if widths else None,
    }


def summary(rows: Sequence[Row]) -> Row:
    """All patients of one set together."""
    result: Row = {"n_patients": len(rows)}
    for label in (Label.LV_CAVITY, Label.LV_MYOCARDIUM):
        own = [row[label.name] for row in rows if label.name in row]
        if not own:
            continue
        result[label.name] = {
            key: {
                phase: asdict(summarise([each[key][phase] for each in own if phase in each[key]]))
                for phase in PHASES
            }
            for key in ("dice_3d", "volume_ratio")
        } | {
            "dice_slices": asdict(
                summarise(
                    [value for each in own for value in each["dice_slices"]],
                    [n for n, each in enumerate(own) for _ in each["dice_slices"]],
                )
            ),
            "slices_missed": sum(each["slices_missed"] for each in own),
            "slices_without_reference_drawn": sum(
                each["slices_without_reference_drawn"] for each in own
            ),
        }
    measured = [row for row in rows if row["ef_percent"] is not None]
    result["ef"] = asdict(
        ef_agreement(
            [row["reference_ef_percent"] for row in measured],
            [row["ef_percent"] for row in measured],
        )
    )
    result["ef_interval"] = covered(rows)
    return result


def main() -> None:
    """Judge all, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="a shipped name or a model folder")
    options = parser.parse_args()
    predictor = load_model(options.model)
    per_patient = {
        name: [
            judge(folder, predictor)
            for folder in sorted((DATA / name).iterdir())
            if folder.is_dir()
        ]
        for name in SETS
    }
    sets = {name: summary(rows) for name, rows in per_patient.items()}
    together = [row for rows in per_patient.values() for row in rows]
    result = {
        "model": predictor.card.name,
        "sha256": predictor.card.sha256,
        "sets": sets,
        "ef_interval": covered(together),
        "per_patient": per_patient,
    }
    for name, found in sets.items():
        print(name, {k: v for k, v in found["ef"].items() if k in ("bias", "mae", "sd")})
        for label in ("LV_CAVITY", "LV_MYOCARDIUM"):
            if label in found:
                print(
                    " ",
                    label,
                    {
                        key: {phase: round(found[label][key][phase]["mean"], 4) for phase in PHASES}
                        for key in ("dice_3d", "volume_ratio")
                    },
                )
    print("coverage", result["ef_interval"])
    save("external", __doc__.split("\n\n")[1].replace("\n", " "), result)


if __name__ == "__main__":
    main()
