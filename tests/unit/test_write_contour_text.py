"""Sunnybrook text files: names, the quarter of a pixel, and official contours as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from lvseg.cine import Cine, InstanceRef, Mask, Source
from lvseg.contour_files import contour_points, contour_text
from lvseg.contours import area_px, fill
from lvseg.datasets.contours import read_contour
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Grid
from lvseg.read import read_picture, read_source_headers, read_study
from lvseg.write.contours import write_contour_text

MR = "1.2.840.10008.5.1.4.1.1.4"


def drawn(labels, phases=None, cine_phases=None, instances=None):
    labels = np.asarray(labels, np.uint8)
    shape = (cine_phases or len(labels), *labels.shape[1:])
    source = Source("dicom", "drawn", instances=instances)
    index = tuple(range(len(labels))) if phases is None else phases
    return Mask(labels, index), Cine(np.zeros(shape, np.float32), source)


def block(shape=(2, 3, 9, 8)):
    labels = np.zeros(shape, np.uint8)
    labels[..., 2:6, 3:7] = 1
    return labels


def headed(numbers):
    """References [T][Z] and headers of images with these instance numbers."""
    uids = [[f"2.25.9{t}{z}" for z in range(len(row))] for t, row in enumerate(numbers)]
    instances = tuple(tuple(InstanceRef(MR, uid) for uid in row) for row in uids)
    headers = {}
    for row, own in zip(uids, numbers, strict=True):
        for uid, number in zip(row, own, strict=True):
            headers[uid] = Dataset()
            if number is not None:
                headers[uid].InstanceNumber = number
    return instances, headers


def test_a_line_is_a_point_a_quarter_pixel_on_as_in_the_official_files():
    # 120.25 + 0.25; 138 + 0.25; - 0.251 + 0.25 = - 0.001 is a zero without a sign
    points = np.array([[120.25, 138.0], [1.5, -0.251], [3.0, 4.333]])
    assert contour_text(points) == "120.50 138.25\n1.75 0.00\n3.25 4.58\n"


def test_one_pixel_is_a_diamond_of_its_own_area(tmp_path):
    labels = np.zeros((1, 1, 5, 6), np.uint8)
    labels[0, 0, 3, 2] = 1  # x = 2, y = 3
    ((path,), issues) = write_contour_text(*drawn(labels), tmp_path)
    assert issues == ()
    assert path.name == "IM-0001-0001-icontour-auto.txt"
    # area 1 = half the product of the diagonals: half a diagonal is sqrt(0.5) = 0.707; + 0.25
    assert sorted(path.read_text().splitlines()) == [
        "1.54 3.25",  # 2 - 0.71 + 0.25
        "2.25 2.54",
        "2.25 3.96",
        "2.96 3.25",
    ]


def test_the_epicardium_is_a_file_of_its_own_where_there_is_one(tmp_path):
    labels = block((1, 2, 9, 10))  # the cavity has 4 rows and 4 columns in both slices
    labels[0, 1, 1:7, 2:8] += 2 * (labels[0, 1, 1:7, 2:8] == 0).astype(np.uint8)
    ((inner, second, outer), issues) = write_contour_text(*drawn(labels), tmp_path)
    assert issues == ()
    assert [inner.name[8:21], second.name[8:21]] == ["0001-icontour", "0002-icontour"]
    assert outer.name == "IM-0001-0002-ocontour-auto.txt"
    # one outline around wall and cavity together, 6 x 6 pixels
    assert area_px(read_contour(outer)) == pytest.approx(36, abs=0.05)
    assert area_px(read_contour(second)) == pytest.approx(16, abs=0.05)


def test_images_are_counted_slice_by_slice_where_nothing_names_them(tmp_path):
    labels = block()
    labels[1, 0] = 0
    paths, _ = write_contour_text(*drawn(labels), tmp_path)
    # two phases a slice: slice 0 is images 1 and 2, slice 1 is 3 and 4, slice 2 is 5 and 6
    assert [path.name[8:12] for path in paths] == ["0001", "0003", "0005", "0004", "0006"]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


def test_a_mask_of_two_phases_keeps_the_numbers_of_its_cine(tmp_path):
    paths, _ = write_contour_text(*drawn(block(), (0, 7), cine_phases=9), tmp_path)
    assert [path.name[8:12] for path in paths] == ["0001", "0010", "0019", "0008", "0017", "0026"]


def test_instance_numbers_name_the_files(tmp_path):
    instances, headers = headed([[48, 68, 88], [1050, 10700, 0]])
    paths, _ = write_contour_text(*drawn(block(), instances=instances), tmp_path, headers)
    found = [path.name.split("-")[2] for path in paths]
    assert found == ["0048", "0068", "0088", "1050", "10700", "0000"]


@pytest.mark.parametrize("third", [None, 48, "", -3, [5, 6]])
def test_a_missing_or_repeated_number_falls_back_to_counting(tmp_path, third):
    instances, headers = headed([[48, 68, third], [55, 75, 95]])
    paths, _ = write_contour_text(*drawn(block(), instances=instances), tmp_path, headers)
    assert [path.name[8:12] for path in paths] == ["0001", "0003", "0005", "0002", "0004", "0006"]


def test_an_image_without_a_header_falls_back_to_counting(tmp_path):
    instances, headers = headed([[48, 68, 88], [55, 75, 95]])
    del headers[instances[0][1].sop_instance_uid]
    paths, _ = write_contour_text(*drawn(block(), instances=instances), tmp_path, headers)
    assert paths[0].name[8:12] == "0001"


def test_holes_and_smaller_pieces_are_left_out_with_a_finding(tmp_path):
    labels = np.zeros((2, 1, 16, 15), np.uint8)
    labels[0, 0, 2:12, 2:11] = 1
    labels[0, 0, 5:7, 5:7] = 0
    labels[0, 0, 14, 1] = 1
    labels[1, 0, 2:12, 2:11] = 1
    paths, (finding,) = write_contour_text(*drawn(labels), tmp_path)
    assert (finding.code, finding.severity) == ("contour-simplified", "warning")
    assert finding.text.startswith("1 contour file(s)")
    for path in paths:
        np.testing.assert_array_equal(fill(read_contour(path), (16, 15)), labels[1, 0])


def test_an_empty_mask_writes_nothing(tmp_path):
    assert write_contour_text(*drawn(np.zeros((2, 3, 4, 5))), tmp_path / "new") == ((), ())
    assert not (tmp_path / "new").exists()


def test_a_mask_of_another_grid_or_phase_is_refused(tmp_path):
    mask, _ = drawn(block())
    for other in (block((2, 3, 8, 9)), block((1, 3, 9, 8))):
        with pytest.raises(GeometryMismatchError, match="expected a mask on the cine"):
            write_contour_text(mask, drawn(other)[1], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_as_text_is_read_as_it_was():
    points = np.array([[120.25, 137.75], [1.5, -0.25], [3.0, 4.25]])
    np.testing.assert_array_equal(contour_points(contour_text(points)), points)


@pytest.mark.data
def test_official_contours_are_written_back_byte_for_byte(data_dir: Path):
    paths = sorted((data_dir / "sunnybrook" / "contours").rglob("*contour-manual.txt"))
    assert len(paths) > 300
    for path in paths:
        assert contour_text(read_contour(path)) == path.read_bytes().decode("ascii"), path.name


@pytest.mark.data
def test_masks_of_experts_come_back_from_their_text(data_dir: Path, tmp_path: Path):
    folder = data_dir / "sunnybrook" / "masks"
    for path in sorted(folder.glob("SC-HF-I-0[124]*.png")):
        picture = (read_picture(path) > 127).astype(np.uint8)
        ((file,), issues) = write_contour_text(*drawn(picture[None, None]), tmp_path)
        assert issues == ()
        np.testing.assert_array_equal(fill(read_contour(file), picture.shape), picture)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_files_of_a_real_study_have_the_numbers_of_its_images(data_dir: Path, tmp_path: Path):
    folder = data_dir / "sunnybrook-dicom" / "SCD0000301" / "dicom"
    cine = read_study(folder).short_axis()
    labels = np.zeros(cine.shape, np.uint8)
    labels[7, 3, 90:110, 80:120] = 1
    mask = Mask(labels, tuple(range(cine.shape[0])), grid=Grid.of(labels, planes=cine.planes))
    ((path,), _) = write_contour_text(mask, cine, tmp_path, read_source_headers(folder, cine))
    # file N.dcm is image number N
    image = pydicom.dcmread(folder / f"{int(path.name[8:12])}.dcm", stop_before_pixels=True)
    assert image.SOPInstanceUID == cine.source.instances[7][3].sop_instance_uid
