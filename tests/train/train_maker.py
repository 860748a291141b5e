"""A tiny data set and options that take a few milliseconds a step."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lvseg.modelcard import InputSpec
from lvseg.train.augment import AugmentOptions
from lvseg.train.network import NetworkOptions
from lvseg.train.options import TrainOptions


def make_dataset(folder: Path) -> Path:
    """Six bright discs of three patients, 24 x 20 pixels, the second picture without."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows = [["file", "patient_id", "split"]]
    for index in range(6):
        y, x = np.mgrid[:24, :20]
        radius = 0 if index == 1 else 3 + index % 3
        mask = (y - 11) ** 2 + (x - 9) ** 2 < radius**2
        image = np.clip(40 + 150 * mask + random.normal(0, 10, mask.shape), 0, 255)
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{index}.png")
        Image.fromarray((mask * 255).astype(np.uint8)).save(folder / "masks" / f"{index}.png")
        split = "training" if index < 4 else "validation"
        rows.append([f"{index}.png", f"made-up-{index // 2}", split])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def tiny_options(**changes: Any) -> TrainOptions:
    """Two epochs of three steps; ``changes`` are checked as those of a file are."""
    values: dict[str, Any] = {
        "name": "tiny",
        "input": InputSpec(spacing_mm=1.3, window_px=16),
        "network": NetworkOptions(kind="unet", widths=(2, 4), normalisation="group"),
        "augment": AugmentOptions(shift_px=2.0, elastic_px=1.0, noise=(0.0, 0.0)),
        "epochs": 2,
        "steps_per_epoch": 3,
        "batch_size": 2,
        "warmup_steps": 1,
        "small_px": 0.0,
        "seed": 7,
    }
    return TrainOptions(**values | changes)
