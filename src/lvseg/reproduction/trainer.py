"""Training loop for whole frames in the paper's setting, straight down the page.

Options, data, loss, loop, checkpoint. Everything that only the paper used is here: frames resized
to a square and divided by 255, unaugmented pictures in the order of the manifest, SGD, the plain
Dice loss, a split that leaks. Each of these can be exchanged for what lvseg uses, one at a time,
as the ladder does (:mod:`.ladder`); networks, augmentation and checkpoints are lvseg's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Generator, Tensor, nn

from lvseg.errors import DatasetError, UsageError
from lvseg.labels import Label
from lvseg.manifest import read_manifest, select
from lvseg.modelcard import StrictModel
from lvseg.samples import read_sample
from lvseg.train import augment, checkpoint
from lvseg.train.augment import AugmentOptions
from lvseg.train.checkpoint import State, TrainingProgress
from lvseg.train.dataset import draw_order
from lvseg.train.log import draw_curves, read_log, write_log
from lvseg.train.network import NetworkOptions, build
from lvseg.train.optimization import (
    Schedule,
    dice_cross_entropy,
    learning_rate,
    require_finite,
    soft_dice,
    update_ema,
)
from lvseg.train.validation import label_figures, overlaps

#: The paper's rule: a resized mask is cavity from here on, of 255.
CAVITY_FROM = 128
#: The one label of the paper.
CAVITY = (Label.LV_CAVITY.name,)
#: Smoothing constant of the paper's Dice loss: only so that nothing over nothing is 1.
TINY_PX = 1e-6


class FrameOptions(StrictModel):
    """Everything that decides the weights of a run on whole frames.

    :param frame_px: rows and columns that every frame is resized to.
    :param augment: on the fly, as :class:`AugmentOptions` says; None = the frames as they are.
    :param shuffled: draw the frames in random order, or take them in that of the manifest.
    :param loss: a key of :data:`LOSSES`; :param momentum: of SGD, with Nesterov's look ahead.
    :param ema_decay: weights to score are an exponential moving average; 0 = the last ones.

    The rest is as in :class:`lvseg.train.options.TrainOptions`.
    """

    name: str
    train_split: str = "training"
    validation_split: str = "validation"
    frame_px: int = Field(ge=16)
    network: NetworkOptions
    augment: AugmentOptions | None = None
    shuffled: bool = False
    epochs: int = Field(ge=1)
    steps_per_epoch: int = Field(ge=1)
    validate_every: int = Field(default=1, ge=1)
    batch_size: int = Field(default=1, ge=1)
    loss: Literal["dice", "dice-cross-entropy"] = "dice"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    schedule: Schedule = "constant"
    learning_rate: float = 0.01
    momentum: float = Field(default=0.9, ge=0, lt=1)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = 0.0
    clip_norm: float = Field(default=0.0, ge=0)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Pictures of one split and their masks, ``[N, 1, S, S]`` float32 in 0..1."""

    images: Tensor
    masks: Tensor


def load_frames(dataset: Path, split: str, side_px: int, *, allow_leaks: bool = False) -> Frames:
    """Read every picture of a split with its mask as the paper does.

    Resized to ``side_px`` squared by Pillow (bicubic, its default), image / 255, mask >= 128 of 255
    is cavity.

    :param allow_leaks: see :func:`lvseg.manifest.read_manifest`; for the paper's own split.
    :raises DatasetError: nothing in the split, image and mask differ in size, more than 8 bit.
    :raises PatientLeakError: a patient in more than one split, unless ``allow_leaks``.
    """
    samples = select(read_manifest(dataset, allow_leaks=allow_leaks), split)
    images = torch.empty(len(samples), 1, side_px, side_px)
    masks = torch.empty_like(images)
    for index, sample in enumerate(samples):
        cine, labels = read_sample(dataset, sample)
        image = cine.frames[0, 0]
        if image.max() > 255:
            raise DatasetError(f"expected 8 bit pictures, found {image.max():g} in {sample.file}")
        images[index, 0] = torch.from_numpy(resize_frame(image, side_px)) / 255
        cavity = 255 * (labels == Label.LV_CAVITY).astype(np.uint8)
        inside = resize_frame(cavity, side_px) >= CAVITY_FROM
        masks[index, 0] = torch.from_numpy(inside)
    return Frames(images, masks)


def resize_frame(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Resize a picture [Y, X] of 0..255 as 8 bit, to ``side_px`` squared."""
    return np.array(Image.fromarray(picture.astype(np.uint8)).resize((side_px, side_px)))


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The paper's loss: mean over samples of 1 - soft Dice, with a tiny smoothing constant.

    A sample without cavity costs 1 unless nothing at all is predicted, and has next to no gradient.

    :param logits: ``[N, 1, Y, X]``; :param target: the same shape, 0..1.
    """
    return (1 - soft_dice(logits, target, TINY_PX)).mean()


#: By the name the options have.
LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"dice": dice_loss, "dice-cross-entropy": dice_cross_entropy}
)


def fit_frames(
    options: FrameOptions,
    dataset: Path,
    run: Path,
    *,
    follow: Callable[[int, int], None] = lambda epoch, epochs: None,
    device: torch.device,
    allow_leaks: bool = False,
) -> Path:
    """Train or go on: leaves the checkpoint ``last``, ``log.csv`` and ``curves.png`` in ``run``.

    :param follow: called after each epoch with (epoch, epochs).
    :raises UsageError: the folder holds a run with other options.
    :raises DivergedError: the loss is no number any more; ``last`` is that of the epoch before.
    """
    data = load_frames(dataset, options.train_split, options.frame_px, allow_leaks=allow_leaks)
    held_out = load_frames(
        dataset, options.validation_split, options.frame_px, allow_leaks=allow_leaks
    )
    torch.manual_seed(options.seed)  # initial weights
    network = build(options.network).to(device)
    generator = Generator().manual_seed(options.seed)
    ema = copy.deepcopy(network).eval()
    state = State(network, ema, _optimizer(network, options), generator)
    progress = TrainingProgress()
    if (run / "last.json").is_file():
        if checkpoint.read_document(run)["options"] != options.model_dump(mode="json"):
            raise UsageError(f"{run} was started with other options: name a new folder")
        progress = checkpoint.restore(run, state)
        checkpoint.put_right(run, progress)
    log = read_log(run)[: progress.epoch]
    run.mkdir(parents=True, exist_ok=True)
    for epoch in range(progress.epoch, options.epochs):
        figures = _epoch(options, data, state, epoch, device)
        progress = TrainingProgress(epoch + 1, int(figures["step"]))
        if (epoch + 1) % options.validate_every == 0 or epoch + 1 == options.epochs:
            seen = validate_frames(state.ema, held_out, options)
            figures |= {f"validation_{key}": value for key, value in seen.items()}
        log.append(figures)
        write_log(run, log)
        checkpoint.save(run, "last", state, options, progress, {})
        follow(epoch + 1, options.epochs)
    draw_curves(log, run / "curves.png")
    return run


def _optimizer(network: nn.Module, options: FrameOptions) -> torch.optim.Optimizer:
    rate, decay = options.learning_rate, options.weight_decay
    if options.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.SGD(
        network.parameters(),
        lr=rate,
        momentum=options.momentum,
        nesterov=options.momentum > 0,
        weight_decay=decay,
    )


def _epoch(
    options: FrameOptions, data: Frames, state: State, epoch: int, device: torch.device
) -> dict[str, float]:
    """One epoch of steps; returns its mean loss and overlap."""
    network, steps = state.network.train(), options.steps_per_epoch
    torch.manual_seed(options.seed + 7919 * (1 + epoch))  # dropout
    count, needed = len(data.images), steps * options.batch_size
    order = torch.arange(needed) % count
    if options.shuffled:
        order = draw_order(torch.ones(count), needed, state.generator)
    sums = torch.zeros(4, dtype=torch.float64)  # loss, Dice, Jaccard, pictures with cavity
    for step, chosen in enumerate(torch.split(order, options.batch_size), epoch * steps):
        rate = learning_rate(
            step,
            options.learning_rate,
            schedule=options.schedule,
            warmup_steps=options.warmup_steps,
            total_steps=options.epochs * steps,
        )
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        images, masks = data.images[chosen].to(device), data.masks[chosen].to(device)
        if options.augment is not None:
            images, masks = _augmented(options.augment, images, masks, state.generator)
        logits = network(images.contiguous(memory_format=torch.channels_last))
        loss = LOSSES[options.loss](logits, masks)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if options.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
        state.optimizer.step()
        if options.ema_decay:
            update_ema(state.ema, network, options.ema_decay, step + 1)
        found = overlaps(logits.detach() > 0, masks > 0.5).flatten()
        sums += torch.cat([loss.detach().double()[None], found]).cpu()
        require_finite(sums[0].item(), step + 1)
    if not options.ema_decay:
        state.ema.load_state_dict(network.state_dict())
    figures = {"epoch": epoch + 1, "step": (epoch + 1) * steps, "learning_rate": rate}
    figures["loss"] = sums[0].item() / steps
    if sums[3]:
        seen = label_figures(sums[None, 1:], CAVITY)
        figures |= {f"training_{key}": value for key, value in seen.items()}
    return figures


def _augmented(
    options: AugmentOptions, images: Tensor, masks: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The product's augmentation, always around the frame's centre and as large as the frame."""
    side = images.shape[2]
    centres = torch.full((len(images), 2), (side - 1) / 2)
    drawn = augment.draw_parameters(options, centres, (side, side), generator)
    images, masks = augment.apply_spatial(drawn, images, masks, side)
    return augment.apply_intensity(drawn, images), masks


@torch.no_grad()
def validate_frames(network: nn.Module, data: Frames, options: FrameOptions) -> dict[str, float]:
    """Loss over all frames, and mean Dice and Jaccard over those with a cavity, as resized.

    :returns: ``loss``, ``dice``, ``jaccard``.
    :raises DatasetError: no frame has a cavity.
    """
    network.eval()
    device = next(network.parameters()).device
    loss, sums = 0.0, torch.zeros(1, 3, dtype=torch.float64)
    for images, masks in zip(
        torch.split(data.images, options.batch_size),
        torch.split(data.masks, options.batch_size),
        strict=True,
    ):
        images = images.to(device).contiguous(memory_format=torch.channels_last)
        logits = network(images).float().cpu()
        loss += len(images) * LOSSES[options.loss](logits, masks).item()
        sums += overlaps(logits > 0, masks > 0.5)
    return {"loss": loss / len(data.images), **label_figures(sums, CAVITY)}
