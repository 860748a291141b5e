"""Volumes, phases and ejection fraction, each with its sum."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lvseg.cine import Mask
from lvseg.errors import PhaseError
from lvseg.geometry import Grid, Plane, planes_from_affine
from lvseg.measurement import MeasurementSettings, ejection_fraction_percent, find_phases, measure

SPACING = (1.5, 1.2)  # 1.8 mm2 a pixel


def labels_of(counts):
    """uint8 [F, Z, 10, 12] with the given number of cavity pixels in each frame."""
    counts = np.asarray(counts)
    flat = np.arange(120) < counts[..., None]
    return flat.reshape(*counts.shape, 10, 12).astype(np.uint8)


def planes_at(*positions, spacing=SPACING):
    return tuple(
        Plane((3.0, -4.0, float(z)), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), spacing) for z in positions
    )


def mask_of(counts, **geometry):
    labels = labels_of(counts)
    return Mask(labels, tuple(range(len(labels))), Grid.of(labels, **geometry))


def codes(measurements):
    return [(issue.code, issue.severity) for issue in measurements.issues]


# phases x slices; sums 150, 110, 60, 130
BEAT = [[60, 50, 40], [50, 40, 20], [30, 30, 0], [60, 40, 30]]


def test_volumes_are_areas_times_disc_thickness():
    # distances 8 and 10 mm, median 9: slabs of (9 + 8) / 2 = 8.5, 9 and (10 + 9) / 2 = 9.5 mm
    # phase 0: 1.8 mm2 x (60 x 8.5 + 50 x 9 + 40 x 9.5) mm = 1.8 x 1340 mm3 = 2.412 ml
    # phase 2: 1.8 x (30 x 8.5 + 30 x 9) = 1.8 x 525 = 0.945 ml
    values = measure(mask_of(BEAT, planes=planes_at(0, 8, 18)))
    assert values.volume_ml is not None
    assert values.volume_ml[0] == pytest.approx(2.412)
    assert values.volume_ml[2] == pytest.approx(0.945)
    assert (values.edv_ml, values.esv_ml) == (values.volume_ml[0], values.volume_ml[2])
    assert values.sv_ml == pytest.approx(2.412 - 0.945)
    # 100 x 1.467 / 2.412 = 60.821 %
    assert values.ef_percent == pytest.approx(60.8209, abs=1e-4)
    assert values.phases.end_diastole == 0
    assert values.phases.end_systole == 2
    assert values.phases.how == "largest and smallest volume"
    assert codes(values) == [
        ("no-myocardium", "info"),
        ("unknown-heart-rate", "info"),
        ("few-phases", "info"),
    ]
    assert values.mass_g is values.wall_thickness_mm is None
    assert not {"mass", "wall_thickness"} & set(values.methods)


def test_areas_are_counted_and_scaled_slice_by_slice():
    planes = planes_at(0) + planes_at(7, spacing=(2.0, 1.1)) + planes_at(14)
    values = measure(mask_of(BEAT, planes=planes))
    assert values.area_px[0] == (60, 50, 40)
    # 60 x 1.8 = 108, 50 x 2.2 = 110, 40 x 1.8 = 72
    assert values.area_mm2 is not None
    assert values.area_mm2[0] == pytest.approx((108.0, 110.0, 72.0))


def test_a_stack_without_planes_uses_the_distance_between_slices():
    mask = mask_of(BEAT, pixel_spacing_mm=SPACING, slice_spacing_mm=9.5)
    # 1.8 x 150 x 9.5 = 2565 mm3
    assert measure(mask).volume_ml[0] == pytest.approx(2.565)
    assert measure(mask).edv_ml == pytest.approx(2.565)


def test_base_apex_and_the_slices_that_count_are_recorded():
    values = measure(mask_of(BEAT, planes=planes_at(0, 8, 18)))
    assert values.slices_ed == (0, 2)
    assert values.slices_es == (0, 1)
    assert values.methods["base_end"] == "slice 0"
    assert values.methods["papillary_muscles"] == "counted as cavity"
    turned = measure(mask_of(np.fliplr(BEAT), planes=planes_at(0, 8, 18)))
    assert turned.methods["base_end"] == "slice 2"


def test_slices_of_ed_leaves_out_what_is_empty_at_end_diastole():
    counts = [[0, 80, 40], [20, 30, 10], [30, 40, 20]]
    mask = mask_of(counts, planes=planes_at(0, 8, 16))
    # every slice: ES 60 px x 8 mm x 1.8 = 0.864 ml; slices of ED: 40 px = 0.576 ml
    assert measure(mask).esv_ml == pytest.approx(0.864)
    fixed = measure(mask, MeasurementSettings(base_rule="slices-of-ed"))
    assert fixed.esv_ml == pytest.approx(0.576)
    assert fixed.edv_ml == measure(mask).edv_ml
    assert "end-diastole" in fixed.methods["base"]


# The wall


def ring(rows=30, columns=34, y=14, x=16, radius=5, wall=4):
    """One slice of a cavity with a wall around it, uint8 [rows, columns]."""
    away = np.hypot(*(np.mgrid[:rows, :columns] - np.array([y, x])[:, None, None]))
    return np.where(away <= radius, 1, np.where(away <= radius + wall, 2, 0)).astype(np.uint8)


def beating_rings():
    """Two phases and three slices: the cavity shrinks, the wall is there in both."""
    return np.stack([[ring(radius=r, wall=4) for r in (6, 5, 4)], [ring(radius=3, wall=6)] * 3])


def test_mass_is_the_wall_at_end_diastole_times_its_density():
    labels = beating_rings()
    mask = Mask(labels, (3, 4), Grid.of(labels, planes=planes_at(0, 8, 18)))
    values = measure(mask)
    assert values.phases.end_diastole == 3
    # slabs of 8.5, 9 and 9.5 mm as above; 1.05 g a millilitre
    pixels = [int((frame == 2).sum()) for frame in labels[0]]
    volume_mm3 = 1.8 * (pixels[0] * 8.5 + pixels[1] * 9 + pixels[2] * 9.5)
    assert values.mass_g == pytest.approx(1.05 * volume_mm3 / 1000)
    assert {"mass", "wall_thickness"} <= set(values.methods)
    assert "no-myocardium" not in dict(codes(values))
    # the cavity is measured as without a wall
    alone = measure(Mask(np.where(labels == 1, labels, 0), (3, 4), mask.grid))
    assert (values.volume_ml, values.area_mm2) == (alone.volume_ml, alone.area_mm2)


def test_an_apical_slice_of_wall_alone_counts_and_has_no_thickness():
    labels = beating_rings()
    labels[:, 2] = np.where(labels[:, 2] > 0, 2, 0)
    values = measure(Mask(labels, (0, 1), Grid.of(labels, planes=planes_at(0, 8, 16))))
    # all slabs are 8 mm high
    assert values.mass_g == pytest.approx(1.05 * 1.8 * 8 * (labels[0] == 2).sum() / 1000)
    assert values.wall_thickness_mm is not None
    assert values.wall_thickness_mm[2] is None
    assert None not in values.wall_thickness_mm[:2]


def test_thickness_needs_no_distance_between_slices_and_mass_does():
    labels = beating_rings()
    values = measure(Mask(labels, (0, 1), Grid.of(labels, pixel_spacing_mm=SPACING)))
    assert values.mass_g is None
    assert codes(values) == [("unknown-spacing", "warning")]
    assert values.wall_thickness_mm is not None
    assert None not in values.wall_thickness_mm
    blind = measure(Mask(labels, (0, 1)))
    assert blind.mass_g is blind.wall_thickness_mm is None


def test_a_slice_without_wall_makes_the_mass_unknown_and_one_with_a_gap_its_thickness():
    labels = beating_rings()
    gap = labels.copy()
    gap[0, 1, :14] = np.where(gap[0, 1, :14] == 2, 0, gap[0, 1, :14])  # open above row 14
    planes = planes_at(0, 8, 18)
    values = measure(Mask(gap, (0, 1), Grid.of(gap, planes=planes)))
    assert values.mass_g is not None
    assert values.wall_thickness_mm is not None
    assert [each is None for each in values.wall_thickness_mm] == [False, True, False]
    bare = labels.copy()
    bare[0, 1] = bare[0, 1] == 1
    values = measure(Mask(bare, (5, 6), Grid.of(bare, planes=planes)))
    assert values.mass_g is None
    (issue,) = (issue for issue in values.issues if issue.code == "incomplete-wall")
    assert (issue.severity, issue.slice, issue.phase) == ("warning", 1, 5)
    assert values.edv_ml is not None


def test_phases_are_numbers_of_the_cine():
    labels = labels_of([[30, 30], [60, 60]])
    values = measure(Mask(labels, (7, 19), grid=Grid.of(labels, planes=planes_at(0, 8))))
    assert (values.phases.end_diastole, values.phases.end_systole) == (19, 7)


def test_an_incomplete_stack_has_areas_and_nothing_else():
    values = measure(mask_of(BEAT, planes=planes_at(0, 8, 18), complete=False))
    assert codes(values) == [("incomplete-stack", "error")]
    assert values.area_mm2 is not None
    assert values.volume_ml is values.edv_ml is values.ef_percent is None
    assert values.phases.end_diastole is None


def test_without_spacing_phases_follow_from_pixels_and_there_is_no_millilitre():
    values = measure(mask_of(BEAT, slice_spacing_mm=8.0))
    assert codes(values) == [("unknown-spacing", "warning")]
    assert (values.phases.end_diastole, values.phases.end_systole) == (0, 2)
    assert values.phases.how == "largest and smallest summed area in pixels"
    assert values.area_mm2 is values.volume_ml is values.ef_percent is None
    assert values.slices_es == (0, 1)


def test_without_a_distance_between_slices_there_are_areas_and_no_millilitre():
    values = measure(mask_of(BEAT, pixel_spacing_mm=SPACING))
    assert codes(values) == [("unknown-spacing", "warning"), ("no-myocardium", "info")]
    assert "distance between slices" in values.issues[0].text
    assert values.area_mm2 is not None
    assert values.volume_ml is None
    assert values.phases.how == "largest and smallest summed area"


def test_one_slice_has_phases_and_no_volume():
    values = measure(mask_of([[60], [20]], planes=planes_at(0)))
    assert codes(values) == [("one-slice", "info"), ("no-myocardium", "info")]
    assert values.phases.end_systole == 1
    assert values.volume_ml is values.ef_percent is None


def test_one_phase_has_a_volume_and_no_ejection_fraction():
    values = measure(mask_of([[60, 50, 40]], planes=planes_at(0, 8, 18)))
    assert codes(values) == [("one-phase", "info")]
    assert values.volume_ml == pytest.approx((2.412,))
    assert values.edv_ml is values.ef_percent is values.phases.end_diastole is None


def test_a_picture_names_everything_that_is_unknown():
    values = measure(mask_of([[60]]))
    assert [code for code, _ in codes(values)] == ["unknown-spacing", "one-slice", "one-phase"]
    assert values.area_px == ((60,),)


def test_an_empty_mask_is_an_error_and_nothing_else():
    values = measure(mask_of([[0, 0], [0, 0]], planes=planes_at(0, 8)))
    assert codes(values) == [("no-cavity", "error")]
    assert values.volume_ml is values.edv_ml is values.slices_ed is None
    assert values.area_px == ((0, 0), (0, 0))


def test_slices_at_an_angle_have_no_volume():
    tilted = Plane((0.0, 0.0, 8.0), (0.0, 0.8, 0.6), (1.0, 0.0, 0.0), SPACING)
    values = measure(mask_of([[60, 50], [20, 10]], planes=(*planes_at(0), tilted)))
    assert codes(values) == [("irregular-stack", "error"), ("no-myocardium", "info")]
    assert values.volume_ml is None


def test_a_curve_that_does_not_change_has_no_phases():
    values = measure(mask_of([[60, 50], [60, 50]], planes=planes_at(0, 8)))
    assert codes(values) == [("flat-curve", "error")]
    assert values.ef_percent is None


def test_a_ventricle_that_empties_has_an_ejection_fraction_of_100():
    values = measure(mask_of([[60, 50], [0, 0]], planes=planes_at(0, 8)))
    assert values.ef_percent == 100.0
    assert values.slices_es is None


def test_find_phases_takes_the_first_of_equals_and_can_smooth():
    assert find_phases([5, 9, 2, 9, 2]).end_diastole == 1
    assert find_phases([5, 9, 2, 9, 2]).end_systole == 2
    noisy = [100, 96, 80, 30, 60, 45, 44, 45, 70, 95]  # a dip at 3, end-systole at 6
    assert find_phases(noisy).end_systole == 3
    # (30 + 2 x 60 + 45) / 4 = 48.75 at 4, (45 + 88 + 45) / 4 = 44.5 at 6, (80 + 60 + 60) / 4 = 50
    smooth = find_phases(noisy, MeasurementSettings(smooth_phases=True))
    assert smooth.end_systole == 6
    assert "smoothed" in smooth.how
    assert find_phases(noisy[:7], MeasurementSettings(smooth_phases=True)) == find_phases(noisy[:7])
    for curve in ([], [4.0], [3.0, 3.0]):
        with pytest.raises(PhaseError, match="expected"):
            find_phases(curve)


def test_ejection_fraction_of_nothing_is_unknown():
    assert ejection_fraction_percent(200.0, 150.0) == 25.0  # 50 / 200
    assert ejection_fraction_percent(0.0, 0.0) is None


def test_volumes_need_spacing():
    for geometry in ({}, {"pixel_spacing_mm": SPACING}, {"slice_spacing_mm": 8.0}):
        values = measure(mask_of(BEAT, **geometry))
        assert ("unknown-spacing", "warning") in codes(values)
        assert values.volume_ml is values.edv_ml is None


@pytest.mark.data
def test_reference_volumes_of_real_patients(data_dir):
    import nibabel

    folder = data_dir / "acdc-external" / "patient012"
    if not folder.is_dir():
        pytest.skip("acdc-external is absent")
    stated = json.loads((folder / "meta.json").read_text())
    images = [nibabel.load(folder / f"{name}_lv.nii.gz") for name in ("ED", "ES")]
    labels = np.stack([np.asarray(image.dataobj).transpose(2, 1, 0) for image in images])
    planes = planes_from_affine(images[0].affine, labels.shape[1])
    values = measure(
        Mask(labels.astype(np.uint8), (0, 1), grid=Grid.of(labels.astype(np.uint8), planes=planes))
    )
    assert values.edv_ml == pytest.approx(stated["edv_ml"], abs=0.01)
    assert values.esv_ml == pytest.approx(stated["esv_ml"], abs=0.01)
    assert values.ef_percent == pytest.approx(stated["ef_percent"], abs=0.01)
