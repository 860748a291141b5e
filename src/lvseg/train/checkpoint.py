"""Checkpoints: tensors as safetensors, everything else as JSON beside them; never a pickle."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Generator, Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from lvseg.atomic import atomic_write, write_text
from lvseg.errors import ModelError, UsageError
from lvseg.train.network import build
from lvseg.train.options import TrainOptions

#: Weight tensors from this many values on are exported in half precision: half the file.
HALF_FROM = 1024


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a run stands: finished epochs, steps taken, best validation Dice and its epoch."""

    epoch: int = 0
    step: int = 0
    best_dice: float | None = None
    best_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What changes from step to step; all of it goes into a checkpoint.

    :param ema: the network of the averaged weights, the one to validate and to export.
    :param generator: of every random number that is drawn by the loop.
    :param scaler: of the loss, for float16; switched off otherwise.
    """

    network: nn.Module
    ema: nn.Module
    optimizer: Optimizer
    generator: Generator
    scaler: GradScaler = field(default_factory=lambda: GradScaler(enabled=False))


def save(
    run: Path,
    name: str,
    state: State,
    options: BaseModel,
    progress: TrainingProgress,
    data: dict[str, Any],
) -> None:
    """Write ``<name>.safetensors`` and ``<name>.json`` into a run folder, each as a whole.

    The progress is in both: after a crash between the two, that of the tensors counts.
    """
    tensors: dict[str, Tensor] = {"generator": state.generator.get_state()}
    tensors |= {f"network.{key}": value for key, value in state.network.state_dict().items()}
    tensors |= {f"ema.{key}": value for key, value in state.ema.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{index}.{key}": torch.as_tensor(value)
            for key, value in values.items()
            if value is not None  # SGD without momentum keeps nothing
        }
    scaling = state.scaler.state_dict()  # no numbers where it is switched off
    tensors |= {f"scaler.{key}": torch.tensor(float(value)) for key, value in scaling.items()}
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    steps = asdict(progress)
    with atomic_write(run / f"{name}.safetensors") as file:
        file.write_bytes(to_bytes(tensors, metadata={"progress": json.dumps(steps)}))
    document = {
        "schema": 1,
        "progress": steps,
        "options": options.model_dump(mode="json"),
        "data": data,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    write_text(run / f"{name}.json", json.dumps(document, indent=1) + "\n")


def put_right(run: Path, progress: TrainingProgress) -> None:
    """Give the document of ``last`` the progress of its tensors.

    They are written first: a run that was stopped between the two left the document behind.
    """
    document = read_document(run, "last")
    if document["progress"] != asdict(progress):
        document["progress"] = asdict(progress)
        write_text(run / "last.json", json.dumps(document, indent=1) + "\n")


def read_options(
    run: Path, name: str = "last"
) -> tuple[TrainOptions, TrainingProgress, dict[str, Any]]:
    """Options, progress and data record of a checkpoint of ``lvseg train``.

    :raises ModelError: the folder holds no checkpoint.
    :raises UsageError: it is not one of ``lvseg train``, or of another version with other options.
    """
    document = read_document(run, name)
    try:
        options = TrainOptions.model_validate(document["options"])
    except ValidationError as error:
        raise UsageError(
            f"expected a run of lvseg train of this version in {run}, found other options "
            f"({error.errors()[0]['msg']}): start a new run"
        ) from error
    return options, TrainingProgress(**document["progress"]), document["data"]


def read_document(run: Path, name: str = "last") -> dict[str, Any]:
    """What stands beside the tensors of a checkpoint: ``options``, ``progress``, ``data``.

    :raises ModelError: the folder holds no checkpoint.
    """
    path = run / f"{name}.json"
    if not path.is_file() or not path.with_suffix(".safetensors").is_file():
        raise ModelError(f"expected a training run with {path.name}, found none in {run}")
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def restore(run: Path, state: State) -> TrainingProgress:
    """Put the state of ``last`` back, so that training goes on as if it had not stopped."""
    with safe_open(run / "last.safetensors", "pt") as file:
        progress = TrainingProgress(**json.loads(file.metadata()["progress"]))
    tensors = load_file(run / "last.safetensors")
    state.network.load_state_dict(_part(tensors, "network."))
    state.ema.load_state_dict(_part(tensors, "ema."))
    values: dict[int, dict[str, Tensor]] = {}
    for key, value in _part(tensors, "optimizer.").items():
        index, field = key.split(".", 1)
        values.setdefault(int(index), {})[field] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": values, "param_groups": groups})
    state.generator.set_state(tensors["generator"])
    scaling = _part(tensors, "scaler.")
    if state.scaler.is_enabled() and scaling:
        whole = {key: type(value)(scaling[key]) for key, value in state.scaler.state_dict().items()}
        state.scaler.load_state_dict(whole)
    return progress


def load_ema(run: Path, name: str, network: nn.Module) -> None:
    """Load the averaged weights of a checkpoint into ``network``."""
    network.load_state_dict(_part(load_file(run / f"{name}.safetensors"), "ema."))


@torch.no_grad()
def exported_network(run: Path) -> tuple[nn.Module, TrainOptions, TrainingProgress, dict[str, Any]]:
    """The network that a run's ``best`` checkpoint is exported as, and what stands beside it.

    Its weights are the averaged ones; large ones have the values that half precision stores, so
    that every form of the model, and its calibration, has the same.

    :raises ModelError: no checkpoint.
    """
    options, progress, data = read_options(run, "best")
    network = build(options.network, *options.channels)
    load_ema(run, "best", network)
    for weight in network.parameters():
        if weight.numel() >= HALF_FROM:
            weight.copy_(weight.half().float())
    return network.eval(), options, progress, data


def weights_bytes(network: nn.Module) -> bytes:
    """Weights of a network as the bytes of a safetensors file."""
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    found: bytes = to_bytes(tensors)
    return found


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 of :func:`weights_bytes`, as hexadecimal text."""
    return hashlib.sha256(weights_bytes(network)).hexdigest()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
