"""The clean-up on masks small enough to draw by hand."""

from __future__ import annotations

import numpy as np
import pytest
from prediction_maker import prediction_of

from lvseg.cine import Cine, Source
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Grid, Plane
from lvseg.postprocess import (
    PostprocessSettings,
    clean,
    drop_atrial_slices,
    drop_orphan_slices,
    enclose,
    fill_holes,
    fill_short_gaps,
    frames_above_the_valve,
    keep_longest_runs,
    keep_ventricle,
    left_out,
    smooth_over_time,
    to_mask,
)


def disc(rows, columns, y, x, radius):
    grid_y, grid_x = np.mgrid[:rows, :columns]
    return np.hypot(grid_y - y, grid_x - x) <= radius


def stack(phases=10, slices=5, y=20, x=24, radius=6):
    """A cylinder that is there in every phase and slice."""
    return np.broadcast_to(disc(44, 48, y, x, radius), (phases, slices, 44, 48)).copy()


def cine_of(shape, **geometry):
    frames = np.zeros(shape, np.float32)
    return Cine(frames, Source("array", "drawn"), Grid.of(frames, **geometry))


def test_a_clean_stack_stays_as_it_is():
    inside = stack()
    assert np.array_equal(clean(inside), inside)


def test_a_blob_beside_the_ventricle_is_dropped_in_every_frame():
    inside = stack()
    noisy = inside.copy()
    noisy[3:6, 2] |= disc(44, 48, 20, 42, 4)  # 18 pixels away: more than 1.25 x 6
    assert np.array_equal(clean(noisy), inside)


def test_a_larger_piece_in_one_phase_loses_against_the_place_of_the_other_phases():
    inside = stack()
    noisy = inside.copy()
    # a ring around the ventricle: its centre is the same, and it is there once in ten phases
    noisy[4, 2] |= disc(44, 48, 20, 24, 13) & ~disc(44, 48, 20, 24, 8)
    assert noisy[4, 2].sum() - inside[4, 2].sum() > inside[4, 2].sum()
    assert np.array_equal(clean(noisy), inside)


def test_slices_shifted_by_a_breath_hold_stay_connected():
    inside = stack()
    # 7 pixels with a radius of 6: within 1.25 radii
    inside[:, 3:] = disc(44, 48, 20, 31, 6)
    assert np.array_equal(keep_ventricle(inside), inside)
    # 9 pixels are too far: the three slices outweigh the two
    inside[:, 3:] = disc(44, 48, 20, 33, 6)
    assert keep_ventricle(inside)[:, :3].any(axis=(0, 2, 3)).all()
    assert not keep_ventricle(inside)[:, 3:].any()


def test_one_empty_slice_does_not_cut_the_ventricle_in_two():
    inside = stack(slices=7)
    inside[:, 3] = False
    assert np.array_equal(clean(inside), inside)


def test_holes_are_filled_and_bays_are_not():
    inside = stack(1, 1)
    with_hole = inside.copy()
    with_hole[0, 0, 20, 23:25] = False
    assert np.array_equal(fill_holes(with_hole), inside)
    with_bay = inside.copy()
    with_bay[0, 0, :20, 24] = False
    assert np.array_equal(fill_holes(with_bay), with_bay)


def test_a_hole_at_the_image_border_is_open():
    inside = np.ones((1, 1, 5, 6), bool)
    inside[0, 0, 0, 2] = False
    assert np.array_equal(fill_holes(inside), inside)


def test_gaps_of_one_and_two_phases_close_with_the_nearest_phase():
    inside = stack(phases=10)
    small = disc(44, 48, 20, 24, 4)
    inside[4, 2] = small
    inside[5, 2] = False  # between phase 4 (small) and phase 6 (large): the small one
    inside[9, 1] = inside[0, 1] = False  # over the end of the cycle
    filled = fill_short_gaps(inside)
    assert np.array_equal(filled[5, 2], small)
    assert np.array_equal(filled[9, 1], inside[8, 1])
    assert np.array_equal(filled[0, 1], inside[1, 1])


def test_a_gap_of_three_phases_is_physiology():
    inside = stack()
    inside[3:6, 0] = False
    assert np.array_equal(clean(inside), inside)


def test_a_base_slice_keeps_one_run_of_phases_around_the_end_of_the_cycle():
    inside = stack(phases=12)
    inside[3:10, 0] = False  # cavity in phases 10, 11, 0, 1, 2
    expected = inside.copy()
    inside[6, 0] = stack()[0, 0]  # a flicker at end-systole
    assert np.array_equal(clean(inside), expected)


def test_a_single_phase_is_flicker_in_a_cine_and_a_fact_in_two_phases():
    inside = stack()
    inside[:, 0] = False
    inside[7, 0] = stack()[0, 0]
    assert not keep_longest_runs(inside)[:, 0].any()
    two = stack(phases=2)
    two[0, 0] = False
    assert np.array_equal(clean(two), two)


def test_a_small_orphan_slice_is_dropped_and_a_large_one_kept():
    inside = stack(1, 6)
    inside[0, 4] = False
    small = inside.copy()
    small[0, 5] = disc(44, 48, 20, 24, 2)  # 13 px against 4 x 113 px: 3 %
    assert not drop_orphan_slices(small)[0, 5].any()
    # 113 px against 452 px: 25 %, not less than the limit
    assert drop_orphan_slices(inside)[0, 5].any()


def test_a_picture_keeps_its_largest_piece_without_holes():
    inside = stack(1, 1, radius=8)
    noisy = inside | disc(44, 48, 38, 4, 3)
    noisy[0, 0, 20, 24] = False
    assert np.array_equal(clean(noisy), inside)


def test_smoothing_is_a_quarter_a_half_and_a_quarter_on_a_circle():
    curve = np.zeros((8, 1, 1, 1), np.float32)
    curve[0] = 1
    # phase 0: 1/2; its neighbours 1 and 7: 1/4 each
    assert smooth_over_time(curve).ravel().tolist() == [0.5, 0.25, 0, 0, 0, 0, 0, 0.25]
    assert np.array_equal(smooth_over_time(curve[:7]), curve[:7])
    assert np.array_equal(smooth_over_time(curve, PostprocessSettings(smoothing=0)), curve)


def test_the_mask_carries_the_geometry_of_the_cine():
    planes = tuple(
        Plane((0.0, 0.0, 9.0 * z), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.4, 1.3)) for z in range(5)
    )
    cine = cine_of((10, 5, 44, 48), planes=planes, complete=False)
    mask = to_mask(prediction_of(stack().astype(np.float32)), cine)
    assert mask.phases == tuple(range(10))
    assert (mask.planes, mask.pixel_spacing_mm, mask.complete) == (planes, (1.4, 1.3), False)
    assert np.array_equal(mask.labels, stack())
    assert mask.labels.dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 7, 9), (9, 1, 7, 9), (1, 4, 7, 9)])
def test_nothing_and_everything_work_in_every_shape(shape):
    nothing = to_mask(prediction_of(np.zeros(shape, np.float32)), cine_of(shape))
    assert not nothing.labels.any()
    everything = to_mask(prediction_of(np.ones(shape, np.float32)), cine_of(shape))
    assert everything.labels.all()


def test_probabilities_of_another_grid_are_refused():
    with pytest.raises(GeometryMismatchError, match=r"expected .*\(2, 1, 4, 5\).*\(2, 1, 5, 4\)"):
        to_mask(prediction_of(np.zeros((2, 1, 5, 4), np.float32)), cine_of((2, 1, 4, 5)))


def _beating_stack(areas_ed: list[int], areas_es: list[int], phases: int = 10) -> np.ndarray:
    """Squares whose areas (in pixels) go from end-diastole (phase 0) to end-systole and back."""
    inside = np.zeros((phases, len(areas_ed), 40, 40), bool)
    for phase in range(phases):
        share = (1 - np.cos(2 * np.pi * phase / phases)) / 2
        for index, (ed, es) in enumerate(zip(areas_ed, areas_es, strict=True)):
            side = round(np.sqrt(ed + share * (es - ed)))
            inside[phase, index, 20 - side // 2 : 20 - side // 2 + side, 10 : 10 + side] = side > 0
    return inside


@pytest.mark.parametrize("reverse", [False, True])
def test_basal_slices_that_grow_in_systole_are_atrium_and_go_with_all_beyond(
    *, reverse: bool
) -> None:
    # apex to base: three that shrink, a full one, one that grows (atrium), one beyond that shrinks
    ed, es = [100, 225, 324, 400, 225, 196], [25, 121, 196, 256, 256, 100]
    inside = _beating_stack(ed, es)
    if reverse:
        inside = inside[:, ::-1]
    kept = drop_atrial_slices(inside)
    held = kept.any(axis=(0, 2, 3))
    expected = [True, True, True, True, False, False]
    assert held.tolist() == (expected[::-1] if reverse else expected)
    np.testing.assert_array_equal(kept[:, held], inside[:, held])


def test_an_apex_that_grows_in_systole_stays() -> None:
    inside = _beating_stack([64, 225, 324, 400, 361, 324], [81, 121, 196, 256, 225, 196])
    np.testing.assert_array_equal(drop_atrial_slices(inside), inside)


def test_atrial_rule_needs_a_cycle_and_can_be_switched_off() -> None:
    inside = _beating_stack([100, 225, 324, 400, 225, 196], [25, 121, 196, 256, 256, 100])
    np.testing.assert_array_equal(drop_atrial_slices(inside[::2]), inside[::2])
    np.testing.assert_array_equal(
        drop_atrial_slices(inside, PostprocessSettings(atrial_ratio=0)), inside
    )


def test_a_slice_that_was_emptied_is_reported() -> None:
    inside = _beating_stack([100, 225, 324, 400, 225, 196], [25, 121, 196, 256, 256, 100])
    probabilities = inside.astype(np.float32)
    mask = to_mask(prediction_of(probabilities), cine_of(inside.shape))
    issues = left_out(prediction_of(probabilities), mask)
    assert [(issue.code, issue.slice) for issue in issues] == [
        ("slice-left-out", 4),
        ("slice-left-out", 5),
    ]
    assert (
        left_out(
            prediction_of(probabilities[:, :4]),
            to_mask(prediction_of(probabilities[:, :4]), cine_of((10, 4, 40, 40))),
        )
        == ()
    )


def test_a_faint_cavity_is_drawn_in_a_picture_and_not_in_a_cine() -> None:
    # peak 0.4, threshold 0.6: cut at 0.6 * 0.4 = 0.24; a rim of 0.2 stays out; 0.14 is no cavity
    picture = np.zeros((1, 1, 30, 30), np.float32)
    picture[0, 0, 9:21, 9:21] = 0.2
    picture[0, 0, 10:20, 10:20] = 0.4
    options = PostprocessSettings(threshold=0.6)
    assert to_mask(prediction_of(picture), cine_of(picture.shape), options).labels.sum() == 100
    assert to_mask(prediction_of(picture * 0.35), cine_of(picture.shape), options).labels.sum() == 0
    cine = np.repeat(picture, 10, axis=0)
    assert to_mask(prediction_of(cine), cine_of(cine.shape), options).labels.sum() == 0


# Two structures


def slices_of(*radii, y=20, x=24):
    """One phase of discs, one a slice; 0 is an empty slice."""
    return np.stack([disc(44, 48, y, x, radius if radius else -1) for radius in radii])[None]


def test_the_epicardium_keeps_the_piece_around_the_cavity_and_nothing_beside_it():
    cavity, outer = slices_of(6, 5, 4), slices_of(10, 9, 8)
    found = outer.copy()
    found[0, 1] |= disc(44, 48, 8, 40, 9)  # larger than the wall, and elsewhere
    assert np.array_equal(enclose(found, cavity), outer)


def test_a_cavity_beside_its_epicardium_becomes_part_of_it():
    cavity, outer = slices_of(6, 5), slices_of(10, 3)
    found = enclose(outer, cavity)
    assert np.array_equal(found[0, 0], outer[0, 0])
    assert np.array_equal(found[0, 1], cavity[0, 1])  # no wall at all in this slice


def test_the_wall_goes_on_below_the_tip_of_the_cavity_and_not_above_the_base():
    # the base is the end of the large slices; the wall has two slices more at either end
    cavity, outer = slices_of(0, 0, 8, 6, 3, 0, 0, 0), slices_of(9, 10, 12, 10, 7, 4, 2, 0)
    found = enclose(outer, cavity).any(axis=(0, 2, 3))
    assert found.tolist() == [False, False, True, True, True, True, True, False]
    turned = enclose(outer[:, ::-1], cavity[:, ::-1]).any(axis=(0, 2, 3))
    assert turned.tolist() == found[::-1].tolist()


def test_what_lies_below_the_apex_ends_at_the_first_slice_without_it():
    cavity, outer = slices_of(8, 6, 0, 0, 0), slices_of(12, 10, 5, 0, 5)
    assert enclose(outer, cavity).any(axis=(0, 2, 3)).tolist() == [True, True, True, False, False]
    beside = slices_of(0, 0, 0, 3, 0, y=36, x=40)
    assert not enclose(outer | beside, cavity)[0, 3].any()


def test_a_closed_cavity_between_two_slices_keeps_its_wall():
    cavity, outer = slices_of(8, 0, 4), slices_of(12, 10, 8)
    assert np.array_equal(enclose(outer, cavity), outer)


def test_nothing_tells_the_ends_of_a_cylinder_apart():
    cavity, outer = slices_of(0, 6, 6, 0), slices_of(9, 10, 10, 9)
    assert enclose(outer, cavity).any(axis=(0, 2, 3)).tolist() == [False, True, True, False]


def test_two_structures_become_two_labels_one_around_the_other():
    cavity, outer = stack(radius=6), stack(radius=10)
    prediction = prediction_of(cavity.astype(np.float32), epicardium=outer.astype(np.float32))
    labels = to_mask(prediction, cine_of(cavity.shape)).labels
    assert np.array_equal(labels == 1, cavity)
    assert np.array_equal(labels == 2, outer & ~cavity)
    # a wall around nothing is no heart of ours
    alone = prediction_of(np.zeros(cavity.shape, np.float32), epicardium=outer.astype(np.float32))
    assert not to_mask(alone, cine_of(cavity.shape)).labels.any()


def rings(radii: list[list[int]], walls: list[list[int]]) -> np.ndarray:
    """Labels [T, Z, 64, 64]: a cavity of each radius within a wall of each thickness, pixels."""
    y, x = np.mgrid[:64, :64] - 31.5
    away = np.hypot(y, x)
    cavity, wall = (np.array(each)[:, :, None, None] for each in (radii, walls))
    ring = (away < cavity + wall) & (cavity > 0)
    return np.where(away < cavity, 1, np.where(ring, 2, 0)).astype(np.uint8) * (cavity > 0)


def test_basal_frames_without_a_wall_lie_above_the_valve() -> None:
    # the base is first; at the second phase its first two slices have lost their wall
    labels = rings([[20, 19, 18, 16, 12, 8]] * 2, [[8, 8, 8, 8, 7, 3], [2, 2, 8, 8, 8, 3]])
    expected = [[False] * 6, [True, True, False, False, False, False]]
    assert frames_above_the_valve(labels).tolist() == expected
    turned = frames_above_the_valve(labels[:, ::-1])
    assert turned.tolist() == [row[::-1] for row in expected]
    # a thin wall at the apex is one, and more than half the wall is enough
    half = rings([[20, 19, 18, 16, 12, 8]], [[5, 8, 8, 8, 8, 2]])
    assert not frames_above_the_valve(half).any()
    assert not frames_above_the_valve(labels, PostprocessSettings(base_wall_ratio=0.0)).any()


def test_three_slices_have_no_base_to_look_at() -> None:
    assert not frames_above_the_valve(rings([[20, 16, 8]], [[1, 8, 8]])).any()
