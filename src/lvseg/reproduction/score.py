"""How good a run is: Dice and Jaccard of every picture, on the picture's own grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from lvseg.cine import Cine, Source
from lvseg.inference import infer
from lvseg.labels import Label
from lvseg.manifest import Sample
from lvseg.metrics import dice, jaccard, summarise
from lvseg.reproduction.offline_augmentation import ORIGINAL
from lvseg.reproduction.trainer import FrameOptions, resize_frame
from lvseg.train.checkpoint import load_average, read_document
from lvseg.train.dataset import read_pair
from lvseg.train.network import build
from lvseg.train.options import TrainOptions

__all__ = ["Row", "known", "load", "predict", "score", "summary"]

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
    load_average(run, "last", network)
    return network.to(device).eval(), options


@torch.no_grad()
def predict(
    network: nn.Module, options: Options, image: NDArray[np.float32], spacing_mm: float | None
) -> NDArray[np.bool_]:
    """Cavity in a picture [Y, X] of 0..255, same size; no clean-up.

    Whole frames: resized as in training, the probability resized back (linear). Windows: found,
    cut and put back as inference does.
    """
    if isinstance(options, FrameOptions):
        frame = torch.from_numpy(resize_frame(image, options.frame_px)).float() / 255
        found = torch.sigmoid(_logits(network, frame[None, None]))
        sides = (image.shape[0], image.shape[1])
        back = functional.interpolate(found, size=sides, mode="bilinear", align_corners=False)
        whole: NDArray[np.bool_] = (back[0, 0] > THRESHOLD).numpy()
        return whole
    pair = None if spacing_mm is None else (spacing_mm, spacing_mm)
    cine = Cine.of_image(image, Source("picture", "picture"), pair)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = _logits(network, torch.from_numpy(batch)).numpy()
        return result

    probability = infer(cine, run, options.input).on_grid(Label.LV_CAVITY, cine.grid)
    inside: NDArray[np.bool_] = probability[0, 0] > THRESHOLD
    return inside


def _logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    device = next(network.parameters()).device
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    result: torch.Tensor = network(images).float().cpu()
    return result


def score(
    network: nn.Module, options: Options, dataset: Path, samples: Sequence[Sample]
) -> tuple[Row, ...]:
    """Overlap of every picture that has a cavity, in the order of the cases."""
    rows = []
    for sample in samples:
        image, mask = read_pair(dataset, sample)
        if not mask.any():
            continue
        found = predict(network, options, image, sample.pixel_spacing_mm)
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
    return known(figures)


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with None where a number is not one, for JSON."""
    return {key: _known(value) for key, value in values.items()}


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return known(value)
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
