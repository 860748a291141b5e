"""Validation: Dice and Jaccard of a batch, and of held-out images as inference segments them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lvseg.cine import Cine
from lvseg.errors import DatasetError
from lvseg.inference import infer
from lvseg.labels import Label
from lvseg.predict import Network
from lvseg.samples import Places, groups, phases_as_cine, read_sample
from lvseg.train import augment
from lvseg.train.dataset import Slices, load_slices, nested, normalise_crops
from lvseg.train.optimization import dice_cross_entropy
from lvseg.train.options import TrainOptions

#: Probability from which a pixel counts as inside.
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class ValidationSet:
    """Images of a split: as the loss sees them, and as the studies of its patients.

    :param studies: each with the place (phase, slice) of its images, by their numbers.
    :param labels: of each image [Y, X].
    """

    slices: Slices
    studies: tuple[tuple[Cine, Places], ...]
    labels: tuple[NDArray[np.uint8], ...]


def load_validation(dataset: Path, split: str, options: TrainOptions) -> ValidationSet:
    """Read the images of a split for :func:`validate`.

    :raises DatasetError: nothing in the split, or image and mask differ in size.
    """
    slices = load_slices(dataset, split, options)
    pairs = [read_sample(dataset, each, options.values_of_masks) for each in slices.samples]
    studies = list[tuple[Cine, Places]]()
    for group in groups(slices.samples, by_patient=True):
        samples = {number: slices.samples[number] for number in group}
        studies += phases_as_cine(samples, {number: pairs[number][0] for number in group})
    return ValidationSet(slices, tuple(studies), tuple(labels for _, labels in pairs))


def overlaps(predicted: Tensor, truth: Tensor) -> Tensor:
    """Sums over a batch of Dice and Jaccard of each label, and of the images they are over.

    Dice = 2 |X and Y| / (|X| + |Y|), Jaccard = |X and Y| / |X or Y|, of the pixels of the label
    itself: inside its outer boundary and outside that of the label within. Images whose truth lacks
    the label are left out; with no other, its sums are 0.

    :param predicted, truth: nested, bool ``[N, labels, Y, X]``.
    :returns: ``[labels, 3]``.
    """
    predicted, truth = (_own(inside).flatten(2) for inside in (predicted, truth))
    both = (predicted & truth).sum(2).double()
    size = (predicted.sum(2) + truth.sum(2)).double()
    dice, jaccard = 2 * both / size.clamp(min=1), both / (size - both).clamp(min=1)
    rows = []
    for label, counted in enumerate(truth.any(2).T):
        sums = (dice[counted, label].sum(), jaccard[counted, label].sum(), counted.sum().double())
        rows.append(torch.stack(sums))
    return torch.stack(rows)


def _own(inside: Tensor) -> Tensor:
    """Pixels of each label out of nested channels [N, labels, Y, X]."""
    within = torch.zeros_like(inside)
    within[:, 1:] = inside[:, :-1].cummax(1).values
    return inside & ~within


def label_figures(sums: Tensor, labels: Sequence[str]) -> dict[str, float]:
    """Mean Dice and Jaccard of sums of :func:`overlaps`: ``dice`` and ``jaccard``.

    With several labels these are the means over labels, and those of each stand beside them as
    ``dice_<label>`` and ``jaccard_<label>``.

    :raises DatasetError: no image shows any label.
    """
    known = {name: row for name, row in zip(labels, sums.tolist(), strict=True) if row[2]}
    if not known:
        raise DatasetError("expected images that show a ventricle, found all their masks empty")
    figures = {}
    for place, figure in enumerate(("dice", "jaccard")):
        means = {name: row[place] / row[2] for name, row in known.items()}
        figures[figure] = sum(means.values()) / len(means)
        if len(labels) > 1:
            figures |= {f"{figure}_{name.lower()}": value for name, value in means.items()}
    return figures


def validate(network: nn.Module, data: ValidationSet, options: TrainOptions) -> dict[str, float]:
    """Loss over all images of a split, and mean Dice and Jaccard over those with each label.

    The overlap is that of :func:`slice_overlaps`, the loss that of the crop around the true centre.

    :returns: ``loss`` and what :func:`label_figures` gives.
    :raises DatasetError: no image shows any label.
    """
    sums = sum(slice_overlaps(network, data, options), torch.zeros(len(options.labels), 3))
    return {"loss": _loss(network, data.slices, options), **label_figures(sums, options.labels)}


def slice_overlaps(network: nn.Module, data: ValidationSet, options: TrainOptions) -> list[Tensor]:
    """:func:`overlaps` of every image, on its own grid, from the full frames of its study.

    Localizes, crops and predicts by :func:`lvseg.inference.infer` and cuts at 0.5, without the
    clean-up: for choosing. The figure that counts is ``lvseg evaluate`` on the exported model.
    Studies of empty images are not predicted.
    """
    network.eval()
    labels = [Label[name] for name in options.labels]
    found = dict[int, Tensor]()
    for cine, places in data.studies:
        targets = {
            number: torch.from_numpy(nested(data.labels[number], options.labels) > 0)[None]
            for number in places
        }
        inside = [np.zeros(cine.shape, bool) for _ in labels]
        if any(bool(target.any()) for target in targets.values()):
            prediction = infer(cine, as_network(network), options.input, labels)
            inside = [prediction.on_grid(label, cine.grid) > THRESHOLD for label in labels]
        for number, place in places.items():
            predicted = torch.from_numpy(np.stack([each[place] for each in inside]))[None]
            found[number] = overlaps(predicted, targets[number])
    return [found[number] for number in sorted(found)]


def loss_of(logits: Tensor, targets: Tensor, known: Tensor, options: TrainOptions) -> Tensor:
    """The loss of a batch by the options of a run."""
    return dice_cross_entropy(
        logits,
        targets,
        known=None if bool(known.all()) else known,
        over_batch=options.dice == "batch",
        label_weights=options.label_weights,
    )


def as_network(network: nn.Module) -> Network:
    """A torch network as inference calls one: arrays in, arrays out, on its own device."""

    def run(batch: NDArray[np.float32], /) -> NDArray[np.float32]:
        result: NDArray[np.float32] = _logits(network, torch.from_numpy(batch)).numpy()
        return result

    return run


@torch.no_grad()
def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """Output of the network on the processor, wherever it computes."""
    device = next(network.parameters()).device
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    result: Tensor = network(images).float().cpu()
    return result


def _loss(network: nn.Module, data: Slices, options: TrainOptions) -> float:
    """Mean loss over every image as the network sees it without augmentation."""
    network.eval()
    loss, count = 0.0, len(data.images)
    for first in range(0, count, options.batch_size):
        part = slice(first, first + options.batch_size)
        parameters = augment.identity_parameters(data.centres[part])
        images, targets = augment.apply_spatial(
            parameters, data.images[data.shown[part]], data.targets[part], options.input.crop_px
        )
        logits = _logits(network, normalise_crops(images, options.input))
        loss += len(images) * loss_of(logits, targets, data.known[part], options).item()
    return loss / count
