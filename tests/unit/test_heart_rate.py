"""Heart rate from headers; cardiac output and peak rates, each with its sum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from read_maker import enhanced, image, stack, study_of

from enhanced_export import EXPORTS
from lvseg.cine import Cine, Mask, Source
from lvseg.errors import GeometryMismatchError, MeasureError, PhaseError
from lvseg.geometry import Grid
from lvseg.measurement import measure, peak_rates_ml_s
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine
from lvseg.read import read_study


def cine_of(datasets: list[Dataset]) -> Cine:
    return study_of(datasets).short_axis()


# From headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"HeartRate": 64}, 64.0),
        ({"HeartRate": 64, "NominalInterval": 1000}, 64.0),  # the rate is what was counted
        ({"NominalInterval": 750}, 80.0),  # 60000 / 750
        ({"HeartRate": 0, "NominalInterval": 750}, 80.0),  # 0 is a placeholder
        ({"HeartRate": 600, "NominalInterval": 750}, 80.0),
        ({"HeartRate": 19}, None),
        ({"HeartRate": 20}, 20.0),
        ({"HeartRate": 250}, 250.0),
        ({"HeartRate": 251}, None),
        ({"NominalInterval": 0}, None),
        ({"NominalInterval": 5000}, None),  # 12 a minute
        ({}, None),
    ],
)
def test_the_heart_rate_is_what_the_header_says(header: dict[str, int], expected: Any) -> None:
    cine = cine_of(stack(**header))
    assert cine.heart_rate_bpm == expected
    assert "heart-rate-varies" not in {issue.code for issue in cine.issues}


def test_the_number_and_times_of_phases_make_no_heart_rate() -> None:
    cine = cine_of(stack(3, 20))
    assert cine.times_ms is not None
    assert cine.heart_rate_bpm is None


def by_slice(*rates: int | None) -> list[Dataset]:
    return [
        image(t, z, HeartRate=rate) for z, rate in enumerate(rates) for t in range(4)
    ]  # None leaves it out


def test_slices_of_several_breath_holds_give_their_median() -> None:
    cine = cine_of(by_slice(70, 62, 66))
    assert cine.heart_rate_bpm == 66
    # 70 - 62 = 8 is less than a fifth of 66
    assert "heart-rate-varies" not in {issue.code for issue in cine.issues}
    assert cine_of(by_slice(70, None, 66)).heart_rate_bpm == 68


def test_slices_of_widely_different_heart_rates_are_told() -> None:
    # (80 - 60) / 62 = 0.32 is more than a fifth
    cine = cine_of(by_slice(60, 62, 80))
    assert cine.heart_rate_bpm == 62
    (found,) = [issue for issue in cine.issues if issue.code == "heart-rate-varies"]
    assert found.severity == "warning"
    assert "from 60 to 80 beats" in found.text


def test_one_odd_image_of_a_slice_changes_nothing() -> None:
    datasets = by_slice(60, 62, 64)
    datasets[5].HeartRate = 120
    cine = cine_of(datasets)
    assert cine.heart_rate_bpm == 62
    assert "heart-rate-varies" not in {issue.code for issue in cine.issues}


def test_enhanced_images_state_the_interval_of_each_frame() -> None:
    dataset = enhanced()
    assert cine_of([dataset]).heart_rate_bpm is None
    dataset.CardiacRRIntervalSpecified = 1000.0
    assert cine_of([dataset]).heart_rate_bpm == 60
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.CardiacSynchronizationSequence[0].RRIntervalTimeNominal = 800.0
    assert cine_of([dataset]).heart_rate_bpm == 75  # what a frame says counts first


@pytest.mark.parametrize("multi", [False, True])
def test_the_heart_rate_of_a_phantom_survives_dicom(tmp_path: Path, multi: bool) -> None:
    options = PhantomOptions(
        phases=4, slices=4, rows=40, columns=48, pixel_spacing_mm=(6.0, 5.0), heart_rate_bpm=72
    )
    cine, _, _ = beating_ventricle(options)
    assert cine.heart_rate_bpm == 72
    EXPORTS[multi](cine, tmp_path)
    read = read_study(tmp_path).short_axis()
    assert read.heart_rate_bpm == pytest.approx(72)


def test_another_heart_rate_is_another_dicom_object(tmp_path: Path) -> None:
    # same pixels and times, which then cover another part of the cycle
    cine, _, _ = beating_ventricle(
        PhantomOptions(phases=2, slices=2, rows=24, columns=26, pixel_spacing_mm=(8.0, 7.5))
    )
    faster = Cine(
        cine.frames,
        cine.source,
        grid=Grid.of(cine.frames, planes=cine.planes),
        times_ms=cine.times_ms,
        heart_rate_bpm=90,
    )
    one, two = (write_dicom_cine(c, tmp_path / str(i)) for i, c in enumerate((cine, faster)))
    assert one[0].read_bytes() != two[0].read_bytes()
    import pydicom

    first, second = pydicom.dcmread(one[0]), pydicom.dcmread(two[0])
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert (second.HeartRate, second.NominalInterval) == (90, 667)  # 60000 / 90 = 666.7


def test_pictures_have_no_heart_rate(tmp_path: Path) -> None:
    greys = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20)
    Image.fromarray((greys % 256).astype(np.uint8)).save(tmp_path / "a.png")
    assert read_study(tmp_path / "a.png").short_axis().heart_rate_bpm is None


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "expected"), [("SCD0000101", 79.0), ("SCD0000201", 86.0), ("SCD0000301", 65.0)]
)
def test_real_headers(data_dir: Path, name: str, expected: float) -> None:
    # counted with another program over all headers: the first has 75 to 82, most often 79
    folder = data_dir / "sunnybrook-dicom" / name
    if not folder.is_dir():
        pytest.skip(f"missing: {folder.name} of sunnybrook-dicom")
    cine = read_study(folder).short_axis()
    assert cine.heart_rate_bpm == expected
    assert "heart-rate-varies" not in {issue.code for issue in cine.issues}


# Cardiac output and rates -----------------------------------------------------------------------

#: 1 pixel is 1.5 x 1.2 = 1.8 mm2; slabs of 10 mm: 18 mm3. Two slices of n pixels: 0.036 n ml.
PIXELS = (100, 90, 60, 40, 50, 80, 95, 100)
TIMES = (10.0, 60.0, 110.0, 160.0, 210.0, 260.0, 310.0, 360.0)


def mask_of(pixels: tuple[int, ...] = PIXELS, **changes: Any) -> Mask:
    flat = np.arange(120) < np.array(pixels)[:, None, None]
    labels = np.repeat(flat, 2, axis=1).reshape(len(pixels), 2, 10, 12).astype(np.uint8)
    geometry = {"pixel_spacing_mm": (1.5, 1.2), "slice_spacing_mm": 10.0}
    return Mask(labels, tuple(range(len(pixels))), Grid.of(labels, **(geometry | changes)))


def codes(values: Any) -> list[str]:
    """What was noticed, but for the wall that these masks do not have."""
    return [issue.code for issue in values.issues if issue.code != "no-myocardium"]


def test_rates_are_the_steepest_chords_over_two_steps() -> None:
    # 120 a minute: 500 ms; the phases span 350 ms, so 150 ms lead from the last to the first
    # falls: phase 1 (60 - 100) / 0.1 s = -400, phase 2 (40 - 90) / 0.1 = -500,
    #        phase 0 (90 - 100) / (0.05 + 0.15) = -50
    # rises: phase 4 (80 - 40) / 0.1 = 400, phase 5 (95 - 50) / 0.1 = 450
    #        phase 7 (100 - 95) / (0.05 + 0.15) = 25
    assert peak_rates_ml_s(PIXELS, TIMES, 500.0) == pytest.approx((500, 450))


def test_cardiac_output_and_rates_of_a_mask() -> None:
    values = measure(mask_of(), times_ms=TIMES, heart_rate_bpm=120)
    # stroke volume 0.036 x (100 - 40) = 2.16 ml; x 120 / 1000 = 0.2592 l/min
    assert values.sv_ml == pytest.approx(2.16)
    assert values.cardiac_output_l_min == pytest.approx(0.2592)
    assert values.heart_rate_bpm == 120
    # 0.036 x 500 and 0.036 x 450
    assert values.peak_ejection_rate_ml_s == pytest.approx(18.0)
    assert values.peak_filling_rate_ml_s == pytest.approx(16.2)
    assert codes(values) == []
    assert "heart rate" in values.methods["cardiac_output"]


def test_phases_that_end_before_the_cycle_does_fill_slowly_at_its_end() -> None:
    # triggered by the R wave: filling by the atrium, from 48 back to 100, was not imaged
    volumes, times = (100, 80, 50, 40, 42, 44, 46, 48), tuple(50.0 * t for t in range(8))
    # 60 a minute leave 1000 - 350 = 650 ms: phase 7 rises (100 - 46) / 0.7 s = 77.14
    assert peak_rates_ml_s(volumes, times, 1000.0) == pytest.approx((500, 77.142857))
    # unknown cycle: only chords between imaged neighbours; phase 4 rises (44 - 40) / 0.1 = 40
    assert peak_rates_ml_s(volumes, times) == pytest.approx((500, 40))


def test_a_cycle_shorter_than_the_phases_span_closes_with_the_mean_step() -> None:
    # 60000 / 200 = 300 ms < 350 ms: times and heart rate are of different beats
    # phase 7 rises (100 - 46) / 0.1 s = 540, not over no time at all
    volumes, times = (100, 80, 50, 40, 42, 44, 46, 48), tuple(50.0 * t for t in range(8))
    assert peak_rates_ml_s(volumes, times, 300.0) == pytest.approx((500, 540))


def test_uneven_steps_count_as_they_are() -> None:
    # phase 1: (40 - 100) / (0.03 + 0.09) s = -500; phase 2: (70 - 80) / (0.09 + 0.01) = -100
    # phase 3: (100 - 40) / (0.01 + 0.12) = 461.5
    times = (0.0, 30.0, 120.0, 130.0)
    assert peak_rates_ml_s((100, 80, 40, 70), times, 250.0) == pytest.approx((500, 461.538462))


def test_a_mask_of_some_phases_takes_the_times_of_these() -> None:
    whole = measure(mask_of(), times_ms=TIMES, heart_rate_bpm=120)
    every_other = tuple(time for pair in zip(TIMES, TIMES, strict=True) for time in pair)
    spread = tuple(time + 0.5 * (i % 2) for i, time in enumerate(every_other))
    mask = mask_of()
    part = Mask(
        mask.labels,
        tuple(range(0, 16, 2)),
        grid=Grid.of(
            mask.labels,
            pixel_spacing_mm=mask.pixel_spacing_mm,
            slice_spacing_mm=mask.slice_spacing_mm,
        ),
    )
    assert measure(part, times_ms=spread, heart_rate_bpm=120).peak_filling_rate_ml_s == (
        pytest.approx(whole.peak_filling_rate_ml_s)
    )


def test_a_mask_may_list_its_phases_in_any_order() -> None:
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    mask = mask_of()
    mixed = Mask(
        mask.labels[order],
        tuple(order),
        grid=Grid.of(
            mask.labels[order],
            pixel_spacing_mm=mask.pixel_spacing_mm,
            slice_spacing_mm=mask.slice_spacing_mm,
        ),
    )
    values = measure(mixed, times_ms=TIMES, heart_rate_bpm=120)
    assert values.peak_ejection_rate_ml_s == pytest.approx(18.0)
    assert values.peak_filling_rate_ml_s == pytest.approx(16.2)


def test_without_a_heart_rate_there_is_no_cardiac_output() -> None:
    values = measure(mask_of(), times_ms=TIMES)
    assert (values.heart_rate_bpm, values.cardiac_output_l_min) == (None, None)
    assert values.peak_ejection_rate_ml_s == pytest.approx(18.0)
    assert codes(values) == ["unknown-heart-rate"]


def test_without_times_there_are_no_rates() -> None:
    values = measure(mask_of(), heart_rate_bpm=66)
    assert (values.peak_ejection_rate_ml_s, values.peak_filling_rate_ml_s) == (None, None)
    assert values.cardiac_output_l_min == pytest.approx(2.16 * 66 / 1000)
    assert codes(values) == ["unknown-times"]


def test_seven_phases_are_too_few_for_rates() -> None:
    values = measure(mask_of(PIXELS[:7]), times_ms=TIMES[:7], heart_rate_bpm=66)
    assert (values.peak_ejection_rate_ml_s, values.peak_filling_rate_ml_s) == (None, None)
    assert codes(values) == ["few-phases"]


@pytest.mark.parametrize(
    "changes", [{"complete": False}, {"pixel_spacing_mm": None}, {"slice_spacing_mm": None}]
)
def test_without_volumes_there_is_the_heart_rate_alone(changes: dict[str, Any]) -> None:
    values = measure(mask_of(**changes), times_ms=TIMES, heart_rate_bpm=66)
    assert values.heart_rate_bpm == 66
    assert values.cardiac_output_l_min is None
    assert (values.peak_ejection_rate_ml_s, values.peak_filling_rate_ml_s) == (None, None)
    assert not {"unknown-heart-rate", "unknown-times", "few-phases"} & set(codes(values))


def test_the_callable_module_takes_times_and_heart_rate_too() -> None:
    import lvseg

    values = lvseg.measure(mask_of(), times_ms=TIMES, heart_rate_bpm=120)
    assert values == measure(mask_of(), times_ms=TIMES, heart_rate_bpm=120)


def test_wrong_times_and_heart_rates_are_refused() -> None:
    with pytest.raises(GeometryMismatchError, match="7 times and phase 7"):
        measure(mask_of(), times_ms=TIMES[:7])
    with pytest.raises(PhaseError, match="ascending"):
        measure(mask_of(), times_ms=(10.0,) * 8)
    for rate in (0.0, -60.0, float("nan"), float("inf")):
        with pytest.raises(MeasureError, match="heart rate above 0"):
            measure(mask_of(), heart_rate_bpm=rate)


def test_the_phantom_pumps_what_its_volumes_say() -> None:
    options = PhantomOptions(
        rows=64, columns=72, pixel_spacing_mm=(3.0, 2.5), phases=24, heart_rate_bpm=75
    )
    cine, mask, truth = beating_ventricle(options)
    values = measure(mask, times_ms=cine.times_ms, heart_rate_bpm=cine.heart_rate_bpm)
    # 140 ml x 60 % x 75 / 1000 = 6.3 l/min
    assert values.cardiac_output_l_min == pytest.approx(6.3, rel=0.03)
    true = peak_rates_ml_s(truth.volume_ml, cine.times_ms, 800.0)
    found = (values.peak_ejection_rate_ml_s, values.peak_filling_rate_ml_s)
    assert found == pytest.approx(true, rel=0.15)


CURVES = st.lists(st.floats(20, 300), min_size=8, max_size=30)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(curve=CURVES, shift=st.integers(0, 30), factor=st.floats(0.5, 3))
def test_rates_do_not_depend_on_where_the_cycle_is_cut(
    curve: list[float], shift: int, factor: float
) -> None:
    times = [37.0 * t for t in range(len(curve))]
    cycle = 37.0 * len(curve)
    rates = peak_rates_ml_s(curve, times, cycle)
    assert min(rates) >= 0
    turned = list(np.roll(curve, shift))
    assert peak_rates_ml_s(turned, times, cycle) == pytest.approx(rates)
    # the same beat backwards ejects as fast as it filled; a beat in more time is slower
    assert peak_rates_ml_s(curve[::-1], times, cycle) == pytest.approx(rates[::-1])
    slower = peak_rates_ml_s(curve, [factor * t for t in times], factor * cycle)
    assert slower == pytest.approx([rate / factor for rate in rates])


def test_a_source_without_header_has_no_heart_rate() -> None:
    assert Cine(np.zeros((1, 1, 4, 5), np.float32), Source("array", "a")).heart_rate_bpm is None
