"""The phantom: closed-form volumes, a believable picture, options that do what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lvseg.cine import Cine, Mask
from lvseg.errors import UsageError
from lvseg.geometry import disc_thickness_mm, normal, slice_positions_mm
from lvseg.labels import Label
from lvseg.measurement import measure
from lvseg.phantom import PhantomOptions, Truth, beating_ventricle

SMALL = PhantomOptions(phases=4, rows=120, columns=100, pixel_spacing_mm=(2.0, 2.3))
Simulated = tuple[Cine, Mask, Truth]


@pytest.fixture(scope="module")
def default() -> Simulated:
    return beating_ventricle()


def _summed_ml(mask: Mask, label: Label = Label.LV_CAVITY) -> np.ndarray:
    assert mask.planes is not None
    rows_mm, columns_mm = mask.planes[0].pixel_spacing_mm
    areas = mask.of(label).sum(axis=(2, 3)) * (rows_mm * columns_mm)
    return (areas * disc_thickness_mm(mask.planes)).sum(axis=1) / 1000


def test_default_is_a_normal_heart(default: Simulated) -> None:
    cine, mask, truth = default
    assert cine.shape == mask.labels.shape == (20, 12, 256, 256)
    assert truth.edv_ml == pytest.approx(140)
    assert truth.esv_ml == pytest.approx(56)  # 140 * (1 - 0.60)
    assert truth.ef_percent == pytest.approx(60)
    assert (truth.ed_phase, truth.es_phase) == (0, 7)  # 7 / 20 = 35 % of the cycle
    assert cine.view == "short-axis"
    assert cine.times_ms is not None
    assert cine.times_ms[1] == pytest.approx(60000 / 65 / 20)


def test_slabs_add_up_to_the_closed_form_in_every_phase(default: Simulated) -> None:
    _, mask, truth = default
    np.testing.assert_allclose(_summed_ml(mask), truth.volume_ml, rtol=0.01)


def test_the_mass_is_that_of_the_shell_between_two_half_ellipsoids(default: Simulated) -> None:
    # cavity: R = sqrt(3 x 140000 mm3 / (2 pi x 90 mm)) = 27.254 mm; epicardium at the base:
    # 27.254 + 9.5 = 36.754 mm wide, 90 + 0.65 x 9.5 = 96.175 mm long:
    # 2/3 pi x 36.754^2 x 96.175 mm3 = 272.09 ml; 1.05 g/ml x (272.09 - 140) ml = 138.7 g
    _, mask, truth = default
    assert truth.mass_g == pytest.approx(138.7, abs=0.1)
    grams = 1.05 * _summed_ml(mask, Label.LV_MYOCARDIUM)
    # the tip of the epicardium does not end on the border of a slab
    np.testing.assert_allclose(grams, truth.mass_g, rtol=0.02)


def test_the_wall_is_as_thick_as_the_option_says_and_closed(default: Simulated) -> None:
    values = measure(default[1])
    assert values.mass_g == pytest.approx(default[2].mass_g, rel=0.02)
    assert values.wall_thickness_mm is not None
    # the first slice below the base: circles of R sqrt(1 - (5 / 90)^2) = 27.21 mm and
    # 36.754 sqrt(1 - (5 / 96.175)^2) = 36.70 mm, 9.49 mm apart
    assert values.wall_thickness_mm[9] == pytest.approx(9.49, abs=0.2)
    known = [each is not None for each in values.wall_thickness_mm]
    assert known == [False] + [True] * 9 + [False] * 2  # one slice of wall alone at the apex


def test_the_volume_has_one_maximum_and_one_minimum(default: Simulated) -> None:
    volumes = np.array(default[2].volume_ml)
    assert int(volumes.argmax()) == 0
    assert int(volumes.argmin()) == 7
    assert (np.diff(volumes[:8]) < 0).all()
    assert (np.diff(volumes[7:]) > -1e-9).all()


def test_sizes_are_those_of_a_heart(default: Simulated) -> None:
    cine, mask, truth = default
    middle = 6
    areas = mask.of(Label.LV_CAVITY)[[0, truth.es_phase], middle].sum(axis=(1, 2)) * 1.37**2
    across = 2 * np.sqrt(areas / np.pi)
    assert 44 < across[0] < 52
    assert 28 < across[1] < 36
    used = mask.of(Label.LV_CAVITY).any(axis=(2, 3)).sum(axis=1)
    assert (used[0], used[truth.es_phase]) == (9, 8)  # 90 mm of 10 mm slabs, then one less
    assert cine.planes is not None


def test_no_cavity_above_the_base_and_below_the_apex(default: Simulated) -> None:
    mask = default[1]
    assert not mask.labels[:, -2:].any()  # two slices through the atria
    assert not mask.of(Label.LV_CAVITY)[:, 0].any()  # below the apex


def test_tissues_stand_in_the_order_of_balanced_ssfp(default: Simulated) -> None:
    cine, mask, _ = default
    frame, cavity = cine.frames[0, 6], mask.labels[0, 6] == 1
    rows, columns = np.nonzero(cavity)
    row, column = int(rows.mean()), int(columns.mean())
    blood = np.median(frame[cavity])
    septum_from = int(columns[rows == row].min())
    wall = np.median(frame[row - 3 : row + 4, septum_from - 5 : septum_from - 2])
    lung = np.median(frame[row - 45 : row - 35, column + 25 : column + 45])
    right = np.median(frame[row - 4 : row + 5, septum_from - 22 : septum_from - 14])
    liver = np.median(frame[row + 60 : row + 80, column - 60 : column - 40])
    assert 0.2 < wall / blood < 0.42
    assert lung / blood < 0.12
    assert 0.8 < right / blood < 1.4
    assert 0.25 < liver / blood < 0.5
    assert np.percentile(frame, 99.5) > 1.5 * blood  # fat under the coils


def test_papillary_muscles_are_dark_and_count_as_cavity() -> None:
    plain, rough = (
        beating_ventricle(replace(SMALL, papillary=papillary, trabeculation=0, noise_percent=0))
        for papillary in (False, True)
    )
    np.testing.assert_array_equal(plain[1].labels, rough[1].labels)
    cavity = plain[1].labels[0, 6] == 1
    dark = (rough[0].frames[0, 6] < 0.6 * plain[0].frames[0, 6]) & cavity
    assert 0.04 < dark.sum() / cavity.sum() < 0.3
    changed = rough[0].frames[0, 6] != plain[0].frames[0, 6]
    assert changed.sum() < 1.5 * cavity.sum()


def test_pixels_are_whole_numbers_a_scanner_could_store(default: Simulated) -> None:
    frames = default[0].frames
    np.testing.assert_array_equal(frames, np.rint(frames))
    assert frames.min() == 0
    assert 300 < frames.max() < 4096


def test_the_corners_lie_outside_the_circle_of_the_scanner(default: Simulated) -> None:
    frames = default[0].frames
    assert not frames[:, :, :20, :20].any()
    square = beating_ventricle(replace(SMALL, circular_fov=False))[0].frames
    assert square[:, :, :12, :12].any()


def test_noise_is_rician() -> None:
    # in air the magnitude of two channels of standard deviation s has the mean s sqrt(pi / 2)
    # and the second moment 2 s^2: 10 % of blood (260) gives s = 26
    options = replace(SMALL, noise_percent=10, circular_fov=False)
    air = beating_ventricle(options)[0].frames[:, :, :12, :12]
    assert air.mean() == pytest.approx(26 * np.sqrt(np.pi / 2), rel=0.02)
    assert np.mean(air**2) == pytest.approx(2 * 26**2, rel=0.03)


def test_planes_are_one_regular_stack_from_apex_to_base() -> None:
    cine = beating_ventricle(replace(SMALL, thickness_mm=6, gap_mm=3.5))[0]
    assert cine.planes is not None
    np.testing.assert_allclose(np.diff(slice_positions_mm(cine.planes)), 9.5)
    up = normal(cine.planes[0])
    assert up[0] < 0 < up[2]  # the base lies to the right of and above the apex
    assert cine.planes[0].pixel_spacing_mm == (2.0, 2.3)
    assert cine.planes[0].thickness_mm == 6


def test_missing_slices_are_absent_and_change_nothing_else() -> None:
    full, full_mask, truth = beating_ventricle(SMALL)
    part, mask, same = beating_ventricle(replace(SMALL, missing_slices=(0, 5)))
    kept = [i for i in range(12) if i not in (0, 5)]
    np.testing.assert_array_equal(part.frames, full.frames[:, kept])
    np.testing.assert_array_equal(mask.labels, full_mask.labels[:, kept])
    assert full.planes is not None
    assert part.planes == tuple(full.planes[i] for i in kept)
    assert same == truth
    assert (full.complete, part.complete, mask.complete) == (True, False, False)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first, again, other = (beating_ventricle(replace(SMALL, seed=s))[0] for s in (7, 7, 8))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert (first.frames != other.frames).mean() > 0.3


def test_the_offset_moves_the_heart_down_and_right() -> None:
    def centre(offset: tuple[float, float]) -> np.ndarray:
        labels = beating_ventricle(replace(SMALL, heart_offset_mm=offset))[1].labels
        return np.argwhere(labels[0, 6]).mean(axis=0)

    # 20 mm of 2.0 mm rows and -23 mm of 2.3 mm columns
    np.testing.assert_allclose(centre((20.0, -23.0)) - centre((0.0, 0.0)), [10, -10], atol=0.1)


def test_a_heart_outside_the_image_leaves_an_empty_mask() -> None:
    cine, mask, truth = beating_ventricle(replace(SMALL, heart_offset_mm=(900.0, 900.0)))
    assert not mask.labels.any()
    assert np.isfinite(cine.frames).all()
    assert truth.edv_ml == pytest.approx(140)


def test_without_shortening_every_phase_has_the_same_slices() -> None:
    mask = beating_ventricle(replace(SMALL, shortening_slabs=0))[1]
    used = mask.labels.any(axis=(2, 3))
    assert (used == used[0]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"phases": 1},
        {"rows": 0},
        {"pixel_spacing_mm": (0.0, 1.0)},
        {"thickness_mm": 0.0},
        {"gap_mm": -8.0},
        {"edv_ml": 0.0},
        {"ef_percent": 100.0},
        {"heart_rate_bpm": 0.0},
        {"shortening_slabs": 9},
        {"missing_slices": (12,)},
        {"slices": 2, "missing_slices": (0, 1)},
    ],
)
def test_options_that_make_no_heart_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"expected .* found .*: change that option"):
        PhantomOptions(**wrong)  # type: ignore[arg-type]
