"""Laws of the clean-up on random masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_maker import prediction_of
from scipy import ndimage

from lvseg.cine import Cine, Source
from lvseg.postprocess import (
    PostprocessSettings,
    clean,
    drop_orphan_slices,
    enclose,
    fill_holes,
    fill_short_gaps,
    keep_longest_runs,
    to_mask,
)

FEW = settings(derandomize=True, deadline=None, max_examples=30)


@st.composite
def masks(draw):
    """Noisy blobs, denser or sparser, some phases and slices empty."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 6)), 14, 17)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = ndimage.gaussian_filter(rng.normal(size=shape), (0.7, 0.7, 1.5, 1.5), mode="wrap")
    inside = noise > np.quantile(noise, draw(st.sampled_from([0.5, 0.7, 0.85, 0.97])))
    return inside & (rng.random((*shape[:2], 1, 1)) > draw(st.sampled_from([0.0, 0.3])))


@FEW
@given(masks())
def test_cleaning_twice_is_cleaning_once(inside):
    once = clean(inside)
    assert np.array_equal(clean(once), once)


@pytest.mark.parametrize(
    "piece", [fill_holes, fill_short_gaps, keep_longest_runs, drop_orphan_slices]
)
@FEW
@given(inside=masks())
def test_each_piece_is_idempotent(piece, inside):
    once = piece(inside)
    assert np.array_equal(piece(once), once)


@FEW
@given(masks())
def test_a_frame_has_at_most_one_piece_and_no_hole(inside):
    for frame in clean(inside).reshape(-1, *inside.shape[2:]):
        assert ndimage.label(frame)[1] <= 1
        assert np.array_equal(ndimage.binary_fill_holes(frame), frame)


@FEW
@given(masks())
def test_the_ventricle_survives(inside):
    cine = len(inside) >= 8
    assert clean(inside).any() == inside.any() or cine  # a cine may hold nothing but flicker


@FEW
@given(masks(), st.integers(0, 11))
def test_the_cycle_has_no_beginning(inside, shift):
    turned = np.roll(inside, shift, axis=0)
    assert fill_short_gaps(turned).sum() == fill_short_gaps(inside).sum()
    once = np.roll(fill_holes(inside), shift, axis=0)
    assert np.array_equal(fill_holes(turned), once)


@FEW
@given(masks(), st.integers(0, 5), st.integers(0, 5))
def test_the_place_in_the_image_does_not_matter(inside, down, right):
    wide = np.zeros((*inside.shape[:2], 21, 25), bool)
    wide[:, :, down : down + 14, right : right + 17] = inside
    cleaned = clean(wide)
    assert np.array_equal(cleaned[:, :, down : down + 14, right : right + 17], clean(inside))


@FEW
@given(masks())
def test_the_window_of_candidates_changes_nothing(inside):
    cine = Cine(np.zeros(inside.shape, np.float32), Source("array", "random"))
    found = to_mask(prediction_of(inside), cine).labels > 0
    if len(inside) < 8:  # without smoothing over time
        assert np.array_equal(found, clean(inside))
    assert found.shape == inside.shape


@st.composite
def two_structures(draw):
    """A cleaned cavity and a noisy outer structure of the same size."""
    inner = clean(draw(masks()))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grown = ndimage.binary_dilation(inner, np.ones((1, 1, 3, 3), bool), iterations=2)
    noise = ndimage.gaussian_filter(rng.normal(size=inner.shape), (0, 0, 1, 1)) > 0.1
    return grown & noise | (noise & (rng.random(inner.shape[:2]) < 0.5)[..., None, None]), inner


@FEW
@given(two_structures())
def test_the_outer_structure_holds_the_inner_one_in_one_piece_without_holes(both):
    outer, inner = both
    found = enclose(outer, inner)
    assert (found >= inner).all()
    assert np.array_equal(enclose(found, inner), found)
    for frame in found.reshape(-1, *found.shape[2:]):
        assert ndimage.label(frame)[1] <= 1
        assert ndimage.label(np.pad(~frame, 1, constant_values=True))[1] == 1


@FEW
@given(two_structures())
def test_the_inner_structure_is_what_it_would_be_alone(both):
    outer, inner = (each.astype(np.float32) for each in both)
    cine = Cine(np.zeros(inner.shape, np.float32), Source("array", "drawn"))
    alone = to_mask(prediction_of(inner), cine)
    pair = prediction_of(inner, epicardium=outer)
    whole = to_mask(pair, cine, PostprocessSettings(base_wall_ratio=0.0))
    assert np.array_equal(whole.labels == 1, alone.labels == 1)
    # a frame above the valve is emptied as a whole, and no other changes
    found = to_mask(pair, cine)
    emptied = ~found.labels.any(axis=(2, 3))
    assert np.array_equal(found.labels[~emptied], whole.labels[~emptied])
