"""Laws of reading: order, names and neighbours of the files do not matter; gaps stay gaps."""

from __future__ import annotations

import random

import numpy as np
import read_maker
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.cine import Cine
from lvseg.geometry import disc_thickness_mm, gaps, slice_positions_mm

LAW = settings(derandomize=True, deadline=None, max_examples=20)
SIZES = st.tuples(st.integers(2, 6), st.integers(2, 6))


def read(datasets: list[object]) -> Cine:
    return read_maker.study_of(datasets).short_axis()


def assert_same(one: Cine, other: Cine) -> None:
    np.testing.assert_array_equal(one.frames, other.frames)
    assert one.planes == other.planes
    assert one.times_ms == other.times_ms
    assert one.source.instances == other.source.instances
    assert one.complete == other.complete


@LAW
@given(SIZES, st.integers(0, 10**6))
def test_shuffling_changes_nothing(size: tuple[int, int], seed: int) -> None:
    datasets = read_maker.stack(*size)
    shuffled = list(datasets)
    random.Random(seed).shuffle(shuffled)
    plain = read(datasets)
    assert_same(plain, read(shuffled))
    np.testing.assert_array_equal(plain.frames, read_maker.expected(*size))


@LAW
@given(SIZES, st.floats(0, 170), st.booleans(), st.integers(0, 10**6))
def test_unrelated_series_change_nothing(
    size: tuple[int, int], angle: float, scan: bool, seed: int
) -> None:
    datasets = read_maker.stack(*size)
    extra = read_maker.long_axis(size[1], angle=round(angle))
    if scan:
        extra += read_maker.computed_tomography(9)
    mixed = [*datasets, *extra]
    random.Random(seed).shuffle(mixed)
    assert_same(read(datasets), read(mixed))


@LAW
@given(st.integers(5, 9), st.integers(2, 4), st.data())
def test_a_missing_slice_is_reported_never_filled(
    slices: int, phases: int, data: st.DataObject
) -> None:
    missing = data.draw(st.integers(1, slices - 2))
    datasets = [
        d for d in read_maker.stack(slices, phases) if (d.InstanceNumber - 1) // 100 != missing
    ]
    cine = read(datasets)
    assert cine.shape[1] == slices - 1
    assert cine.planes is not None
    assert gaps(cine.planes) == (missing - 1,)
    assert [f.slice for f in cine.issues if f.code == "missing-slice"] == [missing - 1]
    kept = [z for z in range(slices) if z != missing]
    np.testing.assert_array_equal(cine.frames, read_maker.expected(slices, phases)[:, kept])
    if 2 <= missing <= slices - 3:  # away from the ends the gap is shared by its neighbours
        np.testing.assert_allclose(
            disc_thickness_mm(cine.planes).sum(), read_maker.STEP_MM * slices
        )


@LAW
@given(st.integers(3, 6), st.integers(3, 6), st.data())
def test_a_slice_that_lacks_phases_is_never_in_the_frames(
    slices: int, phases: int, data: st.DataObject
) -> None:
    poor = data.draw(st.integers(0, slices - 1))
    lost = data.draw(st.integers(1, phases - 1))
    datasets = [
        d
        for d in read_maker.stack(slices, phases)
        if (d.InstanceNumber - 1) // 100 != poor or (d.InstanceNumber - 1) % 100 >= lost
    ]
    cine = read(datasets)
    kept = [z for z in range(slices) if z != poor]
    np.testing.assert_array_equal(cine.frames, read_maker.expected(slices, phases)[:, kept])
    assert not cine.complete
    assert "incomplete-slice" in {f.code for f in cine.issues if f.severity == "error"}


@LAW
@given(SIZES)
def test_slices_ascend_along_the_normal(size: tuple[int, int]) -> None:
    cine = read(read_maker.stack(*size)[::-1])
    assert cine.planes is not None
    assert (np.diff(slice_positions_mm(cine.planes)) > 0).all()
