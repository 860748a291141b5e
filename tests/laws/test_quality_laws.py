"""Laws of the checks: nothing raises, findings repeat, and mirror images change none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid, Plane
from lvseg.measurement import measure
from lvseg.quality import Evidence, check
from lvseg.quality.checks import solidity

few = settings(derandomize=True, deadline=None, max_examples=40)


@st.composite
def studies(draw):
    """Any mask, from noise to discs, on any few phases of a cine, with or without geometry."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    phases, slices = draw(st.sampled_from([1, 2, 7, 8, 12, 14])), draw(st.integers(1, 7))
    rows, columns = draw(st.integers(1, 26)), draw(st.integers(1, 23))
    values = rng.random((phases, slices, rows, columns))
    values = ndimage.gaussian_filter(values, draw(st.sampled_from([0.0, 1.0, 3.0])))
    share = draw(st.sampled_from([0.0, 0.02, 0.4, 0.8, 1.0]))
    labels = (values >= np.quantile(values, 1 - share)).astype(np.uint8) if share else values > 2
    more = draw(st.integers(0, 3))
    index = tuple(sorted(rng.permutation(phases + more)[:phases].tolist()))
    geometry = draw(st.sampled_from(["none", "spacing", "planes", "out of order"]))
    given_ = {}
    if geometry == "spacing":
        given_ = {"pixel_spacing_mm": (1.5, 1.25), "slice_spacing_mm": 8.0}
    elif geometry != "none":
        heights = np.cumsum(rng.choice([8.0, 8.0, 8.0, 24.0], slices))
        heights = heights if geometry == "planes" else rng.permutation(heights)
        step = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.5, 1.25))
        given_ = {"planes": tuple(Plane((2.0, -3.0, float(z)), *step) for z in heights)}
    frames = rng.integers(0, 50, (phases + more, slices, rows, columns)).astype(np.float32)
    grid = Grid.of(frames, **given_)
    return Cine(frames, Source("array", "random"), grid), Mask(labels, index, grid)


def issues(cine, mask):
    return check(Evidence(cine, mask, replace(measure(mask), issues=())))


@few
@given(studies())
def test_any_mask_is_judged_without_an_error_and_alike_each_time(study):
    cine, mask = study
    found = issues(cine, mask)
    assert found == issues(cine, mask)
    assert len({issue.code for issue in found}) == len(found)
    slices = mask.labels.shape[1]
    for issue in found:
        assert issue.slice is None or 0 <= issue.slice < slices
        assert issue.phase is None or issue.phase in mask.phases
    assert bool(mask.labels.any()) or found == ()


@few
@given(studies(), st.integers(1, 3), st.integers(1, 3))
def test_a_mask_that_does_not_fit_its_cine_raises_nothing(study, phases, slices):
    _, mask = study
    cine = Cine(np.ones((phases, slices, 9, 5), np.float32), Source("array", "other"))
    assert issues(cine, mask) == issues(cine, mask)


def hearts(seed):
    """A beating stack of discs that wander, with one frame spoiled; base first, 14 phases."""
    rng = np.random.default_rng(seed)
    area = np.outer(1 - 0.5 * np.sin(np.pi * np.arange(14) / 14), [90, 130, 120, 100, 80, 50, 20])
    y, x = np.mgrid[:40, :44]
    centre = rng.normal((19, 21), 2.5, (7, 2))
    away = np.hypot(y - centre[:, 0, None, None], x - centre[:, 1, None, None])
    labels = (np.pi * away[None] ** 2 < area[..., None, None]).astype(np.uint8)
    phase, index = rng.integers(14), rng.integers(7)
    kind = rng.integers(4)
    if kind == 0:
        labels[phase, index] = 0
    elif kind == 1:
        labels[phase, index] = ndimage.binary_dilation(labels[phase, index], iterations=3)
    elif kind == 2:
        labels[:, index] = np.roll(labels[:, index], 9, axis=2)
    else:
        labels[phase, index, 18:22, 19] = 1 - labels[phase, index, 18:22, 19]
    frames = 90 + 80 * labels + rng.normal(0, 5, labels.shape).astype(np.float32)
    return frames.astype(np.float32), labels


def told(frames, labels):
    grid = Grid.of(frames, pixel_spacing_mm=(1.5, 1.25), slice_spacing_mm=8.0)
    cine = Cine(frames, Source("array", "drawn"), grid)
    return issues(cine, Mask(labels, tuple(range(len(labels))), grid))


@few
@given(st.integers(0, 2**32 - 1))
def test_mirror_images_in_the_plane_change_nothing(seed):
    frames, labels = hearts(seed)
    expected = told(frames, labels)
    assert told(frames[..., ::-1], labels[..., ::-1]) == expected
    assert told(frames[:, :, ::-1], labels[:, :, ::-1]) == expected


@few
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_slices_changes_only_their_numbers(seed):
    frames, labels = hearts(seed)
    expected = [
        (f.code, f.severity, f.text, None if f.slice is None else 6 - f.slice, f.phase)
        for f in told(frames, labels)
    ]
    found = told(frames[:, ::-1], labels[:, ::-1])
    assert [(f.code, f.severity, f.text, f.slice, f.phase) for f in found] == expected


def test_the_hearts_of_these_laws_have_something_to_find() -> None:
    codes = {issue.code for seed in range(40) for issue in told(*hearts(seed))}
    assert {"gap-in-mask", "flicker", "breathing-shift", "base-not-passed"} <= codes


@few
@given(st.integers(0, 10**6), st.floats(0.3, 1.0))
def test_the_octagon_bounds_the_share_of_the_convex_hull_from_below(seed, enough):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:17, :23]
    disc = (y - 8) ** 2 + (x - 11) ** 2 < rng.integers(4, 64)
    frames = (disc & (rng.random((6, 17, 23)) > 0.3)) | (np.hypot(y - 8, x - 11) < 1.5)
    exact, bounded = solidity(frames), solidity(frames, enough)
    assert (bounded <= exact + 1e-12).all()
    assert np.allclose(bounded, exact) or (bounded[~np.isclose(bounded, exact)] >= enough).all()
    square = np.zeros((1, 9, 12), bool)
    square[0, 2:6, 3:9] = True  # fills its hull and its octagon
    assert solidity(square, enough) == solidity(square) == 1
