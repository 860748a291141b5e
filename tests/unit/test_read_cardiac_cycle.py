"""What looks like a cine and is none: perfusion, maps, repeats, and stacks in several parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from read_maker import COLUMN, ROW, enhanced, image, pixels, stack, study_of
from scipy.spatial.transform import Rotation

from lvseg.cine import Cine
from lvseg.errors import NotACineError
from lvseg.read.stack import LEFT_VENTRICLE_AXIS

#: TriggerTime and other changes of dynamic ``t`` of a perfusion series of 8.
DYNAMICS: dict[str, Callable[[int], dict[str, Any]]] = {
    "trigger times go on": lambda t: {"TriggerTime": 900.0 * t},
    "trigger times step": lambda t: {"TriggerTime": 300.0 * t, "AcquisitionTime": None},
    "trigger time is constant": lambda t: {"TriggerTime": 500.0},
    "trigger time jitters": lambda t: {"TriggerTime": 500.0 + 0.5 * (3 * t % 8)},
    "no trigger time": lambda t: {"TriggerTime": None, "TemporalPositionIdentifier": t + 1},
}


def perfusion(how: str, *, slices: int = 3) -> list[Dataset]:
    """Eight dynamics a second apart."""
    made = []
    for t in range(8):
        for z in range(slices):
            when = {"AcquisitionTime": f"1000{t:02d}.5", "InstanceNumber": 10 * t + z + 1}
            made.append(image(t, z, **{"SeriesInstanceUID": "1.2.3.6", **when, **DYNAMICS[how](t)}))
    for number, dataset in enumerate(made):
        dataset.SOPInstanceUID = f"1.2.3.6.{number + 1}"
    return made


def cine_of(datasets: list[Dataset]) -> Cine:
    return study_of(datasets).short_axis()


def codes(cine: Cine) -> dict[str, str]:
    return {issue.code: issue.severity for issue in cine.issues}


@pytest.mark.parametrize("how", DYNAMICS)
def test_dynamics_of_many_beats_are_not_measured_silently(how: str) -> None:
    study = study_of(perfusion(how))
    assert codes(study.short_axis())["not-one-heartbeat"] == "warning"
    assert "not one heartbeat" in study.series[0].reason


@pytest.mark.parametrize("how", DYNAMICS)
def test_any_cine_is_better_than_dynamics(how: str) -> None:
    # 10 slices x 8 dynamics against 2 slices x 4 phases
    cine = cine_of([*perfusion(how, slices=10), *stack(2, 4)])
    assert cine.shape[:2] == (4, 2)
    assert not {"not-one-heartbeat", "several-stacks"} & set(codes(cine))


def test_images_of_one_moment_of_the_beat_are_not_measured_silently() -> None:
    datasets = stack(3, 4, TriggerTime=600.0)
    assert codes(cine_of(datasets))["not-one-heartbeat"] == "warning"
    for dataset in datasets:
        dataset.TriggerTime = 0.0  # written by scanners that do not know it
    assert "not-one-heartbeat" not in codes(cine_of(datasets))


def test_a_slow_heart_and_a_pair_of_phases_are_one_beat() -> None:
    slow = stack(3, 6)
    for dataset in slow:
        # 6 phases of a beat of 1.5 s (40 a minute): a step of 250 ms
        dataset.TriggerTime = 250.0 * ((dataset.InstanceNumber - 1) % 100)
    pair = stack(3, 2)
    for dataset in pair:
        dataset.TriggerTime = 330.0 * ((dataset.InstanceNumber - 1) % 100)
    assert "not-one-heartbeat" not in codes(cine_of(slow))
    assert "not-one-heartbeat" not in codes(cine_of(pair))


def test_acquisition_times_of_real_time_phases_are_one_beat() -> None:
    datasets = stack(3, 6)
    for dataset in datasets:
        phase = (dataset.InstanceNumber - 1) % 100
        dataset.AcquisitionDateTime = f"20200101235959.{80 + 4 * phase:03d}+0100"
    assert "not-one-heartbeat" not in codes(cine_of(datasets))


def test_frames_of_an_enhanced_object_state_their_own_time() -> None:
    dataset = enhanced(trigger=False)
    for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        content = groups.FrameContentSequence[0]
        content.FrameAcquisitionDateTime = f"202001011000{content.TemporalPositionIndex:02d}"
        assert number < 12
    assert codes(cine_of([dataset]))["not-one-heartbeat"] == "warning"


@pytest.mark.parametrize(
    ("element", "first", "step"), [("EchoTime", 1.2, 2.1), ("InversionTime", 120.0, 900.0)]
)
def test_a_map_is_refused(element: str, first: float, step: float) -> None:
    datasets = stack(3, 4)
    for dataset in datasets:
        phase = (dataset.InstanceNumber - 1) % 100
        setattr(dataset, element, first + step * phase)
    with pytest.raises(NotACineError, match="a map, not phases"):
        cine_of(datasets)
    for dataset in datasets:
        setattr(dataset, element, first)
    assert cine_of(datasets).complete


def test_repeats_of_late_enhancement_are_refused() -> None:
    with pytest.raises(NotACineError, match="repeats, not phases"):
        cine_of(stack(5, 2, TriggerTime=600.0))
    # times tell phases from repeats: a pair of end-diastole and end-systole is a cine
    assert cine_of(stack(5, 2)).shape[:2] == (2, 5)


def test_slices_of_another_pixel_spacing_that_continue_the_stack_leave_it_incomplete() -> None:
    datasets = stack(5, 4)
    for dataset in datasets:
        if dataset.InstanceNumber > 300:  # the last two of five slices
            dataset.SeriesInstanceUID = "1.2.3.5"
            dataset.Rows, dataset.PixelData = 24, dataset.PixelData[: 24 * 32 * 2]
            dataset.PixelSpacing = [2.0, 1.25]
    cine = cine_of(datasets)
    assert cine.shape[1] == 3
    assert not cine.complete
    assert codes(cine)["slices-elsewhere"] == "error"
    (text,) = [f.text for f in cine.issues if f.code == "slices-elsewhere"]
    assert "2 slice(s) of 24 x 32 pixels of 2 x 1.25 mm" in text


def test_a_second_stack_elsewhere_does_not_continue_the_first() -> None:
    shifted = stack(3, 4, SeriesInstanceUID="1.2.3.5")
    for dataset in shifted:
        dataset.SOPInstanceUID += ".5"
        dataset.Rows, dataset.PixelData = 24, dataset.PixelData[: 24 * 32 * 2]
    found = codes(cine_of([*stack(3, 4), *shifted]))  # the same places
    assert "slices-elsewhere" not in found
    assert found["several-stacks"] == "warning"


def test_two_orientations_in_one_series_are_reported() -> None:
    # about the usual axis of the ventricle, so that neither stack is the better one
    turn = Rotation.from_rotvec(np.radians(40) * np.array(LEFT_VENTRICLE_AXIS))
    cosines = [float(value) for value in (*turn.apply(ROW), *turn.apply(COLUMN))]
    turned = stack(3, 4, ImageOrientationPatient=cosines)
    for dataset in turned:
        dataset.SOPInstanceUID += ".7"
    assert codes(cine_of([*stack(3, 4), *turned]))["several-stacks"] == "warning"


def test_a_classic_and_an_enhanced_copy_are_not_mixed() -> None:
    copy = enhanced()
    for number, groups in enumerate(copy.PerFrameFunctionalGroupsSequence):
        delay = groups.CardiacSynchronizationSequence[0]
        delay.NominalCardiacTriggerDelayTime += 10.0
        assert number < 12
    cine = cine_of([*stack(), copy])
    assert cine.shape[:2] == (4, 3)
    assert cine.complete
    assert np.isin(cine.frames[0, 0].max(), [pixels(0, 0).max(), 2.0 * pixels(0, 0).max()])
