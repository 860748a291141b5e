"""Tiny data sets and options that take a few milliseconds a step."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lvseg.modelcard import InputSpec
from lvseg.train.augment import AugmentOptions
from lvseg.train.network import NetworkOptions
from lvseg.train.options import TrainOptions


@dataclass(frozen=True)
class Disc:
    """One picture: a bright disc on dark noise, or only noise with radius 0."""

    patient_id: str
    split: str
    radius_px: int
    centre: tuple[int, int]


def draw(folder: Path, shape: tuple[int, int], discs: Iterable[Disc]) -> Path:
    """A data set of these pictures, ``0.png`` first."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    y, x = np.mgrid[: shape[0], : shape[1]]
    rows = [["file", "patient_id", "split"]]
    for index, disc in enumerate(discs):
        name, (row, column) = f"{index}.png", disc.centre
        mask = (y - row) ** 2 + (x - column) ** 2 < disc.radius_px**2
        image = np.clip(40 + 150 * mask + random.normal(0, 10, shape), 0, 255)
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / name)
        Image.fromarray((mask * 255).astype(np.uint8)).save(folder / "masks" / name)
        rows.append([name, disc.patient_id, disc.split])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def make_dataset(folder: Path) -> Path:
    """Six pictures of three patients, 24 x 20 pixels, the second without a disc."""
    discs = [
        Disc(
            patient_id=f"made-up-{index // 2}",
            split="training" if index < 4 else "validation",
            radius_px=0 if index == 1 else 3 + index % 3,
            centre=(11, 9),
        )
        for index in range(6)
    ]
    return draw(folder, (24, 20), discs)


def make_larger_dataset(folder: Path) -> Path:
    """Twelve pictures of four patients, 48 x 40 pixels, the second empty; p3 is for validation."""
    discs = [
        Disc(
            patient_id=f"p{index // 3}",
            split="training" if index < 9 else "validation",
            radius_px=0 if index == 1 else 5 + index % 4,
            centre=(20 + index // 3, 22),
        )
        for index in range(12)
    ]
    return draw(folder, (48, 40), discs)


def make_three_splits(folder: Path) -> Path:
    """Eighteen pictures of nine patients, 24 x 20 pixels, three patients a split."""
    discs = [
        Disc(
            patient_id=f"made-up-{index // 2}",
            split=("training", "validation", "online")[index // 2 % 3],
            radius_px=3 + index % 3,
            centre=(11, 9),
        )
        for index in range(18)
    ]
    return draw(folder, (24, 20), discs)


def larger_options(**changes: Any) -> TrainOptions:
    """For :func:`make_larger_dataset`: crops of 32 pixels, which every network here takes."""
    values: dict[str, Any] = {
        "name": "tiny",
        "precision": "float32",
        "input": InputSpec(spacing_mm=1.3, crop_px=32),
        "network": NetworkOptions(kind="unet", widths=(8, 16)),
        "steps_per_epoch": 25,
        "batch_size": 4,
        "warmup_steps": 2,
        "seed": 7,
    }
    return TrainOptions(**values | changes)


def tiny_options(**changes: Any) -> TrainOptions:
    """Two epochs of three steps; ``changes`` are checked as those of a file are."""
    values: dict[str, Any] = {
        "name": "tiny",
        "input": InputSpec(spacing_mm=1.3, crop_px=16),
        "network": NetworkOptions(kind="unet", widths=(2, 4), normalization="group"),
        "augment": AugmentOptions(shift_px=2.0, elastic_px=1.0, noise=(0.0, 0.0)),
        "epochs": 2,
        "steps_per_epoch": 3,
        "batch_size": 2,
        "warmup_steps": 1,
        "small_px": 0.0,
        "precision": "float32",  # whatever the processor has
        "seed": 7,
    }
    return TrainOptions(**values | changes)
