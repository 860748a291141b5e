"""Augmentation: drawing is seeded, applying is deterministic, each change obeys its law."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lvseg.modelcard import InputSpec  # noqa: E402
from lvseg.preprocess import normalise  # noqa: E402
from lvseg.train import augment  # noqa: E402
from lvseg.train.augment import AugmentOptions  # noqa: E402
from lvseg.train.dataset import normalise_crops  # noqa: E402

pytestmark = pytest.mark.torch


def _picture(seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 1, 48, 40, generator=generator)
    masks = torch.zeros_like(images)
    masks[:, :, 18:30, 14:24] = 1
    return images, masks


def _centres(count: int = 4) -> torch.Tensor:
    return torch.tensor([[23.5, 18.5]]).repeat(count, 1)


def test_identity_crop_copies_pixels() -> None:
    # centre 23.5, size 16 -> rows 23.5 - 7.5 = 16 .. 31; columns 18.5 - 7.5 = 11 .. 26
    images, masks = _picture()
    crops, cropped_masks = augment.crop(augment.identity(_centres()), images, masks, 16)
    torch.testing.assert_close(crops, images[:, :, 16:32, 11:27], atol=1e-5, rtol=0)
    torch.testing.assert_close(cropped_masks, masks[:, :, 16:32, 11:27], atol=1e-5, rtol=0)


def test_identity_recolour_changes_nothing() -> None:
    images, _ = _picture()
    result = augment.recolour(augment.identity(_centres()), images)
    torch.testing.assert_close(result, images, atol=1e-6, rtol=0)


def test_quarter_turn_is_a_rotation_of_the_picture() -> None:
    # matrix [[0, -1], [1, 0]]: crop (row, column) looks at source (-column, row)
    images, masks = _picture()
    still = augment.identity(_centres())
    turned = augment.Draw(
        **{name: getattr(still, name) for name in augment.Draw.__dataclass_fields__}
        | {"matrix": torch.tensor([[0.0, -1.0], [1.0, 0.0]]).repeat(4, 1, 1)}
    )
    plain, _ = augment.crop(still, images, masks, 17)
    rotated, _ = augment.crop(turned, images, masks, 17)
    torch.testing.assert_close(rotated, torch.rot90(plain, -1, (2, 3)), atol=1e-4, rtol=0)


def test_image_and_mask_move_together() -> None:
    _, masks = _picture()
    drawn = augment.draw(AugmentOptions(), _centres(), (48, 40), torch.Generator().manual_seed(5))
    moved_as_image, moved_as_mask = augment.crop(drawn, masks, masks, 32)
    torch.testing.assert_close(moved_as_image, moved_as_mask)
    assert moved_as_mask.sum() > 0


def test_a_seed_draws_the_same_and_another_seed_does_not() -> None:
    def once(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        images, masks = _picture()
        drawn = augment.draw(AugmentOptions(), _centres(), (48, 40), generator)
        return augment.recolour(drawn, augment.crop(drawn, images, masks, 32)[0])

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_zoom_in_enlarges_the_mask_by_the_square_of_the_scale() -> None:
    # scale 2 on both axes: 12 x 10 = 120 pixels become about 480
    images, masks = _picture()
    options = AugmentOptions(
        rotation_degrees=0, flip_chance=0, scale=(2, 2), stretch=(1, 1), shift_px=0,
        anywhere_chance=0, elastic_px=0,
    )  # fmt: skip
    drawn = augment.draw(options, _centres(), (48, 40), torch.Generator().manual_seed(0))
    _, crops = augment.crop(drawn, images, masks, 40)
    assert crops[0].sum().item() == pytest.approx(480, rel=0.02)


def test_gain_and_offset_follow_the_formula() -> None:
    # 0.5 ** 2 * 1.2 + 0.1 = 0.4
    still = augment.identity(_centres(1))
    drawn = augment.Draw(
        **{name: getattr(still, name) for name in augment.Draw.__dataclass_fields__}
        | {"gamma": torch.tensor([2.0]), "gain": torch.tensor([1.2]), "offset": torch.tensor([0.1])}
    )
    result = augment.recolour(drawn, torch.full((1, 1, 8, 8), 0.5))
    torch.testing.assert_close(result, torch.full((1, 1, 8, 8), 0.4))


def test_training_and_inference_normalise_alike() -> None:
    spec = InputSpec(spacing_mm=1.3)
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(9)) ** 2
    ours = normalise_crops(images, spec)
    inference = normalise(images.numpy().transpose(1, 0, 2, 3), spec).transpose(1, 0, 2, 3)
    torch.testing.assert_close(ours, torch.from_numpy(inference.copy()), atol=1e-5, rtol=0)
