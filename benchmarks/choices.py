"""Thresholds and the rule for faint cavities, compared on training and validation patients only.

The model has seen these patients: the comparison is between rules, its level is no accuracy.
Usage: ``python benchmarks/choices.py DATASET``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from header import save

from lvseg import preprocess, weights
from lvseg.cases import image_path, mask_path, read_manifest, select
from lvseg.cine import Cine, Source
from lvseg.metrics import dice
from lvseg.postprocess import Options, to_mask
from lvseg.predict import load_model, predict
from lvseg.read import read_mask, read_picture

#: A peak no probability reaches: the rule for faint cavities is off.
OFF = 2.0
RULES = {f"threshold {t:g}": Options(threshold=t, faint_from=OFF) for t in (0.4, 0.5, 0.6, 0.7)}
RULES["threshold 0.6, faint cavities"] = Options(threshold=0.6)


def main() -> None:
    """Every third picture with a cavity, and every one without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    folder = parser.parse_args().dataset
    predictor = load_model(weights.locate(weights.DEFAULT))
    scores: list[list[float]] = []
    ratios: list[list[float]] = []
    false: list[list[bool]] = []
    for index, case in enumerate(select(read_manifest(folder), "training+validation")):
        truth = read_mask(mask_path(folder, case)).labels[0, 0] > 0
        if truth.any() and index % 3:
            continue
        spacing = case.pixel_spacing_mm
        cine = Cine(
            read_picture(image_path(folder, case))[None, None],
            Source("picture", "case"),
            pixel_spacing_mm=None if spacing is None else (spacing, spacing),
        )
        prepared = preprocess.prepare(cine, predictor.card.input)
        scouts = predict(preprocess.scouts(prepared), predictor, flips=True)
        window = preprocess.find_window(prepared, scouts)
        found = predict(preprocess.cut(prepared, window), predictor, flips=True)
        found = preprocess.restore(found, prepared, window)
        masks = [to_mask(found, cine, rule).labels[0, 0] > 0 for rule in RULES.values()]
        if truth.any():
            scores.append([dice(truth, mask) for mask in masks])
            ratios.append([mask.sum() / truth.sum() for mask in masks])
        else:
            false.append([bool(mask.any()) for mask in masks])
    rows = {
        name: {
            "dice_mean": float(np.mean(scores, axis=0)[column]),
            "dice_median": float(np.median(scores, axis=0)[column]),
            "area_ratio_median": float(np.median(ratios, axis=0)[column]),
            "empty_frames_with_cavity": int(np.sum(false, axis=0)[column]),
        }
        for column, name in enumerate(RULES)
    }
    counts = {"pictures": len(scores), "empty_frames": len(false)}
    save("choices", "every third labelled picture, every empty frame, seen patients", counts | rows)


if __name__ == "__main__":
    main()
