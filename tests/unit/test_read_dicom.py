"""DICOM in: what is found, in which order, and what is said about it."""

from __future__ import annotations

import random
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gdcm_maker import recompressed
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from read_maker import (
    NAME,
    NORMAL,
    SIDE,
    SPACING,
    STEP_MM,
    computed_tomography,
    enhanced,
    expected,
    image,
    long_axis,
    pixels,
    save,
    stack,
    study_of,
    to_bytes,
)

from lvseg.cine import Cine
from lvseg.errors import (
    InconsistentStackError,
    LabelMapError,
    NotACineError,
    ReadError,
    UnsupportedEncodingError,
)
from lvseg.geometry import gaps, slice_positions_mm
from lvseg.read import find_studies, headers, list_series, read_study
from lvseg.read.rules import TIME_RULES, TimeRule


def cine_of(datasets: list[Dataset]) -> Cine:
    return study_of(datasets).short_axis()


def codes(cine: Cine) -> list[str]:
    return [issue.code for issue in cine.issues]


def assert_whole(cine: Cine) -> None:
    np.testing.assert_array_equal(cine.frames, expected())
    assert cine.complete
    assert cine.view == "short-axis"


def test_a_shuffled_folder_is_put_in_order_of_place_and_time(tmp_path: Path) -> None:
    datasets = stack()
    random.Random(3).shuffle(datasets)
    cine = read_study(save(datasets, tmp_path / "heart")).short_axis()
    assert_whole(cine)
    assert cine.source.name == "heart"
    assert cine.source.order_rule == "TriggerTime"
    assert cine.pixel_spacing_mm == SPACING
    # phase t: 10 + 40 t + 0.5 z over z = 0, 1, 2: median at z = 1
    assert cine.times_ms == (10.5, 50.5, 90.5, 130.5)
    assert cine.planes is not None
    np.testing.assert_allclose(np.diff(slice_positions_mm(cine.planes)), STEP_MM)
    instances = cine.source.instances
    assert instances is not None
    assert instances[3][1].sop_instance_uid == "1.2.3.2.4"


def test_slice_location_plays_no_part() -> None:
    datasets = stack()
    for number, dataset in enumerate(datasets):
        dataset.SliceLocation = float(number % 5)
    assert_whole(cine_of(datasets))


def test_nested_folders_and_foreign_files_do_no_harm(tmp_path: Path) -> None:
    datasets = stack()
    save(datasets[:5], tmp_path / "a" / "b")
    save(datasets[5:], tmp_path / "c")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0\0\0\0\0")
    (tmp_path / "._im0000.dcm").write_bytes(b"\0\5\x16\7")
    assert_whole(read_study(tmp_path).short_axis())


def test_a_zip_is_read_without_extracting(tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for number, dataset in enumerate(stack()):
            out.writestr(f"../../{number}.dcm", to_bytes(dataset))
    before = sorted(tmp_path.parent.rglob("*"))
    cine = read_study(archive).short_axis()
    assert_whole(cine)
    assert cine.source.name == "study"
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_files_without_preamble_are_accepted(tmp_path: Path) -> None:
    for number, dataset in enumerate(stack()):
        (tmp_path / f"{number}").write_bytes(to_bytes(dataset, preamble=False))
    assert_whole(read_study(tmp_path).short_axis())


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_byte_orders(tmp_path: Path, syntax: str) -> None:
    datasets = stack()
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            swapped = np.frombuffer(dataset.PixelData, "<u2").astype(">u2")
            dataset.PixelData = swapped.tobytes()
    assert_whole(read_study(save(datasets, tmp_path)).short_axis())


def test_rescale_and_sign_and_overlay_bits() -> None:
    # 12 bits stored, -5 = 0xFFB; the four bits above are an overlay and are ignored
    stored = np.full((32, 32), 0x3FFB, np.uint16)
    changes = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1, "pixels": stored}
    cine = cine_of(stack(2, 2, RescaleSlope=2.5, RescaleIntercept=4, **changes))
    np.testing.assert_array_equal(cine.frames, 2.5 * -5 + 4)


def test_monochrome1_is_turned_round() -> None:
    cine = cine_of(stack(2, 2, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(cine.frames, 65535 - expected(2, 2))


def test_invalid_uids_are_no_trouble(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = save(stack(SeriesInstanceUID="1.02.003", FrameOfReferenceUID="1.0x"), tmp_path)
    assert_whole(read_study(folder).short_axis())


def test_a_vendors_own_element_is_one_more_row(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = stack(TriggerTime=None)
    for dataset in datasets:
        phase = (int(dataset.InstanceNumber) - 1) % 100
        dataset.add_new(0x00191015, "DS", f"{0.3 - 0.1 * phase:.1f}")  # seconds, last phase first
    row = TimeRule("TriggerTime", 0x00191015, lambda seconds: 1000 * float(seconds))
    monkeypatch.setattr(headers, "TIME_RULES", (*TIME_RULES, row))
    monkeypatch.setattr(headers, "WANTED", (*headers.WANTED, row.tag))
    cine = cine_of(datasets)
    assert cine.source.order_rule == "TriggerTime"
    assert cine.times_ms == (0, 100, 200, 300)
    np.testing.assert_array_equal(cine.frames, expected()[::-1])


def test_without_trigger_times_the_next_rule_is_used() -> None:
    datasets = stack(TriggerTime=None)
    for dataset in datasets:
        phase = (dataset.InstanceNumber - 1) % 100
        dataset.TemporalPositionIdentifier = phase + 1
        dataset.InstanceNumber = 1000 - dataset.InstanceNumber
    cine = cine_of(datasets)
    assert_whole(cine)
    assert cine.source.order_rule == "TemporalPositionIdentifier"
    assert cine.times_ms is None
    for dataset in datasets:
        dataset.TriggerTime = 0
        del dataset.TemporalPositionIdentifier
    cine = cine_of(datasets)
    np.testing.assert_array_equal(cine.frames, expected()[::-1])
    assert cine.source.order_rule == "InstanceNumber"


def test_enhanced_multi_frame(tmp_path: Path) -> None:
    path = tmp_path / "enhanced.dcm"
    path.write_bytes(to_bytes(enhanced()))
    cine = read_study(path).short_axis()
    offsets = np.array([0, 10, 20], np.float32)[None, :, None, None]
    np.testing.assert_array_equal(cine.frames, 2 * expected() + offsets)
    assert cine.times_ms == (0.0, 40.0, 80.0, 120.0)
    assert cine.source.name == "enhanced"
    assert cine.planes is not None
    assert cine.planes[0].thickness_mm == 8.0
    assert cine.source.instances is not None
    # frames lie slice after slice, each from the last phase to the first: phase 0 of slice 1 is 8
    assert cine.source.instances[0][1].frame == 8


def test_enhanced_without_trigger_times_uses_the_temporal_index() -> None:
    cine = cine_of([enhanced(trigger=False)])
    assert cine.source.order_rule == "TemporalPositionIdentifier"
    assert cine.shape == (4, 3, 32, 32)
    single = cine_of([enhanced()])
    np.testing.assert_array_equal(cine.frames, single.frames)


SYNTAXES = [JPEGLosslessSV1, JPEG2000Lossless, JPEGLSLossless, RLELossless]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_lossless_compression_gives_the_same_frames(tmp_path: Path, syntax: str) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    for number, dataset in enumerate(stack()):
        data = recompressed(to_bytes(dataset), str(syntax))
        assert str(syntax).encode() in data[:400]
        (folder / f"{number}.dcm").write_bytes(data)
    assert_whole(read_study(folder).short_axis())


def test_jpeg_goes_through_gdcm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import Decoder

    asked: list[str] = []
    original = Decoder.iter_array

    def spy(self: Decoder, *args: object, **options: object) -> object:
        asked.append(str(options["decoding_plugin"]))
        return original(self, *args, **options)

    monkeypatch.setattr(Decoder, "iter_array", spy)
    folder = tmp_path / "packed"
    folder.mkdir()
    for number, dataset in enumerate(stack(2, 2)):
        data = recompressed(to_bytes(dataset), str(JPEG2000Lossless))
        (folder / f"{number}.dcm").write_bytes(data)
    read_study(folder)
    assert set(asked) == {"gdcm"}


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    datasets = stack()
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"  # HTJ2K
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\4\0\0\0abcd"
    folder = save(datasets, tmp_path)
    with pytest.raises(UnsupportedEncodingError, match=r"1\.2\.840\.10008\.1\.2\.4\.201"):
        read_study(folder)


def test_broken_compressed_pixels_are_a_read_error(tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    for number, dataset in enumerate(stack(2, 2)):
        data = recompressed(to_bytes(dataset), str(JPEGLSLossless))
        (folder / f"{number}.dcm").write_bytes(data[:-60] if number == 1 else data)
    with pytest.raises(ReadError, match="copy"):
        read_study(folder)


def test_other_series_change_nothing() -> None:
    mixed = [*computed_tomography(), *long_axis(), *long_axis(angle=60), *stack()]
    phase_images = stack(SeriesInstanceUID="1.2.3.5", ImageType=["ORIGINAL", "PRIMARY", "P"])
    still = [
        image(0, z, SeriesInstanceUID="1.2.3.6", SOPInstanceUID=f"1.2.3.6.{z}") for z in range(8)
    ]
    assert_whole(cine_of([*mixed, *phase_images, *still]))


def test_an_axial_cine_loses_against_the_short_axis() -> None:
    axial = stack(
        4,
        4,
        SeriesInstanceUID="1.2.3.7",
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        AcquisitionTime="110000",
    )
    for dataset in axial:
        dataset.SOPInstanceUID += ".7"
    assert_whole(cine_of([*axial, *stack()]))


def test_one_series_per_slice_is_one_stack() -> None:
    datasets = stack()
    for dataset in datasets:
        dataset.SeriesInstanceUID = f"1.2.3.4.{dataset.InstanceNumber // 100}"
    study = study_of(datasets)
    assert_whole(study.short_axis())
    assert [row.chosen for row in study.series] == [True] * 3
    assert "joined from 3 series" in study.series[0].reason


def test_a_label_map_in_dicom_is_no_image() -> None:
    labels = np.zeros((SIDE, SIDE), np.uint16)
    labels[4:20, 4:20], labels[8:16, 8:16] = 2, 3
    with pytest.raises(LabelMapError, match=r"found a label map \(values 0, 2, 3\)"):
        study_of(stack(pixels=labels))


def test_exact_duplicates_are_kept_once() -> None:
    copies = [image(t, 1, SOPInstanceUID=f"1.2.3.99.{t}") for t in range(4)]
    cine = cine_of([*stack(), *stack()[:2], *copies])
    assert_whole(cine)
    note = next(f for f in cine.issues if f.code == "duplicate-images")
    assert note.severity == "info"
    assert note.text.startswith("6 ")  # two files given twice and four re-sent under new UIDs


@pytest.mark.parametrize("delay_ms", [0.0, 3.0])
@pytest.mark.parametrize("how", ["acquisition", "series", "time"])
def test_of_a_repeated_slice_the_last_acquisition_is_kept(how: str, delay_ms: float) -> None:
    again = [
        image(
            t,
            1,
            SOPInstanceUID=f"1.2.3.99.{t + 1}",
            TriggerTime=10.5 + 40 * t + delay_ms,
            pixels=pixels(t, 1) + np.uint16(5),
            AcquisitionTime="100500",
        )
        for t in range(4)
    ]
    for number, dataset in enumerate(again):
        if how == "acquisition":
            dataset.AcquisitionNumber = 2
        if how == "series":
            dataset.SeriesInstanceUID = "1.2.3.44"
        dataset.InstanceNumber = 900 + number
    cine = cine_of([*again, *stack()])
    np.testing.assert_array_equal(cine.frames[:, 1], expected()[:, 1] + 5)
    np.testing.assert_array_equal(cine.frames[:, ::2], expected()[:, ::2])
    issue = next(f for f in cine.issues if f.code == "reacquired-slice")
    assert (issue.severity, issue.slice) == ("warning", 1)
    assert cine.complete


def test_a_whole_stack_acquired_twice_in_one_series_is_not_interleaved() -> None:
    again = stack(AcquisitionNumber=2)
    for dataset in again:
        dataset.SOPInstanceUID += ".2"
        dataset.TriggerTime += 3
        dataset.InstanceNumber += 1000
        dataset.PixelData = (np.frombuffer(dataset.PixelData, np.uint16) + 9).tobytes()
    cine = cine_of([*stack(), *again])
    np.testing.assert_array_equal(cine.frames, expected() + 9)
    assert codes(cine).count("reacquired-slice") == 3


def test_a_repeated_series_of_the_whole_stack_takes_the_later_and_says_so() -> None:
    again = stack(SeriesInstanceUID="1.2.3.40", AcquisitionTime="103000")
    for dataset in again:
        dataset.SOPInstanceUID += ".2"
        dataset.PixelData = (np.frombuffer(dataset.PixelData, np.uint16) + 9).tobytes()
    cine = cine_of([*again, *stack()])
    np.testing.assert_array_equal(cine.frames, expected() + 9)
    assert "several-stacks" in codes(cine)


def test_a_slice_with_few_phases_is_left_out_and_reported() -> None:
    datasets = [d for d in stack(4) if not (d.InstanceNumber > 300 and d.InstanceNumber > 302)]
    cine = cine_of(datasets)
    np.testing.assert_array_equal(cine.frames, expected())
    assert not cine.complete
    (issue,) = [f for f in cine.issues if f.code == "incomplete-slice"]
    assert issue.severity == "error"
    assert "position 4 of 4 has 2 phases where 4 are usual" in issue.text


def test_a_missing_slice_is_reported_and_stays_missing() -> None:
    cine = cine_of([d for d in stack(6) if d.InstanceNumber // 100 != 3])
    assert cine.shape[1] == 5
    assert cine.complete
    (issue,) = [f for f in cine.issues if f.code == "missing-slice"]
    assert (issue.severity, issue.slice) == ("warning", 2)
    assert cine.planes is not None
    assert gaps(cine.planes) == (2,)


def test_an_incomplete_slice_is_not_called_missing_as_well() -> None:
    cine = cine_of([d for d in stack(6) if d.InstanceNumber not in (304, 303)])
    assert "missing-slice" not in codes(cine)
    assert cine.shape[1] == 5


def test_a_reangled_slice_is_left_out_and_reported() -> None:
    datasets = stack(4)
    angle = np.radians(4)
    for dataset in datasets[-4:]:
        row = np.array(dataset.ImageOrientationPatient[:3], float)
        turned = np.cos(angle) * row + np.sin(angle) * NORMAL
        column = [float(v) for v in dataset.ImageOrientationPatient[3:]]
        dataset.ImageOrientationPatient = [*(float(v) for v in turned), *column]
    cine = cine_of(datasets)
    assert cine.shape[1] == 3
    assert not cine.complete
    assert "reangled-slice" in codes(cine)


def test_two_pixel_spacings_in_one_series_are_refused() -> None:
    small = np.ones((24, 24), np.uint16)
    odd = [image(t, 3, pixels=small + np.uint16(t), PixelSpacing=[2.0, 1.5]) for t in range(4)]
    with pytest.raises(InconsistentStackError, match=r"32 x 32 pixels of .* and 24 x 24"):
        cine_of([*stack(), *odd])


def test_a_smaller_slice_of_the_same_pixels_is_padded() -> None:
    small = pixels(0, 3)[:24, :24]
    odd = [image(t, 3, pixels=small + np.uint16(t)) for t in range(4)]
    cine = cine_of([*stack(), *odd])
    assert (cine.shape, cine.complete) == ((4, 4, 32, 32), True)
    np.testing.assert_array_equal(cine.frames[1, 3, :24, :24], small + 1.0)
    assert not cine.frames[:, 3, 24:].any()
    assert not cine.frames[:, 3, :, 24:].any()
    (issue,) = [f for f in cine.issues if f.code == "frame-adapted"]
    assert "slice 3 (24 x 24 pixels) was cropped or padded" in issue.text
    assert cine.source.instances is not None
    assert [ref.same_pixels for ref in cine.source.instances[0]] == [True, True, True, False]


REFUSED = {
    "one position only": lambda: long_axis(),
    "looks like a long-axis": lambda: [d for a in (0, 60, 120) for d in long_axis(angle=a)],
    "CT: not MR": computed_tomography,
    "no phases: 5 slices": lambda: stack(5, 1),
    "no place": lambda: stack(ImagePositionPatient=None),
    "phase images": lambda: stack(ImageType=["ORIGINAL", "PRIMARY", "PHASE"]),
    "colour images": lambda: stack(SamplesPerPixel=3),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_short_axis_cine_is_refused_with_a_reason(reason: str, tmp_path: Path) -> None:
    folder = save(REFUSED[reason](), tmp_path / "series")
    with pytest.raises(NotACineError) as caught:
        read_study(folder)
    text = str(caught.value)
    assert reason in text
    assert "expected a short-axis cine" in text
    assert str(folder) in text
    assert "\n" not in text
    assert caught.value.exit_code == 3
    rows = list_series(folder)
    assert all(row.score == 0 and not row.chosen for row in rows)


def test_the_list_tells_which_series_was_chosen_and_why(tmp_path: Path) -> None:
    folder = save([*computed_tomography(), *stack(), *long_axis()], tmp_path)
    rows = {row.series_uid: row for row in list_series(folder)}
    chosen = rows["1.2.3.4"]
    assert chosen.chosen
    assert (chosen.slices, chosen.phases, chosen.files) == (3, 4, 12)
    assert chosen.slice_spacing_mm == pytest.approx(STEP_MM)
    assert chosen.pixel_spacing_mm == SPACING
    assert "3 parallel slices x 4 phases" in chosen.reason
    assert rows["1.2.3.9"].reason == "CT: not MR"
    assert rows["1.2.3.80"].reason.startswith("one position only")
    assert [row.chosen for row in rows.values()].count(True) == 1


def test_several_studies_of_a_folder(tmp_path: Path) -> None:
    other = stack(StudyInstanceUID="1.2.9")
    for dataset in other:
        dataset.SOPInstanceUID += ".9"
    scan = computed_tomography()
    for dataset in scan:
        dataset.StudyInstanceUID = "1.1.1"
    folder = save([*other, *scan, *stack()], tmp_path / "ward")
    refs = find_studies(folder)
    assert [ref.study_uid for ref in refs] == ["1.1.1", "1.2.3", "1.2.9"]
    assert all(ref.name.startswith("ward-") and len(ref.name) == 13 for ref in refs)
    assert len({ref.name for ref in refs}) == 3
    with pytest.raises(NotACineError):
        read_study(refs[0])
    assert_whole(read_study(refs[1]).short_axis())
    by_path = read_study(folder).short_axis()
    assert by_path.source.study_uid == "1.2.3"
    assert "several-studies" in codes(by_path)


def test_no_name_leaks(tmp_path: Path) -> None:
    folder = save([*stack(), *computed_tomography()], tmp_path / "heart")
    study = read_study(folder)
    shown = repr((study.short_axis().source, study.short_axis().issues, study.series))
    shown += repr([(ref, ref.frames) for ref in find_studies(folder)])
    assert "Doe" in NAME
    assert "Doe" not in shown
    assert "1950" not in shown


def test_the_name_is_struck_out_of_descriptions() -> None:
    (row,) = study_of(stack(SeriesDescription="SAX doe, JANE 3")).series
    assert row.description == "SAX ***, *** 3"


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = save(stack(), tmp_path)
    read_study(find_studies(folder)[0], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 12) for n in range(1, 13)]


def test_tiny_frames_are_refused() -> None:
    with pytest.raises(ReadError, match="16 pixels"):
        cine_of(stack(pixels=np.ones((1, 1), np.uint16)))
