"""Training loop of a segmentation network, straight down the page.

Options, data, network, optimizer, loop, checkpoint: in that order. All randomness of the loop
comes from one generator whose state is in the checkpoint (dropout is seeded anew each epoch), so a
resumed run takes the same steps as one that never stopped. Several processes under ``torchrun``
take the same steps together (:mod:`lvseg.train.distributed`).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lvseg.errors import UsageError
from lvseg.manifest import DatasetFacts, read_dataset_facts
from lvseg.train import augment, checkpoint
from lvseg.train.checkpoint import State, TrainingProgress
from lvseg.train.dataset import Slices, draw_order, load_slices, normalise_crops
from lvseg.train.distributed import Device, Distributed, process_group
from lvseg.train.log import draw_curves, log_scalars, read_log, tensorboard, write_log
from lvseg.train.network import build
from lvseg.train.optimization import learning_rate, require_finite, update_ema
from lvseg.train.options import TrainOptions
from lvseg.train.precision import resolve_precision
from lvseg.train.run_folder import exclusive_lock
from lvseg.train.validation import label_figures, load_validation, loss_of, overlaps, validate

Report = Callable[[int, int, dict[str, float]], None]


def fit(
    options: TrainOptions,
    dataset: Path,
    run: Path,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    report: Report | None = None,
    device: Device = "auto",
    board: bool = False,
) -> Path:
    """Train and leave checkpoints, ``log.csv`` and ``curves.png`` in ``run``.

    :param init_from: an earlier run of the same network whose averaged weights are the first ones.
    :param report: called after each epoch with (epoch, epochs, figures), by the first process.
    :param device: ``auto`` is a CUDA device if there is one.
    :param board: also write TensorBoard logs into ``run/tensorboard``.
    :returns: the run folder; ``best`` is the checkpoint to export, ``last`` the one to resume.
    :raises UsageError: the folder holds a run already and ``resume`` is off, or it was started with
        other options or data; another training goes on there, or it cannot be written; the options
        do not fit the device or the number of processes.
    :raises DivergedError: the loss is no number any more; ``last`` is that of the epoch before.
    """
    with (
        process_group(device) as processes,
        _determinism(options.deterministic),
        _alone(run, processes),
    ):
        options = _with_precision(options, run, resume, processes)
        _check(options, processes)
        data, held_out = load_slices(dataset, options.train_split, options), None
        if options.validation_split is not None:
            held_out = load_validation(dataset, options.validation_split, options)
        state = _initial(options, init_from, processes)
        progress = _progress(options, run, resume, state)
        log = read_log(run)[: progress.epoch]
        record = _record(dataset, data, init_from)
        if progress.epoch:
            record = _earlier_record(run, record)
        network = processes.wrap(state.network)
        with tensorboard(run, progress.epoch, board and processes.is_main) as writer:
            for epoch in range(progress.epoch, options.epochs):
                figures = _epoch(options, data, network, state, processes, epoch)
                if not processes.is_main:
                    continue
                progress = replace(progress, epoch=epoch + 1, step=int(figures["step"]))
                due = (epoch + 1) % options.validate_every == 0 or epoch + 1 == options.epochs
                better = held_out is None
                if held_out is not None and due:
                    seen = validate(state.ema, held_out, options)
                    figures |= {f"validation_{key}": value for key, value in seen.items()}
                    dice = seen["dice"]
                    better = progress.best_dice is None or dice > progress.best_dice
                    if better:
                        progress = replace(progress, best_dice=dice, best_epoch=epoch + 1)
                log.append(figures)
                if better:
                    checkpoint.save(run, "best", state, options, progress, record)
                write_log(run, log)
                checkpoint.save(run, "last", state, options, progress, record)
                log_scalars(writer, figures)
                if report is not None:
                    report(epoch + 1, options.epochs, figures)
        if processes.is_main:
            draw_curves(log, run / "curves.png")
        processes.barrier()
    return run


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """Make torch refuse what does not repeat itself, if ``wanted``, for the time of a run."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _alone(run: Path, processes: Distributed) -> AbstractContextManager[None]:
    """Make the run folder and hold it, by the process that writes."""
    return exclusive_lock(run, "training") if processes.is_main else nullcontext()


def _with_precision(
    options: TrainOptions, run: Path, resume: bool, processes: Distributed
) -> TrainOptions:
    """The options with ``auto`` decided: as the run to resume began, or by the devices of all.

    From here on, checkpoints included, they name the precision of the run.
    """
    if options.precision != "auto":
        return options
    if resume and (run / "last.json").is_file():
        return options.model_copy(update={"precision": checkpoint.read_options(run)[0].precision})
    precision = resolve_precision(options.precision, processes.device)
    votes = processes.all_reduce_sum(torch.tensor([float(precision == "bfloat16")]))
    agreed = "bfloat16" if votes.item() == processes.size else "float32"
    return options.model_copy(update={"precision": agreed})


def _check(options: TrainOptions, processes: Distributed) -> None:
    if options.precision == "float16" and processes.device.type != "cuda":
        raise UsageError("float16 is for CUDA: use precision bfloat16 or float32 on a CPU")
    smallest = _locator_batch(options.batch_size) if options.locate_every else options.batch_size
    if smallest < processes.size:
        raise UsageError(
            f"expected at least one image of a batch for each of {processes.size} processes, "
            f"found {smallest}: raise batch_size, or use fewer processes"
        )


def _initial(options: TrainOptions, init_from: Path | None, processes: Distributed) -> State:
    """Network, optimizer and generator before the first step; the same in every process."""
    torch.manual_seed(options.seed)  # initial weights
    network = build(options.network, *options.channels)
    if init_from is not None:
        checkpoint.load_ema(init_from, "best", network)
    network = network.to(processes.device)
    ema = copy.deepcopy(network).eval()
    network = processes.sync_batchnorm(network)
    scaler = torch.amp.GradScaler(processes.device.type, enabled=options.precision == "float16")
    generator = Generator().manual_seed(options.seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    return State(network, ema, optimizer, generator, scaler)


def _progress(options: TrainOptions, run: Path, resume: bool, state: State) -> TrainingProgress:
    """Where to go on: nowhere yet, or where the run in the folder stopped, with its state."""
    if not (run / "last.json").is_file():
        return TrainingProgress()
    if not resume:
        raise UsageError(f"{run} holds a run already: add --resume, or name a new folder")
    if checkpoint.read_options(run)[0] != options:
        raise UsageError(f"{run} was started with other options: name a new folder")
    progress = checkpoint.restore(run, state)
    checkpoint.put_right(run, progress)
    return progress


def _record(dataset: Path, data: Slices, init_from: Path | None) -> dict[str, Any]:
    """Which data trained the network: goes into every checkpoint, and from there onto the card."""
    patients, hashes = {sample.patient_id for sample in data.samples}, set(data.sha256)
    facts, started_from = read_dataset_facts(dataset), None
    if init_from is not None:
        options, progress, earlier = checkpoint.read_options(init_from, "best")
        patients |= set(earlier["patients"])
        hashes |= set(earlier["image_sha256"])
        facts = _joined(DatasetFacts.from_dict(earlier.get("dataset", {})), facts)
        started_from = f"{options.name}, {progress.step} steps"
    return {
        "dataset": facts.to_dict(),
        "patients": sorted(patients),
        "image_sha256": sorted(hashes),
        "images": len(data.samples),
        "started_from": started_from,
    }


def _earlier_record(run: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What trained a run so far, which a resumed one must not forget.

    :raises UsageError: ``record`` names images that the run has not seen.
    """
    earlier = checkpoint.read_options(run)[2]
    if not set(record["image_sha256"]) <= set(earlier["image_sha256"]):
        raise UsageError(f"{run} was started on other data: name a new folder")
    return earlier


def _joined(first: DatasetFacts, second: DatasetFacts) -> DatasetFacts:
    """Facts of two data sets as of one: both are named where they differ, unknown ones too."""
    values = asdict(first)
    for name, fact in asdict(second).items():
        if name == "limits":
            values[name] += tuple(limit for limit in fact if limit not in values[name])
        elif fact not in values[name]:
            values[name] = f"{values[name]}; {fact}"
    return DatasetFacts(**values)


def _epoch(
    options: TrainOptions,
    data: Slices,
    network: nn.Module,
    state: State,
    processes: Distributed,
    epoch: int,
) -> dict[str, float]:
    """One epoch of steps; returns its mean loss and overlap over all processes.

    :param network: that of the state, as it is called in training.
    """
    network.train()
    stream = epoch * processes.size + processes.rank
    torch.manual_seed(options.seed + 7919 * (1 + stream))  # dropout
    half = torch.float16 if options.precision == "float16" else torch.bfloat16
    needed = options.steps_per_epoch * options.batch_size
    order = draw_order(_weights(data, options), needed, state.generator)
    labels = len(options.labels)
    sums = torch.zeros(1 + 3 * labels, dtype=torch.float64)  # loss, then those of overlaps
    step = epoch * options.steps_per_epoch
    for index in range(options.steps_per_epoch):
        rate = learning_rate(
            step,
            options.learning_rate,
            schedule=options.schedule,
            warmup_steps=options.warmup_steps,
            total_steps=options.epochs * options.steps_per_epoch,
        )
        for weights in state.optimizer.param_groups:
            weights["lr"] = rate
        chosen = order[index * options.batch_size : (index + 1) * options.batch_size]
        images, targets, known, share = _batch(
            options, data, chosen, index, state.generator, processes
        )
        with torch.autocast(processes.device.type, half, enabled=options.precision != "float32"):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), targets, known, options) * share
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        state.scaler.unscale_(state.optimizer)
        if options.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        step += 1
        if options.ema_decay:
            update_ema(state.ema, state.network, options.ema_decay, step)
        found = overlaps(logits.detach() > 0, targets > 0.5).flatten()
        sums += torch.cat([loss.detach().double()[None], found]).cpu()
        if not state.scaler.is_enabled():  # which leaves out the step of a loss that overflows
            require_finite(sums[0].item(), step)
    if not options.ema_decay:
        state.ema.load_state_dict(state.network.state_dict())
    sums = processes.all_reduce_sum(sums).cpu()
    figures: dict[str, float] = {"epoch": epoch + 1, "step": step, "learning_rate": rate}
    figures["loss"] = sums[0].item() / processes.size / options.steps_per_epoch
    by_label = sums[1:].reshape(labels, 3)
    if by_label.any():
        seen = label_figures(by_label, options.labels)
        figures |= {f"training_{key}": value for key, value in seen.items()}
    return figures


def _batch(
    options: TrainOptions,
    data: Slices,
    chosen: Tensor,
    index: int,
    generator: Generator,
    processes: Distributed,
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Our share of a batch: images, targets, which targets are known, and the weight of its loss.

    The weight makes the mean over processes that of the global batch where shares differ in size.
    Noise is drawn by each process for itself; all else is as in one process.
    """
    size = options.input.crop_px
    if options.locate_every and index % options.locate_every == 0:
        size, chosen = 2 * size, chosen[: _locator_batch(len(chosen))]  # the same work
    sides = (data.images.shape[1], data.images.shape[2])
    shown = augment.draw_shown(
        options.augment, data.shown[chosen], options.input.channels, generator
    )
    drawn = augment.draw_parameters(
        options.augment, data.centres[chosen], sides, generator, data.cavities[chosen]
    )
    mine = processes.share(len(chosen))
    images = data.images[shown[mine]].to(processes.device)
    targets = data.targets[chosen[mine]].to(processes.device)
    drawn = replace(drawn.part(mine), noise_seed=drawn.noise_seed + processes.rank)
    images, targets = augment.apply_spatial(drawn, images, targets, size)
    images = augment.apply_intensity(drawn, normalise_crops(images, options.input))
    known = data.known[chosen[mine]].to(processes.device)
    return images, targets, known, len(images) * processes.size / len(chosen)


def _locator_batch(batch_size: int) -> int:
    return min(batch_size, max(2, batch_size // 4))


def _weights(data: Slices, options: TrainOptions) -> Tensor:
    """How often each picture is drawn, relative to one with a cavity that is not small, [N]."""
    small = ~data.empty & (data.targets[:, 0].sum((1, 2)) < options.small_px)
    weights = torch.where(data.empty, options.empty_weight, 1.0)
    return torch.where(small, options.small_weight, weights)
