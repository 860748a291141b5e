"""Worked examples of the metrics; the sums are in the comments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvseg import metrics
from lvseg.contours import contour_segments
from lvseg.errors import GeometryError, GeometryMismatchError

EMPTY = np.zeros((6, 7), np.uint8)
BLOCK = EMPTY.copy()
BLOCK[2:4, 2:5] = 1


def square(first: int, last: int, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[first:last, first:last] = True
    return mask


def test_dice_and_jaccard_of_two_overlapping_blocks():
    reference, prediction = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    reference[0:2, 0:4] = 1  # 8 pixels
    prediction[1:3, 2:6] = 1  # 8 pixels, 1 row x 2 columns = 2 shared
    assert metrics.dice(reference, prediction) == pytest.approx(2 * 2 / 16)
    assert metrics.jaccard(reference, prediction) == pytest.approx(2 / 14)


def test_overlap_takes_volumes_and_label_values_other_than_one():
    reference = np.zeros((2, 3, 4), np.uint8)
    reference[0, 0, :] = 1  # 4
    assert metrics.dice(reference, reference * 255) == 1.0
    prediction = reference.copy()
    prediction[1, 0, :] = 1  # 8, 4 shared: 8 / 12
    assert metrics.dice(reference, prediction) == pytest.approx(8 / 12)


@pytest.mark.parametrize("case", metrics.EMPTY_MASKS, ids=lambda case: case.reason[:20])
def test_every_metric_follows_the_table_of_empty_masks(case):
    reference = EMPTY if case.reference_empty else BLOCK
    prediction = EMPTY if case.prediction_empty else BLOCK
    spacing_mm = (1.4, 1.1)
    for overlap in (metrics.dice, metrics.jaccard):
        assert overlap(reference, prediction) == case.overlap
    distances = metrics.surface_distances(reference, prediction, spacing_mm)
    for found in (
        metrics.hausdorff_mm(reference, prediction, spacing_mm),
        metrics.hd95_mm(reference, prediction, spacing_mm),
        metrics.average_perpendicular_distance_mm(reference, prediction, spacing_mm),
        metrics.average_perpendicular_distance_px(reference, prediction),
        distances.mean(),
    ):
        np.testing.assert_equal(found, case.distance)


def test_the_table_of_empty_masks_has_the_three_cases_once():
    keys = [(case.reference_empty, case.prediction_empty) for case in metrics.EMPTY_MASKS]
    assert sorted(keys) == [(False, True), (True, False), (True, True)]


@pytest.mark.parametrize(
    "metric",
    [
        metrics.dice,
        metrics.jaccard,
        metrics.surface_distances,
        metrics.average_perpendicular_distance_px,
        lambda a, b: metrics.hausdorff_mm(a, b, None),
        lambda a, b: metrics.average_perpendicular_distance_mm(a, b, None),
    ],
)
def test_shapes_are_compared_never_broadcast(metric):
    with pytest.raises(GeometryMismatchError, match=r"\(6, 7\).*\(1, 7\)"):
        metric(EMPTY, EMPTY[:1])


def test_without_spacing_there_are_no_millimetres():
    moved = np.roll(BLOCK, 1, axis=0)
    assert math.isnan(metrics.hausdorff_mm(BLOCK, moved, None))
    assert math.isnan(metrics.hd95_mm(BLOCK, moved, None))
    assert math.isnan(metrics.average_perpendicular_distance_mm(BLOCK, moved, None))
    assert metrics.surface_distances(BLOCK, moved).hausdorff() == 1.0  # a row, in pixels
    assert metrics.surface_distances(BLOCK, moved, (2.0, 3.0)).hausdorff() == 2.0


@pytest.mark.parametrize("spacing_mm", [(1.0,), (1.0, 2.0, 3.0), (1.0, 0.0), (1.0, math.nan)])
def test_spacings_that_do_not_fit_are_refused(spacing_mm):
    with pytest.raises(GeometryError, match="spacings"):
        metrics.surface_distances(BLOCK, BLOCK, spacing_mm)


def test_hausdorff_of_two_pixels_uses_the_spacing_of_each_axis():
    reference, prediction = np.zeros((5, 6), bool), np.zeros((5, 6), bool)
    reference[1, 1] = prediction[3, 4] = True
    # 2 rows of 1.5 mm and 3 columns of 4/3 mm: sqrt(3^2 + 4^2) = 5
    assert metrics.hausdorff_mm(reference, prediction, (1.5, 4 / 3)) == pytest.approx(5.0)
    volumes = np.stack([reference, EMPTY[:5, :6]]), np.stack([EMPTY[:5, :6], prediction])
    # and one slice of 12 mm: sqrt(5^2 + 12^2) = 13
    assert metrics.hausdorff_mm(*volumes, (12.0, 1.5, 4 / 3)) == pytest.approx(13.0)


def test_percentile_is_taken_per_direction_and_the_larger_wins():
    reference, prediction = np.zeros((1, 30), bool), np.zeros((1, 30), bool)
    reference[0, 0:11] = True  # all are edge pixels of a one-row picture
    prediction[0, 0:21] = True
    # reference to prediction: 0 everywhere. back: 11 zeros, then 1..10 columns of 2 mm.
    # median of 21 values = the 11th = 0; 95th percentile = position 19 of 0..20 = 9 columns = 18 mm
    distances = metrics.surface_distances(reference, prediction, (1.0, 2.0))
    assert distances.hausdorff(50) == 0.0
    assert distances.hausdorff(95) == pytest.approx(18.0)
    assert distances.hausdorff() == pytest.approx(20.0)
    assert distances.mean() == pytest.approx(2 * 55 / (11 + 21))  # 2 mm * (1 + ... + 10) / 32


def test_the_contour_of_one_pixel_is_a_diamond_around_it():
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    points = {tuple(side[0]) for side in contour_segments(mask)}
    assert points == {(0.5, 2.0), (1.5, 2.0), (1.0, 1.5), (1.0, 2.5)}
    segments = contour_segments(mask)
    assert {tuple(end) for end in segments.reshape(-1, 2)} == points
    assert len(segments) == 4


def test_perpendicular_distance_of_a_square_grown_on_one_side():
    reference, prediction = square(10, 20), square(10, 20)
    prediction[20:22, 10:20] = True  # two rows of 1.5 mm more at the lower side
    # contour points: 10 on top (0 mm), 12 on the left and 12 on the right, 10 below (3 mm).
    # left and right: rows 10..19 lie on the reference (0), row 20 is 0.5 rows past the corner cut
    # from (19.0, 9.5) to (19.5, 10.0), whose nearest end is (19.0, 9.5) or (19.5, 10): worked
    # out below; row 21 likewise.
    spacing_mm = np.array([1.5, 1.1])
    corner = np.array([[19.0, 9.5], [19.5, 10.0]]) * spacing_mm

    def to_corner(row: float) -> float:
        point = np.array([row, 9.5]) * spacing_mm
        along = np.linspace(0, 1, 20001)[:, None]
        return float(
            np.linalg.norm(corner[0] + along * (corner[1] - corner[0]) - point, axis=1).min()
        )

    expected = (10 * 3.0 + 2 * (to_corner(20.0) + to_corner(21.0))) / 44
    found = metrics.average_perpendicular_distance_mm(reference, prediction, spacing_mm)
    assert found == pytest.approx(expected, abs=1e-6)


def test_perpendicular_distance_of_concentric_discs_is_the_difference_of_radii():
    rows, columns = np.mgrid[:101, :101] - 50
    radius = np.hypot(rows, columns)
    small, large = radius < 30, radius < 36
    # pixel stairs reach up to half a pixel inwards and the nearest corner counts: a little less
    assert metrics.average_perpendicular_distance_px(large, small) == pytest.approx(6, abs=0.25)
    assert metrics.average_perpendicular_distance_mm(large, small, (1.4, 1.4)) == pytest.approx(
        6 * 1.4, abs=0.35
    )


def test_perpendicular_distance_runs_from_the_prediction_only():
    reference, prediction = square(5, 10), square(5, 10)
    reference[30:35, 30:35] = True  # a second piece, missed
    assert metrics.average_perpendicular_distance_px(reference, prediction) == 0.0
    assert metrics.average_perpendicular_distance_px(prediction, reference) > 5


def test_holes_are_part_of_the_contour():
    ring = square(10, 30)
    ring[15:25, 15:25] = False
    assert len(contour_segments(ring)) == 4 * 20 + 4 * 10


def test_pixels_that_touch_at_a_corner_have_contours_of_their_own():
    for other in (1, 3):
        first, second = np.zeros((5, 6), bool), np.zeros((5, 6), bool)
        first[1, 2] = second[2, other] = True

        def sides(mask):
            return {frozenset(map(tuple, side)) for side in contour_segments(mask)}

        assert sides(first | second) == sides(first) | sides(second)


def test_perpendicular_distance_needs_one_slice():
    volume = np.ones((2, 3, 4), bool)
    with pytest.raises(GeometryError, match="one slice"):
        metrics.average_perpendicular_distance_px(volume, volume)


def test_a_contour_is_good_below_five_millimetres():
    assert metrics.is_good_contour(4.99) is True
    assert metrics.is_good_contour(5.0) is False
    assert metrics.is_good_contour(math.inf) is False
    assert metrics.is_good_contour(math.nan) is None


def test_bland_altman_by_hand():
    # differences 1, -1, 3: mean 1, sd sqrt((0 + 4 + 4) / 2) = 2, limits 1 -+ 3.92
    found = metrics.ef_agreement([50, 60, 70, None], [51, 59, 73, 40])
    assert (found.n, found.bias, found.sd) == (3, pytest.approx(1), pytest.approx(2))
    assert (found.lower, found.upper) == (pytest.approx(-2.92), pytest.approx(4.92))


def test_ef_agreement_by_hand():
    # differences 2, -4: mae 3, bias -1; two points lie on a rising line: r = 1
    found = metrics.ef_agreement([40, 60], [42, 56])
    assert (found.bias, found.mae, found.r) == pytest.approx((-1, 3, 1))


def test_agreement_of_nothing_and_of_one_pair_is_unknown_not_zero():
    nothing = metrics.ef_agreement([], [])
    assert nothing.n == 0
    assert all(math.isnan(value) for value in (nothing.bias, nothing.sd, nothing.mae, nothing.r))
    one = metrics.ef_agreement([50], [53])
    assert (one.bias, one.mae) == (3, 3)
    assert math.isnan(one.sd)
    assert math.isnan(one.r)
    assert math.isnan(metrics.ef_agreement([50, 60], [55, 55]).r)


def test_series_of_different_length_are_refused():
    with pytest.raises(GeometryMismatchError, match="found 1 and 2"):
        metrics.ef_agreement([1, 2], [1])
    with pytest.raises(GeometryMismatchError, match="patient for each of 2"):
        metrics.bootstrap([1, 2], ["a"])


def test_summary_counts_what_it_leaves_out():
    found = metrics.summarise([1.0, 2.0, 6.0, math.inf, None, math.nan])
    assert (found.mean, found.median, found.n) == (3.0, 2.0, 3)
    assert found.sd == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert (found.n_infinite, found.n_unknown) == (1, 2)


def test_summary_of_nothing_is_unknown():
    found = metrics.summarise([])
    assert math.isnan(found.mean)
    assert math.isnan(found.ci95[0])
    assert found.n == 0


def test_bootstrap_draws_patients_with_all_their_slices():
    # two patients: the mean of a draw is 0 (a, a), 1 (b, b) or 30 / 40 (one of each)
    values, patients = [0.0] * 10 + [1.0] * 30, ["a"] * 10 + ["b"] * 30
    assert metrics.bootstrap(values, patients, seed=3) == (0.0, 1.0)
    # slice by slice the interval would be narrow: 0.75 -+ 1.96 * sqrt(0.75 * 0.25 / 40) = 0.13
    low, high = metrics.bootstrap(values, range(40), seed=3)
    assert low == pytest.approx(0.75 - 0.13, abs=0.03)
    assert high == pytest.approx(0.75 + 0.13, abs=0.03)


def test_bootstrap_weighs_a_patient_by_its_slices():
    # 30 patients of one slice that scores 0, 30 of nine slices that score 1: the mean is 0.9
    values = [0.0] * 30 + [1.0] * 270
    patients = [*range(30), *(30 + i // 9 for i in range(270))]
    low, high = metrics.bootstrap(values, patients, seed=0)
    assert 0.8 < low < 0.9 < high < 0.96


def test_bootstrap_is_the_same_for_a_seed_and_unknown_for_one_patient():
    values = [0.1, 0.51, 0.93, 0.44, 0.27, 0.68, 0.72, 0.35]
    patients = list("abcdefgh")
    assert metrics.bootstrap(values, patients, seed=1) == metrics.bootstrap(
        values, patients, seed=1
    )
    assert metrics.bootstrap(values, patients, seed=1) != metrics.bootstrap(
        values, patients, seed=2
    )
    assert all(math.isnan(value) for value in metrics.bootstrap(values, ["a"] * 8))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [(33, 29), (7, 21, 19)])
def test_dice_and_hausdorff_agree_with_monai(shape):
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    generator = np.random.default_rng(7)
    spacing_mm = (8.0, 1.4, 1.1)[-len(shape) :]
    for _ in range(6):
        centres = [generator.uniform(0.3, 0.7, len(shape)) * shape for _ in range(2)]
        radii = [generator.uniform(0.2, 0.4) * np.array(shape) for _ in range(2)]
        grid = np.moveaxis(np.indices(shape), 0, -1)
        reference, prediction = (
            (((grid - centre) / radius) ** 2).sum(-1) < 1 + generator.normal(0, 0.1, shape)
            for centre, radius in zip(centres, radii, strict=True)
        )
        y, y_pred = (torch.from_numpy(m[None, None].copy()) for m in (reference, prediction))
        dice = monai.compute_dice(y_pred.float(), y.float(), include_background=True)
        assert metrics.dice(reference, prediction) == pytest.approx(float(dice), abs=1e-6)
        for percent in (95.0, None):
            theirs = monai.compute_hausdorff_distance(
                y_pred, y, include_background=True, percentile=percent, spacing=spacing_mm
            )
            ours = metrics.hausdorff_mm(reference, prediction, spacing_mm, percent=percent or 100.0)
            assert ours == pytest.approx(float(theirs), abs=1e-4)
        mean = monai.compute_average_surface_distance(
            y_pred, y, include_background=True, symmetric=True, spacing=spacing_mm
        )
        ours = metrics.surface_distances(reference, prediction, spacing_mm).mean()
        assert ours == pytest.approx(float(mean), abs=1e-4)
