"""Training data: a data set folder as tensors, read and prepared as for inference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Generator, Tensor

from lvseg.cine import Cine, Source
from lvseg.errors import DatasetError
from lvseg.labels import Label
from lvseg.manifest import Sample, image_path, image_sha256, mask_path, read_manifest, select
from lvseg.modelcard import InputSpec
from lvseg.preprocess import prepare, resample, scale_factors
from lvseg.read import read_mask, read_picture

__all__ = ["Slices", "draw_order", "load_slices", "normalise_crops", "read_pair"]


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Pictures of one split on the model's grid, all padded to one size.

    :param images, masks: ``[N, 1, Y, X]`` float32 in 0..1.
    :param centres: cavity centre (row, column), the picture's centre where it is empty, [N, 2].
    :param empty: which pictures hold no cavity, [N] bool.
    :param samples: the manifest rows, in the same order.
    :param sha256: hash of each image file.
    """

    images: Tensor
    masks: Tensor
    centres: Tensor
    empty: Tensor
    samples: tuple[Sample, ...]
    sha256: tuple[str, ...]


def load_slices(dataset: Path, split: str, spec: InputSpec) -> Slices:
    """Read every picture of a split (``a+b`` for two) with its mask.

    :raises DatasetError: nothing in the split, or image and mask differ in size.
    :raises PatientLeakError: a patient in more than one split.
    """
    samples = select(read_manifest(dataset), split)
    images, masks = [], []
    for sample in samples:
        image, mask = read_pair(dataset, sample)
        spacing = sample.pixel_spacing_mm
        pair = None if spacing is None else (spacing, spacing)
        source = Source("picture", image_path(dataset, sample).stem)
        cine = Cine.of_image(image, source, pair)
        images.append(prepare(cine, spec).frames_of(0)[0, 0])
        masks.append(resample(mask.astype(np.float32), scale_factors(pair, spec)))
    rows = max(image.shape[0] for image in images)
    columns = max(image.shape[1] for image in images)
    stack = torch.from_numpy(np.stack([_pad(image, rows, columns) for image in images]))[:, None]
    truth = torch.from_numpy(np.stack([_pad(mask, rows, columns) for mask in masks]))[:, None]
    centres = [_centre(mask) for mask in masks]
    empty = torch.tensor([not mask.any() for mask in masks])
    hashes = tuple(image_sha256(image_path(dataset, sample)) for sample in samples)
    return Slices(stack, truth, torch.tensor(centres), empty, samples, hashes)


def draw_order(weights: Tensor, count: int, generator: Generator) -> Tensor:
    """Indices of ``count`` samples, drawn without replacement, round after round.

    :param weights: how often each sample stands in a round, on average, [N].
    """
    indices = list[Tensor]()
    while sum(len(part) for part in indices) < count:
        shuffled = torch.randperm(len(weights), generator=generator)
        copies = weights.floor() + (torch.rand(len(weights), generator=generator) < weights % 1)
        indices.append(shuffled.repeat_interleave(copies[shuffled].long()))
    return torch.cat(indices)[:count]


def read_pair(dataset: Path, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Image [Y, X] float32 and cavity [Y, X] bool of a sample.

    :raises DatasetError: they differ in size.
    """
    image = read_picture(image_path(dataset, sample))
    mask = read_mask(mask_path(dataset, sample)).labels[0, 0] == Label.LV_CAVITY
    if image.shape != mask.shape:
        raise DatasetError(f"expected image and mask of one size, found two for {sample.file}")
    return image, mask


def normalise_crops(crops: Tensor, spec: InputSpec) -> Tensor:
    """What :func:`lvseg.preprocess.cut` does to a window, for a batch ``[N, 1, S, S]``."""
    limits = torch.tensor([spec.low_percent, spec.high_percent], device=crops.device) / 100
    low, high = torch.quantile(crops[:, :, ::2, ::2].flatten(1), limits, dim=1)
    spread = torch.where(high > low, high - low, torch.inf)
    scaled: Tensor = (crops - low[:, None, None, None]) / spread[:, None, None, None]
    return scaled.clamp(0, 1)


def _pad(frame: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.pad(frame, ((0, rows - frame.shape[0]), (0, columns - frame.shape[1])))


def _centre(mask: np.ndarray) -> tuple[float, float]:
    if not mask.any():
        return ((mask.shape[0] - 1) / 2, (mask.shape[1] - 1) / 2)
    row, column = ndimage.center_of_mass(mask)
    return (float(row), float(column))
