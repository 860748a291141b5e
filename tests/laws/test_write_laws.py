"""Laws of written files: geometry and labels survive NIfTI, pixels and planes survive DICOM."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st

from enhanced_export import EXPORTS
from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid, Plane, affine, lps_to_ras, planes_from_affine
from lvseg.write import write_mask

LAW = settings(derandomize=True, deadline=None, max_examples=25)
SOURCE = Source(format="array", name="made")
SHAPES = st.tuples(st.integers(1, 3), st.integers(2, 4), st.integers(2, 6), st.integers(2, 7))


@st.composite
def stacks(draw: st.DrawFn, slices: int) -> tuple[Plane, ...]:
    """A regular stack in any orientation, either hand, unequal spacings."""
    numbers = draw(st.lists(st.floats(-1, 1), min_size=9, max_size=9))
    turn, _ = np.linalg.qr(np.reshape(numbers, (3, 3)) + 3 * np.eye(3))
    spacings = np.array(
        [draw(st.floats(0.6, 1.4)), draw(st.floats(1.5, 3)), draw(st.floats(4, 12))]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * spacings * draw(st.sampled_from([-1.0, 1.0]))
    matrix[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    return planes_from_affine(matrix, slices)


@LAW
@given(data=st.data(), shape=SHAPES)
def test_labels_and_affine_come_back_from_nifti(
    data: st.DataObject, shape: tuple[int, int, int, int]
) -> None:
    planes = data.draw(stacks(shape[1]))
    labels = np.random.default_rng(sum(shape)).integers(0, 2, shape, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.nii.gz"
        mask = Mask(labels, tuple(range(shape[0])), grid=Grid.of(labels, planes=planes))
        assert write_mask(mask, path, SOURCE) == ()
        image = nib.load(path)
        found = np.asanyarray(image.dataobj).transpose(3, 2, 1, 0)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_allclose(image.affine, lps_to_ras(affine(planes)), atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    again = planes_from_affine(lps_to_ras(image.affine), shape[1])
    for plane, same in zip(planes, again, strict=True):
        np.testing.assert_allclose(plane.origin_mm, same.origin_mm, atol=1e-4)


@LAW
@given(data=st.data(), shape=SHAPES, enhanced=st.booleans())
def test_pixels_and_planes_come_back_from_dicom(
    data: st.DataObject, shape: tuple[int, int, int, int], enhanced: bool
) -> None:
    planes = data.draw(stacks(shape[1]))
    frames = np.random.default_rng(sum(shape)).integers(0, 2**16, shape).astype(np.float32)
    cine = Cine(frames, SOURCE, grid=Grid.of(frames, planes=planes))
    with tempfile.TemporaryDirectory() as folder:
        paths = EXPORTS[enhanced](cine, Path(folder))
        datasets = [pydicom.dcmread(path) for path in paths]
    if enhanced:
        groups = datasets[0].PerFrameFunctionalGroupsSequence
        pixels = datasets[0].pixel_array.reshape(-1, *shape[2:])
        positions = [g.PlanePositionSequence[0].ImagePositionPatient for g in groups]
        cosines = [g.PlaneOrientationSequence[0].ImageOrientationPatient for g in groups]
    else:
        pixels = np.stack([dataset.pixel_array for dataset in datasets])
        positions = [dataset.ImagePositionPatient for dataset in datasets]
        cosines = [dataset.ImageOrientationPatient for dataset in datasets]
    by_slice = pixels.reshape(shape[1], shape[0], *shape[2:]).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(by_slice, frames)
    for z, plane in enumerate(planes):
        for t in range(shape[0]):
            place = z * shape[0] + t
            np.testing.assert_allclose(positions[place], plane.origin_mm, atol=1e-6)
            told = [*plane.column_step, *plane.row_step]
            np.testing.assert_allclose(cosines[place], told, atol=1e-6)
