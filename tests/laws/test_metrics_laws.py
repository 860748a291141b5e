"""Laws of the metrics, and a slow second definition of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lvseg import metrics
from lvseg.contours import contour_segments
from lvseg.metrics import _distances_to_segments

LAW = settings(derandomize=True, deadline=None, max_examples=30)
SPACING_MM = (1.7, 0.9)
slices = hnp.arrays(bool, (7, 9), elements=st.booleans())
volumes = hnp.arrays(bool, (3, 5, 4), elements=st.booleans())


def pixels(mask):
    return {tuple(map(int, index)) for index in np.argwhere(mask)}


def edge_pixels(mask):
    """Inside pixels with a side neighbour that is not inside, by set arithmetic."""
    inside = pixels(mask)
    steps = [s * axis for axis in np.eye(mask.ndim, dtype=int) for s in (1, -1)]
    return [p for p in inside if any(tuple(np.array(p) + step) not in inside for step in steps)]


def slow_hausdorff(reference, prediction, spacing_mm, percent):
    a, b = (np.array(edge_pixels(m)) * spacing_mm for m in (reference, prediction))
    table = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return max(np.percentile(table.min(axis=1), percent), np.percentile(table.min(axis=0), percent))


def slow_perpendicular(reference, prediction, spacing_mm):
    """Walk every side of the reference polygon in small steps, built cell by cell."""

    def crossings(mask):
        inside = pixels(mask)
        rows, columns = mask.shape
        sides = []
        for r in range(-1, rows):
            for c in range(-1, columns):
                corners = [(r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c)]
                state = [corner in inside for corner in corners]
                cut = [
                    (np.add(corners[i], corners[(i + 1) % 4]) / 2, i)
                    for i in range(4)
                    if state[i] != state[(i + 1) % 4]
                ]
                if len(cut) == 2:
                    sides.append((cut[0][0], cut[1][0]))
                if len(cut) == 4:  # two corners that touch: each is cut off on its own
                    for i in (0, 2) if state[0] else (1, 3):
                        before, after = (i - 1) % 4, i
                        sides.append((cut[before][0], cut[after][0]))
        return sides

    points = {tuple(end) for side in crossings(prediction) for end in side}
    walked = np.array(
        [
            (a + t * (b - a)) * spacing_mm
            for a, b in crossings(reference)
            for t in np.linspace(0, 1, 201)
        ]
    )
    scaled = np.array(sorted(points)) * spacing_mm
    return np.mean([np.linalg.norm(walked - point, axis=1).min() for point in scaled])


@LAW
@given(slices, slices)
def test_overlap_is_symmetric_bounded_and_tied_together(a, b):
    dice, jaccard = metrics.dice(a, b), metrics.jaccard(a, b)
    assert dice == metrics.dice(b, a)
    assert jaccard == metrics.jaccard(b, a)
    assert 0 <= jaccard <= dice <= 1
    assert dice == pytest.approx(2 * jaccard / (1 + jaccard))


@LAW
@given(volumes, volumes)
def test_overlap_matches_set_arithmetic(a, b):
    first, second = pixels(a), pixels(b)
    assume(first and second)
    assert metrics.dice(a, b) == pytest.approx(2 * len(first & second) / (len(first) + len(second)))
    assert metrics.jaccard(a, b) == pytest.approx(len(first & second) / len(first | second))


@LAW
@given(slices)
def test_identical_masks_overlap_fully_at_no_distance(a):
    assume(a.any())
    assert metrics.dice(a, a) == metrics.jaccard(a, a) == 1
    assert metrics.hausdorff_mm(a, a, SPACING_MM) == 0
    assert metrics.average_perpendicular_distance_mm(a, a, SPACING_MM) == pytest.approx(0)


@LAW
@given(slices, slices, st.sampled_from([50.0, 95.0, 100.0]))
def test_hausdorff_is_symmetric_and_matches_the_slow_definition(a, b, percent):
    assume(a.any() and b.any())
    found = metrics.hausdorff_mm(a, b, SPACING_MM, percent=percent)
    assert found == pytest.approx(metrics.hausdorff_mm(b, a, SPACING_MM, percent=percent))
    assert found == pytest.approx(slow_hausdorff(a, b, SPACING_MM, percent))


@LAW
@given(volumes, volumes)
def test_hausdorff_of_volumes_matches_the_slow_definition(a, b):
    assume(a.any() and b.any())
    spacing_mm = (8.0, 1.7, 0.9)
    assert metrics.hd95_mm(a, b, spacing_mm) == pytest.approx(slow_hausdorff(a, b, spacing_mm, 95))


@settings(LAW, max_examples=15)
@given(slices, slices)
def test_perpendicular_distance_matches_the_slow_definition(a, b):
    assume(a.any() and b.any())
    found = metrics.average_perpendicular_distance_mm(a, b, SPACING_MM)
    # steps of 1/200 of a side, at most 1 mm apart from it: error below 0.01 mm
    assert found == pytest.approx(slow_perpendicular(a, b, SPACING_MM), abs=0.01)


coordinates = st.floats(-20, 20, width=16)


@LAW
@given(
    hnp.arrays(np.float64, (5, 2), elements=coordinates),
    hnp.arrays(np.float64, (6, 2, 2), elements=coordinates),
)
def test_the_search_for_the_nearest_side_misses_none(points, sides):
    assume(np.ptp(sides, axis=1).any(axis=1).all())

    def distance(point, side):
        start, way = side[0], side[1] - side[0]
        along = min(1.0, max(0.0, float((point - start) @ way / (way @ way))))
        return float(np.hypot(*(start + along * way - point)))

    expected = [min(distance(point, side) for side in sides) for point in points]
    np.testing.assert_allclose(_distances_to_segments(points, sides), expected, atol=1e-9)


@LAW
@given(slices)
def test_contour_sides_join_into_closed_polygons_through_the_points(a):
    sides = contour_segments(a)
    starts, ends = ([tuple(point) for point in sides[:, which]] for which in (0, 1))
    inside = pixels(a)
    steps = [np.array(step) for step in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    points = {
        tuple(np.array(pixel) + step / 2)
        for pixel in inside
        for step in steps
        if tuple(pixel + step) not in inside
    }
    assert set(starts) == set(ends) == points
    assert len(starts) == len(points)


@LAW
@given(slices, slices, st.integers(0, 4), st.integers(0, 4))
def test_moving_both_masks_changes_nothing(a, b, down, right):
    pad = ((down, 4 - down), (right, 4 - right))
    moved = np.pad(a, pad), np.pad(b, pad)
    np.testing.assert_allclose(metrics.dice(*moved), metrics.dice(a, b))
    for metric in (metrics.hd95_mm, metrics.average_perpendicular_distance_mm):
        np.testing.assert_allclose(metric(*moved, SPACING_MM), metric(a, b, SPACING_MM))


@LAW
@given(slices, slices, st.floats(0.3, 4))
def test_distances_scale_with_the_spacing(a, b, factor):
    assume(a.any() and b.any())
    scaled = tuple(factor * value for value in SPACING_MM)
    for metric in (metrics.hd95_mm, metrics.average_perpendicular_distance_mm):
        assert metric(a, b, scaled) == pytest.approx(factor * metric(a, b, SPACING_MM))


@LAW
@given(st.integers(3, 12), st.integers(0, 10), st.integers(1, 5))
def test_a_larger_shift_is_never_better(size, shift, more):
    def square(column):
        mask = np.zeros((20, 40), bool)
        mask[4 : 4 + size, 4 + column : 4 + column + size] = True
        return mask

    reference, near, far = square(0), square(shift), square(shift + more)
    assert metrics.dice(reference, near) >= metrics.dice(reference, far)
    assert metrics.jaccard(reference, near) >= metrics.jaccard(reference, far)
    for metric in (
        metrics.hausdorff_mm,
        metrics.hd95_mm,
        metrics.average_perpendicular_distance_mm,
    ):
        assert metric(reference, near, SPACING_MM) < metric(reference, far, SPACING_MM)


numbers = st.lists(st.floats(-50, 50), min_size=2, max_size=20)


@LAW
@given(numbers, st.integers(0, 5))
def test_bootstrap_interval_lies_within_the_values_and_ignores_their_order(values, seed):
    patients = [f"p{i % 4}" for i in range(len(values))]
    low, high = metrics.bootstrap(values, patients, seed=seed, n=200)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


@LAW
@given(numbers, st.floats(-20, 20))
def test_a_constant_offset_is_all_bias(values, offset):
    found = metrics.ef_agreement(values, [value + offset for value in values])
    assert found.bias == pytest.approx(offset, abs=1e-9)
    assert found.sd == pytest.approx(0, abs=1e-9)
