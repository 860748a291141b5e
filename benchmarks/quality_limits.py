"""What the limits of the checks (docs/quality.md) are set against, by the checks' own functions.

Experts: reference masks of the training and validation patients, their labelled slices at ED and
ES, at nominal spacing. Model: the shipped model in the three DICOM studies, which are training
patients. Phantoms: true masks of simulated hearts. No held-out patient takes part.
Usage: ``python benchmarks/quality_limits.py DATASET``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from provenance import DATA, save
from studies import STUDIES

from lvseg import model_store
from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid, Plane
from lvseg.manifest import Sample, image_path, mask_path, patients, read_manifest, select
from lvseg.measurement import measure
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import run
from lvseg.predict import load_model
from lvseg.quality import Evidence, check
from lvseg.quality.checks import (
    darker_shares,
    flicker_shares,
    neighbour_ratios,
    off_line_mm,
    solidity,
    spikes,
)
from lvseg.read import read_mask, read_picture

#: Nominal distances: the pictures of most patients state none.
PIXEL_MM, SLICE_MM = 1.33, 8.0
PHASES = ("ED", "ES")
PHANTOMS = {
    "default": PhantomOptions(),
    "dilated": PhantomOptions(edv_ml=280, ef_percent=22, length_mm=105, slices=13),
    "thick": PhantomOptions(edv_ml=95, ef_percent=75, slices=10, length_mm=80),
    "30 phases": PhantomOptions(phases=30, slices=11, gap_mm=1),
    "12 phases": PhantomOptions(phases=12),
    "base moves far": PhantomOptions(shortening_slabs=2, pixel_spacing_mm=(1.6, 1.45), seed=4),
}


def expert(dataset: Path, samples: tuple[Sample, ...]) -> tuple[Cine, Mask]:
    """The labelled slices of one patient; frames without a label are empty."""
    held = [
        sample for sample in samples if sample.phase in PHASES and sample.slice_index is not None
    ]
    masks = {sample: read_mask(mask_path(dataset, sample)).labels[0, 0] for sample in held}
    labelled = [sample for sample in held if masks[sample].any()]
    first = min(sample.slice_index for sample in labelled)
    count = max(sample.slice_index for sample in labelled) - first + 1
    shape = (2, count, *masks[labelled[0]].shape)
    frames, labels = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    for sample in labelled:
        place = PHASES.index(sample.phase), sample.slice_index - first
        frames[place] = read_picture(image_path(dataset, sample))
        labels[place] = masks[sample]
    planes = tuple(
        Plane((0.0, 0.0, SLICE_MM * z), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (PIXEL_MM, PIXEL_MM))
        for z in range(count)
    )
    grid = Grid.of(frames, planes=planes)
    return Cine(frames, Source("array", "stack"), grid), Mask(labels, (0, 1), grid)


def figures(cine: Cine, mask: Mask) -> dict[str, Any]:
    """The quantities that have a limit, of one study."""
    values = measure(mask)
    evidence = Evidence(cine, mask, replace(values, issues=()))
    features = evidence.features
    frames = features.inside.reshape(-1, *features.inside.shape[2:])
    large = features.areas_px.ravel() >= evidence.limits.outline_from_px
    ratios, off = neighbour_ratios(evidence), off_line_mm(evidence)
    reported = {f.code for f in check(evidence) if f not in cine.issues and f.severity != "info"}
    found = {
        "ratios": [float(value) for value in ratios if value != 1],
        "off_line_mm": float(off.max(initial=0)),
        "solidity": float(solidity(frames[large]).min()),
        "elongation": float(np.nanmax(features.elongation.ravel()[large])),
        "darker": float(np.median(darker_shares(evidence))),
        "frames": int(large.sum()),
        "warnings": sorted(reported),
    }
    if len(mask.phases) >= 8 and values.volume_ml is not None:
        curve = np.array(values.volume_ml)
        found["flicker"] = float(flicker_shares(evidence).max())
        found["spike_of_stroke"] = float(spikes(curve).max() / np.ptp(curve))
        found["spike_of_largest"] = float(spikes(curve).max() / curve.max())
    return found


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The extremes of a group, and its studies one by one where a check spoke."""
    each = list(rows.values())
    column = lambda name: [round(row[name], 3) for row in each if name in row]
    ratios = [value for row in each for value in row["ratios"]]
    codes = sorted({code for row in each for code in row["warnings"]})
    result = {
        "studies": len(each),
        "frames": sum(row["frames"] for row in each),
        "neighbour_ratio": {
            "n": len(ratios),
            "min": round(min(ratios), 3),
            "max": round(max(ratios), 3),
        },
        "off_line_mm_sorted": sorted(round(row["off_line_mm"], 1) for row in each),
        "solidity_min": min(column("solidity")),
        "elongation_sorted_last": sorted(column("elongation"))[-3:],
        "darker_sorted_first": sorted(column("darker"))[:3],
        "warnings": {
            c: [name for name, row in rows.items() if c in row["warnings"]] for c in codes
        },
    }
    for name in ("flicker", "spike_of_stroke", "spike_of_largest"):
        if column(name):
            result[f"{name}_max"] = max(column(name))
    return result


def main() -> None:
    """Measure the three groups and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    dataset = parser.parse_args().dataset
    samples = select(read_manifest(dataset), "training+validation")
    experts = {
        name: figures(*expert(dataset, tuple(c for c in samples if c.patient_id == name)))
        for name in patients(samples)
    }
    predictor = load_model(model_store.locate(model_store.DEFAULT))
    model = {}
    for name in STUDIES:
        result = run(DATA / "sunnybrook-dicom" / name / "dicom", predictor)
        model[name] = figures(result.cine, result.mask)
    phantoms = {name: figures(*beating_ventricle(o)[:2]) for name, o in PHANTOMS.items()}
    groups = {"experts": experts, "model": model, "phantoms": phantoms}
    protocol = (
        "training and validation patients only: experts' masks at 1.33 mm a pixel and 8 mm a "
        "slice, the shipped model in three studies of training patients, true masks of phantoms"
    )
    save("quality-limits", protocol, {name: summary(rows) for name, rows in groups.items()})


if __name__ == "__main__":
    main()
