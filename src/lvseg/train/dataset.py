"""Data set folder -> tensors, through the same reading and preparing as inference.

Or, for the study's networks, as whole frames of one size (:func:`load_frames`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from lvseg.cine import Cine, Source
from lvseg.errors import DatasetError
from lvseg.labels import Label
from lvseg.manifest import Sample, image_path, image_sha256, mask_path, read_manifest, select
from lvseg.modelcard import InputSpec
from lvseg.preprocess import prepare, resample, scale_factors
from lvseg.read import read_mask, read_picture

__all__ = [
    "Slices",
    "load_frames",
    "load_slices",
    "normalise_crops",
    "read_pair",
    "resize_frame",
]

#: The study's rule: a resized mask is cavity from here on, of 255.
CAVITY_FROM = 128


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Pictures of one split on the model's grid, all padded to one size.

    :param images, masks: ``[N, 1, Y, X]`` float32 in 0..1.
    :param centres: cavity centre (row, column), the picture's centre where it is empty, [N, 2].
    :param empty: which pictures hold no cavity, [N] bool.
    :param cases: the manifest rows, in the same order.
    :param sha256: hash of each image file.
    """

    images: Tensor
    masks: Tensor
    centres: Tensor
    empty: Tensor
    samples: tuple[Sample, ...]
    sha256: tuple[str, ...]


def load_slices(dataset: Path, split: str, spec: InputSpec, *, allow_leaks: bool = False) -> Slices:
    """Read every picture of a split (``a+b`` for two) with its mask.

    :param allow_leaks: see :func:`lvseg.manifest.read_manifest`; for the study's own split only.

    :raises DatasetError: nothing in the split, or image and mask differ in size.
    """
    samples = select(read_manifest(dataset, allow_leaks=allow_leaks), split)
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
    return Slices(stack, truth, torch.tensor(centres), empty, samples, _hashes(dataset, samples))


def load_frames(dataset: Path, split: str, side_px: int, *, allow_leaks: bool = False) -> Slices:
    """Read every picture of a split with its mask as the study does.

    Resized to ``side_px`` squared by Pillow (bicubic, its default), image / 255, mask >= 128 of 255
    is cavity; all centres are those of the frame.

    :param allow_leaks: see :func:`lvseg.manifest.read_manifest`; for the study's own split only.

    :raises DatasetError: nothing in the split, image and mask differ in size, more than 8 bit.
    """
    samples = select(read_manifest(dataset, allow_leaks=allow_leaks), split)
    images = torch.empty(len(samples), 1, side_px, side_px)
    masks = torch.empty_like(images)
    for index, sample in enumerate(samples):
        image, mask = read_pair(dataset, sample)
        if image.max() > 255:
            raise DatasetError(f"expected 8 bit pictures, found {image.max():g} in {sample.file}")
        images[index, 0] = torch.from_numpy(resize_frame(image, side_px)) / 255
        inside = resize_frame(255 * mask.astype(np.uint8), side_px) >= CAVITY_FROM
        masks[index, 0] = torch.from_numpy(inside)
    centres = torch.full((len(samples), 2), (side_px - 1) / 2)
    return Slices(
        images, masks, centres, ~masks.flatten(1).any(1), samples, _hashes(dataset, samples)
    )


def resize_frame(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Resize a picture [Y, X] of 0..255 as 8 bit, to ``side_px`` squared."""
    return np.array(Image.fromarray(picture.astype(np.uint8)).resize((side_px, side_px)))


def read_pair(dataset: Path, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Image [Y, X] float32 and cavity [Y, X] bool of a case.

    :raises DatasetError: they differ in size.
    """
    image = read_picture(image_path(dataset, sample))
    mask = read_mask(mask_path(dataset, sample)).labels[0, 0] == Label.LV_CAVITY
    if image.shape != mask.shape:
        raise DatasetError(f"expected image and mask of one size, found two for {sample.file}")
    return image, mask


def _hashes(dataset: Path, samples: tuple[Sample, ...]) -> tuple[str, ...]:
    return tuple(image_sha256(image_path(dataset, sample)) for sample in samples)


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
