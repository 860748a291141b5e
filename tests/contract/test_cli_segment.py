"""`lvseg segment` on a phantom with a tiny model: files, JSON, batches, earlier results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import faulty_workers
import nibabel
import numpy as np
import pydicom
import pytest
from command_line import Ended
from PIL import Image

from lvseg import read as reading
from lvseg.cine import Cine, Mask
from lvseg.cli.output import Output
from lvseg.errors import ReadError
from lvseg.phantom import Truth
from lvseg.write import write_cine_nifti

KEYS = {
    *("schema", "lvseg", "model", "study", "ed_phase", "es_phase", "edv_ml", "esv_ml", "sv_ml"),
    *("ef_percent", "volume_ml", "area_mm2", "quality", "seconds"),
}
#: What a batch writes beside its studies.
OF_A_BATCH = ("cohort.csv", "cohort.html", "journal.jsonl")


@dataclass(frozen=True)
class Segment:
    """The command on a phantom and with a tiny model; results go to ``out``.

    :param heart: the phantom as a DICOM folder; read only. :param folder: an empty one.
    """

    command: Callable[..., Ended]
    heart: Path
    model: Path
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def __call__(self, *arguments: object, out: Path | None = None) -> Ended:
        """``lvseg segment`` with sources and further options."""
        places = ("-o", out or self.out, "--model", self.model)
        return self.command("segment", *arguments, *places)


@pytest.fixture
def segment(
    lvseg_command: Callable[..., Ended], phantom_dicom: Path, tiny_model: Path, tmp_path: Path
) -> Segment:
    return Segment(lvseg_command, phantom_dicom, tiny_model, tmp_path)


def picture(path: Path, shape: tuple[int, int] = (80, 72)) -> Path:
    """A bright disc on dark ground, both shaded as an image is."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    disc = (rows - 38) ** 2 + (columns - 35) ** 2 < 14**2
    shade = (rows + columns) % 16
    Image.fromarray((np.where(disc, 222, 12) + shade).astype(np.uint8)).save(path)
    return path


def test_a_dicom_study_gets_its_folder(segment: Segment) -> None:
    out = segment.folder / "deep" / "out"
    ended = segment(segment.heart, out=out)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("heart: 6 slices x 4 phases, EDV ")
    assert str(out / "heart") in ended.out
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {
        "heart/measurements.json",
        "heart/segmentation.nii.gz",
        "heart/segmentation.seg.nrrd",
        "heart/segmentation.label",
        "heart/contours.json",
        "heart/overlays/ed.png",
        "heart/overlays/es.png",
        "heart/segmentation.dcm",
        "heart/report.dcm",
        "heart/report.html",
        "heart/manifest.json",
    }
    page = out / "heart" / "report.html"
    assert ended.out.splitlines()[-1] == f"open {page} in a browser"
    measurements = json.loads((out / "heart" / "measurements.json").read_text())
    assert set(measurements) >= KEYS
    assert measurements["model"]["name"] == "tiny"
    assert (measurements["study"]["slices"], measurements["study"]["phases"]) == (6, 4)
    assert {"read", "predict", "write", "total"} <= set(measurements["seconds"])
    # (column, row, slice, phase)
    assert nibabel.load(out / "heart" / "segmentation.nii.gz").shape == (104, 112, 6, 4)


def test_headers_of_the_source_are_read_once_for_all_dicom_objects(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = reading.read_source_headers, []

    def read_source_headers(*arguments):  # type: ignore[no-untyped-def]
        calls.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(reading, "read_source_headers", read_source_headers)
    ended = segment(segment.heart)
    assert ended.status == 0
    assert (segment.out / "heart" / "segmentation.dcm").is_file()
    assert (segment.out / "heart" / "report.dcm").is_file()
    assert len(calls) == 1


def test_json_is_the_documents_of_the_files(segment: Segment) -> None:
    ended = segment(segment.heart, "--json")
    assert (ended.status, ended.err) == (0, "")
    (entry,) = ended.document["studies"]
    assert set(entry) == {"source", "study", "folder", "exit", "error", "measurements"}
    assert (entry["source"], entry["exit"], entry["error"]) == (str(segment.heart), 0, None)
    assert entry["study"] == "heart"
    assert entry["measurements"] == json.loads(
        Path(entry["folder"], "measurements.json").read_text()
    )


def test_a_nifti_keeps_shape_and_affine(
    segment: Segment, phantom: tuple[Cine, Mask, Truth]
) -> None:
    source = segment.folder / "cine.nii.gz"
    write_cine_nifti(phantom[0], source)
    ended = segment(source)
    assert ended.status == 0
    before, after = nibabel.load(source), nibabel.load(segment.out / "cine" / "segmentation.nii.gz")
    assert after.shape == before.shape
    assert np.array_equal(after.affine, before.affine)
    assert after.get_data_dtype() == np.uint8


def test_a_picture_gets_a_mask_and_an_overlay_of_its_size(segment: Segment) -> None:
    source = picture(segment.folder / "slice 7.png")
    ended = segment(source)
    assert ended.status == 0, ended.err
    assert "EDV unknown" in ended.out
    (folder,) = segment.out.iterdir()
    names = {path.name for path in folder.iterdir()}
    pictures = {f"{folder.name}_mask.png", f"{folder.name}_overlay.png"}
    assert names == {*pictures, "measurements.json", "manifest.json"}
    with Image.open(folder / f"{folder.name}_mask.png") as image:
        mask = np.asarray(image)
    assert mask.shape == (80, 72)
    assert set(np.unique(mask)) == {0, 255}
    with Image.open(folder / f"{folder.name}_overlay.png") as overlay:
        assert overlay.size == (72, 80)


def test_spacing_of_a_picture_is_used_and_never_guessed(segment: Segment) -> None:
    source = picture(segment.folder / "slice.png")
    without = segment(source, "--json", out=segment.folder / "a")
    given = segment(source, "--spacing", "1.3", "--json", out=segment.folder / "b")
    first, second = (each.document["studies"][0]["measurements"] for each in (without, given))
    assert first["study"]["pixel_spacing_mm"] is None
    assert first["area_mm2"] is None
    assert second["study"]["pixel_spacing_mm"] == [1.3, 1.3]
    # 1.69 mm2 a pixel, and a disc of radius 14 px has about 615 px.
    assert second["area_mm2"][0][0] == pytest.approx(1.69 * 615, rel=0.1)
    assert second["edv_ml"] is None


@pytest.mark.parametrize(
    ("formats", "names"),
    [
        ("contours", {"contours.json"}),
        ("nifti", {"segmentation.nii.gz"}),
        ("seg-nrrd,itk-snap", {"segmentation.seg.nrrd", "segmentation.label"}),
        ("png, Contours", {"overlays", "contours.json"}),
        ("dicom-seg", {"segmentation.dcm"}),
        ("dicom-sr,dicom-seg", {"segmentation.dcm", "report.dcm"}),
        ("report", {"report.html"}),
        ("sunnybrook", {"contours"}),
    ],
)
def test_formats_choose_the_files(formats: str, names: set[str], segment: Segment) -> None:
    assert segment(segment.heart, "--formats", formats).status == 0
    found = {path.name for path in (segment.out / "heart").iterdir()}
    assert found == {*names, "measurements.json", "manifest.json"}


@pytest.mark.parametrize("name", ["dicom-seg", "dicom-sr", "nifti"])
def test_a_format_that_a_picture_cannot_have_says_so(name: str, segment: Segment) -> None:
    source = picture(segment.folder / "slice.png")
    ended = segment(source, "--formats", name)
    assert ended.status == 2
    assert f"--formats {name} needs a" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["dicom", "nifti", "picture"])
def test_lengths_that_no_heart_has_give_a_mask_a_finding_and_no_millilitres(
    kind: str, segment: Segment, phantom: tuple[Cine, Mask, Truth]
) -> None:
    source, options = segment.folder / "odd", []
    if kind == "dicom":
        source.mkdir()
        for path in segment.heart.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.PixelSpacing = [2000, 2000]
            dataset.save_as(source / path.name)
    elif kind == "nifti":
        source = segment.folder / "odd.nii"
        write_cine_nifti(phantom[0], segment.folder / "usual.nii")
        metres = nibabel.load(segment.folder / "usual.nii")
        metres.header.set_xyzt_units("meter", "msec")
        nibabel.save(metres, source)
    else:
        source, options = picture(segment.folder / "odd.png"), ["--spacing", "2000"]
    ended = segment(source, *options, "--json")
    assert (ended.status, ended.err) == (0, "")
    (study,) = ended.document["studies"]
    values = study["measurements"]
    for key in ("edv_ml", "esv_ml", "sv_ml", "ef_percent", "volume_ml", "area_mm2"):
        assert values[key] is None, key
    assert values["study"]["pixel_spacing_mm"] is None
    assert values["quality"]["verdict"] == "fail"
    (finding,) = (f for f in values["quality"]["findings"] if f["code"] == "implausible-spacing")
    assert finding["severity"] == "error"
    assert "expected a pixel spacing of 0.1 to 10 mm, found " in finding["text"]
    mask = "odd_mask.png" if kind == "picture" else "segmentation.nii.gz"
    written = {path.name for path in Path(study["folder"]).iterdir()}
    assert mask in written
    assert "segmentation.dcm" not in written  # it would repeat the lengths


def test_one_failing_study_does_not_stop_the_others(segment: Segment) -> None:
    (segment.folder / "empty").mkdir()
    sources = (picture(segment.folder / "a.png"), segment.folder / "empty", segment.heart)
    ended = segment(*sources, "--json")
    assert ended.status == 4
    entries = ended.document["studies"]
    assert [entry["source"] for entry in entries] == [str(source) for source in sources]
    assert [entry["exit"] for entry in entries] == [0, 3, 0]
    assert ended.err.count("\n") == 1
    assert str(segment.folder / "empty") in ended.err
    assert [entry["study"] for entry in entries] == ["a", "empty", "heart"]
    assert {path.name for path in segment.out.iterdir()} == {"a", "heart", *OF_A_BATCH}


def test_a_batch_for_people_lists_what_failed(segment: Segment) -> None:
    missing = segment.folder / "missing"
    ended = segment(missing, segment.heart)
    assert ended.status == 4
    assert ended.out.splitlines()[-1] == f"2 studies: 1 done, 1 failed: {missing}"


def test_sources_of_one_name_get_distinct_folders(segment: Segment) -> None:
    sources = []
    for place in ("x", "y"):
        (segment.folder / place).mkdir()
        sources.append(picture(segment.folder / place / "same.png"))
    ended = segment(*sources, "--json")
    assert ended.status == 0
    folders = [entry["folder"] for entry in ended.document["studies"]]
    assert folders == [str(segment.out / "x-same"), str(segment.out / "y-same")]


def test_a_folder_of_pictures_is_a_batch(segment: Segment) -> None:
    (segment.folder / "in").mkdir()
    for name in ("b.png", "a.png"):
        picture(segment.folder / "in" / name)
    ended = segment(segment.folder / "in", "--json")
    assert ended.status == 0
    assert [Path(entry["folder"]).name for entry in ended.document["studies"]] == ["a", "b"]


def label_map(path: Path) -> Path:
    values = np.resize(np.arange(4, dtype=np.uint8), (64, 48))
    Image.fromarray(values).save(path)
    return path


def test_label_maps_among_the_images_of_a_folder_are_left_out_and_counted(segment: Segment) -> None:
    source = segment.folder / "in"
    source.mkdir()
    for name in ("b.png", "c.png"):
        picture(source / name)
    maps = [label_map(source / name) for name in ("a_gt.png", "b_gt.png")]
    ended = segment(source, "--json")
    assert (ended.status, ended.err) == (0, "")
    assert [Path(entry["folder"]).name for entry in ended.document["studies"]] == ["b", "c"]
    findings = ended.document["findings"]
    assert [each["code"] for each in findings] == ["label-map", "label-map"]
    assert all(str(path) in each["text"] for path, each in zip(maps, findings, strict=True))
    assert {path.name for path in segment.out.iterdir()} == {"b", "c", *OF_A_BATCH}
    (source / "c.png").unlink()
    ended = segment(source, "--overwrite")
    assert ended.status == 0
    last = f"label maps, not images, left out: 2 (first: {maps[0]})"
    assert ended.out.splitlines()[-1] == last


def test_a_label_map_given_by_name_or_with_nothing_else_is_refused(segment: Segment) -> None:
    source = segment.folder / "in"
    source.mkdir()
    maps = [label_map(source / name) for name in ("a_gt.png", "b_gt.png")]
    ended = segment(picture(segment.folder / "a.png"), maps[0], "--json")
    assert ended.status == 4
    assert [entry["exit"] for entry in ended.document["studies"]] == [0, 3]
    assert ended.document["findings"] == []
    ended = segment(source, "--json")
    assert (ended.status, ended.document["studies"]) == (3, [])
    assert "2 label maps and nothing else" in ended.document["error"]
    assert ended.err.count("\n") == 1


def test_an_earlier_result_stays_without_overwrite(segment: Segment) -> None:
    assert segment(segment.heart).status == 0
    file = segment.out / "heart" / "measurements.json"
    before = file.read_bytes()
    again = segment(segment.heart)
    assert again.status == 2
    assert "--overwrite" in again.err
    assert again.err.count("\n") == 1
    assert file.read_bytes() == before
    (segment.out / "heart" / "notes.txt").write_text("mine")
    assert segment(segment.heart, "--overwrite", "--formats", "contours").status == 0
    names = {path.name for path in (segment.out / "heart").iterdir()}
    assert names == {"measurements.json", "manifest.json", "contours.json", "notes.txt"}


def test_a_defect_in_one_study_is_1_and_the_others_go_on(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvseg.batch.local.open_worker", faulty_workers.defective)
    sources = (picture(segment.folder / "bad.png"), segment.heart)
    ended = segment(*sources, "--json")
    assert ended.status == 4
    assert [entry["exit"] for entry in ended.document["studies"]] == [1, 0]
    assert "internal error" in ended.err
    assert "Traceback" not in ended.err
    again = segment(*sources, "--debug")
    assert "ZeroDivisionError: of ours\n" in again.err


def test_a_failure_while_writing_leaves_no_study_folder(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lvseg.write.write_contours", full)
    ended = segment(segment.heart)
    assert ended.status == 2
    assert "No space left" in ended.err
    assert list(segment.out.iterdir()) == []


def test_a_source_the_system_refuses_is_3(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(5, "Input/output error", "/there")

    monkeypatch.setattr("lvseg.pipeline.run", refuse)
    ended = segment(segment.heart)
    assert ended.status == ReadError.exit_code
    assert "Input/output error" in ended.err


@pytest.fixture
def interrupted(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The command on two studies; Ctrl-C when the first is told, while the second is worked on."""

    def say(out: Output, text: str) -> None:
        raise KeyboardInterrupt

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr("lvseg.batch.local.open_worker", faulty_workers.hanging)
        monkeypatch.setattr(Output, "say", say)
        shutil.copytree(segment.heart, segment.folder / "bad")
        return segment(segment.heart, segment.folder / "bad", "--jobs", "1", *arguments)

    return run


def test_control_c_leaves_finished_studies_and_no_half_one(
    segment: Segment, interrupted: Callable[..., Ended]
) -> None:
    ended = interrupted()
    assert (ended.status, ended.err) == (130, "lvseg: interrupted\n")
    found = {path.name for path in segment.out.iterdir()}
    assert found == {"heart", "cohort.csv", "journal.jsonl"}


def test_control_c_with_json_lists_what_was_finished(
    segment: Segment, interrupted: Callable[..., Ended]
) -> None:
    ended = interrupted("--json")
    assert (ended.status, ended.document["exit"]) == (130, 130)
    (entry,) = ended.document["studies"]
    assert entry["folder"] == str(segment.out / "heart")
    assert entry["measurements"]["schema"] == 1


def test_an_output_below_the_source_is_no_source_of_the_next_run(segment: Segment) -> None:
    picture(segment.folder / "a.png")
    for more in ((), ("--overwrite",)):
        ended = segment(segment.folder, "--json", *more)
        assert ended.status == 0
        assert [Path(each["folder"]).name for each in ended.document["studies"]] == ["a"]


def test_settings_reach_the_result(segment: Segment) -> None:
    """The phantom has four phases: too few for rates, unless the settings say otherwise."""
    file = segment.folder / "settings.toml"
    file.write_text("[measurement]\nrates_from_phases = 4\n")
    plain = segment(segment.heart, "--json", out=segment.folder / "plain")
    ended = segment(segment.heart, "--settings", file, "--json")
    found = [each.document["studies"][0]["measurements"] for each in (plain, ended)]
    assert [each["peak_filling_rate_ml_s"] is None for each in found] == [True, False]


def test_settings_of_a_fractional_seg_keep_the_probabilities(segment: Segment) -> None:
    file = segment.folder / "settings.toml"
    file.write_text("keep_probabilities = false\n")
    options = ("--settings", file, "--formats", "dicom-seg", "--seg-type", "fractional")
    assert segment(segment.heart, *options).status == 0
    assert (segment.out / "heart" / "segmentation.dcm").is_file()


def test_quiet_prints_only_the_result(segment: Segment) -> None:
    ended = segment(segment.heart, "--quiet")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("heart: ")


def test_debug_shows_the_traceback_of_an_error(segment: Segment) -> None:
    ended = segment(segment.folder / "no", "--debug")
    assert ended.status == 3
    assert "Traceback" in ended.err
