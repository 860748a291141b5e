"""Validation: overlaps by hand, and what a split without any ventricle does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from train_maker import make_dataset, tiny_options  # noqa: E402

from lvseg.errors import DatasetError  # noqa: E402
from lvseg.train.validation import (  # noqa: E402
    label_figures,
    load_validation,
    overlaps,
    slice_overlaps,
    validate,
)

pytestmark = pytest.mark.torch


def test_overlaps_by_hand() -> None:
    truth = torch.zeros(3, 1, 2, 4, dtype=torch.bool)
    predicted = torch.zeros_like(truth)
    truth[0, 0, 0, :] = True  # 4 pixels, of which 2 are found, and 1 too many:
    predicted[0, 0, 0, :2], predicted[0, 0, 1, 0] = True, True  # Dice 4 / 7, Jaccard 2 / 5
    truth[1, 0, 0, 0] = True  # missed: 0 and 0
    predicted[2, 0, 0, 0] = True  # no cavity: not counted
    assert overlaps(predicted, truth)[0].tolist() == pytest.approx([4 / 7, 2 / 5, 2])
    assert overlaps(predicted[2:], truth[2:]).tolist() == [[0, 0, 0]]


def test_overlaps_of_nested_labels_are_of_each_label_alone() -> None:
    truth = torch.zeros(1, 2, 1, 8, dtype=torch.bool)
    truth[0, 0, 0, :2] = True  # the cavity has 2 pixels
    truth[0, 1, 0, :6] = True  # the wall around it 4, in places 2 to 5
    predicted = torch.zeros_like(truth)
    predicted[0, 0, 0, :3] = True  # the cavity takes one from the wall: Dice 4 / 5, Jaccard 2 / 3
    predicted[0, 1, 0, :6] = True  # 3 pixels of wall, all right: Dice 6 / 7, Jaccard 3 / 4
    sums = overlaps(predicted, truth)
    assert sums[0].tolist() == pytest.approx([4 / 5, 2 / 3, 1])
    assert sums[1].tolist() == pytest.approx([6 / 7, 3 / 4, 1])
    figures = label_figures(sums, ("LV_CAVITY", "LV_MYOCARDIUM"))
    assert figures["dice"] == pytest.approx((4 / 5 + 6 / 7) / 2)
    assert figures["jaccard_lv_myocardium"] == pytest.approx(3 / 4)


def test_a_label_that_no_image_shows_has_no_figure() -> None:
    sums = torch.tensor([[1.5, 1.0, 2], [0, 0, 0]])
    figures = label_figures(sums, ("LV_CAVITY", "LV_MYOCARDIUM"))
    assert figures == {
        "dice": 0.75,
        "dice_lv_cavity": 0.75,
        "jaccard": 0.5,
        "jaccard_lv_cavity": 0.5,
    }


def test_images_without_any_ventricle_cannot_be_validated_on(tmp_path: Path) -> None:
    options = tiny_options()
    data = load_validation(make_dataset(tmp_path / "data"), "training", options)
    nothing = replace(data, labels=tuple(0 * labels for labels in data.labels))
    with pytest.raises(DatasetError, match="empty"):
        validate(torch.nn.Conv2d(1, 1, 1), nothing, options)


def test_an_image_is_judged_on_its_own_grid_whatever_its_spacing(tmp_path: Path) -> None:
    class Bright(torch.nn.Module):
        """Calls what is brighter than half cavity."""

        def __init__(self) -> None:
            super().__init__()
            self.limit = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return 100 * (images - self.limit)

    dataset = make_dataset(tmp_path / "data")
    text = (dataset / "manifest.csv").read_text().replace("split", "split,pixel_spacing_mm")
    lines = text.splitlines()
    (dataset / "manifest.csv").write_text("\n".join([lines[0], *(f"{x},2.6" for x in lines[1:])]))
    options = tiny_options()
    data = load_validation(dataset, "training", options)
    assert data.slices.images.shape == (4, 48, 40)  # twice as many pixels of 1.3 mm
    assert data.studies[0][0].shape == (1, 1, 24, 20)
    rows = slice_overlaps(Bright(), data, options)
    assert [row[0, 2].item() for row in rows] == [1, 0, 1, 1]
    assert all(row[0, 0] > 0.85 for row in (rows[0], rows[2], rows[3]))
