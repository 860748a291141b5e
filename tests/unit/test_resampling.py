"""Masks brought onto another grid in patient space; the ventricle stays where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lvseg.cine import Cine, Mask, Source
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Grid, Plane
from lvseg.measurement import measure
from lvseg.read import read_mask
from lvseg.resampling import onto_grid
from lvseg.write import write_mask

#: Slices 9 mm apart along z; rows run to the back, columns to the left; pixels of 1.5 x 1.25 mm.
PLACES_MM = (0.0, 9.0, 18.0, 27.0)


def planes(places=PLACES_MM, spacing=(1.5, 1.25), start=(10.0, 20.0)) -> tuple[Plane, ...]:
    return tuple(
        Plane((*start, float(z)), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), spacing) for z in places
    )


def mask_on(stack: tuple[Plane, ...], rows: int = 20, columns: int = 24) -> Mask:
    labels = np.zeros((1, len(stack), rows, columns), np.uint8)
    labels[:, :, 5:13, 8:15] = 1
    labels[:, 0, 5:9] = 0  # no two slices and no two directions alike
    return Mask(labels, (0,), Grid.of(labels, planes=stack))


def grid(stack: tuple[Plane, ...], rows: int = 20, columns: int = 24) -> Grid:
    return Grid(rows, columns, len(stack), planes=stack)


def codes(mask: Mask) -> list[str]:
    return [issue.code for issue in mask.issues]


def test_slices_in_another_order_go_to_their_places() -> None:
    mask = mask_on(planes())
    moved = onto_grid(mask, grid(planes()[::-1]))
    np.testing.assert_array_equal(moved.labels, mask.labels[:, ::-1])
    assert moved.issues == ()


def test_fewer_and_more_slices_and_pixels_keep_what_both_have() -> None:
    mask = mask_on(planes())
    fewer = onto_grid(mask, grid(planes()[1:3]))
    np.testing.assert_array_equal(fewer.labels, mask.labels[:, 1:3])
    assert codes(fewer) == ["mask-outside"]
    # the first slice holds 4 rows and the others 8: (4 + 8) / (4 + 3 x 8)
    assert "42.9%" in fewer.issues[0].text
    wider = onto_grid(mask, grid(planes(range(-9, 45, 9), start=(5.0, 14.0)), 30, 40))
    np.testing.assert_array_equal(wider.labels[:, 1:5, 4:24, 4:28], mask.labels)
    assert wider.labels.sum() == mask.labels.sum()
    assert wider.issues == ()


def test_pixels_of_half_the_size_hold_the_same_volume_and_say_so() -> None:
    mask = mask_on(planes())
    fine = planes(spacing=(0.75, 0.625), start=(10 - 0.3125, 20 - 0.375))
    moved = onto_grid(mask, grid(fine, 40, 48))
    assert codes(moved) == ["resampled"]
    np.testing.assert_array_equal(moved.labels, np.kron(mask.labels, np.ones((2, 2), np.uint8)))
    before, after = (measure(each).volume_ml for each in (mask, moved))
    assert after == pytest.approx(before)


def test_a_mask_elsewhere_is_refused_with_the_distance() -> None:
    far = planes(start=(10.0 + 100.0, 20.0))
    with pytest.raises(GeometryMismatchError, match=r"found the mask (9\d|10\d) mm away"):
        onto_grid(mask_on(planes()), grid(far))


def test_a_grid_of_unknown_place_is_refused() -> None:
    with pytest.raises(GeometryMismatchError, match="known planes"):
        onto_grid(mask_on(planes()), Grid(20, 24, 4))


def test_an_empty_mask_goes_anywhere() -> None:
    mask = mask_on(planes())
    empty = replace(mask, labels=np.zeros_like(mask.labels))
    moved = onto_grid(empty, grid(planes(start=(500.0, 500.0))))
    assert moved.labels.sum() == 0


@pytest.mark.parametrize("gap_mm", [0.0, 9.0, 20.0])
def test_a_nifti_of_a_stack_with_a_gap_is_still_that_stack(tmp_path: Path, gap_mm: float) -> None:
    # one affine cannot hold the gap: the file has its best fit, but its slices are these slices
    stack = planes((0.0, 9.0, 18.0 + gap_mm, 27.0 + gap_mm))
    mask = mask_on(stack)
    cine = Cine(np.ones(mask.labels.shape, np.float32), Source("array", "x"), grid(stack))
    noticed = write_mask(mask, tmp_path / "m.nii.gz", cine.source)
    assert bool(noticed) is (gap_mm > 0)
    again = read_mask(tmp_path / "m.nii.gz", like=cine)
    np.testing.assert_array_equal(again.labels, mask.labels)
    assert again.issues == ()
    np.testing.assert_array_equal(
        onto_grid(mask, read_mask(tmp_path / "m.nii.gz").grid).labels, mask.labels
    )
