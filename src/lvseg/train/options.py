"""What a training run is: one frozen description, from a preset or a TOML file."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lvseg.errors import UsageError
from lvseg.modelcard import InputSpec
from lvseg.train.augment import AugmentOptions
from lvseg.train.network import NetworkOptions

__all__ = ["TrainOptions", "load_options", "preset_names", "read_preset"]


class TrainOptions(BaseModel):
    """Everything that decides the weights of a run.

    :param train_split, validation_split: split expressions of the data set (``a+b``); no
        validation split means that the last weights are the result.
    :param epochs, steps_per_epoch: an epoch is a number of steps, so its cost does not depend on
        the size of the data set; a checkpoint is written after each.
    :param validate_every: epochs between validations.
    :param frame: ``window`` trains on squares around the cavity, as the shipped model; ``whole`` on
        whole pictures resized to ``frame_px`` squared and divided by 255, as the study.
    :param augmented: change the pictures on the fly as ``augment`` says, or take them as they are.
    :param shuffled: draw the pictures in random order, or take them in that of the manifest.
    :param batch_size: over all processes together.
    :param loss: see :mod:`lvseg.train.loss`; ``dice`` is the study's.
    :param schedule, peak_rate, warmup_steps: see :func:`lvseg.train.schedule.learning_rate`.
    :param clip_norm: gradients longer than this are shortened to it; 0 = never.
    :param momentum: of SGD, with Nesterov's look ahead, and of ``one-cycle`` (AdamW keeps its first
        beta of 0.9 with the other schedules).
    :param ema_decay: the exported weights are an exponential average over steps; 0 = the last.
    :param empty_weight: how often a frame without cavity is drawn, relative to one with.
    :param small_px, small_weight: a cavity below so many pixels is drawn so many times as often.
    :param threshold: probability from which the exported model calls a pixel cavity.
    :param precision: ``bfloat16`` computes the layers in half the width (torch.autocast); weights,
        loss and optimiser stay float32. Faster where the processor has the instructions.
        ``float16``, for CUDA only, also scales the loss so that small gradients survive.
    :param deterministic: refuse operations whose result depends on the order of threads; on a CPU
        a run repeats itself without that.
    :param scout_every: every so many steps a smaller batch of twice the window's side, as large as
        the full frames that are searched for the heart; 0 = never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    train_split: str = "training"
    validation_split: str | None = None
    input: InputSpec = InputSpec(spacing_mm=1.33)
    frame: Literal["window", "whole"] = "window"
    frame_px: int = Field(default=256, ge=16)
    network: NetworkOptions = NetworkOptions()
    augment: AugmentOptions = AugmentOptions()
    augmented: bool = True
    shuffled: bool = True
    epochs: int = Field(default=40, ge=1)
    steps_per_epoch: int = Field(default=200, ge=1)
    validate_every: int = Field(default=5, ge=1)
    batch_size: int = Field(default=16, ge=1)
    loss: Literal["dice-cross-entropy", "dice"] = "dice-cross-entropy"
    optimiser: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "one-cycle", "constant"] = "cosine"
    peak_rate: float = 2e-3
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = 1e-2
    clip_norm: float = Field(default=5.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    empty_weight: float = 1.0
    small_px: float = 400.0
    small_weight: float = 1.0
    scout_every: int = 0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    deterministic: bool = False
    threshold: float = 0.5
    seed: int = 20261122

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.frame == "whole" and self.scout_every:
            raise ValueError("'scout_every' is for windows: leave it out with frame = \"whole\"")
        return self


def preset_names() -> tuple[str, ...]:
    """Names that ``--preset`` takes."""
    folder = resources.files("lvseg.train") / "presets"
    return tuple(sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".toml")))


def read_preset(name: str) -> TrainOptions:
    """A preset by name.

    :raises UsageError: no such preset.
    """
    if name not in preset_names():
        known = ", ".join(preset_names())
        raise UsageError(f"expected one of the presets {known}, found '{name}'")
    file = resources.files("lvseg.train") / "presets" / f"{name}.toml"
    return _parse(file.read_text("utf-8"), f"the preset {name}")


def load_options(path: Path) -> TrainOptions:
    """Options from a TOML file; unknown keys are refused.

    :raises UsageError: no such file, broken TOML, an unknown key or a bad value.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the training options {path}: {error.strerror}") from error
    return _parse(text, str(path))


def _parse(text: str, where: str) -> TrainOptions:
    try:
        return TrainOptions.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"expected TOML in {where}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"in {where}, key '{key}': {first['msg']}") from error
