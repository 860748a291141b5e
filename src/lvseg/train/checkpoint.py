"""Checkpoints: tensors as safetensors, everything else as JSON beside them; never a pickle."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Generator, Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from lvseg.atomic import atomic_write, write_text
from lvseg.bounds import read_json_object
from lvseg.errors import ModelError, UsageError
from lvseg.train.network import build
from lvseg.train.options import TrainOptions

#: Weight tensors from this many values on are exported in half precision: half the file.
HALF_FROM = 1024
#: Characters of what a library says of a broken file that are passed on.
LONGEST_REASON = 160


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
    with _whole(run / f"{name}.json"):
        record = document["data"]
        _RECORD.validate_python({key: record[key] for key in ("patients", "image_sha256")})
        return options, _progress(document["progress"]), record


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turn what is raised while a file of a checkpoint is read into our error.

    :raises ModelError: it is cut short, no file of ours, or of another network.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or str(error).strip().splitlines()[:1]
        found = said if isinstance(said, str) else " ".join(said)
        raise ModelError(
            f"expected a checkpoint of lvseg train, found a broken one at {path} "
            f"({type(error).__name__}: {found[:LONGEST_REASON]}): copy the run again, or train a "
            "new one"
        ) from error


_PROGRESS = TypeAdapter(TrainingProgress)
_KEYS = ("options", "progress", "data")
_DOCUMENT = TypeAdapter(dict[str, dict[str, Any]])
_RECORD = TypeAdapter(dict[str, list[str]])


def _progress(values: object) -> TrainingProgress:
    return _PROGRESS.validate_python(values)


def read_document(run: Path, name: str = "last") -> dict[str, Any]:
    """What stands beside the tensors of a checkpoint: ``options``, ``progress``, ``data``.

    :raises ModelError: the folder holds no checkpoint, or a broken one.
    """
    path = run / f"{name}.json"
    if not path.is_file() or not path.with_suffix(".safetensors").is_file():
        raise ModelError(
            f"expected a training run with {path.name} and {path.stem}.safetensors, found none in "
            f"{run}: name the folder that  lvseg train  wrote"
        )
    with _whole(path):
        document = read_json_object(path)
        _DOCUMENT.validate_python({key: document[key] for key in _KEYS})
        return document


def restore(run: Path, state: State) -> TrainingProgress:
    """Put the state of ``last`` back, so that training goes on as if it had not stopped.

    :raises ModelError: it is broken, or of another network.
    """
    path = run / "last.safetensors"
    with _whole(path):
        with safe_open(path, "pt") as file:
            progress = _progress(json.loads(file.metadata()["progress"]))
        _restore(load_file(path), state)
        return progress


def _restore(tensors: dict[str, Tensor], state: State) -> None:
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


def load_ema(run: Path, name: str, network: nn.Module) -> None:
    """Load the averaged weights of a checkpoint into ``network``.

    :raises ModelError: it is broken, or of another network.
    """
    path = run / f"{name}.safetensors"
    with _whole(path):
        network.load_state_dict(_part(load_file(path), "ema."))


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
