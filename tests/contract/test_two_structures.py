"""Cavity and myocardium from the command line to every file: a model of two thresholds."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from card_maker import calibration
from command_line import Ended
from PIL import Image
from tiny_model import write_tiny_model

from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid, Plane
from lvseg.labels import Label
from lvseg.modelcard import Intervals
from lvseg.phantom.dicom_export import write_dicom_cine
from lvseg.read import read_mask
from lvseg.write import write_mask

Command = Callable[..., Ended]
#: Radius of the cavity, pixels: end-diastole, end-systole; the first and last slice are empty.
RADII = ((0, 14, 13, 11, 9, 0), (0, 9, 8, 7, 6, 0))
WALL_PX = 5
ROWS, COLUMNS = 92, 84
SPACING = (1.33, 1.27)
FORMATS = "nifti,png,contours,sunnybrook,dicom-seg,dicom-sr,report"
ERRORS = Intervals(
    edv_percent=(-5.0, 10.0), ef_points=(-4.0, 4.0), mass_percent=(-10.0, 15.0), studies=44
)


def bullseye() -> tuple[Cine, Mask]:
    """Bright discs in grey rings on dark noise, four phases; and what was drawn."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    away = np.hypot(y - 44.3, x - 40.6)
    labels = np.zeros((4, len(RADII[0]), ROWS, COLUMNS), np.uint8)
    for phase, share in enumerate((0.0, 0.6, 1.0, 0.3)):
        for index, (full, small) in enumerate(zip(*RADII, strict=True)):
            radius = full + share * (small - full)
            if full:
                labels[phase, index] = np.where(away <= radius + WALL_PX, 2, 0)
                labels[phase, index][away <= radius] = 1
    planes = tuple(
        Plane(
            (-60.0 - 5.4 * z, -50.0 + 7.2 * z, 0.0), (0.0, 0.0, -1.0), (0.8, 0.6, 0.0), SPACING, 8.0
        )
        for z in range(len(RADII[0]))
    )
    noise = np.random.default_rng(5).integers(0, 12, labels.shape).astype(np.float32)
    frames = np.array([0, 250, 100], np.float32)[labels]
    frames += noise * labels.any(axis=(2, 3), keepdims=True)  # an empty slice has no contrast
    grid = Grid.of(frames, planes=planes)
    times = (0.0, 200.0, 330.0, 600.0)
    cine = Cine(frames, Source("array", "bullseye"), grid, times, "short-axis", (), 70.0)
    return cine, Mask(labels, (0, 1, 2, 3), grid)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    curve = calibration(review_below=0.0, slice_review_below=0.0, intervals=ERRORS)
    folder = tmp_path_factory.mktemp("model") / "two"
    return write_tiny_model(folder, thresholds=(0.7, 0.2), calibration=curve)


@pytest.fixture
def written(model: Path, tmp_path: Path, lvseg_command: Command) -> Path:
    """The folder of the study, every format in it."""
    write_dicom_cine(bullseye()[0], tmp_path / "bullseye")
    ended = lvseg_command(
        *("segment", tmp_path / "bullseye", "-o", tmp_path / "out"),
        *("--model", model, "--formats", FORMATS),
    )
    assert ended.status == 0, ended.err
    assert "mass " in ended.out
    return tmp_path / "out" / "bullseye"


def valid(path: Path) -> bool:
    """Whether an independent validator finds no error; true where there is none."""
    program = shutil.which("dciodvfy")
    if program is None:
        return True
    told = subprocess.run([program, path], capture_output=True, text=True, check=False)
    return not [line for line in told.stderr.splitlines() if line.startswith("Error")]


def test_every_file_holds_both_structures(written: Path, lvseg_command: Command) -> None:
    drawn = bullseye()[1]
    values = json.loads((written / "measurements.json").read_text("utf-8"))
    # the sum by hand: pixels of the wall, 1.33 x 1.27 mm2 each, slabs of 9 mm, 1.05 g/ml
    wall_px = int((drawn.labels[0] == 2).sum())
    assert values["mass_g"] == pytest.approx(1.05 * wall_px * 1.33 * 1.27 * 9 / 1000, abs=0.01)
    assert values["mass_g_interval"] == pytest.approx(
        [values["mass_g"] / 1.15, values["mass_g"] / 0.9], abs=0.01
    )
    thickness = values["wall_thickness_mm"]
    assert [each is None for each in thickness] == [True, *[False] * 4, True]
    assert thickness[1:5] == pytest.approx([WALL_PX * 1.3] * 4, rel=0.05)
    assert "no-myocardium" not in {each["code"] for each in values["quality"]["findings"]}

    for name in ("segmentation.nii.gz", "segmentation.dcm"):
        np.testing.assert_array_equal(read_mask(written / name).labels.max(), 2)
    seg = pydicom.dcmread(written / "segmentation.dcm")
    names = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert names == ["left ventricle cavity", "left ventricle myocardium"]
    kinds = [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in seg.SegmentSequence]
    assert kinds == ["277066005", "49848007"]
    assert valid(written / "segmentation.dcm")
    assert valid(written / "report.dcm")
    masses = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in pydicom.dcmread(written / "report.dcm").iterall()
        if item.tag == 0x0040A730
        for item in item.value
        if item.get("ValueType") == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "18087-7"
    ]
    assert masses == [values["mass_g"]] * 2  # of the ventricle, and of its segment
    contours = json.loads((written / "contours.json").read_text("utf-8"))["contours"]
    assert {each["label"] for each in contours} == {"LV_CAVITY", "LV_MYOCARDIUM"}
    kinds = {path.name.split("-")[3] for path in (written / "contours").iterdir()}
    assert kinds == {"icontour", "ocontour"}
    pixels = np.asarray(Image.open(written / "overlays" / "ed.png")).astype(int)
    assert ((pixels[..., 0] - pixels[..., 1]) > 60).any()  # the cavity is red,
    assert ((pixels[..., 2] - pixels[..., 0]) > 60).any()  # the epicardium blue
    page = (written / "report.html").read_text("utf-8")
    assert "left ventricle myocardium" in page
    assert f"{values['mass_g']:.1f}" in page


def test_what_was_written_is_read_back_and_measured_the_same(
    written: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    cine, drawn = bullseye()
    np.testing.assert_array_equal(read_mask(written / "segmentation.dcm").labels, drawn.labels)
    values = json.loads((written / "measurements.json").read_text("utf-8"))
    truth = tmp_path / "truth.nii.gz"
    write_mask(drawn, truth, cine.source)
    mixed = tmp_path / "mixed.nii.gz"  # the values of another tool
    swapped = np.choose(drawn.labels, [0, 2, 1]).astype(np.uint8)
    write_mask(Mask(swapped, drawn.phases, drawn.grid), mixed, cine.source)
    by_value = ("--label", "cavity=2", "--label", "myocardium=1")
    for given in (
        [written / "segmentation.nii.gz"],
        [written / "segmentation.dcm"],
        [truth],
        [mixed, *by_value],
    ):
        found = lvseg_command("measure", *given, "--json").document
        for key in ("mass_g", "edv_ml", "esv_ml", "ef_percent", "wall_thickness_mm"):
            assert found[key] == pytest.approx(values[key]), (given, key)
        assert found["mass_g_interval"] is None  # nobody knows who drew it
        assert "no-intervals" in {each["code"] for each in found["quality"]["findings"]}
    for first, second in (
        (truth, written / "segmentation.nii.gz"),
        (written / "segmentation.nii.gz", written / "segmentation.dcm"),
    ):
        found = lvseg_command("compare", first, second, "--json").document
        assert set(found["by_label"]) == {label.name for label in Label if label}
        assert [group["dice"]["mean"] for group in found["by_label"].values()] == [1.0, 1.0]


def test_a_model_of_the_cavity_alone_says_that_there_is_no_mass(
    tiny_model: Path, tmp_path: Path, lvseg_command: Command
) -> None:
    write_dicom_cine(bullseye()[0], tmp_path / "bullseye")
    ended = lvseg_command(
        *("segment", tmp_path / "bullseye", "-o", tmp_path / "out", "--model", tiny_model)
    )
    assert ended.status == 0, ended.err
    assert "mass" not in ended.out
    written = tmp_path / "out" / "bullseye"
    values = json.loads((written / "measurements.json").read_text("utf-8"))
    for key in ("mass_g", "wall_thickness_mm", "mass_g_interval", "edv_ml_interval"):
        assert values[key] is None
    found = {each["code"]: each["severity"] for each in values["quality"]["findings"]}
    assert (found["no-myocardium"], found["no-intervals"]) == ("info", "info")
    assert not {"mass", "wall_thickness"} & set(values["conventions"])
    assert len(pydicom.dcmread(written / "segmentation.dcm").SegmentSequence) == 1
