"""The readers on real studies."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lvseg.geometry import disc_thickness_mm, slice_spacing_mm
from lvseg.read import find_studies, list_series, read_study

pytestmark = pytest.mark.data


@pytest.mark.parametrize(
    ("name", "slices", "spacing_mm", "step_mm"),
    [("SCD0000101", 12, 1.367188, 10.0), ("SCD0000301", 10, 1.2891, 8.0)],
)
def test_a_complete_study(
    data_dir: Path, name: str, slices: int, spacing_mm: float, step_mm: float
) -> None:
    study = read_study(data_dir / "sunnybrook-dicom" / name / "dicom")
    cine = study.short_axis()
    assert cine.shape == (20, slices, 256, 256)
    assert cine.complete
    assert cine.pixel_spacing_mm == (spacing_mm, spacing_mm)
    assert cine.planes is not None
    assert slice_spacing_mm(cine.planes) == pytest.approx(step_mm, abs=0.01)
    np.testing.assert_allclose(disc_thickness_mm(cine.planes), step_mm, atol=0.01)
    assert {issue.severity for issue in cine.issues} == {"info"}
    assert [row.chosen for row in study.series] == [True]


def test_a_zip_with_another_study_shuffled_and_renamed_gives_the_same(
    data_dir: Path, tmp_path: Path
) -> None:
    folder = data_dir / "sunnybrook-dicom"
    wanted = sorted((folder / "SCD0000301" / "dicom").iterdir())
    foreign = sorted((folder / "SCD0000101" / "dicom").iterdir())[::6]
    archive = tmp_path / "mixed.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for number, path in enumerate([*foreign, *wanted[::-1]]):
            out.write(path, f"{(number * 7919) % 10007}/{number}")
    plain = read_study(folder / "SCD0000301" / "dicom").short_axis()
    ref = next(r for r in find_studies(archive) if r.study_uid == plain.source.study_uid)
    mixed = read_study(ref).short_axis()
    np.testing.assert_array_equal(plain.frames, mixed.frames)
    assert (plain.planes, plain.times_ms) == (mixed.planes, mixed.times_ms)
    assert (plain.source.instances, plain.issues) == (mixed.source.instances, mixed.issues)


def test_the_partial_study_says_so(data_dir: Path) -> None:
    cine = read_study(data_dir / "dicom-unlabelled" / "philips_lvsa1_partial").short_axis()
    assert cine.shape == (30, 3, 288, 288)
    assert not cine.complete
    (issue,) = [f for f in cine.issues if f.severity == "error"]
    assert issue.code == "incomplete-slice"
    assert "10 phases where 30 are usual" in issue.text
    (row,) = list_series(data_dir / "dicom-unlabelled" / "philips_lvsa1_partial")
    assert (row.slices, row.phases) == (4, 30)


def test_a_nifti_of_another_scanner(data_dir: Path) -> None:
    folder = data_dir / "acdc-external" / "patient012"
    meta = json.loads((folder / "meta.json").read_text())
    cine = read_study(folder / "ED_image.nii.gz").short_axis()
    assert cine.shape[0] == 1
    assert cine.pixel_spacing_mm == pytest.approx(tuple(meta["pixel_spacing_mm"]), rel=1e-5)
    assert cine.planes is not None
    assert slice_spacing_mm(cine.planes) == pytest.approx(meta["slice_spacing_mm"])
