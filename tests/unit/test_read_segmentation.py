"""DICOM Segmentations read: ours exactly, and those of other tools by what they say."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import RLELossless
from seg_maker import HEIGHTS_MM, PHASES, drawn_cine, labels_of, planes, result_of, study

from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryMismatchError, ReadError, UnsupportedEncodingError
from lvseg.evaluate import compare
from lvseg.geometry import Grid
from lvseg.labels import Label
from lvseg.read import read_mask
from lvseg.write import write_mask
from lvseg.write.segmentation import SegOptions, write_segmentations

Source = tuple[Cine, dict[str, Dataset]]
CAVITY = Code("277066005", "SCT", "Cavity of left cardiac ventricle")
VENTRICLE = Code("87878005", "SCT", "Left ventricle")
OLD_VENTRICLE = Code("T-32600", "SRT", "Left ventricle")
MYOCARDIUM = Code("49848007", "SCT", "Myocardium of left ventricle")
RIGHT = Code("53085002", "SCT", "Right ventricle")
ORGAN = Code("123037004", "SCT", "Body structure")


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return study(tmp_path_factory.mktemp("classic"))


@pytest.fixture(scope="module")
def multiframe(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return study(tmp_path_factory.mktemp("multiframe"), enhanced=True)


def ours(tmp_path: Path, source: Source, options: SegOptions | None = None, **more: Any) -> Path:
    paths, _ = write_segmentations(result_of(source[0], **more), tmp_path, source[1], options)
    return paths[0]


def assert_planes(mask: Mask, expected: Any) -> None:
    assert mask.planes is not None
    assert len(mask.planes) == len(expected)
    for one, other in zip(mask.planes, expected, strict=True):
        for name in ("origin_mm", "row_step", "column_step", "pixel_spacing_mm"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-9)


@pytest.mark.parametrize("kind", ["classic", "multiframe"])
def test_what_we_wrote_comes_back_exactly(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    source: Source = request.getfixturevalue(kind)
    cine, expected = source[0], labels_of(source[0])
    path = ours(tmp_path, source)
    alone, fitted = read_mask(path), read_mask(path, like=cine)
    for mask in (alone, fitted):
        np.testing.assert_array_equal(mask.labels, expected)
        assert mask.phases == (0, 1, 2, 3)
        assert_planes(mask, cine.planes)
        assert mask.pixel_spacing_mm == pytest.approx((1.5, 1.25))
    assert fitted.planes == cine.planes


def test_lengths_that_no_heart_has_are_unknown_in_a_mask_as_in_an_image(
    tmp_path: Path, classic: Source
) -> None:
    dataset = pydicom.dcmread(ours(tmp_path, classic))
    for groups in (
        *dataset.SharedFunctionalGroupsSequence,
        *dataset.PerFrameFunctionalGroupsSequence,
    ):
        for item in groups.get("PixelMeasuresSequence", []):
            item.PixelSpacing = [2000, 2000]
    dataset.save_as(tmp_path / "metres.dcm")
    mask = read_mask(tmp_path / "metres.dcm")
    np.testing.assert_array_equal(mask.labels, labels_of(classic[0]))
    assert (mask.planes, mask.pixel_spacing_mm) == (None, None)
    (issue,) = mask.issues
    assert (issue.code, issue.severity) == ("implausible-spacing", "error")
    assert "found 2000 x 2000 mm in the DICOM Segmentation" in issue.text


def test_one_phase_knows_which_one_it_was(tmp_path: Path, classic: Source) -> None:
    paths, _ = write_segmentations(result_of(classic[0]), tmp_path, classic[1], SegOptions("ed-es"))
    expected = labels_of(classic[0])
    for path, phase in zip(paths, (0, 3), strict=True):
        fitted, alone = read_mask(path, like=classic[0]), read_mask(path)
        assert fitted.phases == (phase,)
        assert alone.phases == (0,)
        for mask in (fitted, alone):
            np.testing.assert_array_equal(mask.labels, expected[[phase]])


def test_an_empty_mask_comes_back_empty_with_its_grid(tmp_path: Path, classic: Source) -> None:
    cine = classic[0]
    path = ours(tmp_path, classic, labels=np.zeros(cine.shape, np.uint8))
    # one frame for each phase and one for each slice, of which one is both
    assert pydicom.dcmread(path).NumberOfFrames == PHASES + len(HEIGHTS_MM) - 1
    for mask in (read_mask(path), read_mask(path, like=cine)):
        assert mask.labels.shape == cine.shape
        assert not mask.labels.any()
        assert_planes(mask, cine.planes)


def test_half_of_the_maximum_is_cavity(tmp_path: Path, classic: Source) -> None:
    cine = classic[0]
    likely = np.random.default_rng(5).random(cine.shape, np.float32)
    path = ours(
        tmp_path, classic, SegOptions(fractional=True), probabilities={Label.LV_CAVITY: likely}
    )
    expected = np.rint(likely * 255) >= 128  # 127 of 255 is less than half
    np.testing.assert_array_equal(read_mask(path).labels, expected)
    np.testing.assert_array_equal(read_mask(path, like=cine).labels, expected)


def edited(path: Path, change: Callable[[Dataset], None]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def reordered(dataset: Dataset, order: list[int]) -> None:
    pixels = dataset.pixel_array[order]
    groups = dataset.PerFrameFunctionalGroupsSequence
    dataset.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]
    data = np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)


def contents(dataset: Dataset) -> list[Dataset]:
    return [item.FrameContentSequence[0] for item in dataset.PerFrameFunctionalGroupsSequence]


def test_the_order_of_the_frames_does_not_matter(tmp_path: Path, classic: Source) -> None:
    def shuffle(dataset: Dataset) -> None:
        order = list(range(dataset.NumberOfFrames))
        random.Random(1).shuffle(order)
        reordered(dataset, order)

    path = edited(ours(tmp_path, classic), shuffle)
    expected = labels_of(classic[0])
    np.testing.assert_array_equal(read_mask(path).labels, expected)
    np.testing.assert_array_equal(read_mask(path, like=classic[0]).labels, expected)


def without_index(dataset: Dataset) -> None:
    for content in contents(dataset):
        del content.TemporalPositionIndex


def unreferred(dataset: Dataset) -> None:
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.DerivationImageSequence = []


def with_times(dataset: Dataset) -> None:
    """Delay times that differ a little from slice to slice, as those of real images do."""
    for groups, content in zip(
        dataset.PerFrameFunctionalGroupsSequence, contents(dataset), strict=True
    ):
        _, phase, position = content.DimensionIndexValues
        time = Dataset()
        time.NominalCardiacTriggerDelayTime = 20.0 + 190.0 * phase + 0.5 * position
        groups.CardiacSynchronizationSequence = [time]
        content.DimensionIndexValues = [1, position]
    del dataset.DimensionIndexSequence[1]


def test_frames_go_where_their_images_are(tmp_path: Path, classic: Source) -> None:
    def drop(dataset: Dataset) -> None:
        without_index(dataset)
        for groups, content in zip(
            dataset.PerFrameFunctionalGroupsSequence, contents(dataset), strict=True
        ):
            del content.DimensionIndexValues
            del groups.PlanePositionSequence

    path = edited(ours(tmp_path, classic), drop)
    fitted = read_mask(path, like=classic[0])
    np.testing.assert_array_equal(fitted.labels, labels_of(classic[0]))
    with pytest.raises(ReadError, match="give the cine"):
        read_mask(path)


def test_without_references_place_and_phase_decide(tmp_path: Path, classic: Source) -> None:
    path = edited(ours(tmp_path, classic), unreferred)
    np.testing.assert_array_equal(read_mask(path, like=classic[0]).labels, labels_of(classic[0]))


def test_delay_times_tell_phases(tmp_path: Path, classic: Source) -> None:
    def change(dataset: Dataset) -> None:
        with_times(dataset)
        without_index(dataset)
        unreferred(dataset)

    # 2 of the 4 x 5 frames are not in the file: times of these slices, 1 ms and 2 ms later than
    # those of slice 0, go by the nearest of a slice that lacks none
    labels = np.ones(classic[0].shape, np.uint8)
    labels[1, 2] = labels[3, 4] = 0
    path = edited(ours(tmp_path, classic, labels=labels), change)
    np.testing.assert_array_equal(read_mask(path).labels, labels)
    np.testing.assert_array_equal(read_mask(path, like=classic[0]).labels, labels)


def test_at_last_the_dimension_index_tells_phases(tmp_path: Path, classic: Source) -> None:
    def change(dataset: Dataset) -> None:
        without_index(dataset)
        unreferred(dataset)
        reordered(dataset, list(range(dataset.NumberOfFrames))[::-1])

    labels = np.ones(classic[0].shape, np.uint8)
    labels[:, :, 3] = np.arange(PHASES)[:, None, None] % 2
    path = edited(ours(tmp_path, classic, labels=labels), change)
    np.testing.assert_array_equal(read_mask(path).labels, labels)


def test_frames_that_nothing_tells_apart_are_refused(tmp_path: Path, classic: Source) -> None:
    def change(dataset: Dataset) -> None:
        without_index(dataset)
        for content in contents(dataset):
            del content.DimensionIndexValues

    path = edited(ours(tmp_path, classic), change)  # slices hold unlike numbers of frames
    with pytest.raises(ReadError, match="nothing tells apart"):
        read_mask(path)
    fitted = read_mask(path, like=classic[0])  # but the images they refer to do
    np.testing.assert_array_equal(fitted.labels, labels_of(classic[0]))


def test_a_segmentation_of_something_else_is_refused(
    tmp_path: Path, classic: Source, multiframe: Source
) -> None:
    path = ours(tmp_path, classic)
    cine = classic[0]
    elsewhere = tuple(
        replace(plane, origin_mm=(plane.origin_mm[0] + 3.0, *plane.origin_mm[1:]))
        for plane in cine.planes or ()
    )
    for like in (
        replace(cine, grid=replace(cine.grid, planes=elsewhere)),
        replace(
            cine,
            frames=cine.frames[..., 1:],
            grid=Grid.of(cine.frames[..., 1:], planes=cine.planes),
        ),
        replace(drawn_cine(planes()[:3])),
        replace(drawn_cine(phases=2)),
    ):
        with pytest.raises(GeometryMismatchError, match="use that of this cine"):
            read_mask(path, like=like)
    # other images of the same place and phases: they fit
    np.testing.assert_array_equal(read_mask(path, like=multiframe[0]).labels, labels_of(cine))


def foreign(
    path: Path,
    source: Source,
    segments: list[tuple[str, Code]],
    pixels: np.ndarray,
    *,
    phase: int = 1,
    **more: Any,
) -> Path:
    """A Segmentation of one phase as highdicom makes it, [Z, Y, X] with numbers of segments."""
    cine, source_headers = source
    images = [
        source_headers[item.sop_instance_uid] for item in (cine.source.instances or ())[phase]
    ]
    descriptions = [
        SegmentDescription(number, label, ORGAN, code, "MANUAL")
        for number, (label, code) in enumerate(segments, start=1)
    ]
    kind = more.pop("kind", "BINARY")
    made = Segmentation(
        images,
        pixels,
        kind,
        descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=2,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
        **more,
    )
    made.save_as(path)
    return path


def two_parts(cine: Cine) -> np.ndarray:
    pixels = labels_of(cine)[1].copy()
    pixels[:, 15:18] = 2
    return pixels


@pytest.mark.parametrize(
    ("segments", "number"),
    [
        ([("a", CAVITY), ("b", VENTRICLE)], 1),
        ([("a", RIGHT), ("b", VENTRICLE)], 2),
        ([("a", RIGHT), ("b", OLD_VENTRICLE)], 2),
        ([("LV_myocardium", VENTRICLE), ("LV blood pool", VENTRICLE)], 2),
        ([("Left Ventricle", ORGAN), ("Left ventricular wall", ORGAN)], 1),
        ([("RV", ORGAN), ("LV", ORGAN)], 2),
    ],
)
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_cavity_is_found_among_segments(
    tmp_path: Path, classic: Source, segments: Any, number: int, kind: str
) -> None:
    pixels = two_parts(classic[0])
    path = foreign(tmp_path / "s.dcm", classic, segments, pixels, kind=kind)
    fitted = read_mask(path, like=classic[0])
    assert fitted.phases == (1,)
    np.testing.assert_array_equal(fitted.labels[0], pixels == number)
    alone = read_mask(path)
    held = pixels.any(axis=(1, 2))  # the file holds no frame of an empty slice
    np.testing.assert_array_equal(alone.labels[0], (pixels == number)[held])
    assert_planes(alone, [p for p, full in zip(planes(), held, strict=True) if full])


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_segment_coded_as_the_myocardium_is_read_beside_the_cavity(
    tmp_path: Path, classic: Source, kind: str
) -> None:
    pixels = two_parts(classic[0])
    segments = [("wall", MYOCARDIUM), ("a", CAVITY)]
    path = foreign(tmp_path / "s.dcm", classic, segments, pixels, kind=kind)
    expected = np.choose(pixels, [Label.BACKGROUND, Label.LV_MYOCARDIUM, Label.LV_CAVITY])
    np.testing.assert_array_equal(read_mask(path, like=classic[0]).labels[0], expected)


def test_a_lone_segment_needs_no_name_and_several_need_one(tmp_path: Path, classic: Source) -> None:
    pixels = labels_of(classic[0])[1]
    path = foreign(tmp_path / "s.dcm", classic, [("thing", ORGAN)], pixels)
    np.testing.assert_array_equal(read_mask(path, like=classic[0]).labels[0], pixels)
    path = foreign(
        tmp_path / "t.dcm", classic, [("one", ORGAN), ("LV wall", ORGAN)], two_parts(classic[0])
    )
    with pytest.raises(ReadError, match="found 1 'one', 2 'LV wall' in"):
        read_mask(path)
    names = [("LV a", ORGAN), ("LV b", ORGAN)]
    path = foreign(tmp_path / "u.dcm", classic, names, two_parts(classic[0]))
    with pytest.raises(ReadError, match="one segment that is the cavity"):
        read_mask(path)


def test_packed_fractions_are_read_or_refused_by_name(tmp_path: Path, classic: Source) -> None:
    pixels = labels_of(classic[0])[1].astype(np.float32) * 0.5  # 100 of 200: cavity
    pixels[pixels == 0] = 0.495  # 99 of 200: none
    path = foreign(
        tmp_path / "s.dcm",
        classic,
        [("LV", CAVITY)],
        pixels,
        kind="FRACTIONAL",
        max_fractional_value=200,
        transfer_syntax_uid=RLELossless,
    )
    np.testing.assert_array_equal(read_mask(path, like=classic[0]).labels[0], pixels == 0.5)

    def rename(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML

    with pytest.raises((UnsupportedEncodingError, ReadError)):
        read_mask(edited(path, rename))


def test_broken_files_are_refused(tmp_path: Path, classic: Source) -> None:
    whole = ours(tmp_path, classic)
    for number, change in enumerate(
        (
            lambda dataset: dataset.__setattr__("PixelData", dataset.PixelData[:100]),
            lambda dataset: dataset.__delattr__("PixelData"),
            lambda dataset: dataset.__delattr__("PerFrameFunctionalGroupsSequence"),
            lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop(),
        )
    ):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(whole.read_bytes())
        with pytest.raises(ReadError, match="broken or cut"):
            read_mask(edited(path, change))
    content = whole.read_bytes()
    for length in (200, 900, len(content) // 2):
        (tmp_path / "cut.dcm").write_bytes(content[:length])
        with pytest.raises(ReadError):
            read_mask(tmp_path / "cut.dcm")


def test_a_segmentation_is_compared_with_a_nifti_mask(tmp_path: Path) -> None:
    source = study(tmp_path / "in", drawn_cine(planes((0.0, 9.0, 18.0, 27.0))))
    cine, mask = source[0], result_of(source[0]).mask
    for name in ("one", "two"):
        ours(tmp_path / "dicom" / name, source)
        write_mask(mask, tmp_path / "nifti" / name / "segmentation.nii.gz", cine.source)
    first, second = tmp_path / "dicom", tmp_path / "nifti"
    pair = compare(
        first / "one" / "segmentation.dcm", second / "one" / "segmentation.nii.gz", seed=1
    )
    assert {row.dice for row in pair.images} == {1.0}
    # the phase without cavity is told; places and spacings agree
    assert [issue.code for issue in pair.issues] == ["phases-not-annotated"]

    # beside the mask of a study lie its DICOM form, its report and its images
    (second / "one" / "segmentation.dcm").write_bytes((first / "one/segmentation.dcm").read_bytes())
    for image in sorted((tmp_path / "in").iterdir())[:2]:
        (second / "two" / image.name).write_bytes(image.read_bytes())
    both = compare(first, second, seed=1)
    assert {row.patient_id for row in both.images} == {"one", "two"}
    assert {row.dice for row in both.images} == {1.0}
    # images of the study are no masks, so none of them looks for a counterpart
    assert {item.code for item in both.issues} == {"not-a-mask", "phases-not-annotated"}
    left_out = [issue.text for issue in both.issues if issue.code == "not-a-mask"]
    assert len(left_out) == 1
    assert "segmentation.nii.gz stands for it" in left_out[0]


def test_segmentations_of_single_phases_are_compared_by_study(tmp_path: Path) -> None:
    source = study(tmp_path / "in")
    for side in ("a", "b"):
        ours(tmp_path / side / "p05", source, SegOptions("ed-es"))
    done = compare(tmp_path / "a", tmp_path / "b", seed=1)
    assert {(row.patient_id, row.phase) for row in done.images} == {("p05", "ED"), ("p05", "ES")}
