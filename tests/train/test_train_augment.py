"""Augmentation: drawing is seeded, applying is deterministic, each change obeys its law."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from lvseg.modelcard import InputSpec  # noqa: E402
from lvseg.preprocess import normalise  # noqa: E402
from lvseg.train import augment  # noqa: E402
from lvseg.train.augment import (  # noqa: E402
    AugmentOptions,
    AugmentParameters,
    coarse,
    smooth_matrix,
    spline_field,
)
from lvseg.train.dataset import normalise_crops  # noqa: E402

pytestmark = pytest.mark.torch

#: Nothing moves and nothing changes; each test turns on what it is about.
STILL: dict[str, Any] = {
    "rotation_degrees": 0, "flip_chance": 0, "scale": (1, 1), "stretch": (1, 1), "shift_px": 0,
    "anywhere_chance": 0, "elastic_px": 0, "gamma": (1, 1), "gain": (1, 1), "offset": (0, 0),
    "bias": 0, "noise": (0, 0), "blur_chance": 0,
}  # fmt: skip
#: Every kind that is off by default.
FURTHER: dict[str, Any] = {
    "upside_down_chance": 0.5, "zoom": 0.2, "width_shift": 0.1, "height_shift": 0.2,
    "elastic_fine_px": 2.0, "bias_centred": True, "local_contrast": 0.4, "invert_chance": 0.5,
    "smooth_chance": 0.5, "coarse_chance": 0.5, "rician_chance": 0.5, "contraction_chance": 0.5,
}  # fmt: skip
few = settings(derandomize=True, deadline=None, max_examples=12)
seeds = st.integers(0, 2**31 - 1)


def _picture(seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 1, 48, 40, generator=generator)
    masks = torch.zeros_like(images)
    masks[:, :, 18:30, 14:24] = 1
    return images, masks


def _centres(count: int = 4) -> torch.Tensor:
    return torch.tensor([[23.5, 18.5]]).repeat(count, 1)


def _still(count: int = 4, **changes: Any) -> AugmentParameters:
    """The draw that only crops, but for ``changes``."""
    return replace(augment.identity_parameters(_centres(count)), **changes)


def _drawn(seed: int = 5, **changes: Any) -> AugmentParameters:
    """Drawn with nothing on but ``changes``."""
    generator = torch.Generator().manual_seed(seed)
    return augment.draw_parameters(
        AugmentOptions(**STILL | changes), _centres(), (48, 40), generator
    )


def _all_kinds(seed: int) -> AugmentParameters:
    generator = torch.Generator().manual_seed(seed)
    options = AugmentOptions(**FURTHER)
    return augment.draw_parameters(options, _centres(), (48, 40), generator, _cavities())


def _cavities(count: int = 4) -> torch.Tensor:
    return torch.cat([_centres(count), torch.full((count, 1), 9.0)], 1)


def _same(one: AugmentParameters, other: AugmentParameters) -> bool:
    pairs = [
        (getattr(one, field.name), getattr(other, field.name))
        for field in fields(AugmentParameters)
    ]
    return all(
        torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
        for first, second in pairs
    )


def test_identity_crop_copies_pixels() -> None:
    # centre 23.5, size 16 -> rows 23.5 - 7.5 = 16 .. 31; columns 18.5 - 7.5 = 11 .. 26
    images, masks = _picture()
    crops, cropped_masks = augment.apply_spatial(
        augment.identity_parameters(_centres()), images, masks, 16
    )
    torch.testing.assert_close(crops, images[:, :, 16:32, 11:27], atol=1e-5, rtol=0)
    torch.testing.assert_close(cropped_masks, masks[:, :, 16:32, 11:27], atol=1e-5, rtol=0)


def test_identity_recolour_changes_nothing() -> None:
    images, _ = _picture()
    result = augment.apply_intensity(augment.identity_parameters(_centres()), images)
    torch.testing.assert_close(result, images, atol=1e-6, rtol=0)


def test_quarter_turn_is_a_rotation_of_the_picture() -> None:
    # matrix [[0, -1], [1, 0]]: crop (row, column) looks at source (-column, row)
    images, masks = _picture()
    turned = _still(matrix=torch.tensor([[0.0, -1.0], [1.0, 0.0]]).repeat(4, 1, 1))
    plain, _ = augment.apply_spatial(_still(), images, masks, 17)
    rotated, _ = augment.apply_spatial(turned, images, masks, 17)
    torch.testing.assert_close(rotated, torch.rot90(plain, -1, (2, 3)), atol=1e-4, rtol=0)


def test_image_and_mask_move_together() -> None:
    _, masks = _picture()
    drawn = augment.draw_parameters(
        AugmentOptions(), _centres(), (48, 40), torch.Generator().manual_seed(5)
    )
    moved_as_image, moved_as_mask = augment.apply_spatial(drawn, masks, masks, 32)
    torch.testing.assert_close(moved_as_image, moved_as_mask)
    assert moved_as_mask.sum() > 0


def test_a_seed_draws_the_same_and_another_seed_does_not() -> None:
    def once(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        images, masks = _picture()
        drawn = augment.draw_parameters(AugmentOptions(), _centres(), (48, 40), generator)
        return augment.apply_intensity(drawn, augment.apply_spatial(drawn, images, masks, 32)[0])

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_zoom_in_enlarges_the_mask_by_the_square_of_the_scale() -> None:
    # scale 2 on both axes: 12 x 10 = 120 pixels become about 480
    images, masks = _picture()
    _, crops = augment.apply_spatial(_drawn(scale=(2, 2)), images, masks, 40)
    assert crops[0].sum().item() == pytest.approx(480, rel=0.02)


def test_gain_and_offset_follow_the_formula() -> None:
    # 0.5 ** 2 * 1.2 + 0.1 = 0.4
    drawn = _still(
        1, gamma=torch.tensor([2.0]), gain=torch.tensor([1.2]), offset=torch.tensor([0.1])
    )
    result = augment.apply_intensity(drawn, torch.full((1, 1, 8, 8), 0.5))
    torch.testing.assert_close(result, torch.full((1, 1, 8, 8), 0.4))


def test_training_and_inference_normalise_alike() -> None:
    spec = InputSpec(spacing_mm=1.3)
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(9)) ** 2
    ours = normalise_crops(images, spec)
    inference = normalise(images.numpy().transpose(1, 0, 2, 3), spec).transpose(1, 0, 2, 3)
    torch.testing.assert_close(ours, torch.from_numpy(inference.copy()), atol=1e-5, rtol=0)


# What was drawn and cut before the further kinds existed: trained models and resumed runs need it.


def test_the_first_kinds_take_the_same_numbers_as_when_they_were_alone() -> None:
    generator = torch.Generator().manual_seed(20261122)
    images = torch.rand(6, 1, 48, 40, generator=generator)
    masks = torch.zeros_like(images)
    masks[:, :, 18:30, 14:24] = 1
    options = AugmentOptions(blur_chance=0.5)
    drawn = augment.draw_parameters(options, _centres(6), (48, 40), generator)
    assert int(torch.randint(2**31, (1,), generator=generator)) == 1169458224
    assert drawn.noise_seed == 570514236
    assert drawn.blur.tolist() == [True, False, False, False, False, True]
    for found, expected in (
        (drawn.centre[:3], [[24.782249, -0.037066], [9.920011, 28.014107], [28.305241, 7.696617]]),
        (drawn.matrix[0], [[-1.175062, -0.565562], [0.545536, -1.218197]]),
        (drawn.elastic[:3, 0, 0, 0], [-1.346984, 0.060835, -0.529658]),
        (drawn.gamma[:3], [1.65246, 0.90525, 1.207754]),
        (drawn.gain[:3], [1.119969, 0.74583, 0.701039]),
        (drawn.offset[:3], [-0.076931, 0.029351, 0.003839]),
        (drawn.bias[:3, 0, 0, 0], [-0.172806, 0.013851, -0.237258]),
        (drawn.noise[:3], [0.003865, 0.006771, 0.040531]),
    ):
        torch.testing.assert_close(found, torch.tensor(expected), atol=2e-6, rtol=0)
    crops, cropped_masks = augment.apply_spatial(drawn, images, masks, 33)
    result = augment.apply_intensity(drawn, crops)
    for found, expected in (
        (crops.mean((1, 2, 3)), [0.197315, 0.430468, 0.394258, 0.204054, 0.457923, 0.32145]),
        (cropped_masks.sum((1, 2, 3))[:3], [72.631058, 109.559448, 62.103546]),
        (crops[:, 0, 14, 16], [0.0, 0.231282, 0.500725, 0.707025, 0.644597, 0.330979]),
        (result.mean((1, 2, 3)), [0.142726, 0.374137, 0.260847, 0.202575, 0.470356, 0.305478]),
        (result[:, 0, 14, 16], [0.00804, 0.229404, 0.369298, 0.714451, 0.675689, 0.372871]),
    ):
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


def test_a_further_kind_leaves_what_the_first_ones_draw_and_is_none_when_off() -> None:
    def once(**changes: Any) -> AugmentParameters:
        generator = torch.Generator().manual_seed(8)
        return augment.draw_parameters(
            AugmentOptions(**changes), _centres(), (48, 40), generator, _cavities()
        )

    plain, further = once(), once(**FURTHER)
    for name in ("elastic", "gamma", "gain", "offset", "bias", "noise", "noise_seed", "blur"):
        assert _same(replace(plain, **{name: getattr(further, name)}), plain)
    names = [field.name for field in fields(AugmentParameters) if "None" in str(field.type)]
    assert len(names) == 7
    assert all(getattr(plain, name) is None for name in names)
    assert all(getattr(further, name) is not None for name in names)


def test_options_out_of_their_limits_are_refused() -> None:
    for wrong in (
        {"flip_chance": 1.5}, {"zoom": 1.0}, {"scale": (0, 1)}, {"gain": (1.2, 0.8)},
        {"coarse": (0.5, 2)}, {"rician": (-0.1, 0.1)}, {"rotation": 5},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            AugmentOptions(**wrong)


@few
@given(seeds)
def test_one_state_of_the_generator_gives_one_draw_and_one_result(seed: int) -> None:
    images, masks = _picture()
    first, second = _all_kinds(seed), _all_kinds(seed)
    assert _same(first, second)
    once = augment.apply_intensity(first, augment.apply_spatial(first, images, masks, 33)[0])
    assert torch.equal(
        once, augment.apply_intensity(second, augment.apply_spatial(second, images, masks, 33)[0])
    )
    assert not _same(first, _all_kinds(seed + 1))
    assert bool(torch.isfinite(once).all())
    assert 0 <= float(once.min()) <= float(once.max()) <= 1.5


@few
@given(seeds)
def test_the_result_of_one_image_does_not_depend_on_the_others_of_its_batch(seed: int) -> None:
    # without noise, which is one picture for the whole batch
    drawn = replace(_all_kinds(seed), rician=None, noise=torch.zeros(4))
    images, masks = _picture()
    whole = augment.apply_intensity(drawn, augment.apply_spatial(drawn, images, masks, 33)[0])
    alone = replace(
        drawn,
        **{
            field.name: value[2:3]
            for field in fields(AugmentParameters)
            if isinstance(value := getattr(drawn, field.name), torch.Tensor)
        },
    )
    crops, _ = augment.apply_spatial(alone, images[2:3], masks[2:3], 33)
    torch.testing.assert_close(augment.apply_intensity(alone, crops), whole[2:3], atol=1e-5, rtol=0)


# Geometry


@few
@given(seeds)
def test_the_centroid_of_a_disc_moves_alike_in_image_and_mask(seed: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(40.0), indexing="ij")
    disc = ((rows - 22).hypot(columns - 17) < 7).float()[None, None].repeat(4, 1, 1, 1)
    drawn = replace(_all_kinds(seed), centre=_centres())
    image, mask = augment.apply_spatial(drawn, disc * 0.5, disc, 41)
    axis = torch.arange(41.0)
    for places in (axis[:, None], axis[None, :]):
        found = [(one * places).sum((1, 2, 3)) / one.sum((1, 2, 3)) for one in (image, mask)]
        torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=0)


def test_the_mask_moves_with_geometry_and_never_with_intensity() -> None:
    images, masks = _picture()
    intensity = {
        "gamma": (0.5, 0.6), "gain": (0.5, 0.6), "offset": (0.1, 0.2), "bias": 0.5,
        "noise": (0.1, 0.1), "blur_chance": 1, "local_contrast": 0.5, "invert_chance": 1,
        "smooth_chance": 1, "coarse_chance": 1, "rician_chance": 1,
    }  # fmt: skip
    _, still = augment.apply_spatial(_still(), images, masks, 32)
    _, recoloured = augment.apply_spatial(_drawn(**intensity), images, masks, 32)
    torch.testing.assert_close(recoloured, still, atol=1e-5, rtol=0)
    geometry = {
        "rotation_degrees": 90, "scale": (1.3, 1.3), "stretch": (1.3, 1.3), "shift_px": 6,
        "elastic_px": 4, "zoom": 0.3, "height_shift": 0.2, "width_shift": 0.2, "elastic_fine_px": 4,
    }  # fmt: skip
    for name, value in geometry.items():
        _, moved = augment.apply_spatial(_drawn(**{name: value}), images, masks, 32)
        assert (moved - still).abs().sum() > 2, name


def test_no_turn_by_zero_and_none_by_a_full_one() -> None:
    images, masks = _picture()
    full = math.radians(360)
    turn = torch.tensor([[math.cos(full), -math.sin(full)], [math.sin(full), math.cos(full)]])
    plain, _ = augment.apply_spatial(_still(), images, masks, 17)
    for drawn in (_drawn(), _still(matrix=turn.repeat(4, 1, 1))):
        torch.testing.assert_close(
            augment.apply_spatial(drawn, images, masks, 17)[0], plain, atol=1e-4, rtol=0
        )


@pytest.mark.parametrize(("name", "axis"), [("flip_chance", 3), ("upside_down_chance", 2)])
def test_a_mirror_swaps_one_axis_and_twice_is_nothing(name: str, axis: int) -> None:
    images, masks = _picture()
    mirror = _drawn(**{name: 1})
    plain, _ = augment.apply_spatial(_still(), images, masks, 17)
    once, _ = augment.apply_spatial(mirror, images, masks, 17)
    torch.testing.assert_close(once, plain.flip(axis), atol=1e-4, rtol=0)
    middle = replace(mirror, centre=torch.full((4, 2), 8.0))
    twice, _ = augment.apply_spatial(middle, once, once, 17)
    torch.testing.assert_close(twice, plain, atol=1e-4, rtol=0)
    assert not torch.allclose(once, plain, atol=0.1)


def test_zoom_is_one_plus_or_minus_its_share() -> None:
    # zoom 0.2: size 0.8 to 1.2, and crop -> source divides by it; 64 draws come near both
    matrix = torch.cat([_drawn(seed, zoom=0.2).matrix for seed in range(16)])
    assert torch.equal(matrix, matrix[:, :1, :1] * torch.eye(2))
    size = 1 / matrix[:, 0, 0]
    assert 0.8 <= float(size.min()) < 0.83
    assert 1.17 < float(size.max()) <= 1.2
    assert torch.equal(_drawn().matrix, torch.eye(2).repeat(4, 1, 1))


def test_width_moves_columns_and_height_moves_rows_by_a_share_of_their_side() -> None:
    # 48 rows, 40 columns: 0.25 of the width is 10 pixels, 0.25 of the height 12
    for name, axis, most in (("height_shift", 0, 12.0), ("width_shift", 1, 10.0)):
        moved = torch.cat([_drawn(seed, **{name: 0.25}).centre for seed in range(16)])
        distance = (moved - _centres(64)).abs()
        assert float(distance[:, 1 - axis].max()) == 0
        assert 0.9 * most < float(distance[:, axis].max()) <= most


def test_a_whole_pixel_shift_is_a_roll() -> None:
    images, masks = _picture()
    moved = _still(centre=_centres() + torch.tensor([3.0, -2.0]))
    found, _ = augment.apply_spatial(moved, images, masks, 16)
    torch.testing.assert_close(found, images[:, :, 19:35, 9:25], atol=1e-5, rtol=0)


def test_elastic_goes_no_further_than_1_9_times_its_control_points() -> None:
    # half way between two points the bicubic weights are (-3, 19, 19, -3) / 32: with the signs
    # (-, +, +, -) they add to 44 / 32 on each axis, 1.890625 on both
    signs = torch.tensor([-1.0, 1.0, 1.0, -1.0])
    worst = _still(elastic=4 * torch.outer(signs, signs).expand(4, 2, 4, 4))
    furthest = augment._displacement(worst, 33).abs().max()
    assert float(furthest) == pytest.approx(4 * 1.890625, rel=1e-4)


@few
@given(seeds, st.floats(0.5, 8))
def test_fine_elastic_never_goes_beyond_its_limit(seed: int, limit: float) -> None:
    drawn = _drawn(seed, elastic_fine_px=limit)
    field = augment._displacement(drawn, 37)
    assert 0.2 * limit < float(field.abs().max()) <= limit * 1.00001
    ends = replace(drawn, elastic_fine=torch.full((4, 2, 8, 8), limit))
    same = torch.full((4, 37, 37, 2), limit)
    torch.testing.assert_close(augment._displacement(ends, 37), same)


def test_a_constant_displacement_is_a_shift() -> None:
    images, masks = _picture()
    moved = _still(elastic_fine=torch.tensor([2.0, -1.0])[None, :, None, None].expand(4, 2, 8, 8))
    found, _ = augment.apply_spatial(moved, images, masks, 16)
    torch.testing.assert_close(found, images[:, :, 18:34, 10:26], atol=1e-4, rtol=0)


# Intensity


def _crops(seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, 1, 24, 20, generator=generator)


@pytest.mark.parametrize(
    "neutral",
    [
        {"gamma": torch.ones(4)},
        {"bias": torch.zeros(4, 1, 4, 4)},
        {"local_contrast": torch.zeros(4, 1, 6, 6)},
        {"inverted": -torch.ones(4, 1, 6, 6)},
        {"smooth_px": torch.zeros(4)},
        {"coarse": torch.ones(4)},
        {"rician": torch.zeros(4)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_neutral_value_of_a_kind_changes_nothing(neutral: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(
        augment.apply_intensity(_still(**neutral), _crops()), _crops(), atol=1e-6, rtol=0
    )


def test_gamma_keeps_black_and_white_and_the_order_of_grey_values() -> None:
    ramp = torch.linspace(0, 1, 24).repeat(20, 1)[None, None].repeat(4, 1, 1, 1)
    found = augment.apply_intensity(_still(gamma=torch.tensor([0.5, 0.8, 1.3, 2.0])), ramp)
    torch.testing.assert_close(found[..., [0, -1]], ramp[..., [0, -1]])
    assert bool((found.diff(dim=3) > 0).all())


def test_offset_leaves_what_is_outside_the_picture_black() -> None:
    images = _crops()
    images[:, :, :5] = 0
    found = augment.apply_intensity(_still(offset=torch.full((4,), 0.2)), images)
    assert float(found[:, :, :5].max()) == 0
    torch.testing.assert_close(found[:, :, 5:], images[:, :, 5:] + 0.2)


@few
@given(seeds)
def test_shading_is_smooth_opposite_for_opposite_points_and_centred_on_demand(seed: int) -> None:
    drawn = _drawn(seed, bias=0.5)
    shading = augment._shading(drawn, (48, 40))
    # 3 intervals of control points at most 1 apart over 39 pixels, steepened by the cubic
    for axis in (2, 3):
        assert float(shading.diff(dim=axis).abs().max()) < 4 * 3 / 39
    # a field and its opposite are equally likely, so the mean of the log is 0 over draws
    opposite = augment._shading(replace(drawn, bias=-drawn.bias), (48, 40))
    torch.testing.assert_close(opposite, -shading)
    centred = augment._shading(replace(drawn, bias_centred=True), (48, 40))
    torch.testing.assert_close(centred.mean((2, 3)), torch.zeros(4, 1), atol=1e-6, rtol=0)
    removed = shading - centred
    torch.testing.assert_close(removed, removed[:, :, :1, :1].expand_as(removed))
    assert _drawn(seed, bias=0.5, bias_centred=True).bias_centred


def test_shading_multiplies_by_the_exponential_of_its_field() -> None:
    # every control point log 1.2: each pixel times 1.2
    drawn = _still(bias=torch.full((4, 1, 4, 4), math.log(1.2)))
    torch.testing.assert_close(augment.apply_intensity(drawn, _crops()), _crops() * 1.2)


def test_local_contrast_keeps_the_mean_and_stretches_about_it() -> None:
    # 0.4 and 0.6 about 0.5, contrast doubled: 0.3 and 0.7; a flat picture has no contrast
    picture = torch.full((4, 1, 24, 20), 0.4)
    picture[..., 10:] = 0.6
    doubled = _still(local_contrast=torch.full((4, 1, 6, 6), math.log(2.0)))
    found = augment.apply_intensity(doubled, picture)
    torch.testing.assert_close(found[..., [0, -1]], torch.tensor([0.3, 0.7]).expand(4, 1, 24, 2))
    flat = torch.full((4, 1, 24, 20), 0.4)
    torch.testing.assert_close(augment.apply_intensity(_drawn(local_contrast=1.0), flat), flat)
    black = augment.apply_intensity(doubled, torch.zeros(4, 1, 24, 20))
    assert torch.equal(black, torch.zeros(4, 1, 24, 20))


def test_inverting_swaps_bright_and_dark_and_twice_is_nothing() -> None:
    # 0.2 -> 0.8; where the field is negative nothing happens; outside the picture stays black
    everywhere = _still(inverted=torch.ones(4, 1, 6, 6))
    torch.testing.assert_close(augment.apply_intensity(everywhere, _crops()), 1 - _crops())
    twice = augment.apply_intensity(everywhere, augment.apply_intensity(everywhere, _crops()))
    torch.testing.assert_close(twice, _crops(), atol=1e-6, rtol=0)
    points = torch.ones(4, 1, 6, 6)
    points[:, :, :, :4] = -1
    parts = augment.apply_intensity(_still(inverted=points), _crops())
    torch.testing.assert_close(parts[..., :5], _crops()[..., :5])
    torch.testing.assert_close(parts[..., -1:], 1 - _crops()[..., -1:])
    assert float(augment.apply_intensity(everywhere, torch.zeros(4, 1, 24, 20)).max()) == 0


@few
@given(seeds, st.sampled_from(["blur", "smooth_px", "coarse"]), st.floats(0.1, 0.9))
def test_losing_resolution_keeps_a_constant_picture(seed: int, kind: str, grey: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    some = torch.rand(4, generator=generator) * 3
    values = {"blur": torch.ones(4, dtype=torch.bool), "smooth_px": some, "coarse": 1 + some}
    flat = torch.full((4, 1, 24, 20), grey)
    found = augment.apply_intensity(_still(**{kind: values[kind]}), flat)
    torch.testing.assert_close(found, flat, atol=1e-5, rtol=0)
    detail = augment.apply_intensity(_still(**{kind: values[kind]}), _crops(seed))
    assert bool((detail.std((1, 2, 3)) <= _crops(seed).std((1, 2, 3)) + 1e-6).all())


def test_gaussian_blur_spreads_a_point_by_its_variance() -> None:
    # a point becomes a Gaussian: the mean of the squared distance is sigma^2 = 2.25
    axis = torch.arange(41.0) - 20
    spread = smooth_matrix(torch.tensor([1.5]), 41)[0, :, 20]
    assert float(spread.sum()) == pytest.approx(1, rel=1e-4)
    assert float((spread * axis**2).sum()) == pytest.approx(2.25, rel=1e-3)
    # on both axes, in a picture that is square and in one that is not
    for columns in (31, 41):
        point = torch.zeros(4, 1, 41, columns)
        point[:, :, 20, columns // 2] = 1
        found = augment.apply_intensity(_still(smooth_px=torch.full((4,), 1.5)), point)[0, 0]
        for line in (found.sum(0), found.sum(1)):
            distance = torch.arange(float(len(line))) - len(line) // 2
            assert float((line * distance**2).sum()) == pytest.approx(2.25, rel=1e-3)


def test_coarse_pixels_of_two_are_half_resolution_and_of_one_are_nothing() -> None:
    found = augment.apply_intensity(_still(coarse=torch.full((4,), 2.0)), _crops())
    expected = augment.apply_intensity(_still(blur=torch.ones(4, dtype=torch.bool)), _crops())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(coarse(_crops(), [1.0] * 4), _crops())
    # no more than one coarse pixel left: the mean everywhere
    means = _crops().mean((2, 3), keepdim=True).expand(4, 1, 24, 20)
    torch.testing.assert_close(coarse(_crops(), [99.0] * 4), means)


@few
@given(st.floats(0.3, 9), st.integers(5, 40))
def test_each_row_of_the_blur_is_a_centred_weighted_mean(sigma: float, size: int) -> None:
    weights = smooth_matrix(torch.tensor([sigma]), size)
    torch.testing.assert_close(weights.sum(2), torch.ones(1, size))
    assert float(weights.min()) >= 0
    torch.testing.assert_close(weights, weights.flip(1, 2))


def test_a_spline_field_stays_within_its_points_and_follows_a_slope() -> None:
    # points on a line (B-splines reproduce lines): 0, 1, .. 5 -> from 1 to 4 in equal steps
    points = torch.arange(6.0).expand(1, 1, 6, 6)
    field = spline_field(points, (9, 13))[0, 0]
    torch.testing.assert_close(field[4], torch.linspace(1, 4, 13), atol=1e-5, rtol=0)
    torch.testing.assert_close(field[:, 6], torch.full((9,), 2.5), atol=1e-5, rtol=0)


def test_noise_has_the_drawn_standard_deviation() -> None:
    # 4 x 9000 pixels: the standard error of a standard deviation s is s / sqrt(2 * 9000) = 0.75 %
    flat = torch.full((4, 1, 100, 90), 0.5)
    sigma = torch.tensor([0.0, 0.02, 0.05, 0.08])
    found = augment.apply_intensity(_still(noise=sigma, noise_seed=7), flat).std((1, 2, 3))
    torch.testing.assert_close(found, sigma, atol=1e-6, rtol=0.03)
    drawn = _drawn(noise=(0.02, 0.08)).noise
    assert 0.02 <= float(drawn.min()) < float(drawn.max()) <= 0.08


def test_rician_noise_is_rayleigh_in_the_dark_and_gaussian_in_the_bright() -> None:
    # dark: mean sigma sqrt(pi / 2) = 1.2533 sigma, standard deviation 0.6551 sigma
    # bright (1 = 20 sigma): standard deviation sigma, mean sqrt(1 + sigma^2) = 1.00125
    sigma = torch.tensor([0.0, 0.05, 0.05, 0.05])
    drawn = _still(rician=sigma, noise_seed=7)
    dark = augment.apply_intensity(drawn, torch.zeros(4, 1, 100, 90))
    assert dark.mean((1, 2, 3)).tolist() == pytest.approx([0] + [0.06267] * 3, rel=0.03)
    assert dark.std((1, 2, 3)).tolist() == pytest.approx([0] + [0.03276] * 3, rel=0.03)
    bright = augment.apply_intensity(drawn, torch.ones(4, 1, 100, 90))
    assert bright.std((1, 2, 3)).tolist() == pytest.approx([0] + [0.05] * 3, rel=0.03)
    assert bright.mean((1, 2, 3)).tolist() == pytest.approx([1] + [1.00125] * 3, rel=0.003)
    # 0.1 - 0.2 is below nothing: black, not mirrored to 0.1
    darker = replace(drawn, offset=torch.full((4,), -0.2))
    assert float(augment.apply_intensity(darker, torch.full((4, 1, 9, 7), 0.1))[0].max()) == 0


def test_a_chance_picks_about_so_many_images() -> None:
    # 256 images at 0.25: 64, standard deviation sqrt(256 * 0.25 * 0.75) = 6.9
    picked = AugmentOptions(**STILL | {"coarse": (2, 3), "coarse_chance": 0.25})
    generator = torch.Generator().manual_seed(2)
    drawn = augment.draw_parameters(picked, _centres(256), (48, 40), generator)
    assert drawn.coarse is not None
    assert 64 - 21 < int((drawn.coarse > 1).sum()) < 64 + 21
    assert int((drawn.coarse == 1).sum()) + int((drawn.coarse >= 2).sum()) == 256


def test_upright_pictures_are_tilted_a_little_and_never_swapped() -> None:
    generator = torch.Generator().manual_seed(4)
    options = AugmentOptions(
        upright_chance=0.6, upright_degrees=20.0, scale=(1, 1), stretch=(1, 1), flip_chance=0.5
    )
    matrices = augment.draw_parameters(options, _centres(4000), (48, 40), generator).matrix
    angles = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg()
    near = (angles.abs() <= 20) & (torch.linalg.det(matrices) > 0)
    # the other 40 % lie that near in 40 of 360 degrees, and half of them are not swapped
    assert near.float().mean() == pytest.approx(0.6 + 0.4 * 40 / 360 / 2, abs=0.02)
    assert angles[near].abs().max() > 19


@few
@given(share=st.floats(0.4, 1.1), reach=st.floats(1.7, 2.5))
def test_a_contraction_is_increasing_and_ends_where_it_says(share: float, reach: float) -> None:
    reach = max(reach, share + augment._ROOM * (1 - share))
    radius = torch.linspace(0, 4, 4001, dtype=torch.float64)
    limits = torch.tensor(share).double(), torch.tensor(reach).double()
    before = augment.contraction_source(radius, *limits)
    assert (before.diff() > 0.2 * radius[1]).all()  # nowhere stretched more than fivefold
    far = radius >= limits[1]
    torch.testing.assert_close(before[far], radius[far])
    inner = radius <= 0.7 * share
    torch.testing.assert_close(before[inner], radius[inner] / share)


def test_a_contracted_disc_is_smaller_by_the_share() -> None:
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(80.0), indexing="ij")
    radius = torch.hypot(rows - 50, columns - 38)
    masks = torch.stack([(radius < 20).float(), (radius < 26).float()])[None]
    contraction = torch.tensor([[50.0, 38.0, 20.0, 0.5, 2.4]])
    drawn = replace(
        augment.identity_parameters(torch.tensor([[50.0, 38.0]])), contraction=contraction
    )
    _, crops = augment.apply_spatial(drawn, masks[:, :1], masks, 80)
    cavity, whole = (torch.sqrt(crops[0, i].sum() / torch.pi).item() for i in (0, 1))
    assert cavity == pytest.approx(10, abs=0.8)
    assert (whole - cavity) / cavity > 1.3 * 6 / 20  # the wall is thicker beside its cavity


def test_an_image_without_cavity_does_not_contract() -> None:
    images = torch.rand(1, 1, 48, 40, generator=torch.Generator().manual_seed(2))
    plain = augment.identity_parameters(torch.tensor([[20.0, 18.0]]))
    cavity = torch.tensor([[24.0, 20.0, 0.0, 0.5, 2.4]])
    both = [
        augment.apply_spatial(each, images, images, 32)[0]
        for each in (plain, replace(plain, contraction=cavity))
    ]
    torch.testing.assert_close(*both)


def test_slices_are_swapped_and_channels_go_missing_by_chance() -> None:
    channels = ("frame", "slice-before", "slice-after")
    shown = torch.arange(30).reshape(10, 3)
    always = AugmentOptions(reverse_chance=1.0)
    generator = torch.Generator().manual_seed(0)
    swapped = augment.draw_shown(always, shown, channels, generator)
    assert torch.equal(swapped, shown[:, [0, 2, 1]])
    none = augment.draw_shown(AugmentOptions(missing_chance=1.0), shown, channels, generator)
    assert torch.equal(none, shown[:, :1].expand(-1, 3))
    some = augment.draw_shown(AugmentOptions(missing_chance=0.5), shown, channels, generator)
    missing = some == shown[:, :1]
    assert missing[:, 0].all()
    assert 0 < missing[:, 1:].sum() < 20
    assert torch.equal(some[~missing], shown[~missing])
    state = generator.get_state()
    assert augment.draw_shown(AugmentOptions(), shown, channels, generator) is shown
    assert torch.equal(generator.get_state(), state)
