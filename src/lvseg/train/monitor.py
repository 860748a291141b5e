"""What is watched during training: Dice and Jaccard of a batch, and of the held-out pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lvseg import preprocess
from lvseg.errors import DatasetError
from lvseg.modelcard import InputSpec
from lvseg.preprocess import Prepared
from lvseg.train import augment
from lvseg.train.dataset import Slices, normalise_crops
from lvseg.train.loss import dice_cross_entropy
from lvseg.train.options import TrainOptions

__all__ = ["mean_overlaps", "overlaps", "validate", "watch"]


def overlaps(predicted: Tensor, truth: Tensor) -> Tensor:
    """Sums over a batch of Dice and Jaccard, and the number of pictures they are over, [3].

    Dice = 2 |X and Y| / (|X| + |Y|), Jaccard = |X and Y| / |X or Y|. Pictures without cavity are
    left out: a batch of only those gives 0, 0, 0.

    :param predicted, truth: bool, ``[N, ...]``.
    """
    predicted, truth = predicted.flatten(1), truth.flatten(1)
    counted = truth.any(1)
    both = (predicted & truth).sum(1).double()
    size = (predicted.sum(1) + truth.sum(1)).double()
    dice, jaccard = 2 * both / size.clamp(min=1), both / (size - both).clamp(min=1)
    return torch.stack([dice[counted].sum(), jaccard[counted].sum(), counted.sum().double()])


@torch.no_grad()
def watch(network: nn.Module, data: Slices, options: TrainOptions) -> dict[str, float]:
    """Loss over all pictures of a split, and mean Dice and Jaccard over those with a cavity.

    The overlap is that of full frames (:func:`validate`), the loss that of the window around the
    true centre.

    :returns: ``loss``, ``dice``, ``jaccard``.
    :raises DatasetError: no picture has a cavity.
    """
    network.eval()
    loss = 0.0
    for images, masks in _plain_batches(data, options):
        loss += len(images) * dice_cross_entropy(_logits(network, images), masks).item()
    dice, jaccard = validate(network, data, options.input)
    return {"loss": loss / len(data.images), "dice": dice, "jaccard": jaccard}


@torch.no_grad()
def validate(network: nn.Module, data: Slices, spec: InputSpec) -> tuple[float, float]:
    """Mean Dice and Jaccard per slice from full frames; slices without cavity are left out.

    Locates and cuts as inference does and thresholds at 0.5, without the clean-up: a monitor for
    choosing. The figure that counts is ``lvseg evaluate`` on the exported model.

    :raises DatasetError: no slice has a cavity.
    """

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = torch.sigmoid(
            _logits(network, torch.from_numpy(batch))
        ).numpy()
        return result

    network.eval()
    sums = torch.zeros(3, dtype=torch.float64)
    for index in torch.nonzero(~data.empty).flatten().tolist():
        frame = data.images[index : index + 1].numpy()
        prepared = Prepared(frame, np.array([[0, 1]], np.float32), (1.0, 1.0), spec)
        box = preprocess.find_box(prepared, run(preprocess.locator_frames(prepared))[:, 0])
        inside = np.zeros(frame.shape[-2:], bool)
        found = preprocess.restore(run(preprocess.crop(prepared, box)), prepared, box)
        preprocess.source_box(prepared, box).paste(found[0, 0, 0] > 0.5, inside)
        predicted = inside[None]
        sums += overlaps(torch.from_numpy(predicted), data.masks[index] > 0.5)
    return mean_overlaps(sums)


def mean_overlaps(sums: Tensor) -> tuple[float, float]:
    """Mean Dice and Jaccard of sums of :func:`overlaps`.

    :raises DatasetError: the sums are over no picture.
    """
    dice, jaccard, count = sums.tolist()
    if not count:
        raise DatasetError("expected validation pictures with a cavity, found none with one")
    return (dice / count, jaccard / count)


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """Output of the network on the processor, wherever it computes."""
    device = next(network.parameters()).device
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    result: Tensor = network(images).float().cpu()
    return result


def _plain_batches(data: Slices, options: TrainOptions) -> Iterator[tuple[Tensor, Tensor]]:
    """Every picture once, in order, as the network sees it without augmentation."""
    for first in range(0, len(data.images), options.batch_size):
        part = slice(first, first + options.batch_size)
        drawn = augment.identity(data.centres[part])
        size = options.input.crop_px
        images, masks = augment.crop(drawn, data.images[part], data.masks[part], size)
        yield normalise_crops(images, options.input), masks
