"""Estimate of the time the ladder takes on this computer, measured on a few training steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lvseg.reproduction.ladder import Scale, Step, choose
from lvseg.reproduction.offline_augmentation import paper_counts
from lvseg.reproduction.run import steps_of
from lvseg.reproduction.speed import clock
from lvseg.reproduction.splits import paper_samples
from lvseg.reproduction.trainer import LOSSES, FrameOptions
from lvseg.reproduction.worker_pool import jobs_for, one_thread
from lvseg.train import augment
from lvseg.train.distributed import Device, pick_device
from lvseg.train.network import build
from lvseg.train.optimization import dice_cross_entropy

#: Steps measured, after one that is not.
MEASURED = 3
#: Full frames are searched and a window is cut: pictures of so many times the window's cost.
WINDOW_FACTOR = 5.0
#: Seconds to read a pair of pictures, and to make, write and check an augmented one.
READ_S, COPY_S = 0.005, 0.03


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of wall time that a step takes, of which training; ``step_s`` is one step."""

    key: str
    step_s: float
    training_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be run and how long it takes; nothing was written.

    :param data_s: seconds to write the augmented pictures.
    :param jobs: steps that run at once.
    """

    scale: Scale
    device: str
    jobs: int
    data_s: float
    steps: tuple[Step, ...]
    estimates: tuple[Estimate, ...]

    @property
    def total_s(self) -> float:
        """Seconds of the data and all steps, at best as long as the longest one."""
        each = [estimate.total_s for estimate in self.estimates]
        return self.data_s + max(sum(each) / self.jobs, *each)

    def document(self) -> dict[str, Any]:
        """The plan as plain values for JSON."""
        rows = [
            {**asdict(each), "split": step.split, "change": step.change}
            for step, each in zip(self.steps, self.estimates, strict=True)
        ]
        return {
            "scale": asdict(self.scale),
            "device": self.device,
            "jobs": self.jobs,
            "data_s": self.data_s,
            "total_s": self.total_s,
            "steps": rows,
        }


def make_plan(
    dataset: Path,
    scale: Scale,
    only: Sequence[str],
    device: Device = "auto",
    jobs: int | None = None,
) -> Plan:
    """Measure a few steps of every kind and add up.

    :raises UsageError: an unknown step, or a data set without the splits that are needed.
    """
    samples = paper_samples(dataset)
    steps = choose(steps_of(scale), only)
    training = sum(sample.split == "training" for sample in samples)
    pictures = paper_counts(scale.total)["training"]
    copies = max(0, scale.total - len(samples)) + max(0, pictures - training)
    estimates = estimate(steps, pictures, (len(samples) - training) // 2, device)
    where = pick_device(device)
    at_once = jobs_for(where, jobs)
    return Plan(scale, where.type, at_once, COPY_S * copies, steps, estimates)


def estimate(
    steps: Sequence[Step], pictures: int, held_out: int, device: Device = "auto"
) -> tuple[Estimate, ...]:
    """Measure a few steps of each kind and multiply.

    On a processor the working time of one thread is measured, as a step takes one, not the clock,
    so that other programs do not count.

    :param pictures: of the training split; :param held_out: of validation and test each.
    """
    found, known = [], dict[str, tuple[float, float]]()
    where = pick_device(device)
    for step in steps:
        options = step.options
        kind = options.model_dump_json(include={"network", "batch_size", "frame_px", "input"})
        kind += str(options.augment is None)
        if kind not in known:
            with one_thread(where):
                known[kind] = _measured(step, where)
        training, predicting = known[kind]
        factor = 1.0 if isinstance(options, FrameOptions) else WINDOW_FACTOR
        validations = options.epochs // options.validate_every
        scoring = factor * predicting * (held_out * (validations + 2) + pictures)
        read = READ_S * (2 * pictures + 4 * held_out)
        total = training * options.epochs * options.steps_per_epoch
        found.append(Estimate(step.key, training, total, total + scoring + read))
    return tuple(found)


def _measured(step: Step, device: torch.device) -> tuple[float, float]:
    """Seconds of a training step, and of predicting one picture."""
    options, size = step.options, step.side_px
    loss_of = LOSSES[options.loss] if isinstance(options, FrameOptions) else dice_cross_entropy
    network = build(options.network).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch_size, 1, size, size)
    images = torch.rand(shape, generator=generator).to(device)
    masks = (torch.rand(shape, generator=generator) > 0.9).float().to(device)
    centres = torch.full((options.batch_size, 2), size / 2)
    seconds = []
    for _ in range(MEASURED + 1):
        begun = clock(device)
        batch, truth = images, masks
        if options.augment is not None:
            drawn = augment.draw_parameters(options.augment, centres, (size, size), generator)
            batch, truth = augment.apply_spatial(drawn, images, masks, size)
            batch = augment.apply_intensity(drawn, batch)
        batch = batch.contiguous(memory_format=torch.channels_last)
        loss = loss_of(network(batch), truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(clock(device) - begun)
    return sum(seconds[1:]) / MEASURED, _predicting(network, images[:1], device)


@torch.no_grad()
def _predicting(network: nn.Module, image: torch.Tensor, device: torch.device) -> float:
    network.eval()
    network(image)
    begun = clock(device)
    for _ in range(MEASURED):
        network(image)
    return (clock(device) - begun) / MEASURED
