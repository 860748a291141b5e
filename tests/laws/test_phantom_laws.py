"""Laws of the phantom: area times slab height is the closed form, whatever the geometry."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.cine import Mask
from lvseg.geometry import affine, disc_thickness_mm
from lvseg.labels import Label
from lvseg.phantom import PhantomOptions, beating_ventricle

LAW = settings(derandomize=True, deadline=None, max_examples=12)
SMALL = PhantomOptions(
    phases=3, rows=72, columns=64, pixel_spacing_mm=(1.9, 2.2), edv_ml=120, noise_percent=0
)


def _summed_ml(mask: Mask, label: Label = Label.LV_CAVITY) -> np.ndarray:
    assert mask.planes is not None
    rows_mm, columns_mm = mask.planes[0].pixel_spacing_mm
    areas = mask.of(label).sum(axis=(2, 3)) * (rows_mm * columns_mm)
    return (areas * disc_thickness_mm(mask.planes)).sum(axis=1) / 1000


@LAW
@given(
    thickness=st.floats(4, 9),
    gap=st.floats(-1, 2),
    rows_mm=st.floats(1.5, 2.1),
    columns_mm=st.floats(1.5, 2.1),
    edv=st.floats(80, 220),
    ef=st.floats(20, 70),
)
def test_the_slabs_add_up_for_any_spacing_gap_and_volume(
    thickness: float, gap: float, rows_mm: float, columns_mm: float, edv: float, ef: float
) -> None:
    options = replace(
        SMALL,
        thickness_mm=thickness,
        gap_mm=gap,
        slices=ceil(90 / (thickness + gap)) + 2,
        slices_above_base=1,
        pixel_spacing_mm=(rows_mm, columns_mm),
        edv_ml=edv,
        ef_percent=ef,
    )
    _, mask, truth = beating_ventricle(options)
    np.testing.assert_allclose(_summed_ml(mask), truth.volume_ml, rtol=0.025)
    wall_ml = _summed_ml(mask, Label.LV_MYOCARDIUM)
    np.testing.assert_allclose(1.05 * wall_ml, truth.mass_g, rtol=0.05)


@LAW
@given(
    tilt=st.tuples(st.floats(-180, 180), st.floats(-180, 180), st.floats(-180, 180)),
    flip=st.sampled_from([(2,), (3,), (1, 2), (2, 3)]),
)
def test_tilts_and_flips_do_not_change_the_volume(
    tilt: tuple[float, float, float], flip: tuple[int, ...]
) -> None:
    straight = beating_ventricle(SMALL)[1]
    turned = beating_ventricle(replace(SMALL, tilt_degrees=tilt))[1]
    np.testing.assert_array_equal(straight.labels, turned.labels)
    assert turned.planes is not None
    assert straight.planes is not None
    np.testing.assert_allclose(_summed_ml(turned), _summed_ml(straight), rtol=1e-6)
    flipped = replace(turned, labels=np.flip(turned.labels, flip))
    np.testing.assert_allclose(_summed_ml(flipped), _summed_ml(turned), rtol=1e-9)
    sizes = [abs(np.linalg.det(affine(mask.planes or ()))) for mask in (straight, turned)]
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=1e-6)


@LAW
@given(
    down=st.floats(-15, 15),
    right=st.floats(-15, 15),
    breathing=st.floats(0, 2),
    seed=st.integers(0, 9),
)
def test_moving_the_heart_does_not_change_the_volume(
    down: float, right: float, breathing: float, seed: int
) -> None:
    options = replace(
        SMALL, heart_offset_mm=(down, right), breathing_mm=breathing, seed=seed, rows=80
    )
    _, mask, truth = beating_ventricle(options)
    np.testing.assert_allclose(_summed_ml(mask), truth.volume_ml, rtol=0.025)


@LAW
@given(missing=st.sets(st.integers(0, 11), max_size=10))
def test_missing_slices_are_exactly_the_absent_ones(missing: set[int]) -> None:
    options = replace(SMALL, missing_slices=tuple(sorted(missing)))
    cine, mask, _ = beating_ventricle(options)
    planes = beating_ventricle(SMALL)[0].planes
    assert planes is not None
    assert cine.planes == mask.planes == tuple(planes[i] for i in range(12) if i not in missing)
    assert cine.complete == (not missing)
