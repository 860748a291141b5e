"""Preparing by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lvseg.cine import Cine, Source
from lvseg.errors import ModelInputError
from lvseg.geometry import Box, Grid
from lvseg.modelcard import InputSpec
from lvseg.preprocess import (
    crop,
    find_box,
    locator_frames,
    normalise,
    pad_to_multiple,
    prepare,
    resample,
    restore,
    scale_factors,
    source_box,
)

SPEC = InputSpec(spacing_mm=1.33, crop_px=32)


def _cine(frames: np.ndarray, spacing: tuple[float, float] | None = None) -> Cine:
    return Cine(
        frames.astype(np.float32),
        Source("array", "x"),
        grid=Grid.of(frames.astype(np.float32), pixel_spacing_mm=spacing),
    )


def test_normalise_clips_at_the_percentiles_of_all_phases() -> None:
    # two phases 0..49 and 50..99: over both, the 1st percentile is 0.99 and the 99th 98.01
    ramp = np.repeat(np.arange(100, dtype=np.float32), 16).reshape(2, 1, 50, 16)
    result = normalise(ramp, SPEC.model_copy(update={"low_percent": 25, "high_percent": 75}))
    assert result.min() == 0
    assert result.max() == 1
    # every second row is sampled: 0, 2, .., 98: quartiles 24.5 and 73.5; 49 -> (49 - 24.5) / 49
    assert result[0, 0, 49, 0] == pytest.approx(0.5)


def test_normalise_of_a_flat_slice_is_zero() -> None:
    assert not normalise(np.full((2, 1, 20, 20), 7, np.float32), SPEC).any()


def test_a_mostly_black_slice_keeps_its_contrast() -> None:
    frame = np.zeros((1, 1, 40, 40), np.float32)
    frame[0, 0, 20, 20] = 9
    assert normalise(frame, SPEC).max() == 1


def test_scale_factors_leave_unknown_and_near_spacing_alone() -> None:
    assert scale_factors(None, SPEC) == (1.0, 1.0)
    assert scale_factors((1.37, 1.29), SPEC) == (1.0, 1.0)
    assert scale_factors((2.66, 0.665), SPEC) == (2.0, 0.5)


def test_resample_doubles_by_areas() -> None:
    # [0, 4] doubled: centres of the halves lie a quarter pixel off: 0 | 1, 3 | 4
    result = resample(np.array([[0.0, 4.0]], np.float32), (1.0, 2.0))
    assert result.tolist() == [[0, 1, 3, 4]]


def test_box_reaching_outside_is_black_there_and_comes_back_exactly() -> None:
    frames = np.random.default_rng(0).random((3, 2, 24, 20)).astype(np.float32)
    prepared = prepare(_cine(frames), SPEC)
    box = Box(-6, -3, 32, 32)
    batch = crop(prepared, box)
    assert batch.shape == (6, 1, 32, 32)
    assert not batch[:, :, :6].any()
    places = np.arange(batch.size, dtype=np.float32).reshape(batch.shape)
    assert source_box(prepared, box) == Box(0, 0, 24, 20)
    back = restore(places, prepared, box)[0]
    assert back.shape == frames.shape
    # phase 2, slice 1 is crop 5; source (0, 0) is (6, 3) in the box
    assert back[2, 1, 0, 0] == 5 * 32 * 32 + 6 * 32 + 3


def test_box_is_centred_on_the_heart_that_most_slices_see() -> None:
    prepared = prepare(_cine(np.random.default_rng(1).random((1, 3, 100, 80))), SPEC)
    votes = np.zeros((3, 1, *pad_to_multiple(np.zeros(prepared.sides), 16).shape), np.float32)
    votes[:2, 0, 61:70, 21:30] = 1  # rows 61..69 centre 65, columns 21..29 centre 25
    votes[2, 0, 5:13, 5:13] = 1  # one slice sees something elsewhere
    box = find_box(prepared, votes[:, 0])
    # extent 9 + 2 * 16 = 41 -> 48; 65 - 23.5 = 41.5 -> 42 (even), 25 - 23.5 = 1.5 -> 2
    assert box == Box(42, 2, 48, 48)


def test_no_vote_takes_the_centre() -> None:
    prepared = prepare(_cine(np.random.default_rng(1).random((1, 1, 64, 48))), SPEC)
    assert find_box(prepared, np.zeros_like(locator_frames(prepared))[:, 0]) == Box(16, 8, 32, 32)


def test_tiny_images_are_refused() -> None:
    with pytest.raises(ModelInputError, match="16 x 16"):
        prepare(_cine(np.zeros((1, 1, 15, 40))), SPEC)


def test_channels_show_the_slices_beside_and_the_phase_most_unlike() -> None:
    channels = ("frame", "opposite-phase", "slice-before", "slice-after")
    spec = SPEC.model_copy(update={"channels": channels, "low_percent": 0.0, "high_percent": 100.0})
    rng = np.random.default_rng(3)
    pattern = rng.random((3, 40, 36))
    # at phases 0 to 3 the pattern turns into its negative and most of the way back
    share = np.array([0.0, 0.6, 1.0, 0.4])[:, None, None, None]
    frames = (1 - share) * pattern + share * (1 - pattern)
    prepared = prepare(_cine(frames), spec)
    assert prepared.opposite.tolist() == [2, 0, 0, 2]
    box = Box(2, 1, 32, 32)
    seen = crop(prepared, box).reshape(4, 3, 4, 32, 32)
    alone = crop(prepare(_cine(frames), SPEC.model_copy(update=spec_of_frames(spec))), box)
    own = alone.reshape(4, 3, 32, 32)
    for phase, opposite in enumerate([2, 0, 0, 2]):
        for index, (before, after) in enumerate([(0, 1), (0, 2), (1, 2)]):
            shown = [own[phase, index], own[opposite, index], own[phase, before], own[phase, after]]
            np.testing.assert_array_equal(seen[phase, index], shown)
    # the locator looks at phases 0 and 2, and at 2 and 0 beside them
    located = locator_frames(prepared)
    assert located.shape[:2] == (6, 4)
    np.testing.assert_array_equal(located[0, 1], located[3, 0])


def spec_of_frames(spec: InputSpec) -> dict[str, object]:
    """The same input without what lies around a frame."""
    return {**spec.model_dump(), "channels": ("frame",)}


def test_a_channel_that_nobody_knows_is_refused() -> None:
    spec = SPEC.model_copy(update={"channels": ("frame", "tomorrow")})
    with pytest.raises(ModelInputError, match="tomorrow"):
        prepare(_cine(np.zeros((1, 1, 40, 40))), spec)
