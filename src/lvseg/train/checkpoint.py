"""Checkpoints: tensors as safetensors, everything else as JSON beside them; never a pickle."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from lvseg.errors import ModelError
from lvseg.train.options import TrainOptions
from lvseg.write import whole_file, write_text

__all__ = ["Progress", "load_average", "read_options", "restore", "save"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: finished epochs, steps taken, best validation Dice and its epoch."""

    epoch: int = 0
    step: int = 0
    best_dice: float | None = None
    best_epoch: int | None = None


def save(
    run: Path,
    name: str,
    network: nn.Module,
    average: nn.Module,
    optimiser: Optimizer,
    generator: Generator,
    options: TrainOptions,
    progress: Progress,
    data: dict[str, Any],
) -> None:
    """Write ``<name>.safetensors`` and ``<name>.json`` into a run folder, each as a whole."""
    tensors: dict[str, Tensor] = {"generator": generator.get_state()}
    tensors |= {f"network.{key}": value for key, value in network.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {
            f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()
        }
    tensors = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    with whole_file(run / f"{name}.safetensors") as file:
        file.write_bytes(to_bytes(tensors))
    document = {
        "schema": 1,
        "progress": {key: getattr(progress, key) for key in Progress.__dataclass_fields__},
        "options": options.model_dump(mode="json"),
        "data": data,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    write_text(run / f"{name}.json", json.dumps(document, indent=1) + "\n")


def _document(run: Path, name: str) -> dict[str, Any]:
    path = run / f"{name}.json"
    if not path.is_file() or not path.with_suffix(".safetensors").is_file():
        raise ModelError(f"expected a training run with {path.name}, found none in {run}")
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def read_options(run: Path, name: str = "last") -> tuple[TrainOptions, Progress, dict[str, Any]]:
    """Options, progress and data record of a checkpoint.

    :raises ModelError: the folder holds no checkpoint.
    """
    document = _document(run, name)
    options = TrainOptions.model_validate(document["options"])
    return options, Progress(**document["progress"]), document["data"]


def restore(
    run: Path,
    network: nn.Module,
    average: nn.Module,
    optimiser: Optimizer,
    generator: Generator,
) -> Progress:
    """Put the state of ``last`` back, so that training goes on as if it had not stopped."""
    _, progress, _ = read_options(run)
    tensors = load_file(run / "last.safetensors")
    network.load_state_dict(_part(tensors, "network."))
    average.load_state_dict(_part(tensors, "average."))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _part(tensors, "optimiser.").items():
        index, field = key.split(".", 1)
        state.setdefault(int(index), {})[field] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    generator.set_state(tensors["generator"])
    return progress


def load_average(run: Path, name: str, network: nn.Module) -> None:
    """Load the averaged weights of a checkpoint into ``network``."""
    network.load_state_dict(_part(load_file(run / f"{name}.safetensors"), "average."))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
