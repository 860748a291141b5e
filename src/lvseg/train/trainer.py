"""The training loop, straight down the page.

Options, data, network, optimiser, learning-rate rule, loop, checkpoint: in that order. All
randomness of the loop comes from one generator whose state is in the checkpoint, so a resumed
run takes the same steps as one that never stopped.
"""

from __future__ import annotations

import copy
import csv
import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from lvseg.errors import UsageError
from lvseg.modelcard import InputSpec
from lvseg.preprocess import Prepared, cut, find_window, restore, scouts
from lvseg.train import augment, checkpoint
from lvseg.train.checkpoint import Progress
from lvseg.train.dataset import Slices, load_slices, normalise_crops
from lvseg.train.loss import dice_cross_entropy
from lvseg.train.network import build
from lvseg.train.options import TrainOptions
from lvseg.write import write_text

__all__ = ["fit", "learning_rate", "validate"]

Report = Callable[[int, int, dict[str, float]], None]
LOG_FIELDS = ("epoch", "step", "learning_rate", "loss", "validation_dice", "validation_jaccard")


def fit(
    options: TrainOptions,
    dataset: Path,
    run: Path,
    *,
    resume: bool = False,
    start: Path | None = None,
    report: Report | None = None,
) -> Path:
    """Train and leave checkpoints and ``log.csv`` in ``run``.

    :param start: an earlier run of the same network whose averaged weights are the first ones.
    :param report: called after each epoch with (epoch, epochs, figures).
    :returns: the run folder; ``best`` is the checkpoint to export, ``last`` the one to resume.
    :raises UsageError: the folder holds a run already and ``resume`` is off, or the other options.
    """
    data = load_slices(dataset, options.train_split, options.input)
    held_out = None
    if options.validation_split is not None:
        held_out = load_slices(dataset, options.validation_split, options.input)

    torch.manual_seed(options.seed)  # initial weights
    network = build(options.network)
    if start is not None:
        checkpoint.load_average(start, "best", network)
    average = copy.deepcopy(network).eval()
    optimiser = _optimiser(network, options)
    generator = Generator().manual_seed(options.seed)
    progress, log = Progress(), list[dict[str, float]]()
    if (run / "last.json").is_file():
        if not resume:
            raise UsageError(f"{run} holds a run already: add --resume, or name a new folder")
        if checkpoint.read_options(run)[0] != options:
            raise UsageError(f"{run} was started with other options: name a new folder")
        progress = checkpoint.restore(run, network, average, optimiser, generator)
        log = _read_log(run)[: progress.epoch]
    run.mkdir(parents=True, exist_ok=True)
    record = _record(data, start)

    for epoch in range(progress.epoch, options.epochs):
        loss = _epoch(options, data, network, average, optimiser, generator, epoch)
        step = (epoch + 1) * options.steps_per_epoch
        figures = {
            "epoch": epoch + 1,
            "step": step,
            "learning_rate": learning_rate(step - 1, options),
            "loss": loss,
        }
        progress = replace(progress, epoch=epoch + 1, step=step)
        due = (epoch + 1) % options.validate_every == 0 or epoch + 1 == options.epochs
        better = held_out is None
        if held_out is not None and due:
            dice, jaccard = validate(average, held_out, options.input)
            figures |= {"validation_dice": dice, "validation_jaccard": jaccard}
            better = progress.best_dice is None or dice > progress.best_dice
            if better:
                progress = replace(progress, best_dice=dice, best_epoch=epoch + 1)
        log.append(figures)
        state = (network, average, optimiser, generator, options, progress, record)
        if better:
            checkpoint.save(run, "best", *state)
        _write_log(run, log)
        checkpoint.save(run, "last", *state)
        if report is not None:
            report(epoch + 1, options.epochs, figures)
    return run


def _record(data: Slices, start: Path | None) -> dict[str, Any]:
    """Which data taught the network: goes into every checkpoint, and from there onto the card."""
    patients, hashes = {case.patient_id for case in data.cases}, set(data.sha256)
    started_from = None
    if start is not None:
        options, progress, earlier = checkpoint.read_options(start, "best")
        patients |= set(earlier["patients"])
        hashes |= set(earlier["image_sha256"])
        started_from = f"{options.name}, {progress.step} steps"
    return {
        "patients": sorted(patients),
        "image_sha256": sorted(hashes),
        "images": len(data.cases),
        "started_from": started_from,
    }


def _optimiser(network: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    if options.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=options.peak_rate,
            momentum=options.momentum,
            nesterov=True,
            weight_decay=options.weight_decay,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=options.peak_rate, weight_decay=options.weight_decay
    )


def learning_rate(step: int, options: TrainOptions) -> float:
    """Linear warm-up, then a half cosine to 0 (Loshchilov 2017, eq. 5, one cycle)."""
    if step < options.warmup_steps:
        return options.peak_rate * (step + 1) / options.warmup_steps
    total = options.epochs * options.steps_per_epoch - options.warmup_steps
    done = (step - options.warmup_steps) / max(1, total)
    return options.peak_rate * (1 + math.cos(math.pi * min(1.0, done))) / 2


def _epoch(
    options: TrainOptions,
    data: Slices,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: Generator,
    epoch: int,
) -> float:
    """One epoch of steps; returns the mean loss."""
    network.train()
    sides = (data.images.shape[2], data.images.shape[3])
    order = _order(data, options, generator)
    total = 0.0
    for index in range(options.steps_per_epoch):
        step = epoch * options.steps_per_epoch + index
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, options)
        chosen = order[index * options.batch_size : (index + 1) * options.batch_size]
        size = options.input.window_px
        if options.scout_every and index % options.scout_every == 0:
            size, chosen = 2 * size, chosen[: max(2, len(chosen) // 4)]  # the same work
        drawn = augment.draw(options.augment, data.centres[chosen], sides, generator)
        images, masks = augment.crop(drawn, data.images[chosen], data.masks[chosen], size)
        images = augment.recolour(drawn, normalise_crops(images, options.input))
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        loss = dice_cross_entropy(logits.float(), masks)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        _update_average(average, network, min(options.ema_decay, (step + 1) / (step + 10)))
        total += loss.item()
    return total / options.steps_per_epoch


def _order(data: Slices, options: TrainOptions, generator: Generator) -> Tensor:
    """Indices of one epoch: drawn without replacement, round after round, by weight."""
    needed, indices = options.steps_per_epoch * options.batch_size, list[Tensor]()
    keep = torch.where(data.empty, options.empty_weight, 1.0)
    small = ~data.empty & (data.masks.sum((1, 2, 3)) < options.small_px)
    keep = torch.where(small, options.small_weight, keep)
    while sum(len(part) for part in indices) < needed:
        shuffled = torch.randperm(len(data.empty), generator=generator)
        copies = keep.floor() + (torch.rand(len(keep), generator=generator) < keep % 1).float()
        indices.append(shuffled.repeat_interleave(copies[shuffled].long()))
    return torch.cat(indices)[:needed]


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    for target, value in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if target.is_floating_point():
            target.lerp_(value, 1 - decay)
        else:
            target.copy_(value)


@torch.no_grad()
def validate(network: nn.Module, data: Slices, spec: InputSpec) -> tuple[float, float]:
    """Mean Dice and Jaccard per slice from full frames; slices without cavity are left out.

    Locates and cuts as inference does and thresholds at 0.5, without the clean-up: a monitor for
    choosing. The figure that counts is ``lvseg evaluate`` on the exported model.
    """

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        images = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
        result: NDArray[np.float32] = torch.sigmoid(network(images)).numpy()
        return result

    network.eval()
    scores = []
    for index in torch.nonzero(~data.empty).flatten().tolist():
        frame = data.images[index : index + 1].numpy()
        prepared = Prepared(frame, (frame.shape[2], frame.shape[3]), (1.0, 1.0), spec)
        window = find_window(prepared, run(scouts(prepared)))
        predicted = restore(run(cut(prepared, window)), prepared, window)[0, 0] > 0.5
        truth = data.masks[index, 0].numpy() > 0.5
        overlap, size = int((predicted & truth).sum()), int(predicted.sum() + truth.sum())
        scores.append((2 * overlap / size, overlap / (size - overlap)))
    dice, jaccard = np.mean(scores, axis=0)
    return float(dice), float(jaccard)


def _write_log(run: Path, log: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, LOG_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    write_text(run / "log.csv", text.getvalue())


def _read_log(run: Path) -> list[dict[str, float]]:
    if not (run / "log.csv").is_file():
        return []
    with (run / "log.csv").open(newline="", encoding="utf-8") as file:
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    whole = ("epoch", "step")  # written again as they were
    return [{k: int(v) if k in whole else float(v) for k, v in row.items()} for row in rows]
