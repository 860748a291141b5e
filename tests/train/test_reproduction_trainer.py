"""Training on whole frames in the paper's setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from train_maker import make_dataset  # noqa: E402

from lvseg.errors import DatasetError, UsageError  # noqa: E402
from lvseg.reproduction import trainer  # noqa: E402
from lvseg.reproduction.trainer import (  # noqa: E402
    FrameOptions,
    dice_loss,
    fit_frames,
    load_frames,
    validate_frames,
)
from lvseg.train import checkpoint  # noqa: E402
from lvseg.train.augment import AugmentOptions  # noqa: E402
from lvseg.train.log import read_log  # noqa: E402
from lvseg.train.network import NetworkOptions  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


def options_of(**changes: Any) -> FrameOptions:
    values = {
        "name": "frames",
        "frame_px": 16,
        "network": NetworkOptions(kind="unet", widths=(2, 4), normalization="group"),
        "epochs": 2,
        "steps_per_epoch": 3,
        "batch_size": 2,
        "seed": 7,
    }
    return FrameOptions(**values | changes)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"))


def test_frames_are_resized_by_pillow_and_divided_by_255(dataset: Path) -> None:
    data = load_frames(dataset, "training", 16)
    assert data.images.shape == data.masks.shape == (4, 1, 16, 16)
    with Image.open(dataset / "images" / "2.png") as picture:
        expected = np.asarray(picture.resize((16, 16)), np.float32) / 255
    assert np.array_equal(data.images[2, 0].numpy(), expected)
    assert set(data.masks.unique().tolist()) == {0.0, 1.0}
    with Image.open(dataset / "masks" / "2.png") as picture:
        cavity = np.asarray(picture.resize((16, 16))) >= 128
    assert np.array_equal(data.masks[2, 0].numpy() > 0, cavity)
    assert data.masks.flatten(1).any(1).tolist() == [True, False, True, True]


def test_pictures_deeper_than_8_bit_are_refused_as_frames(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    deep = np.full((24, 20), 4000, np.uint16)
    Image.fromarray(deep).save(dataset / "images" / "0.png")
    with pytest.raises(DatasetError, match=r"4000 in 0\.png"):
        load_frames(dataset, "training", 16)


def shown(monkeypatch: pytest.MonkeyPatch, options: FrameOptions, dataset: Path, run: Path) -> Any:
    """The masks that the loss sees in a run, [steps, N, 1, S, S]."""
    seen = []

    def loss(logits: Any, target: Any) -> Any:
        seen.append(target.clone())
        return dice_loss(logits, target)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "LOSSES", {"dice": loss})
        patch.setattr(trainer, "validate_frames", lambda *given: {})
        fit_frames(options, dataset, run, device=CPU)
    return torch.stack(seen)


def test_unshuffled_frames_come_as_they_are_in_the_order_of_the_manifest(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = shown(monkeypatch, options_of(epochs=1), dataset, tmp_path)
    expected = load_frames(dataset, "training", 16).masks
    assert torch.equal(masks.flatten(0, 1), expected[[0, 1, 2, 3, 0, 1]])


def test_shuffled_frames_come_once_a_round(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_of(steps_per_epoch=2, epochs=4, shuffled=True)
    masks = shown(monkeypatch, options, dataset, tmp_path).flatten(0, 1)
    expected = load_frames(dataset, "training", 16).masks.sum((1, 2, 3)).sort().values
    epochs = masks.sum((1, 2, 3)).split(4)
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, expected)
    assert any(not torch.equal(epoch, epochs[0]) for epoch in epochs)


def test_frames_are_augmented_at_their_own_size(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = shown(monkeypatch, options_of(augment=AugmentOptions()), dataset, tmp_path)
    assert masks.shape == (6, 2, 1, 16, 16)
    expected = load_frames(dataset, "training", 16).masks
    assert not torch.equal(masks[0], expected[:2])


def test_watching_frames_measures_loss_and_overlap_by_hand(dataset: Path) -> None:
    class Fixed(torch.nn.Module):
        """Sure of the left half of every picture."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = torch.full_like(images, -60.0)
            logits[..., :8] = 60
            return logits

    options = options_of()
    data = load_frames(dataset, "training", 16)
    seen = validate_frames(Fixed(), data, options)
    found = torch.zeros(16, 16)
    found[:, :8] = 1
    dice = [
        (2 * (found * mask).sum() / (found.sum() + mask.sum())).item() for mask in data.masks[:, 0]
    ]
    assert dice[1] == 0  # the picture without cavity costs 1, and has no Dice to count
    assert seen["loss"] == pytest.approx(sum(1 - each for each in dice) / 4, abs=1e-5)
    assert seen["dice"] == pytest.approx(sum(dice) / 3)
    assert seen["jaccard"] == pytest.approx(sum(d / (2 - d) for d in dice) / 3)


def test_frames_without_any_cavity_cannot_be_judged(dataset: Path) -> None:
    data = load_frames(dataset, "training", 16)
    nothing = trainer.Frames(data.images[1:2], data.masks[1:2])
    with pytest.raises(DatasetError, match="empty"):
        validate_frames(torch.nn.Conv2d(1, 1, 1), nothing, options_of())


def test_a_run_learns_in_the_setting_of_the_paper(dataset: Path, tmp_path: Path) -> None:
    options = options_of(learning_rate=0.05, batch_size=1, steps_per_epoch=60)
    run = fit_frames(options, dataset, tmp_path / "run", device=CPU)
    last = read_log(run)[-1]
    assert last["validation_dice"] > 0.7
    assert last["learning_rate"] == 0.05


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shuffled": True, "augment": AugmentOptions()},
        {"optimizer": "adamw", "schedule": "cosine", "ema_decay": 0.9, "clip_norm": 5.0},
        {"momentum": 0.0},
    ],
)
def test_stopped_after_an_epoch_it_goes_on_to_the_same_weights(
    changes: dict[str, Any], dataset: Path, tmp_path: Path
) -> None:
    options = options_of(**changes)
    straight = fit_frames(options, dataset, tmp_path / "straight", device=CPU)

    def stop(epoch: int, epochs: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_frames(options, dataset, tmp_path / "stopped", device=CPU, follow=stop)
    torch.rand(3)  # whatever else draws from the global generator must not matter
    stopped = fit_frames(options, dataset, tmp_path / "stopped", device=CPU)
    first, second = (load_file(run / "last.safetensors") for run in (straight, stopped))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert (straight / "log.csv").read_text() == (stopped / "log.csv").read_text()


def test_a_run_with_other_options_is_not_gone_on_with(dataset: Path, tmp_path: Path) -> None:
    fit_frames(options_of(epochs=1), dataset, tmp_path, device=CPU)
    with pytest.raises(UsageError, match="other options"):
        fit_frames(options_of(), dataset, tmp_path, device=CPU)
    with pytest.raises(UsageError, match="expected a run of lvseg train"):
        checkpoint.read_options(tmp_path)


def test_soft_dice_of_half_sure_pixels() -> None:
    # 4 pixels at p = 0.5, two of them cavity: overlap 1, sums 2 + 2, Dice 2 * 1 / 4
    logits = torch.zeros(1, 1, 2, 2)
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert dice_loss(logits, target).item() == pytest.approx(0.5)


def test_soft_dice_of_two_pictures_is_the_mean_of_each() -> None:
    # first: 3 of 4 cavity pixels found and one too many, Dice 2 * 3 / (4 + 4); second: all, Dice 1
    target = torch.zeros(2, 1, 4, 3)
    target[0, 0, 0, :], target[0, 0, 1, 0], target[1, 0, 2, 1] = 1, 1, 1
    found = target.clone()
    found[0, 0, 1, 0], found[0, 0, 3, 2] = 0, 1
    loss = dice_loss((found - 0.5) * 80, target)
    assert loss.item() == pytest.approx((0.25 + 0) / 2, abs=1e-5)


def test_soft_dice_without_cavity_costs_everything_and_teaches_next_to_nothing() -> None:
    logits = torch.zeros(1, 1, 4, 3, requires_grad=True)
    loss = dice_loss(logits, torch.zeros(1, 1, 4, 3))
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=1e-5)
    assert logits.grad.abs().max().item() < 1e-6
    nothing = dice_loss(torch.full((1, 1, 4, 3), -90.0), torch.zeros(1, 1, 4, 3))
    assert nothing.item() == pytest.approx(0, abs=1e-5)
