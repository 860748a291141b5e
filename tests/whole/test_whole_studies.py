"""Real studies through the real model, beside the experts; the reasons for the bounds are theirs.

The three DICOM patients are among the model's training patients: these tests show that reading,
geometry, cleaning and measuring fit together, not how well the model generalises.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from reference_volumes import ReferenceVolumes, reference_volumes

from lvseg import model_store
from lvseg.cli import main
from lvseg.pipeline import run
from lvseg.predict import Predictor, load_model
from lvseg.results import LVMeasurements

pytestmark = pytest.mark.data

STUDIES = {"SCD0000101": "SC-HF-I-01", "SCD0000201": "SC-HF-I-02", "SCD0000301": "SC-HF-I-04"}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_model(model_store.locate(model_store.DEFAULT))


@pytest.fixture(scope="module")
def single(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first study on its own through the command line, no option."""
    out = tmp_path_factory.mktemp("single")
    source = data_dir / "sunnybrook-dicom" / "SCD0000101" / "dicom"
    assert main(["segment", str(source), "-o", str(out), "--quiet"]) == 0
    return out / "SCD0000101"


@pytest.fixture(scope="module", params=STUDIES)
def measured(
    request: pytest.FixtureRequest, data_dir: Path, predictor: Predictor
) -> tuple[str, LVMeasurements, ReferenceVolumes]:
    """One study: its name, what lvseg and what the experts measured."""
    dicom = data_dir / "sunnybrook-dicom" / request.param / "dicom"
    contours = data_dir / "sunnybrook" / "contours" / STUDIES[request.param]
    ours = run(dicom, predictor).measurements
    return request.param, ours, reference_volumes(contours, dicom)


def test_ef_and_curve_stand_beside_the_experts(
    measured: tuple[str, LVMeasurements, ReferenceVolumes],
) -> None:
    _, ours, experts = measured
    assert ours.ef_percent == pytest.approx(experts.ef_percent, abs=6)
    assert ours.volume_ml is not None
    assert len(ours.volume_ml) == 20
    curve = np.array(ours.volume_ml)
    # smooth: no step between neighbours above a tenth of the largest volume, the cycle closed
    assert np.abs(np.diff(np.append(curve, curve[0]))).max() < 0.1 * curve.max()


def test_volumes_stand_beside_the_experts(
    measured: tuple[str, LVMeasurements, ReferenceVolumes],
) -> None:
    _, ours, experts = measured
    assert ours.edv_ml == pytest.approx(experts.edv_ml, rel=0.08)
    assert ours.esv_ml == pytest.approx(experts.esv_ml, rel=0.1)


def test_segment_writes_what_the_contract_says(single: Path) -> None:
    names = {str(file.relative_to(single)) for file in single.rglob("*") if file.is_file()}
    assert names == {
        "measurements.json",
        "segmentation.nii.gz",
        "segmentation.seg.nrrd",
        "segmentation.label",
        "contours.json",
        "overlays/ed.png",
        "overlays/es.png",
        "segmentation.dcm",
        "report.dcm",
        "report.html",
        "manifest.json",
    }
    document = json.loads((single / "measurements.json").read_text())
    assert document["study"]["slices"] == 12
    assert document["study"]["phases"] == 20
    assert document["ef_percent"] == pytest.approx(
        100 * (document["edv_ml"] - document["esv_ml"]) / document["edv_ml"], abs=0.02
    )
    assert 0.85 < document["quality"]["expected_dice"] < 1
    image = nibabel.load(single / "segmentation.nii.gz")
    assert image.shape == (256, 256, 12, 20)
    assert image.header.get_zooms()[:3] == pytest.approx((1.367188, 1.367188, 10), abs=1e-3)


def test_mixed_shuffled_zip_gives_the_same_bytes(
    data_dir: Path, single: Path, tmp_path: Path
) -> None:
    files = sorted(
        file for study in STUDIES for file in (data_dir / "sunnybrook-dicom" / study).rglob("*.dcm")
    )
    order = np.random.default_rng(5).permutation(len(files))
    archive = tmp_path / "mixed.zip"
    with zipfile.ZipFile(archive, "w") as mixed:
        for index in order:
            mixed.write(files[index], f"folder{index % 7}/file-{index * 31 % 1009:04d}")
    out = tmp_path / "out"
    assert main(["segment", str(archive), "-o", str(out), "--quiet"]) == 0
    folders = [path for path in out.iterdir() if path.is_dir()]
    assert len(folders) == 3
    expected = json.loads((single / "measurements.json").read_text())
    same = [
        folder
        for folder in folders
        if (folder / "segmentation.nii.gz").read_bytes()
        == (single / "segmentation.nii.gz").read_bytes()
    ]
    assert len(same) == 1
    for name in ("contours.json", "overlays/ed.png", "overlays/es.png"):
        assert (same[0] / name).read_bytes() == (single / name).read_bytes()
    found = json.loads((same[0] / "measurements.json").read_text())
    for document in (expected, found):
        document["study"].pop("source")
        document.pop("seconds")
    assert found == expected


def test_incomplete_stack_ends_with_a_finding_and_no_ef(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = data_dir / "dicom-unlabelled" / "philips_lvsa1_partial"
    if not source.is_dir():
        pytest.skip("missing: dicom-unlabelled/philips_lvsa1_partial")
    assert main(["segment", str(source), "-o", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["studies"][0]["measurements"]
    assert document["ef_percent"] is None
    assert document["edv_ml"] is None
    assert document["quality"]["verdict"] == "fail"
    codes = {issue["code"] for issue in document["quality"]["findings"]}
    assert {"incomplete-slice", "incomplete-stack"} <= codes


@pytest.mark.parametrize("frame", ["ED", "ES"])
def test_nifti_mask_has_the_shape_and_affine_of_its_source(
    data_dir: Path, tmp_path: Path, frame: str
) -> None:
    source = data_dir / "acdc-external" / "patient005" / f"{frame}_image.nii.gz"
    if not source.is_file():
        pytest.skip("missing: acdc-external")
    assert main(["segment", str(source), "-o", str(tmp_path), "--quiet"]) == 0
    mask = nibabel.load(tmp_path / f"{frame}_image" / "segmentation.nii.gz")
    image = nibabel.load(source)
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1, 2}
