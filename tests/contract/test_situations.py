"""The 27 situations of public bug reports, each through the command line with its true value.

The heart of :mod:`situation_maker` has volumes that are counted by hand, and the tiny model finds
its cavity pixel for pixel; so a slice lost, doubled or misplaced shows in EDV or ESV. What the unit
tests of the reader say of frames and places is not repeated here.
"""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import nifti_maker
import numpy as np
import pytest
from command_line import Ended
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from read_maker import COLUMN, NORMAL, ROW, save
from scipy.spatial.transform import Rotation
from situation_maker import (
    AFFINE,
    COLUMNS,
    PHASES,
    PIXEL_MM,
    ROWS,
    SLICES,
    STEP_MM,
    flat,
    grey,
    images,
    labels,
    nifti_greys,
    save_nifti,
    true_ml,
)

EDV_ML, ESV_ML = true_ml()
#: What each situation is -> the test that holds it.
SITUATIONS = {
    "axial-only": "test_a_study_without_a_short_axis_is_refused",
    "breath-hold-series": "test_a_dicom_study_has_its_true_volumes",
    "canonical-axes": "test_a_nifti_file_has_its_true_volumes_or_none",
    "classic-multiframe": "test_a_dicom_study_has_its_true_volumes",
    "coronal-stack-beside": "test_a_dicom_study_has_its_true_volumes",
    "cosines-two-decimals": "test_a_dicom_study_has_its_true_volumes",
    "dicomdir-file": "test_a_dicom_study_has_its_true_volumes",
    "field-of-view-turned": "test_a_dicom_study_has_its_true_volumes",
    "identity-affine-mask": "test_an_identity_affine_states_no_millilitres",
    "instance-numbers-random": "test_a_dicom_study_has_its_true_volumes",
    "label-map-as-image": "test_a_label_map_beside_its_image_is_left_out",
    "latin1-folder-name": "test_a_dicom_study_has_its_true_volumes",
    "mask-255": "test_masks_of_other_tools_have_the_volume_of_ours",
    "mask-four-labels": "test_masks_of_other_tools_have_the_volume_of_ours",
    "mask-turned": "test_masks_of_other_tools_have_the_volume_of_ours",
    "no-modality": "test_a_dicom_study_has_its_true_volumes",
    "phases-differ": "test_a_dicom_study_has_its_true_volumes",
    "reacquired-three-slices": "test_a_dicom_study_has_its_true_volumes",
    "second-stack-tilted": "test_a_dicom_study_has_its_true_volumes",
    "sequence-name-varies": "test_a_dicom_study_has_its_true_volumes",
    "series-per-file": "test_a_dicom_study_has_its_true_volumes",
    "sform-other-spacing": "test_a_nifti_file_has_its_true_volumes_or_none",
    "sform-zero": "test_a_nifti_file_has_its_true_volumes_or_none",
    "two-matrix-sizes": "test_a_dicom_study_has_its_true_volumes",
    "two-stacks-interleaved": "test_a_dicom_study_has_its_true_volumes",
    "units-metre": "test_a_nifti_file_has_its_true_volumes_or_none",
    "zip-in-zip": "test_a_dicom_study_has_its_true_volumes",
}


@pytest.fixture
def segment(
    lvseg_command: Callable[..., Ended], tiny_model: Path, tmp_path: Path
) -> Callable[..., Ended]:
    """``lvseg segment --json`` into ``tmp_path/out``, masks only."""

    def run(*arguments: object) -> Ended:
        places = ("-o", tmp_path / "out", "--model", tiny_model, "--formats", "nifti", "--json")
        return lvseg_command("segment", *arguments, *places)

    return run


def measured(ended: Ended) -> dict[str, Any]:
    assert ended.status == 0, ended.err
    (study,) = ended.document["studies"]
    found: dict[str, Any] = study["measurements"]
    return found


def severities(found: dict[str, Any]) -> dict[str, str]:
    return {each["code"]: each["severity"] for each in found["quality"]["findings"]}


# DICOM


def one_series_a_slice() -> list[list[Dataset]]:
    stack = images()
    for z, place in enumerate(stack):
        for each in place:
            each.SeriesInstanceUID, each.SeriesNumber = f"1.2.4.{z}", 10 + z
    return stack


def breath_holds(folder: Path) -> Path:
    stack = images()
    for z, place in enumerate(stack):
        for each in place:
            each.SeriesInstanceUID = f"1.2.4.{z // 3}"
    return save(flat(stack), folder)


def multi_frame(folder: Path) -> Path:
    made = []
    for first, *others in images(TriggerTime=None):
        first.PixelData += b"".join(each.PixelData for each in others)
        first.NumberOfFrames, first.FrameTime, first.FrameIncrementPointer = PHASES, 50, 0x00181063
        made.append(first)
    return save(made, folder)


def placed(each: Dataset, origin: np.ndarray, right: np.ndarray, down: np.ndarray) -> None:
    each.ImagePositionPatient = [float(value) for value in origin]
    each.ImageOrientationPatient = [float(value) for value in (*right, *down)]


def coronal(slices: int) -> list[Dataset]:
    """A longer stack of the same study that looks from the front."""
    right, down, back = np.array([1.0, 0, 0]), np.array([0, 0, -1.0]), np.array([0, 1.0, 0])
    made = []
    for z in range(slices):
        for t, each in enumerate(images()[z % SLICES]):
            each.SeriesInstanceUID, each.SOPInstanceUID = "1.2.6", f"1.2.6.{z}.{t + 1}"
            placed(each, 8.0 * z * back - 40, right, down)
            made.append(each)
    return made


def coronal_beside(folder: Path) -> Path:
    return save([*flat(images()), *coronal(15)], folder)


def rounded_cosines(folder: Path) -> Path:
    turn = Rotation.from_rotvec(np.radians(7.3) * NORMAL)
    right, down = turn.apply(ROW), turn.apply(COLUMN)
    stack = images()
    for z, place in enumerate(stack):
        for each in place:
            placed(each, NORMAL * STEP_MM * z, np.round(right, 2), np.round(down, 2))
    return save(flat(stack), folder)


def disc(folder: Path) -> Path:
    with warnings.catch_warnings():  # pydicom leaves folders of its own to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        index = FileSet()
        for each in flat(images(PatientID="P", StudyDate="20200101", StudyTime="100000")):
            each.StudyID, each.AccessionNumber = "1", ""
            index.add(each)
        index.write(folder)
        del index
        gc.collect()
    return folder / "DICOMDIR"


def turned_slice(folder: Path) -> Path:
    """Slice 4 with its rows along the columns of the others: a quarter turn in its plane."""
    stack = one_series_a_slice()
    for t, each in enumerate(stack[4]):
        corner = np.array(each.ImagePositionPatient, float) + ROW * PIXEL_MM[1] * (COLUMNS - 1)
        placed(each, corner, COLUMN, -ROW)
        each.Rows, each.Columns, each.PixelSpacing = COLUMNS, ROWS, list(PIXEL_MM[::-1])
        each.PixelData = np.ascontiguousarray(grey(t, 4)[:, ::-1].T).tobytes()
    return save(flat(stack), folder)


def random_numbers(folder: Path) -> Path:
    stack = images(TriggerTime=None)
    numbers = iter(np.random.default_rng(4).permutation(SLICES * PHASES) + 1)
    for z, place in enumerate(stack):
        for t, each in enumerate(place):
            each.InstanceNumber = int(next(numbers))
            each.AcquisitionTime = f"1000{z:02d}.{t * 100:03d}000"
    return save(flat(stack), folder)


def latin1(folder: Path) -> Path:
    return save(flat(images()), folder / os.fsdecode(b"Coeur_\xe9"))


def no_modality(folder: Path) -> Path:
    return save(flat(images(Modality=None)), folder)


def fewer_phases(folder: Path) -> Path:
    """Slices 2 and 3 with four phases of a beat of 400 ms, the others six of 600 ms."""
    stack = images(NominalInterval=600.0)
    for place in stack:
        for t, each in enumerate(place):
            each.TriggerTime = 100.0 * t
    for z in (2, 3):
        stack[z] = stack[z][:4]
        for t, each in enumerate(stack[z]):
            each.NominalInterval = 400.0
            each.PixelData = grey(t * PHASES / 4, z).tobytes()
    return save(flat(stack), folder)


def again(stack: list[list[Dataset]], clock: str, along_mm: float = 0.0) -> list[list[Dataset]]:
    """The same slices acquired later, in a series of their own."""
    for place in stack:
        for each in place:
            each.SOPInstanceUID += ".9"
            each.SeriesInstanceUID, each.SeriesNumber = "1.2.5", 12
            each.AcquisitionTime = clock
            origin = np.array(each.ImagePositionPatient, float) + along_mm * NORMAL
            each.ImagePositionPatient = [float(value) for value in origin]
    return stack


def reacquired(folder: Path) -> Path:
    first, later = images(), again(images()[2:5], "101500")
    for place in first[2:5]:  # an artefact: nothing but noise
        for each in place:
            noise = np.random.default_rng(each.InstanceNumber).integers(0, 250, (ROWS, COLUMNS))
            each.PixelData = noise.astype(np.uint16).tobytes()
    return save([*flat(first), *flat(later)], folder)


def second_tilted(folder: Path) -> Path:
    """A second stack of the same heart, planned anew: 0.3 degrees off."""
    second = again(images(), "103000")
    turn = Rotation.from_rotvec(np.radians(0.3) * ROW)
    for each in flat(second):
        origin = turn.apply(np.array(each.ImagePositionPatient, float))
        placed(each, origin, turn.apply(ROW), turn.apply(COLUMN))
    return save([*flat(images()), *flat(second)], folder)


def sequence_names(folder: Path) -> Path:
    stack = one_series_a_slice()
    for z, place in enumerate(stack):
        for each in place:
            each.SequenceName = "*fl2d1_12" if z > 3 else "*tfi2d1_15"
    return save(flat(stack), folder)


def series_a_file(folder: Path) -> Path:
    stack = flat(images())
    for number, each in enumerate(stack):
        each.SeriesInstanceUID = f"1.2.4.{number}"
    return save(stack, folder)


def narrower(folder: Path) -> Path:
    """From slice 3 on ten columns fewer, none of the cavity."""
    stack = one_series_a_slice()
    for z, place in enumerate(stack):
        for t, each in enumerate(place if z >= 3 else ()):
            each.PixelData = np.ascontiguousarray(grey(t, z)[:, :-10]).tobytes()
            each.Columns = COLUMNS - 10
    return save(flat(stack), folder)


def rest_and_stress(folder: Path) -> Path:
    """Another stack 25 minutes later and 3 mm away, of a heart at stress: half as large."""
    stress = again(images(), "102500", 3.0)
    for z, place in enumerate(stress):
        for t, each in enumerate(place):
            each.SeriesInstanceUID = f"1.2.5.{z}"
            each.PixelData = grey(t, z - 6).tobytes()
    return save([*flat(one_series_a_slice()), *flat(stress)], folder)


def nested_zip(folder: Path) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for path in sorted(save(flat(images()), folder / "files").iterdir()):
            archive.write(path, path.name)
    with zipfile.ZipFile(folder / "portal.zip", "w") as archive:
        archive.writestr("README.txt", "one patient")
        archive.writestr("study/images.zip", inner.getvalue())
    return folder / "portal.zip"


@dataclass(frozen=True)
class Odd:
    """A study written oddly, and what must be said of it.

    :param findings: code -> severity; :param name: of the result; "" = that of the source.
    """

    write: Callable[[Path], Path]
    findings: dict[str, str]
    name: str = ""


DICOM = {
    "breath-hold-series": Odd(breath_holds, {"joined-series": "info"}),
    "classic-multiframe": Odd(multi_frame, {}),
    "coronal-stack-beside": Odd(coronal_beside, {}),
    "cosines-two-decimals": Odd(rounded_cosines, {"cosines-rounded": "warning"}),
    "dicomdir-file": Odd(disc, {}),
    "field-of-view-turned": Odd(turned_slice, {"frame-adapted": "info"}),
    "instance-numbers-random": Odd(random_numbers, {"phase-order-contradicted": "warning"}),
    "latin1-folder-name": Odd(latin1, {}, "Coeur_é"),
    "no-modality": Odd(no_modality, {"modality-contradicted": "warning"}),
    "phases-differ": Odd(fewer_phases, {"phases-resampled": "warning"}),
    "reacquired-three-slices": Odd(reacquired, {"reacquired-slice": "warning"}),
    "second-stack-tilted": Odd(second_tilted, {"several-stacks": "warning"}),
    "sequence-name-varies": Odd(sequence_names, {"joined-series": "info"}),
    "series-per-file": Odd(series_a_file, {"joined-series": "info"}),
    "two-matrix-sizes": Odd(narrower, {"frame-adapted": "info"}),
    "two-stacks-interleaved": Odd(rest_and_stress, {"several-stacks": "warning"}),
    "zip-in-zip": Odd(nested_zip, {}, "portal"),
}


@pytest.mark.parametrize("situation", DICOM)
def test_a_dicom_study_has_its_true_volumes(
    situation: str, segment: Callable[..., Ended], tmp_path: Path
) -> None:
    odd = DICOM[situation]
    source = odd.write(tmp_path / "study")
    found = measured(segment(source))
    assert (found["study"]["slices"], found["study"]["phases"]) == (SLICES, PHASES)
    assert found["edv_ml"] == pytest.approx(EDV_ML, rel=1e-3)
    assert found["esv_ml"] == pytest.approx(ESV_ML, rel=1e-3)
    assert found["ef_percent"] == pytest.approx(100 * (1 - ESV_ML / EDV_ML), abs=0.1)
    assert (found["ed_phase"], found["es_phase"]) == (0, 3)
    assert odd.findings.items() <= severities(found).items()
    assert (tmp_path / "out" / (odd.name or "study") / "segmentation.nii.gz").is_file()


def test_a_folder_name_that_is_no_utf8_stands_readable_in_the_result(
    segment: Callable[..., Ended], tmp_path: Path
) -> None:
    source = latin1(tmp_path)
    found = measured(segment(source))
    assert found["edv_ml"] == pytest.approx(EDV_ML, rel=1e-3)
    assert found["study"]["source"] == "Coeur_é"
    written = tmp_path / "out" / "Coeur_é" / "measurements.json"
    assert json.loads(written.read_text("utf-8"))["edv_ml"] == found["edv_ml"]


def test_three_slices_acquired_again_are_three_findings(
    segment: Callable[..., Ended], tmp_path: Path
) -> None:
    found = measured(segment(reacquired(tmp_path / "study")))
    told = [f for f in found["quality"]["findings"] if f["code"] == "reacquired-slice"]
    assert [each["slice"] for each in told] == [2, 3, 4]


def test_a_study_without_a_short_axis_is_refused(
    segment: Callable[..., Ended], tmp_path: Path
) -> None:
    stack = images()
    for z, place in enumerate(stack):
        for each in place:
            placed(each, np.array([-40, -40, STEP_MM * z]), np.eye(3)[0], np.eye(3)[1])
    ended = segment(save(flat(stack), tmp_path / "axial"))
    assert ended.status == 3
    assert ended.err.count("\n") == 1
    # the normal (0, 0, 1) against the axis (0.64, -0.67, -0.38) / 1.0: arccos 0.38 = 68 degrees
    assert "planes 68 degrees from a usual short axis" in ended.err


# NIfTI


def canonical(folder: Path) -> Path:
    save_nifti(folder / "usual.nii.gz", nifti_greys())
    turned = nib.as_closest_canonical(nib.load(folder / "usual.nii.gz"))
    assert turned.shape == (COLUMNS, SLICES, ROWS, PHASES)
    nib.save(turned, folder / "heart.nii.gz")
    return folder / "heart.nii.gz"


def other_sform(sform: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = save_nifti(folder / "heart.nii", nifti_greys())
        return nifti_maker.overwrite(path, codes=(1, 1), sform=sform, qform=AFFINE)

    return write


def metres(folder: Path) -> Path:
    return save_nifti(folder / "heart.nii", nifti_greys(), unit="meter")


NIFTI = {
    "canonical-axes": (canonical, "slice-axis", "info"),
    "sform-other-spacing": (
        other_sform(AFFINE @ np.diag([1, 1, 0.8, 1])),
        "lengths-disagree",
        "error",
    ),
    "sform-zero": (other_sform(np.zeros((4, 4))), "broken-sform", "info"),
    "units-metre": (metres, "implausible-spacing", "error"),
}


@pytest.mark.parametrize("situation", NIFTI)
def test_a_nifti_file_has_its_true_volumes_or_none(
    situation: str, segment: Callable[..., Ended], tmp_path: Path
) -> None:
    write, code, severity = NIFTI[situation]
    found = measured(segment(write(tmp_path / "in")))
    assert (found["study"]["slices"], found["study"]["phases"]) == (SLICES, PHASES)
    assert severities(found)[code] == severity
    if severity == "error":
        assert (found["edv_ml"], found["esv_ml"], found["volume_ml"]) == (None, None, None)
        assert found["quality"]["verdict"] == "fail"
    else:
        assert found["edv_ml"] == pytest.approx(EDV_ML, rel=1e-3)
        assert found["esv_ml"] == pytest.approx(ESV_ML, rel=1e-3)


def test_a_label_map_beside_its_image_is_left_out(
    segment: Callable[..., Ended], tmp_path: Path
) -> None:
    source = tmp_path / "in"
    save_nifti(source / "patient_4d.nii.gz", nifti_greys())
    truth = save_nifti(source / "patient_4d_gt.nii.gz", labels(cavity_value=3, others=(1, 2)))
    ended = segment(source)
    assert measured(ended)["edv_ml"] == pytest.approx(EDV_ML, rel=1e-3)
    assert [Path(s["folder"]).name for s in ended.document["studies"]] == ["patient_4d"]
    (finding,) = ended.document["findings"]
    assert finding["code"] == "label-map"
    assert str(truth) in finding["text"]
    alone = segment(truth, "--overwrite")
    assert alone.status == 3
    assert "found a label map (values 0, 1, 2, 3)" in alone.err


# Masks


def test_an_identity_affine_states_no_millilitres(
    segment: Callable[..., Ended], lvseg_command: Callable[..., Ended], tmp_path: Path
) -> None:
    mask = save_nifti(tmp_path / "mask.nii.gz", labels(), np.eye(4))
    cine = save_nifti(tmp_path / "cine.nii.gz", nifti_greys())
    alone = lvseg_command("measure", mask, "--json").document
    assert (alone["volume_ml"], alone["edv_ml"]) == (None, None)
    assert alone["quality"]["verdict"] != "pass"
    assert severities(alone)["no-spacing"] == "warning"
    with_cine = lvseg_command("measure", mask, "--cine", cine, "--json").document
    assert with_cine["edv_ml"] == pytest.approx(EDV_ML, rel=1e-3)
    same = measured(segment(save_nifti(tmp_path / "image.nii.gz", nifti_greys(), np.eye(4))))
    assert (same["volume_ml"], same["quality"]["verdict"] != "pass") == (None, True)
    assert severities(same)["no-spacing"] == "warning"


def turned_mask(path: Path) -> Path:
    return save_nifti(path, *nifti_maker.reoriented(labels(), AFFINE, (-1, 2, 3)))


MASKS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "mask-255": (lambda path: save_nifti(path, labels(cavity_value=255)), ()),
    "mask-four-labels": (
        lambda path: save_nifti(path, labels(cavity_value=3, others=(1, 2))),
        ("--label", "cavity=3"),
    ),
    "mask-turned": (turned_mask, ()),
}


@pytest.mark.parametrize("situation", MASKS)
def test_masks_of_other_tools_have_the_volume_of_ours(
    situation: str, lvseg_command: Callable[..., Ended], tmp_path: Path
) -> None:
    write, options = MASKS[situation]
    ours = save_nifti(tmp_path / "ours.nii.gz", labels())
    theirs = write(tmp_path / "theirs.nii.gz")
    if options:
        asked = lvseg_command("measure", theirs)
        assert asked.status == 3
        assert "found 0, 1, 2, 3 in" in asked.err
        assert "--label cavity=VALUE" in asked.err
    found = lvseg_command("measure", theirs, *options, "--json")
    assert found.status == 0, found.err
    assert found.document["edv_ml"] == pytest.approx(EDV_ML, rel=1e-3)
    assert found.document["esv_ml"] == pytest.approx(ESV_ML, rel=1e-3)
    compared = lvseg_command("compare", ours, theirs, *options, "--json")
    assert compared.status == 0, compared.err
    assert compared.document["dice"]["mean"] == 1
    assert compared.document["ef"]["bias"] == 0


def test_every_situation_has_its_test() -> None:
    assert len(SITUATIONS) == 27
    here = vars(sys.modules[__name__])
    for situation, test in SITUATIONS.items():
        assert test in here, situation
    for table, test in (
        (DICOM, "test_a_dicom_study_has_its_true_volumes"),
        (NIFTI, "test_a_nifti_file_has_its_true_volumes_or_none"),
        (MASKS, "test_masks_of_other_tools_have_the_volume_of_ours"),
    ):
        assert set(table) == {name for name, own in SITUATIONS.items() if own == test}
