"""Scores of a run: Dice and Jaccard of every picture, on the picture's own grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from lvseg.cine import Cine
from lvseg.inference import infer
from lvseg.json_text import jsonable
from lvseg.labels import Label
from lvseg.manifest import ORIGINAL, Sample
from lvseg.metrics import dice, jaccard, summarise
from lvseg.reproduction.trainer import FrameOptions, resize_frame
from lvseg.samples import read_sample
from lvseg.train.checkpoint import load_ema, read_document
from lvseg.train.network import build
from lvseg.train.options import TrainOptions
from lvseg.train.validation import as_network

THRESHOLD = 0.5
Options = FrameOptions | TrainOptions


@dataclass(frozen=True, slots=True)
class Row:
    """Overlap of one picture; ``copy``: made by the offline augmentation."""

    file: str
    patient_id: str
    copy: bool
    dice: float
    jaccard: float


def load(run: Path, device: torch.device) -> tuple[nn.Module, Options]:
    """The network of a finished run with the weights of its last step, ready to predict."""
    values = read_document(run)["options"]
    kind = FrameOptions if "frame_px" in values else TrainOptions
    options = kind.model_validate(values)
    network = build(options.network)
    load_ema(run, "last", network)
    return network.to(device).eval(), options


@torch.no_grad()
def predict(network: nn.Module, options: Options, cine: Cine) -> NDArray[np.bool_]:
    """Cavity of a cine of one frame, [Y, X], on its own grid; no clean-up.

    Whole frames: resized as in training, the probability resized back (linear). Crops: as inference
    does (:func:`lvseg.inference.infer`).
    """
    if isinstance(options, FrameOptions):
        image = cine.frames[0, 0]
        frame = torch.from_numpy(resize_frame(image, options.frame_px)).float() / 255
        logits = torch.from_numpy(as_network(network)(frame[None, None].numpy()))
        back = functional.interpolate(
            torch.sigmoid(logits), size=image.shape, mode="bilinear", align_corners=False
        )
        whole: NDArray[np.bool_] = (back[0, 0] > THRESHOLD).numpy()
        return whole
    prediction = infer(cine, as_network(network), options.input)
    inside: NDArray[np.bool_] = prediction.on_grid(Label.LV_CAVITY, cine.grid)[0, 0] > THRESHOLD
    return inside


def score(
    network: nn.Module, options: Options, dataset: Path, samples: Sequence[Sample]
) -> tuple[Row, ...]:
    """Overlap of every picture that has a cavity, in the order of the samples."""
    rows = []
    for sample in samples:
        cine, labels = read_sample(dataset, sample)
        mask = labels == Label.LV_CAVITY
        if not mask.any():
            continue
        found = predict(network, options, cine)
        copy = bool(dict(sample.extra).get(ORIGINAL))
        pair = (dice(mask, found), jaccard(mask, found))
        rows.append(Row(sample.file, sample.patient_id, copy, *pair))
    return tuple(rows)


def summary(rows: Sequence[Row], *, seed: int = 0) -> dict[str, Any]:
    """Mean, sd, median and 95 % interval (bootstrap by patient) of Dice and Jaccard.

    ``dice_originals`` leaves out the copies; ``dice_by_patient`` is the mean over patients of their
    means. What cannot be known (one patient has no interval) is None.
    """
    owners = [row.patient_id for row in rows]
    plain = [row for row in rows if not row.copy]
    figures: dict[str, Any] = {
        "pictures": len(rows),
        "patients": len(set(owners)),
        "dice": asdict(summarise([row.dice for row in rows], owners, seed=seed)),
        "jaccard": asdict(summarise([row.jaccard for row in rows], owners, seed=seed)),
        "dice_originals": _mean([row.dice for row in plain]),
        "dice_by_patient": _mean(
            [_mean([row.dice for row in rows if row.patient_id == who]) for who in {*owners}]
        ),
    }
    values: dict[str, Any] = jsonable(figures)
    return values


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
