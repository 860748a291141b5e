"""What is measured during training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from train_maker import make_dataset, tiny_options  # noqa: E402

from lvseg.errors import DatasetError  # noqa: E402
from lvseg.train.dataset import load_slices  # noqa: E402
from lvseg.train.monitor import overlaps, validate  # noqa: E402

pytestmark = pytest.mark.torch


def test_overlaps_by_hand() -> None:
    truth = torch.zeros(3, 1, 2, 4, dtype=torch.bool)
    predicted = torch.zeros_like(truth)
    truth[0, 0, 0, :] = True  # 4 pixels, of which 2 are found, and 1 too many:
    predicted[0, 0, 0, :2], predicted[0, 0, 1, 0] = True, True  # Dice 4 / 7, Jaccard 2 / 5
    truth[1, 0, 0, 0] = True  # missed: 0 and 0
    predicted[2, 0, 0, 0] = True  # no cavity: not counted
    assert overlaps(predicted, truth).tolist() == pytest.approx([4 / 7, 2 / 5, 2])
    assert overlaps(predicted[2:], truth[2:]).tolist() == [0, 0, 0]


def test_pictures_without_any_cavity_cannot_be_watched(tmp_path: Path) -> None:
    options = tiny_options()
    data = load_slices(make_dataset(tmp_path / "data"), "training", options.input)
    nothing = replace(data, masks=torch.zeros_like(data.masks), empty=torch.ones(4) > 0)
    with pytest.raises(DatasetError, match="cavity"):
        validate(torch.nn.Conv2d(1, 1, 1), nothing, options.input)
