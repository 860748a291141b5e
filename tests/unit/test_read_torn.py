"""Studies that were torn apart, repeated or laid between each other: place and time decide.

The heart of the maker has slices 9 mm apart, 8 mm thick; a frame of phase t at position z holds the
pixels of ``read_maker.pixels(t, z)``. A second acquisition is brighter by 3 grey levels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from read_maker import (
    COLUMN,
    NORMAL,
    ROW,
    SIDE,
    SPACING,
    expected,
    image,
    pixels,
    save,
    stack,
    study_of,
)
from scipy.spatial.transform import Rotation

from lvseg.cine import Cine
from lvseg.errors import NotACineError
from lvseg.read import find_studies, read_study

SLICES, PHASES, STEP_MM = 5, 6, 9.0


def cine_of(datasets: list[Dataset]) -> Cine:
    return study_of(datasets).short_axis()


def codes(cine: Cine) -> dict[str, str]:
    return {issue.code: issue.severity for issue in cine.issues}


def position_of(dataset: Dataset) -> int:
    return int((dataset.InstanceNumber - 1) // 100)


def phase_of(dataset: Dataset) -> int:
    return int((dataset.InstanceNumber - 1) % 100)


def shifted(dataset: Dataset, along_mm: float) -> None:
    origin = np.array(dataset.ImagePositionPatient, float) + along_mm * NORMAL
    dataset.ImagePositionPatient = [float(value) for value in origin]


def tilted(dataset: Dataset, degrees: float) -> None:
    """Turn an image about the row direction through its middle."""
    turn = Rotation.from_rotvec(np.radians(degrees) * ROW)
    half = (SIDE - 1) / 2 * SPACING[0]
    origin = np.array(dataset.ImagePositionPatient, float) + half * (COLUMN - turn.apply(COLUMN))
    dataset.ImagePositionPatient = [float(value) for value in origin]
    dataset.ImageOrientationPatient = [float(value) for value in (*ROW, *turn.apply(COLUMN))]


def rest() -> list[Dataset]:
    """An ordinary cine, a slice every 12 s."""
    made = stack(SLICES, PHASES)
    for dataset in made:
        dataset.AcquisitionTime = f"1000{12 * position_of(dataset):02d}"
    return made


def again(places: set[int], along_mm: float, clock: str) -> list[Dataset]:
    """Some places acquired again in one series, that long along the normal, at that time."""
    made = [dataset for dataset in stack(SLICES, PHASES) if position_of(dataset) in places]
    for dataset in made:
        dataset.SOPInstanceUID += ".9"
        dataset.SeriesInstanceUID, dataset.SeriesNumber = "1.2.5", 12
        dataset.AcquisitionTime = clock
        dataset.PixelData = (np.frombuffer(dataset.PixelData, np.uint16) + 3).tobytes()
        shifted(dataset, along_mm)
    return made


def named(datasets: list[Dataset], **keys: Callable[[Dataset], object]) -> list[Dataset]:
    """The same images with UIDs that depend on something."""
    for dataset in datasets:
        for keyword, key in keys.items():
            setattr(dataset, keyword, f"1.2.8.{key(dataset)}")
    return datasets


# Examinations under several study UIDs


@pytest.mark.parametrize(
    "part",
    [
        position_of,
        lambda dataset: position_of(dataset) // 2,
        lambda dataset: position_of(dataset) % 2,
        phase_of,
    ],
)
@pytest.mark.parametrize("one_space", [True, False])
def test_parts_under_study_uids_of_their_own_are_one_study(
    part: Callable[[Dataset], int], one_space: bool, tmp_path: Path
) -> None:
    torn = named(rest(), StudyInstanceUID=part, SeriesInstanceUID=part)
    space = (lambda _: 1) if one_space else part
    folder = save(named(torn, FrameOfReferenceUID=space), tmp_path)
    (ref,) = find_studies(folder)
    cine = read_study(ref).short_axis()
    np.testing.assert_array_equal(cine.frames, expected(SLICES, PHASES))
    assert cine.complete
    assert codes(cine)["studies-joined"] == "warning"


def test_a_repeat_under_a_study_uid_of_its_own_is_a_repeat() -> None:
    late = named(again({2}, 0.0, "101000"), StudyInstanceUID=lambda _: 7)
    cine = cine_of([*rest(), *late])
    wanted = expected(SLICES, PHASES)
    wanted[:, 2] += 3
    np.testing.assert_array_equal(cine.frames, wanted)
    assert {"studies-joined", "reacquired-slice"} <= set(codes(cine))


@pytest.mark.parametrize("along_mm", [0.0, 3.0, 4.5])
def test_two_whole_stacks_under_two_study_uids_are_two_studies(
    along_mm: float, tmp_path: Path
) -> None:
    late = named(again(set(range(SLICES)), along_mm, "102500"), StudyInstanceUID=lambda _: 7)
    both = named([*rest(), *late], FrameOfReferenceUID=lambda _: 1)
    folder = save(both, tmp_path)
    assert len(find_studies(folder)) == 2
    assert codes(read_study(folder).short_axis())["several-studies"] == "warning"


def test_another_day_or_a_default_orientation_is_no_link(tmp_path: Path) -> None:
    torn = named(rest(), StudyInstanceUID=position_of, SeriesInstanceUID=position_of)
    for dataset in torn:
        dataset.AcquisitionDate = f"202001{10 + position_of(dataset)}"
    assert len(find_studies(save(torn, tmp_path / "days"))) == SLICES
    for dataset in torn:
        dataset.AcquisitionDate = "20200101"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [0, 0, 9.0 * position_of(dataset)]
    assert len(find_studies(save(torn, tmp_path / "default"))) == SLICES


# Repeats


@pytest.mark.parametrize("places", [{2}, {1, 2, 3}])
def test_a_frame_of_reference_of_each_series_says_nothing(places: set[int]) -> None:
    both = [*rest(), *again(places, 0.0, "101000")]
    named(both, FrameOfReferenceUID=lambda d: d.SeriesInstanceUID[-1])
    cine = cine_of(both)
    wanted = expected(SLICES, PHASES)
    wanted[:, sorted(places)] += 3
    np.testing.assert_array_equal(cine.frames, wanted)
    assert {"reacquired-slice", "frames-of-reference"} <= set(codes(cine))


def test_a_repeat_beside_its_place_is_one_even_among_few_slices() -> None:
    # distances 9, 3 and 6 mm: the usual one, 6, is none of the stack
    datasets = [d for d in rest() if position_of(d) < 3]
    cine = cine_of([*datasets, *again({1}, 3.0, "101000")])
    wanted = expected(3, PHASES)
    wanted[:, 1] += 3
    np.testing.assert_array_equal(cine.frames, wanted)
    assert codes(cine)["reacquired-slice"] == "warning"


def test_halves_of_one_stack_are_no_stacks_although_a_slice_is_repeated() -> None:
    late = named(again({2}, 3.0, "101000"), SeriesInstanceUID=lambda _: 9)
    cine = cine_of([*named(rest(), SeriesInstanceUID=position_of), *late])
    assert cine.shape[1] == SLICES
    assert cine.complete
    assert codes(cine)["reacquired-slice"] == "warning"


def test_a_slice_without_times_does_not_hide_the_repeat_of_another() -> None:
    datasets = rest()
    for dataset in datasets:
        if position_of(dataset) == 1:
            del dataset.TriggerTime
    cine = cine_of([*datasets, *again({3}, 0.0, "101000")])
    wanted = expected(SLICES, PHASES)
    wanted[:, 3] += 3
    np.testing.assert_array_equal(cine.frames, wanted)


def test_numbers_that_contradict_the_times_of_other_slices_order_nothing() -> None:
    datasets = rest()
    for number, dataset in enumerate(datasets):
        if position_of(dataset) == 1:
            del dataset.TriggerTime
        dataset.InstanceNumber = len(datasets) - number
    cine = cine_of(datasets)
    assert not cine.complete
    assert codes(cine)["phase-order-unknown"] == "error"


def test_two_acquisitions_in_a_series_for_each_image_are_parted_by_their_times() -> None:
    late = again(set(range(SLICES)), 0.0, "102500")
    both = [*rest(), *late]
    for number, dataset in enumerate(both):
        dataset.SeriesInstanceUID = f"1.2.8.{number}"
    cine = cine_of(both)
    np.testing.assert_array_equal(cine.frames, expected(SLICES, PHASES) + 3)
    assert codes(cine)["several-stacks"] == "warning"


def test_of_two_studies_the_one_that_is_no_perfusion_is_read() -> None:
    dynamics = [
        image(
            t,
            z,
            SOPInstanceUID=f"1.2.0.{z}.{t}",
            StudyInstanceUID="1.2.0",
            SeriesInstanceUID="1.2.0.1",
            AcquisitionDate="20190101",
            AcquisitionTime=f"1000{t:02d}",
            TriggerTime=500.0,
        )
        for z in range(SLICES)
        for t in range(12)
    ]
    cine = cine_of([*dynamics, *rest()])
    np.testing.assert_array_equal(cine.frames, expected(SLICES, PHASES))
    assert codes(cine)["several-studies"] == "warning"


# Two stacks


def test_stacks_between_each_other_are_told_apart_by_a_long_pause() -> None:
    between = again(set(range(SLICES)), STEP_MM / 2 + 0.2, "102500")
    for dataset in (both := [*rest(), *between]):
        dataset.SliceThickness = 5.0  # does not tell: 4.7 mm are more than three quarters of it
    cine = cine_of(both)
    np.testing.assert_array_equal(cine.frames, expected(SLICES, PHASES))
    assert codes(cine)["several-stacks"] == "warning"
    for dataset in both:  # no pause: odd and even slices of one stack of ten
        dataset.AcquisitionTime = "100000"
    assert cine_of(both).shape[1] == 2 * SLICES


def test_a_second_stack_that_is_not_whole_is_told() -> None:
    datasets = [d for d in rest() if position_of(d) < 2 and (position_of(d), phase_of(d)) != (1, 1)]
    cine = cine_of([*datasets, *again({0, 1}, 4.5, "102500")])
    np.testing.assert_array_equal(cine.frames, expected(2, PHASES) + 3)
    assert codes(cine)["several-stacks"] == "warning"


# Tilted slices, and places that cannot be


@pytest.mark.parametrize("degrees", [4.0, 25.0])
@pytest.mark.parametrize("slices", [3, 5])
@pytest.mark.parametrize("one_series", [True, False])
def test_a_tilted_slice_in_a_gap_is_missing_from_the_stack(
    degrees: float, slices: int, one_series: bool
) -> None:
    datasets = [d for d in rest() if position_of(d) < slices]
    for dataset in datasets:
        if position_of(dataset) == slices // 2:
            tilted(dataset, degrees)
    if not one_series:
        named(datasets, SeriesInstanceUID=position_of)
    cine = cine_of(datasets)
    assert not cine.complete
    assert codes(cine)["reangled-slice"] == "error"


def test_slices_that_all_name_one_position_are_refused() -> None:
    datasets = rest()
    for dataset in datasets:
        if position_of(dataset) == 2:
            tilted(dataset, 0.8)
        dataset.ImagePositionPatient = [1, 2, 3]
    with pytest.raises(NotACineError, match=r"2 slices at 1 position\(s\)"):
        cine_of(datasets)


def test_a_slice_of_another_spacing_is_missing_though_it_leaves_two_gaps() -> None:
    # left are the places 0, 3 and 4: the least distance, not the usual one, is that of the slices
    datasets = [d for d in rest() if position_of(d) != 2]
    for dataset in datasets:
        if position_of(dataset) == 1:
            dataset.SeriesInstanceUID, dataset.PixelSpacing = "1.2.5", [1.9, SPACING[1]]
    cine = cine_of(datasets)
    assert not cine.complete
    assert codes(cine)["slices-elsewhere"] == "error"


def test_a_slice_of_another_spacing_between_two_others_is_missing() -> None:
    # left are the places 0 and 4, 36 mm apart: no grid is known, but 9 mm are more than a thickness
    datasets = [d for d in rest() if position_of(d) in (0, 1, 4)]
    for dataset in datasets:
        if position_of(dataset) == 1:
            dataset.SeriesInstanceUID, dataset.PixelSpacing = "1.2.5", [1.9, SPACING[1]]
    cine = cine_of(datasets)
    assert not cine.complete
    assert codes(cine)["slices-elsewhere"] == "error"


# Images that share a plane, and objects that hide slices


def test_phases_in_a_series_each_are_found_beside_a_map_of_their_plane() -> None:
    datasets = named(rest(), SeriesInstanceUID=phase_of)
    for t in range(8):
        datasets.append(
            image(
                t,
                0,
                SOPInstanceUID=f"1.2.4.{t}",
                SeriesInstanceUID="1.2.4",
                ScanningSequence="IR",
                InversionTime=300.0 + 150 * t,
                TriggerTime=500.0,
            )
        )
    cine = cine_of(datasets)
    np.testing.assert_array_equal(cine.frames, expected(SLICES, PHASES))


@pytest.mark.parametrize("uid", ["", ".9"])
def test_copies_in_a_series_for_each_phase_are_copies(uid: str) -> None:
    copies = [dataset for dataset in rest() if position_of(dataset) == 2]
    for dataset in copies:
        dataset.SOPInstanceUID += uid
    cine = cine_of(named([*rest(), *copies], SeriesInstanceUID=phase_of))
    np.testing.assert_array_equal(cine.frames, expected(SLICES, PHASES))
    assert codes(cine)["duplicate-images"] == "info"


def test_a_multi_frame_object_of_several_slices_gives_no_volume() -> None:
    # frames of slice 0, then of slice 1, in one object; other pixels than those of any phase
    rng = np.random.default_rng(5)
    datasets = []
    for z in (0, 2):
        places = [rng.integers(0, 4000, (SIDE, SIDE)).astype(np.uint16) for _ in range(2)]
        frames = np.array([place + 20 * t for place in places for t in range(PHASES)])
        made = image(
            0,
            z,
            pixels=pixels(0, z),
            TriggerTime=None,
            NumberOfFrames=2 * PHASES,
            FrameTime=40.0,
            FrameIncrementPointer=0x00181063,
        )
        made.PixelData = frames.astype(np.uint16).tobytes()
        datasets.append(made)
    cine = cine_of(datasets)
    assert not cine.complete
    assert codes(cine)["several-places"] == "error"
