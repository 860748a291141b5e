"""Whole frames as the study has them, and what is watched during training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from pydantic import ValidationError  # noqa: E402
from train_maker import make_dataset, tiny_options  # noqa: E402

from lvseg.errors import DatasetError  # noqa: E402
from lvseg.train import trainer  # noqa: E402
from lvseg.train.dataset import load_frames  # noqa: E402
from lvseg.train.distributed import Team  # noqa: E402
from lvseg.train.monitor import overlaps, validate, watch  # noqa: E402

pytestmark = pytest.mark.torch

ALONE = Team(0, 1, torch.device("cpu"))
WHOLE = {"frame": "whole", "frame_px": 16, "augmented": False}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"))


def test_overlaps_by_hand() -> None:
    truth = torch.zeros(3, 1, 2, 4, dtype=torch.bool)
    predicted = torch.zeros_like(truth)
    truth[0, 0, 0, :] = True  # 4 pixels, of which 2 are found, and 1 too many:
    predicted[0, 0, 0, :2], predicted[0, 0, 1, 0] = True, True  # Dice 4 / 7, Jaccard 2 / 5
    truth[1, 0, 0, 0] = True  # missed: 0 and 0
    predicted[2, 0, 0, 0] = True  # no cavity: not counted
    assert overlaps(predicted, truth).tolist() == pytest.approx([4 / 7, 2 / 5, 2])
    assert overlaps(predicted[2:], truth[2:]).tolist() == [0, 0, 0]


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
    assert data.empty.tolist() == [False, True, False, False]
    assert data.centres[2].tolist() == [7.5, 7.5]


def test_pictures_deeper_than_8_bit_are_refused_as_frames(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    deep = np.full((24, 20), 4000, np.uint16)
    Image.fromarray(deep).save(dataset / "images" / "0.png")
    with pytest.raises(DatasetError, match=r"4000 in 0\.png"):
        load_frames(dataset, "training", 16)


def test_without_augmentation_the_network_sees_the_frames_themselves(dataset: Path) -> None:
    options = tiny_options(**WHOLE)
    data = trainer.load_split(dataset, "training", options)
    chosen, generator = torch.tensor([3, 0]), torch.Generator().manual_seed(0)
    images, masks, share = trainer._batch(options, data, chosen, 0, generator, ALONE)
    assert torch.equal(images, data.images[chosen])
    assert torch.equal(masks, data.masks[chosen])
    assert share == 1


def test_frames_can_be_augmented_and_windows_left_alone(dataset: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    options = tiny_options(**WHOLE | {"augmented": True})
    data = trainer.load_split(dataset, "training", options)
    images, _, _ = trainer._batch(options, data, torch.tensor([0, 2]), 0, generator, ALONE)
    assert images.shape == (2, 1, 16, 16)
    assert not torch.equal(images, data.images[[0, 2]])

    options = tiny_options(augmented=False)
    data = trainer.load_split(dataset, "training", options)
    _, masks, _ = trainer._batch(options, data, torch.tensor([0, 2]), 0, generator, ALONE)
    row, column = round(float(data.centres[0, 0])), round(float(data.centres[0, 1]))
    cut = data.masks[0, 0, row - 8 : row + 8, column - 8 : column + 8]
    assert masks[0].sum().item() == pytest.approx(cut.sum().item(), rel=0.02)


def test_unshuffled_pictures_come_in_the_order_of_the_manifest(dataset: Path) -> None:
    options = tiny_options(**WHOLE, shuffled=False)
    data = trainer.load_split(dataset, "training", options)
    order = trainer._order(data, options, torch.Generator().manual_seed(0))
    assert order.tolist() == [0, 1, 2, 3, 0, 1]


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

    options = tiny_options(**WHOLE, loss="dice")
    data = trainer.load_split(dataset, "training", options)
    seen = watch(Fixed(), data, options)
    found = torch.zeros(16, 16)
    found[:, :8] = 1
    dice = [
        (2 * (found * mask).sum() / (found.sum() + mask.sum())).item() for mask in data.masks[:, 0]
    ]
    assert dice[1] == 0  # the picture without cavity costs 1, and has no Dice to count
    assert seen["loss"] == pytest.approx(sum(1 - each for each in dice) / 4, abs=1e-5)
    assert seen["dice"] == pytest.approx(sum(dice) / 3)
    assert seen["jaccard"] == pytest.approx(sum(d / (2 - d) for d in dice) / 3)


def test_pictures_without_any_cavity_cannot_be_watched(dataset: Path) -> None:
    options = tiny_options()
    data = trainer.load_split(dataset, "training", options)
    nothing = replace(data, masks=torch.zeros_like(data.masks), empty=torch.ones(4) > 0)
    with pytest.raises(DatasetError, match="cavity"):
        validate(torch.nn.Conv2d(1, 1, 1), nothing, options.input)


def test_a_frame_run_learns_with_the_loss_and_optimiser_of_the_study(
    dataset: Path, tmp_path: Path
) -> None:
    options = tiny_options(
        **WHOLE,
        validation_split="validation",
        loss="dice",
        optimiser="sgd",
        schedule="constant",
        peak_rate=0.05,
        warmup_steps=0,
        weight_decay=0.0,
        clip_norm=0.0,
        ema_decay=0.0,
        batch_size=1,
        steps_per_epoch=60,
        deterministic=True,
    )
    run = trainer.fit(options, dataset, tmp_path / "run", device="cpu")
    last = trainer.read_log(run)[-1]
    assert last["validation_dice"] > 0.7
    assert last["learning_rate"] == 0.05
    assert not torch.are_deterministic_algorithms_enabled()


def test_scouts_are_for_windows() -> None:
    with pytest.raises(ValidationError, match="scout_every"):
        tiny_options(**WHOLE, scout_every=2)
