"""Laws of the measurements on random masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.cine import Mask
from lvseg.geometry import Grid, Plane
from lvseg.measurement import areas_px, measure

FEW = settings(derandomize=True, deadline=None, max_examples=30)


def planes_at(positions, spacing):
    return tuple(
        Plane((5.0, -2.0, float(z)), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), spacing) for z in positions
    )


@st.composite
def masks(draw):
    """Random labels on slices at random distances."""
    shape = (draw(st.integers(2, 10)), draw(st.integers(2, 6)), 7, 9)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = (rng.random(shape) < draw(st.floats(0.1, 0.9))).astype(np.uint8)
    positions = np.cumsum(rng.uniform(3, 12, shape[1]))
    planes = planes_at(positions, (draw(st.floats(0.5, 2)), draw(st.floats(2.1, 3))))
    return Mask(labels, tuple(range(shape[0])), grid=Grid.of(labels, planes=planes))


def volumes(mask):
    """Volumes by phase, [F]; measuring gives none for an empty mask, whose volumes are 0."""
    found = measure(mask)
    return found.volume_ml if mask.labels.any() else (0.0,) * len(mask.phases)


def close(a, b):
    return np.allclose(a, b, rtol=1e-9, atol=1e-12)


@FEW
@given(masks())
def test_flipping_rows_or_columns_changes_no_volume(mask):
    for axis in (2, 3):
        flipped = replace(mask, labels=np.flip(mask.labels, axis))
        assert close(volumes(flipped), volumes(mask))


@FEW
@given(masks())
def test_turning_the_stack_round_changes_no_volume(mask):
    turned = Mask(
        mask.labels[:, ::-1],
        mask.phases,
        grid=Grid.of(mask.labels[:, ::-1], planes=mask.planes[::-1]),
    )
    assert close(volumes(turned), volumes(mask))


@FEW
@given(masks(), st.integers(1, 4), st.integers(1, 4))
def test_padding_changes_no_volume(mask, rows, columns):
    padded = np.pad(mask.labels, ((0, 0), (0, 0), (rows, 0), (0, columns)))
    grid = Grid.of(padded, planes=mask.planes)
    assert volumes(replace(mask, labels=padded, grid=grid)) == volumes(mask)


@FEW
@given(masks(), st.integers(0, 1))
def test_twice_the_spacing_is_twice_the_volume(mask, axis):
    def doubled(plane):
        spacing = list(plane.pixel_spacing_mm)
        spacing[axis] *= 2
        return replace(plane, pixel_spacing_mm=(spacing[0], spacing[1]))

    wide = replace(
        mask, grid=replace(mask.grid, planes=tuple(doubled(plane) for plane in mask.planes))
    )
    assert close(volumes(wide), 2 * np.array(volumes(mask)))


@FEW
@given(masks(), st.integers(0, 2**32 - 1))
def test_the_volume_of_disjoint_parts_is_the_sum(mask, seed):
    part = np.random.default_rng(seed).random(mask.labels.shape) < 0.4
    one = replace(mask, labels=mask.labels * part)
    other = replace(mask, labels=mask.labels * ~part)
    total = np.add(volumes(one), volumes(other))
    assert close(total, volumes(mask))


@FEW
@given(masks(), st.randoms(use_true_random=False))
def test_the_order_of_phases_changes_only_their_numbers(mask, random):
    order = list(range(len(mask.labels)))
    random.shuffle(order)
    shuffled = measure(replace(mask, labels=mask.labels[order]))
    values = measure(mask)
    assert shuffled.volume_ml == tuple(values.volume_ml[i] for i in order)
    assert (shuffled.edv_ml, shuffled.ef_percent) == (values.edv_ml, values.ef_percent)


@FEW
@given(masks())
def test_end_diastole_is_never_smaller_than_end_systole(mask):
    values = measure(mask)
    if values.ef_percent is not None:
        assert values.edv_ml == max(values.volume_ml)
        assert values.esv_ml == min(values.volume_ml)
        assert 0 <= values.ef_percent <= 100


@FEW
@given(masks())
def test_areas_are_counted_as_a_slow_count_does(mask):
    slow = [[sum(int(p == 1) for p in frame.ravel()) for frame in stack] for stack in mask.labels]
    assert areas_px(mask).tolist() == slow
