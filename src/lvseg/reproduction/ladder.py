"""Ablation ladder from the paper's setting to lvseg's: sizes, splits, training options a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from lvseg.errors import UsageError
from lvseg.modelcard import InputSpec
from lvseg.reproduction.trainer import FrameOptions
from lvseg.train.augment import AugmentOptions
from lvseg.train.network import NetworkOptions, doubling
from lvseg.train.options import TrainOptions

Options = TypeVar("Options", FrameOptions, TrainOptions)

#: ``image-level`` is the paper's own and leaks. ``patient-shares`` deals the same pictures in the
#: same shares, but by patient. ``official`` is by patient as the data set has it, with augmented
#: copies of training patients only; ``originals`` the same without any copies.
Split = Literal["image-level", "patient-shares", "official", "originals"]

#: The paper's networks 1 to 4, by kind.
NETWORKS: Mapping[str, str] = MappingProxyType(
    {
        "encoder-decoder": "encoder-decoder",
        "se-encoder-decoder": "encoder-decoder with recalibration",
        "unet": "U-Net",
        "se-attention-unet": "modified attention U-Net",
    }
)
#: Network 4 as the text of the paper describes it; the ladder climbs with it.
MODIFIED = "se-attention-unet"
#: The rung ``batch-size`` once more, on the leaking split and dealt by patient: split -> key.
LEAK_PAIR: Mapping[Split, str] = MappingProxyType(
    {"image-level": "leak-by-image", "patient-shares": "leak-by-patient"}
)
#: The rung whose setting the peers are trained in, beside network 4.
COMPARED = "window"
#: Networks of MONAI that are trained like that rung, by key, and the rung itself.
PEERS: Mapping[str, str] = MappingProxyType(
    {
        COMPARED: NETWORKS[MODIFIED],
        "peer-basic-unet": "MONAI BasicUNet",
        "peer-attention-unet": "MONAI AttentionUnet",
        "peer-segresnet": "MONAI SegResNet",
        "peer-residual-unet": "MONAI UNet with residual units, the kind lvseg ships",
    }
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the whole thing is.

    :param total: pairs after the offline augmentation.
    :param width, depth: of the networks, see :func:`lvseg.train.network.doubling`.
    :param frame_px: side of the whole frames; of the crops at the end.
    :param own_width: of the networks once they have our size instead of the paper's.
    :param batch_size: once it is no longer 1.
    :param longer: how many times the budget the last step has.
    """

    name: str
    total: int
    width: int
    depth: int
    frame_px: int
    crop_px: int
    own_width: int
    epochs: int
    batch_size: int
    longer: int


#: ``small`` is for two processor cores, ``paper`` is the paper's own size, for a GPU.
SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "small": Scale("small", 3500, 8, 4, 96, 96, 16, 5, 8, 8),
        "paper": Scale("paper", 3500, 64, 5, 256, 128, 24, 15, 16, 4),
    }
)


@dataclass(frozen=True, slots=True)
class Step:
    """One training run of the ladder: on whole frames, or on windows as ``lvseg train`` does.

    :param change: what differs from ``before``, the key of the step it is compared with; None for
        a run that stands for itself.
    """

    key: str
    title: str
    split: Split
    options: FrameOptions | TrainOptions
    change: str | None = None
    before: str | None = None

    @property
    def side_px(self) -> int:
        """Rows and columns of what the network is trained on."""
        options = self.options
        if isinstance(options, FrameOptions):
            return options.frame_px
        return options.input.crop_px


def ladder(scale: Scale, pictures: int, seed: int) -> tuple[Step, ...]:
    """All steps in the order they are run.

    :param pictures: of the training split after augmentation; every epoch shows as many, so all
        steps but the longer ones have the same budget.
    """
    paper = _paper_setting(scale, pictures, seed)
    steps = [
        Step(f"{split}-{kind}", title, split, _named(paper, f"{split}-{kind}", _kind(paper, kind)))
        for split in ("official", "image-level")
        for kind, title in NETWORKS.items()
    ]
    modified = _kind(paper, MODIFIED)
    name = f"patient-shares-{MODIFIED}"
    steps.append(Step(name, NETWORKS[MODIFIED], "patient-shares", _named(paper, name, modified)))
    first = next(each for each in steps if each.key == "official-se-encoder-decoder")
    skips = next(each for each in steps if each.key == f"official-{MODIFIED}")
    place = steps.index(skips)
    steps[place] = Step(
        skips.key,
        skips.title,
        skips.split,
        skips.options,
        "skip connections with attention gates",
        first.key,
    )
    frames, before = _named(paper, skips.key, modified), skips.key
    batched = frames
    for key, change, split, values in _frame_changes(scale, frames, pictures):
        frames = _named(frames, key, values)
        if key == "batch-size":
            batched = frames
        steps.append(Step(key, f"+ {change}", split, frames, change, before))
        before = key
    windows = compared = _on_windows(scale, frames)
    for key, change, split, values in _window_changes(scale, frames):
        windows = _named(windows, key, values)
        steps.append(Step(key, f"+ {change}", split, windows, change, before))
        before = key
    steps += _leak_pair(batched)
    for key, network in _peers(scale).items():
        options = _named(compared, key, {"network": network})
        steps.append(Step(key, PEERS[key], "originals", options))
    return tuple(steps)


def _leak_pair(options: FrameOptions) -> list[Step]:
    """The leak without what batches of one picture do to the judgement."""
    title = f"{NETWORKS[MODIFIED]}, batches of {options.batch_size}"
    return [Step(key, title, split, _named(options, key, {})) for split, key in LEAK_PAIR.items()]


def _peers(scale: Scale) -> dict[str, NetworkOptions]:
    """MONAI's networks, five levels as network 4 has at the small scale, as wide."""
    width = scale.width
    return {
        "peer-basic-unet": NetworkOptions(kind="monai-basic-unet", widths=doubling(width, 4)),
        "peer-attention-unet": NetworkOptions(
            kind="monai-attention-unet", widths=doubling(width, 4)
        ),
        "peer-segresnet": NetworkOptions(kind="monai-segresnet", widths=doubling(width, 3)),
        "peer-residual-unet": NetworkOptions(widths=doubling(2 * width, 4)),
    }


def _paper_setting(scale: Scale, pictures: int, seed: int) -> FrameOptions:
    """The paper's own setting. Keras' batch normalisation moves by 0.01, torch's by 0.1."""
    return FrameOptions(
        name="paper",
        frame_px=scale.frame_px,
        network=NetworkOptions(
            kind="encoder-decoder", widths=doubling(scale.width, scale.depth), batch_momentum=0.01
        ),
        epochs=scale.epochs,
        steps_per_epoch=pictures,
        seed=seed,
    )


def _frame_changes(
    scale: Scale, options: FrameOptions, pictures: int
) -> Sequence[tuple[str, str, Split, dict[str, Any]]]:
    """Key, change, split and new option values of each rung on whole frames, on top of another."""
    steps = max(1, pictures // scale.batch_size)
    grouped = options.network.model_dump() | {"normalization": "group"}
    return (
        ("order", "pictures in a new order every epoch", "official", {"shuffled": True}),
        (
            "batch-size",
            f"batches of {scale.batch_size}, fewer steps for the same pictures",
            "official",
            {"batch_size": scale.batch_size, "steps_per_epoch": steps},
        ),
        (
            "normalisation",
            "group instead of batch normalisation",
            "official",
            {"network": NetworkOptions(**grouped)},
        ),
        (
            "augmentation",
            "augmentation on the fly, from the originals",
            "originals",
            {"augment": _frame_augmentation(scale)},
        ),
        ("loss", "Dice + cross-entropy", "originals", {"loss": "dice-cross-entropy"}),
        (
            "schedule",
            "AdamW, cosine schedule, average of weights",
            "originals",
            {
                "optimizer": "adamw",
                "schedule": "cosine",
                "learning_rate": 2e-3,
                "warmup_steps": max(1, steps // 2),
                "weight_decay": 1e-2,
                "clip_norm": 5.0,
                "ema_decay": 0.998,
            },
        ),
    )


def _on_windows(scale: Scale, options: FrameOptions) -> TrainOptions:
    """The same recipe as ``lvseg train`` has it: a window around the heart, no whole frames."""
    own = {key: getattr(options, key) for key in TrainOptions.model_fields if hasattr(options, key)}
    changes = {
        "input": InputSpec(spacing_mm=1.33, crop_px=scale.crop_px),
        "augment": _window_augmentation(scale),
        "locate_every": 4,
        "precision": "float32",
        "validate_every": min(3, scale.epochs),
    }
    return TrainOptions(**own | changes)


def _window_changes(
    scale: Scale, options: FrameOptions
) -> Sequence[tuple[str, str, Split, dict[str, Any]]]:
    """Key, change, split and new option values of the rungs on windows, the first unchanged."""
    own = options.network.model_dump() | {"widths": doubling(scale.own_width, 4)}
    epochs = scale.epochs * scale.longer
    return (
        (
            COMPARED,
            "a window around the heart at 1.33 mm instead of the whole frame",
            "originals",
            {},
        ),
        (
            "width",
            f"network of width {scale.own_width} instead of {scale.width}",
            "originals",
            {"network": NetworkOptions(**own)},
        ),
        (
            "longer",
            f"{scale.longer} times the budget",
            "originals",
            {"epochs": epochs, "validate_every": min(10, epochs)},
        ),
    )


def _frame_augmentation(scale: Scale) -> AugmentOptions:
    """Moderate, in pixels of the frame; always around the frame's centre."""
    return AugmentOptions(
        scale=(0.85, 1.2),
        shift_px=scale.frame_px / 16,
        anywhere_chance=0.0,
        elastic_px=scale.frame_px / 64,
        gamma=(0.75, 1.4),
        gain=(0.8, 1.2),
        offset=(-0.05, 0.05),
        bias=0.3,
        noise=(0.0, 0.03),
        blur_chance=0.05,
    )


def _window_augmentation(scale: Scale) -> AugmentOptions:
    """The same, in pixels of the window, which may also lie anywhere in the picture."""
    changes = {
        "shift_px": scale.crop_px / 6,
        "anywhere_chance": 0.2,
        "elastic_px": scale.crop_px / 64,
    }
    return AugmentOptions(**_frame_augmentation(scale).model_dump() | changes)


def _kind(options: FrameOptions, kind: str) -> dict[str, Any]:
    return {"network": NetworkOptions(**options.network.model_dump() | {"kind": kind})}


def _named(options: Options, name: str, values: Mapping[str, Any]) -> Options:
    """Options with new values, checked as those of a file are."""
    own = {key: getattr(options, key) for key in type(options).model_fields}
    return type(options)(**{**own, **values, "name": name})


def choose(steps: Sequence[Step], only: Sequence[str]) -> tuple[Step, ...]:
    """Keep the steps named; all of them for no name.

    :raises UsageError: a name that no step has.
    """
    known = {step.key for step in steps}
    for name in only:
        if name not in known:
            raise UsageError(f"expected a step out of {', '.join(sorted(known))}, found '{name}'")
    return tuple(step for step in steps if not only or step.key in only)
