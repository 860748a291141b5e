"""Our NIfTI beside the one that Debian's dcm2niix makes of the same series: the same voxels."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from peers import PHANTOMS, told, tool, write_phantom

from lvseg.cine import Mask
from lvseg.geometry import Grid
from lvseg.read import read_study
from lvseg.write import write_cine_nifti, write_mask

STUDIES = ("SCD0000101", "SCD0000201", "SCD0000301")
#: A NIfTI has one affine, so a stack with a gap cannot lie over anything; dcm2niix orders phases by
#: instance number, and takes an Enhanced file of a maker it does not know frame by frame as stored.
LEFT_OUT = {"missing-slices", "shuffled-short", "enhanced"}


def converted(source: Path, folder: Path):
    """The one image that dcm2niix makes of a folder."""
    program = tool("dcm2niix", "dcm2niix")
    folder.mkdir()
    code, lines = told(program, "-z", "n", "-b", "n", "-f", "theirs", "-o", folder, source)
    assert code == 0, lines
    (path,) = folder.glob("*.nii")
    return nibabel.load(path)


def check_overlay(source: Path, folder: Path) -> None:
    theirs = converted(source, folder / "theirs")
    cine = read_study(source).short_axis()
    assert write_cine_nifti(cine, folder / "ours.nii") == ()
    ours = nibabel.load(folder / "ours.nii")
    # Their index of each of our voxels: an axis may run the other way or take another place.
    between = np.linalg.inv(theirs.affine) @ ours.affine
    turn, start = np.rint(between[:3, :3]).astype(int), np.rint(between[:3, 3]).astype(int)
    assert (np.abs(turn).sum(axis=0) == 1).all()
    assert (np.abs(turn).sum(axis=1) == 1).all()
    size = ours.shape[:3]
    assert tuple(np.abs(turn) @ size) == theirs.shape[:3]
    for corner in itertools.product(*((0, length - 1) for length in size)):
        place = turn @ corner + start
        assert (place >= 0).all()
        assert (place < theirs.shape[:3]).all()
        gap = ours.affine @ [*corner, 1] - theirs.affine @ [*place, 1]
        assert np.linalg.norm(gap) < 0.01  # mm
    axes = np.abs(turn).argmax(axis=0)  # our axis -> theirs
    runs = tuple(slice(None, None, int(turn[axis, own])) for own, axis in enumerate(axes))
    values = np.asarray(theirs.dataobj).transpose(*axes, 3)[runs]
    np.testing.assert_array_equal(values, np.asarray(ours.dataobj))  # phases in order too
    check_mask(cine, values, ours, folder)


def check_mask(cine, values, ours, folder: Path) -> None:
    """A mask of the bright pixels, written by us, marks the bright pixels of their image."""
    limit = float(np.quantile(cine.frames, 0.9))
    labels = (cine.frames > limit).astype(np.uint8)
    mask = Mask(labels, tuple(range(cine.shape[0])), grid=Grid.of(labels, planes=cine.planes))
    write_mask(mask, folder / "mask.nii", cine.source, times_ms=cine.times_ms)
    image = nibabel.load(folder / "mask.nii")
    np.testing.assert_array_equal(image.affine, ours.affine)
    marked = np.asarray(image.dataobj).reshape(values.shape)
    np.testing.assert_array_equal(marked == 1, values > limit)


@pytest.mark.data
@pytest.mark.parametrize("study", STUDIES)
def test_a_real_study_lies_over_the_other_conversion(
    data_dir: Path, tmp_path: Path, study: str
) -> None:
    check_overlay(data_dir / "sunnybrook-dicom" / study / "dicom", tmp_path)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("name", [name for name in PHANTOMS if name not in LEFT_OUT])
def test_a_phantom_lies_over_the_other_conversion(tmp_path: Path, name: str) -> None:
    write_phantom(name, tmp_path / "dicom")
    check_overlay(tmp_path / "dicom", tmp_path)
