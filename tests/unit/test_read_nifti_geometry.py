"""Which axis of a NIfTI holds the slices, and which of its lengths are to be believed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_maker import ORDERS, SHORT_AXIS, grey, overwrite, reoriented, save

from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryError
from lvseg.geometry import Grid, index_to_mm
from lvseg.labels import Label
from lvseg.measurement import measure
from lvseg.read import list_series, read_mask, read_study
from lvseg.write import write_mask

SHAPE = (24, 20, 5)


def cine_of(path: Path) -> Cine:
    return read_study(path).short_axis()


def codes(found: Cine | Mask) -> dict[str, str]:
    return {issue.code: issue.severity for issue in found.issues}


def places(cine: Cine) -> dict[tuple[int, ...], tuple[float, ...]]:
    """Where each voxel lies (tenths of a mm) -> its value in every phase."""
    rows, columns = np.mgrid[: cine.shape[2], : cine.shape[3]]
    pixels = np.stack([rows.ravel(), columns.ravel()], axis=1).astype(float)
    found = {}
    for z, plane in enumerate(cine.planes or ()):
        points = np.rint(index_to_mm(plane, pixels) * 10).astype(int)
        values = cine.frames[:, z].reshape(len(cine.frames), -1).T
        found.update(zip(map(tuple, points.tolist()), map(tuple, values.tolist()), strict=True))
    return found


@pytest.mark.parametrize("axes", ORDERS, ids=str)
def test_every_order_of_axes_is_the_same_stack(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    data = grey(*SHAPE, 2)
    usual = cine_of(save(tmp_path / "usual.nii", data))
    turned, affine = reoriented(data, SHORT_AXIS, axes)
    cine = cine_of(save(tmp_path / "turned.nii", turned, affine))
    assert cine.shape[:2] == (2, 5)
    assert sorted(cine.pixel_spacing_mm or ()) == pytest.approx([1.25, 1.5], rel=1e-5)
    assert cine.slice_spacing_mm == pytest.approx(9, rel=1e-5)
    assert places(cine) == places(usual)
    if abs(axes[2]) == 3:
        assert codes(cine) == {}
        np.testing.assert_array_equal(cine.frames, turned.transpose(3, 2, 1, 0))
    else:  # the plane is shown as the scanner showed it, whichever way the file has it
        assert codes(cine) == {"slice-axis": "info"}
        frames = cine.frames if np.array_equal(cine.frames[0, 0], usual.frames[0, 0]) else None
        frames = cine.frames[:, ::-1] if frames is None else frames
        np.testing.assert_array_equal(frames, usual.frames)


@pytest.mark.parametrize("axes", ORDERS[::5], ids=str)
def test_a_mask_goes_back_voxel_for_voxel_into_the_file_it_came_from(
    tmp_path: Path, axes: tuple[int, int, int]
) -> None:
    data = (grey(*SHAPE, 2) % 3 == 0).astype(np.uint8)
    turned, affine = reoriented(data, SHORT_AXIS, axes)
    image = (turned + 2 * grey(*turned.shape)).astype(np.int16)  # odd where the mask is
    cine = cine_of(save(tmp_path / "image.nii", image, affine))
    mask = Mask((cine.frames % 2).astype(np.uint8), (0, 1), cine.grid)
    write_mask(mask, tmp_path / "mask.nii.gz", cine.source)
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), turned)
    np.testing.assert_allclose(written.affine, affine, atol=1e-4)


def test_canonical_axes_of_a_short_axis_have_the_slices_second(tmp_path: Path) -> None:
    save(tmp_path / "usual.nii", grey(*SHAPE))
    turned = nib.as_closest_canonical(nib.load(tmp_path / "usual.nii"))
    nib.save(turned, tmp_path / "ras.nii")
    assert turned.shape == (24, 5, 20)
    cine = cine_of(tmp_path / "ras.nii")
    np.testing.assert_array_equal(cine.frames, cine_of(tmp_path / "usual.nii").frames[:, ::-1])


def test_dim_info_names_the_slices_where_spacings_do_not(tmp_path: Path) -> None:
    matrix = np.diag([1.5, 1.6, 1.7, 1])
    path = save(tmp_path / "a.nii", grey(24, 20, 30), matrix)
    assert codes(cine_of(path)) == {"slice-axis-assumed": "warning"}
    assert cine_of(path).shape == (1, 30, 20, 24)
    cine = cine_of(overwrite(path, dim_info=1 << 4))  # bits 4 and 5: the slice axis, from 1
    assert codes(cine) == {"slice-axis": "info"}
    assert cine.shape[1] == 24


def test_without_spacing_the_shape_tells_and_is_doubted(tmp_path: Path) -> None:
    cine = cine_of(save(tmp_path / "a.nii", grey(5, 20, 24), None))
    assert cine.shape[1] == 5
    assert codes(cine) == {"no-spacing": "warning", "slice-axis": "warning"}
    assert codes(cine_of(save(tmp_path / "b.nii", grey(20, 24, 5), None))) == {
        "no-spacing": "warning"
    }


def test_a_slice_spacing_along_a_side_of_the_image_is_a_contradiction(tmp_path: Path) -> None:
    cine = cine_of(save(tmp_path / "a.nii", grey(24, 20, 5), np.diag([9.0, 1.5, 1.25, 1])))
    assert cine.shape == (1, 5, 20, 24)
    assert (cine.pixel_spacing_mm, cine.slice_spacing_mm, cine.planes) == (None, None, None)
    assert codes(cine) == {"lengths-disagree": "error"}


def test_sform_and_sizes_that_disagree_give_no_millilitres(tmp_path: Path) -> None:
    matrix = np.diag([-2.0, -2.5, 10.0, 1])
    path = save(tmp_path / "a.nii", (grey(*SHAPE, 3) % 2).astype(np.uint8), matrix)
    overwrite(path, codes=(1, 1), sform=np.diag([-2.0, -2.5, 8.0, 1]), qform=matrix)
    mask = read_mask(path)
    assert mask.pixel_spacing_mm == (2.5, 2.0)  # nobody doubts these
    assert mask.slice_spacing_mm is None
    values = measure(mask)
    assert values.volume_ml is None
    assert ("lengths-disagree", "error") in {(i.code, i.severity) for i in values.issues}
    assert "8 and 10 along its third axis" in values.issues[0].text


@pytest.mark.parametrize("pixdim", [(1, 1, 1), (0, 0, 0)])
def test_default_sizes_contradict_nothing(tmp_path: Path, pixdim: tuple[float, ...]) -> None:
    path = overwrite(save(tmp_path / "a.nii", grey(*SHAPE)), codes=(0, 1), pixdim=pixdim)
    cine = cine_of(path)
    assert cine.slice_spacing_mm == pytest.approx(9)
    assert codes(cine) == {}


def test_sizes_rounded_to_a_hundredth_contradict_nothing(tmp_path: Path) -> None:
    matrix = np.diag([1.3672, 1.3672, 8.0, 1])
    path = overwrite(save(tmp_path / "a.nii", grey(*SHAPE), matrix), pixdim=(1.37, 1.37, 8))
    assert codes(cine_of(path)) == {}


def test_a_sform_of_zeros_gives_way_to_the_qform(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", grey(*SHAPE))
    usual = cine_of(path)
    cine = cine_of(overwrite(path, codes=(1, 1), sform=np.zeros((4, 4)), qform=SHORT_AXIS))
    assert codes(cine) == {"broken-sform": "info"}
    assert cine.slice_spacing_mm == pytest.approx(9, rel=1e-5)
    np.testing.assert_allclose(cine.planes[2].origin_mm, usual.planes[2].origin_mm, atol=1e-3)


def test_a_broken_affine_alone_leaves_the_sizes(tmp_path: Path) -> None:
    path = overwrite(
        save(tmp_path / "a.nii", grey(*SHAPE)), codes=(0, 1), sform=np.full((4, 4), np.nan)
    )
    cine = cine_of(path)
    assert cine.planes is None
    assert (cine.pixel_spacing_mm, cine.slice_spacing_mm) == ((1.25, 1.5), 9.0)
    assert codes(cine) == {"broken-affine": "warning", "no-orientation": "info"}


def turned_by(degrees: float, matrix: np.ndarray = SHORT_AXIS) -> np.ndarray:
    """The same steps and origin, turned about the z axis of the patient."""
    turn = np.radians(degrees)
    about_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    result = matrix.copy()
    result[:3, :3] = about_z @ matrix[:3, :3]
    return result


def moved_by(mm: float) -> np.ndarray:
    matrix = SHORT_AXIS.copy()
    matrix[0, 3] += mm
    return matrix


@pytest.mark.parametrize(
    ("qform", "named"),
    [
        (turned_by(30), "turned by 30.0 degrees"),
        (turned_by(180), "turned by 180.0 degrees"),
        (moved_by(12.5), "a voxel up to 10.0 pixels apart, turned by 0.0 degrees"),
        (turned_by(0.2), None),
        (moved_by(0.5), None),
    ],
)
def test_two_affines_of_one_length_that_are_two_places_are_a_finding(
    tmp_path: Path, qform: np.ndarray, named: str | None
) -> None:
    path = save(tmp_path / "a.nii", grey(*SHAPE))
    usual = cine_of(path)
    cine = cine_of(overwrite(path, codes=(1, 1), qform=qform))
    # the pixels of 1.25 mm are the smaller ones: 12.5 mm are 10 of them
    assert codes(cine) == ({} if named is None else {"places-disagree": "warning"})
    if named:
        assert named in cine.issues[0].text
        assert "The sform is taken" in cine.issues[0].text
    assert cine.planes == usual.planes
    assert cine.slice_spacing_mm == pytest.approx(9, rel=1e-5)


def test_a_qform_whose_slices_run_the_other_way_is_mirrored(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", grey(*SHAPE))
    factor = float(nib.load(path).header["pixdim"][0])  # 1 or -1: which way the third axis runs
    cine = cine_of(overwrite(path, codes=(1, 1), qfac=-factor))
    assert codes(cine) == {"places-disagree": "warning"}
    assert "mirrored" in cine.issues[0].text


def test_a_shear_that_no_qform_can_state_is_no_other_place(tmp_path: Path) -> None:
    sheared = SHORT_AXIS.copy()
    sheared[:3, 2] += 1.5 * SHORT_AXIS[:3, 0] / 1.5  # each slice shifted by 1.5 mm in its plane
    path = save(tmp_path / "a.nii", grey(*SHAPE), sheared)
    # nibabel writes the nearest qform, and that it counts for nothing
    assert codes(cine_of(overwrite(path, codes=(1, 1)))) == {}


def test_a_mask_of_two_places_says_so_on_its_cine_too(tmp_path: Path) -> None:
    cine = cine_of(save(tmp_path / "image.nii", grey(*SHAPE)))
    path = save(tmp_path / "mask.nii", (grey(*SHAPE) % 5 == 0).astype(np.uint8))
    mask = read_mask(overwrite(path, codes=(1, 1), qform=turned_by(30)), like=cine)
    assert codes(mask) == {"places-disagree": "warning"}
    np.testing.assert_array_equal(mask.labels, read_mask(path).labels)


def test_a_sform_that_is_the_identity_gives_way_to_the_qform(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", grey(*SHAPE))
    usual = cine_of(path)
    cine = cine_of(overwrite(path, codes=(1, 1), sform=np.eye(4), qform=SHORT_AXIS))
    assert codes(cine) == {"broken-sform": "info"}
    assert "(sform) is the identity, a default: that of its qform is used" in cine.issues[0].text
    np.testing.assert_allclose(cine.planes[2].origin_mm, usual.planes[2].origin_mm, atol=1e-3)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1)], ids=["RAS", "LPS"])
def test_an_identity_affine_is_a_default_and_states_nothing(
    tmp_path: Path, signs: tuple[int, ...]
) -> None:
    path = save(tmp_path / "a.nii", (grey(*SHAPE) % 2).astype(np.uint8), np.diag([*signs, 1.0]))
    mask = read_mask(path)
    assert (mask.pixel_spacing_mm, mask.planes) == (None, None)
    assert codes(mask) == {"no-spacing": "warning"}
    assert measure(mask).volume_ml is None
    # sizes that somebody wrote beside it are no default
    sized = read_mask(overwrite(path, pixdim=(1.5, 1.25, 9)))
    assert (sized.pixel_spacing_mm, sized.slice_spacing_mm) == ((1.25, 1.5), 9.0)


def test_a_voxel_of_exactly_one_cubic_millimetre_is_a_finding(tmp_path: Path) -> None:
    data = (grey(*SHAPE) % 2).astype(np.uint8)
    matrix = np.array([[1, 0, 0, -9], [0, 1, 0, 5], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    mask = read_mask(save(tmp_path / "a.nii", data, matrix))
    assert codes(mask)["unit-voxel"] == "warning"
    assert mask.slice_spacing_mm == 1
    matrix[0, 0] = 1.01
    assert "unit-voxel" not in codes(read_mask(save(tmp_path / "b.nii", data, matrix)))


@pytest.mark.parametrize(
    ("matrix", "unit", "named"),
    [
        (np.diag([2.0, 2.0, 8.0, 1]), "meter", "2000 x 2000 mm"),
        (np.diag([2.0, 2.0, 8.0, 1]), "micron", "0.002 x 0.002 mm"),
        (np.diag([1e6, 1e6, 8.0, 1]), "mm", "1e+06 x 1e+06 mm"),
        (np.diag([1e-6, 1e-6, 8.0, 1]), "mm", "1e-06 x 1e-06 mm"),
        (np.diag([2.0, 2.0, 300.0, 1]), "mm", "slice distance of 0.1 to 100 mm, found 300 mm"),
    ],
)
def test_an_implausible_spacing_is_named_and_unknown(
    tmp_path: Path, matrix: np.ndarray, unit: str, named: str
) -> None:
    path = save(tmp_path / "a.nii", grey(64, 60, 4, 2), matrix, unit=unit)
    cine = cine_of(path)
    assert (cine.planes, cine.pixel_spacing_mm, cine.slice_spacing_mm) == (None, None, None)
    (issue,) = (each for each in cine.issues if each.code == "implausible-spacing")
    assert issue.severity == "error"
    assert named in issue.text
    assert f"unit of the file: {unit}" in issue.text
    (row,) = list_series(path)
    assert row.reason == "a NIfTI is taken as it is; implausible-spacing"


def test_nothing_implausible_gets_past_a_grid() -> None:
    for given in ({"pixel_spacing_mm": (2000.0, 2000.0)}, {"slice_spacing_mm": 300.0}):
        with pytest.raises(GeometryError, match="found"):
            Grid(256, 256, 4, **given)
    with pytest.raises(GeometryError, match="field of view of at most 1000 mm"):
        Grid(256, 256, 4, pixel_spacing_mm=(4.0, 4.0))


@pytest.mark.parametrize("axes", ORDERS[::7], ids=str)
def test_a_mask_in_any_order_of_axes_finds_its_place_on_the_cine(
    tmp_path: Path, axes: tuple[int, int, int]
) -> None:
    cine = cine_of(save(tmp_path / "image.nii", grey(*SHAPE)))
    labels = (grey(*SHAPE) % 5 == 0).astype(np.uint8)
    path = save(tmp_path / "mask.nii", *reoriented(labels, SHORT_AXIS, axes))
    mask = read_mask(path, like=cine, label_values={1: Label.LV_CAVITY})
    np.testing.assert_array_equal(mask.labels[0], labels.transpose(2, 1, 0))
    assert mask.issues == ()
    assert mask.grid is cine.grid


def test_a_mask_without_a_place_lies_as_the_file_of_its_cine(tmp_path: Path) -> None:
    labels = (grey(*SHAPE) % 5 == 0).astype(np.uint8)
    turned, affine = reoriented(labels, SHORT_AXIS, (-1, 3, -2))
    cine = cine_of(
        save(tmp_path / "image.nii", (turned + grey(24, 5, 20) * 2).astype(np.int16), affine)
    )
    mask = read_mask(save(tmp_path / "mask.nii", turned, np.eye(4)), like=cine)
    np.testing.assert_array_equal(mask.labels, cine.frames % 2)
    assert codes(mask) == {"place-unknown": "info"}
    assert mask.slice_spacing_mm == pytest.approx(9, rel=1e-5)


def test_an_axis_of_the_plane_that_leans_out_of_it_has_no_length(tmp_path: Path) -> None:
    # slices first, 9 mm apart; the second axis leans 0.4 of that along them: 1.5 mm become 3.9
    data, affine = reoriented(grey(*SHAPE), SHORT_AXIS, (3, 2, 1))
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    assert steps[0] == pytest.approx(9)
    affine[:3, 1] += 0.4 * affine[:3, 0]
    path = save(tmp_path / "leaning.nii", data, affine)
    overwrite(path, pixdim=steps, codes=(0, 2))
    cine = cine_of(path)
    assert codes(cine)["lengths-disagree"] == "error"
    assert cine.planes is None
