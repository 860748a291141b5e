"""Training data: a data set folder as tensors, read and prepared as for inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Generator, Tensor

from lvseg.labels import Label
from lvseg.manifest import Sample, image_path, image_sha256, labelled, read_manifest, select
from lvseg.modelcard import InputSpec
from lvseg.outlines import inside_share, outlines_path, read_outlines
from lvseg.preprocess import CHANNELS, Places, Prepared, prepare, resample
from lvseg.samples import arrange, groups, read_sample
from lvseg.train.options import TrainOptions


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Images of one split on the model's grid, all padded to one size, and what they show.

    :param images: ``[N, Y, X]`` float32 in 0..1.
    :param shown: which image each input channel shows, those of a patient being one study,
        ``[N, input channels]``.
    :param targets: ``[N, labels, Y, X]`` float32 in 0..1: inside the outer boundary of each label.
    :param known: which images say where a label is, even if nowhere, ``[N, labels]`` bool.
    :param centres: centre of the heart (row, column), the image's centre where it is empty, [N, 2].
    :param cavities: centre (row, column) and radius of a disc of the area of the innermost label,
        radius 0 where there is none, [N, 3].
    :param empty: which images hold no label, [N] bool.
    :param samples: the manifest rows, in the same order.
    :param sha256: hash of each image file.
    """

    images: Tensor
    shown: Tensor
    targets: Tensor
    known: Tensor
    centres: Tensor
    cavities: Tensor
    empty: Tensor
    samples: tuple[Sample, ...]
    sha256: tuple[str, ...]


def load_slices(dataset: Path, split: str, options: TrainOptions) -> Slices:
    """Read every image of a split (``a+b`` for two) with its mask.

    :param options: their ``input`` and ``labels`` decide.
    :raises DatasetError: nothing in the split, or image and mask differ in size.
    :raises PatientLeakError: a patient in more than one split.
    """
    samples = select(read_manifest(dataset), split)
    images, targets, shapes = [], [], dict[int, tuple[int, ...]]()
    for number, sample in enumerate(samples):
        cine, labels = read_sample(dataset, sample, options.values_of_masks)
        prepared = prepare(cine, options.input)
        images.append(prepared.frames_of(0)[0])
        shapes[number] = cine.shape
        targets.append(_target(dataset, sample, labels, prepared, options))
    rows = max(image.shape[-2] for image in images)
    columns = max(image.shape[-1] for image in images)
    centres = [_centre(target.max(axis=0)) for target in targets]
    known = [[labelled(each, Label[name]) for name in options.labels] for each in samples]
    empty = [not target.any() for target in targets]
    return Slices(
        torch.from_numpy(np.stack([_pad(image, rows, columns) for image in images])),
        _shown(samples, shapes, options.input.channels),
        torch.from_numpy(np.stack([_pad(target, rows, columns) for target in targets])),
        torch.tensor(known),
        torch.tensor(centres),
        torch.tensor([_cavity(target[0]) for target in targets]),
        torch.tensor(empty),
        samples,
        tuple(image_sha256(image_path(dataset, sample)) for sample in samples),
    )


def _shown(
    samples: Sequence[Sample], shapes: Mapping[int, tuple[int, ...]], channels: Sequence[str]
) -> Tensor:
    """The image that each input channel of each sample shows, [N, channels]."""
    shown = torch.zeros(len(samples), len(channels), dtype=torch.long)
    for group in groups(samples, by_patient=True):
        for found in arrange({number: samples[number] for number in group}, shapes):
            phases, slices = found.numbers.shape
            numbers = list(found.places)
            phase, place = np.array([found.places[number] for number in numbers]).T
            # of two phases, each is most unlike the other
            places = Places(phase, place, np.arange(phases)[::-1], slices)
            for channel, name in enumerate(channels):
                there = CHANNELS[name](places)
                shown[numbers, channel] = torch.from_numpy(found.numbers[there.phase, there.slice])
    return shown


def _target(
    dataset: Path,
    sample: Sample,
    labels: NDArray[np.uint8],
    prepared: Prepared,
    options: TrainOptions,
) -> NDArray[np.float32]:
    """What the network should say, ``[labels, Y, X]``: from the outlines, else from the mask."""
    path = outlines_path(dataset, sample.file)
    if not path.is_file():
        return resample(nested(labels, options.labels), prepared.factors)
    outlines = {outline.label: outline.points for outline in read_outlines(path)}
    wanted = [Label[name] for name in options.labels]
    return inside_share(outlines, wanted, prepared.factors, prepared.sides)


def nested(labels: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.float32]:
    """Labels [Y, X] -> one channel a label: inside its outer boundary, ``[labels, Y, X]`` of 0, 1.

    :param names: of :class:`lvseg.labels.Label`, the innermost first.
    """
    inside = [np.isin(labels, [Label[name] for name in names[: c + 1]]) for c in range(len(names))]
    return np.stack(inside).astype(np.float32)


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


def normalise_crops(crops: Tensor, spec: InputSpec) -> Tensor:
    """What :func:`lvseg.preprocess.crop` does to the intensities of a box, ``[N, C, S, S]``."""
    limits = torch.tensor([spec.low_percent, spec.high_percent], device=crops.device) / 100
    low, high = torch.quantile(crops[:, :, ::2, ::2].flatten(2), limits, dim=2)
    spread = torch.where(high > low, high - low, torch.inf)
    scaled: Tensor = (crops - low[:, :, None, None]) / spread[:, :, None, None]
    return scaled.clamp(0, 1)


def _pad(frames: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    short = (rows - frames.shape[-2], columns - frames.shape[-1])
    return np.pad(frames, [(0, 0)] * (frames.ndim - 2) + [(0, short[0]), (0, short[1])])


def _cavity(inside: NDArray[np.float32]) -> tuple[float, float, float]:
    return (*_centre(inside), float(np.sqrt(inside.sum() / np.pi)))


def _centre(inside: NDArray[np.float32]) -> tuple[float, float]:
    if not inside.any():
        return ((inside.shape[0] - 1) / 2, (inside.shape[1] - 1) / 2)
    row, column = ndimage.center_of_mass(inside)
    return (float(row), float(column))
