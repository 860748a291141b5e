"""Training options: one frozen description of a run, from a preset or a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lvseg.atomic import write_text
from lvseg.bounds import read_toml
from lvseg.errors import UsageError
from lvseg.labels import Label
from lvseg.modelcard import InputSpec, LabelNames, Name, StrictModel
from lvseg.train.augment import AugmentOptions
from lvseg.train.network import NetworkOptions
from lvseg.train.optimization import Schedule
from lvseg.train.precision import Precision

#: Options that only the paper's networks used; :mod:`lvseg.reproduction` has them.
REMOVED = frozenset({"frame", "frame_px", "augmented", "shuffled", "loss", "optimiser", "momentum"})


class TrainOptions(StrictModel):
    """Everything that decides the weights of a run.

    :param train_split, validation_split: split expressions of the data set (``a+b``); no
        validation split means that the last weights are the result.
    :param input: what the network sees; :param labels: names of :class:`lvseg.labels.Label` that it
        learns, the innermost first.
    :param epochs, steps_per_epoch: an epoch is a number of steps, so its cost does not depend on
        the size of the data set; a checkpoint is written after each.
    :param validate_every: epochs between validations.
    :param batch_size: over all processes together.
    :param schedule, learning_rate, warmup_steps: see :mod:`lvseg.train.optimization`.
    :param clip_norm: gradients longer than this are shortened to it; 0 = never.
    :param ema_decay: the exported weights are an exponential average over steps; 0 = the last.
    :param label_values: label -> its values in the masks of the data set, where another tool drew
        them; all others are background. Empty = the masks have our labels.
    :param empty_weight: how often a frame without cavity is drawn, relative to one with.
    :param small_px, small_weight: a cavity below so many pixels is drawn so many times as often.
    :param dice: the Dice of the loss, of each sample or over the batch
        (:func:`lvseg.train.optimization.dice_cross_entropy`).
    :param label_weights: of the labels in the loss; none = equal.
    :param threshold: probability from which the exported model calls a pixel cavity.
    :param precision: ``bfloat16`` computes the layers in half the width (torch.autocast); weights,
        loss and optimizer stay float32. Faster where the processor has the instructions, and much
        slower elsewhere; ``auto`` takes it where it is faster, else ``float32``. A checkpoint names
        the one that was taken, and a resumed run keeps it.
        ``float16``, for CUDA only, also scales the loss so that small gradients survive.
    :param deterministic: refuse operations whose result depends on the order of threads; on a CPU
        a run repeats itself without that.
    :param locate_every: every so many steps a smaller batch of twice the crop's side, as large as
        the full frames of the coarse pass that localizes the heart; 0 = never.
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "peak_rate": "learning_rate",
        "scout_every": "locate_every",
    }

    name: Name
    description: str = ""
    train_split: str = "training"
    validation_split: str | None = None
    input: InputSpec = InputSpec(spacing_mm=1.33)
    labels: LabelNames = (Label.LV_CAVITY.name,)
    label_values: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    network: NetworkOptions = NetworkOptions()
    augment: AugmentOptions = AugmentOptions()
    epochs: int = Field(default=40, ge=1, le=100_000)
    steps_per_epoch: int = Field(default=200, ge=1, le=1_000_000)
    validate_every: int = Field(default=5, ge=1)
    batch_size: int = Field(default=16, ge=1, le=4096)
    schedule: Schedule = "cosine"
    learning_rate: float = Field(default=2e-3, ge=0, le=100)
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=1e-2, ge=0, le=100)
    clip_norm: float = Field(default=5.0, ge=0)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    dice: Literal["sample", "batch"] = "sample"
    label_weights: tuple[Annotated[float, Field(ge=0)], ...] = ()
    empty_weight: float = Field(default=1.0, ge=0)
    small_px: float = Field(default=400.0, ge=0)
    small_weight: float = Field(default=1.0, ge=0)
    locate_every: int = Field(default=0, ge=0)
    precision: Precision | Literal["auto"] = "auto"
    deterministic: bool = False
    threshold: float = Field(default=0.5, gt=0, lt=1)
    seed: int = Field(default=20261122, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not set(self.label_values) <= {label.name for label in Label if label}:
            raise ValueError(f"'label_values' wants labels, found {', '.join(self.label_values)}")
        values = [value for own in self.label_values.values() for value in own]
        if len(set(values)) < len(values) or any(value < 1 for value in values):
            raise ValueError("'label_values' wants numbers above 0, each of one label")
        if self.label_weights and len(self.label_weights) != len(self.labels):
            raise ValueError(f"'label_weights' wants one of {len(self.labels)} labels each")
        return self

    @property
    def values_of_masks(self) -> Mapping[int, Label] | None:
        """Value in the masks of the data set -> our label; None = they are our own."""
        table = {value: Label[name] for name, own in self.label_values.items() for value in own}
        return table or None

    def with_label_values(self, table: Mapping[int, Label]) -> Self:
        """The options for a data set whose masks have these values (value -> our label)."""
        named = {
            label.name: tuple(value for value, own in table.items() if own is label)
            for label in table.values()
        }
        return self.model_copy(update={"label_values": named})

    @property
    def channels(self) -> tuple[int, int]:
        """Input and output channels of the network."""
        return (len(self.input.channels), len(self.labels))


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
    return _parse(tomllib.loads(file.read_text("utf-8")), f"the preset {name}")


def load_options(path: Path) -> TrainOptions:
    """Options from a TOML file; unknown keys are refused.

    :raises UsageError: no such file, broken TOML, an unknown key or a bad value.
    """
    return _parse(read_toml(path, "training options"), str(path))


def _parse(document: dict[str, Any], where: str) -> TrainOptions:
    gone = sorted(REMOVED & document.keys())
    if gone:
        raise UsageError(
            f"in {where}, key '{gone[0]}': no longer an option of lvseg train, leave it out; "
            "what only the paper's networks used belongs to lvseg reproduce"
        )
    try:
        return TrainOptions.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        place = f"in {where}, key '{key}'" if key else f"in {where}"
        raise UsageError(f"{place}: {first['msg']}") from error


def write_options(path: Path, options: TrainOptions, remarks: Sequence[str]) -> Path:
    """All options as TOML that ``lvseg train --config`` takes, with remarks on top.

    :raises ValueError: TOML cannot say these options (it knows no null).
    """
    text = to_toml(options.model_dump(mode="json", exclude_none=True))
    if TrainOptions.model_validate(tomllib.loads(text)) != options:
        raise ValueError("TOML does not give the same training options back")
    return write_text(path, "".join(f"# {line}\n" for line in remarks) + text)


def to_toml(table: Mapping[str, Any], name: str = "") -> str:
    """Write a table of plain values, lists and tables (TOML 1.0).

    >>> print(to_toml({"a": 1, "b": {"c": [0.5, True]}}), end="")
    a = 1
    <BLANKLINE>
    [b]
    c = [0.5, true]
    """
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if key not in inner]
    text = "".join(f"{line}\n" for line in lines)
    for key, value in inner.items():
        full = f"{name}.{key}" if name else key
        text += f"\n[{full}]\n{to_toml(value, full)}"
    return text


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
