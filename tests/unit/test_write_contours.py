"""contours.json: outlines of drawn masks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lvseg.cine import Cine, Mask, Source
from lvseg.contours import slice_contours
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Grid, Plane
from lvseg.write.contours import true_contours, write_contours


def shoelace(polygon):
    x, y = np.asarray(polygon, float).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def centroid(polygon):
    x, y = np.asarray(polygon, float).T
    cross = x * np.roll(y, -1) - y * np.roll(x, -1)
    return tuple(((c + np.roll(c, -1)) @ cross) / (3 * cross.sum()) for c in (x, y))


def drawn(labels, **geometry):
    labels = np.asarray(labels, np.uint8)
    grid = Grid.of(labels, **geometry)
    cine = Cine(np.zeros(labels.shape, np.float32), Source("array", "drawn"), grid)
    return Mask(labels, tuple(range(len(labels))), grid), cine


@pytest.fixture
def contours_document(tmp_path):
    """What a written file holds."""

    def written(mask, cine):
        write_contours(mask, cine, tmp_path / "document.json")
        return json.loads((tmp_path / "document.json").read_text())

    return written


def test_one_pixel_is_a_diamond_around_its_centre():
    inside = np.zeros((5, 6), bool)
    inside[3, 2] = True  # row 3, column 2: x = 2, y = 3
    (polygon,) = slice_contours(inside)
    assert sorted(polygon.tolist()) == [[1.5, 3.0], [2.0, 2.5], [2.0, 3.5], [2.5, 3.0]]


def test_a_rectangle_loses_its_four_corners_and_keeps_eight_points():
    inside = np.zeros((9, 9), bool)
    inside[2:6, 3:8] = True
    (polygon,) = slice_contours(inside)
    assert len(polygon) == 8
    # 4 x 5 pixels less four corners of 1/8 pixel
    assert shoelace(polygon) == pytest.approx(20 - 0.5)


def test_a_hole_is_wound_the_other_way():
    inside = np.zeros((12, 12), bool)
    inside[2:10, 2:10] = True
    inside[5:7, 5:7] = False
    outer, hole = slice_contours(inside)
    assert shoelace(outer) > 0 > shoelace(hole)
    assert shoelace(hole) == pytest.approx(-3.5)  # 2 x 2 pixels less four corners of 1/8


def test_a_mask_that_fills_the_image_is_closed_at_its_border():
    (polygon,) = slice_contours(np.ones((4, 5), bool))
    assert polygon.min(axis=0).tolist() == [-0.5, -0.5]
    assert polygon.max(axis=0).tolist() == [4.5, 3.5]


def test_nothing_has_no_outline():
    assert slice_contours(np.zeros((4, 5), bool)) == ()


def test_the_place_in_the_patient_follows_the_plane(contours_document):
    labels = np.zeros((1, 2, 6, 7), np.uint8)
    labels[0, 1, 3, 2] = 1
    planes = tuple(
        Plane((10.0, 20.0, 9.0 * z), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.5, 1.2)) for z in range(2)
    )
    mask, cine = drawn(labels, planes=planes)
    document = contours_document(mask, cine)
    (entry,) = document["contours"]
    assert (entry["phase"], entry["slice"], entry["hole"]) == (0, 1, False)
    # a diamond of area 1: half a diagonal is sqrt(0.5) = 0.7071
    place = entry["points_px"].index([2.7071, 3.0])
    # x: 10 + 2.7071 x 1.2 = 13.2485; y: 20 + 3 x 1.5 = 24.5; z: 9
    assert entry["points_mm"][place] == [13.2485, 24.5, 9.0]
    assert document["slices"][1] == {
        "origin_mm": [10.0, 20.0, 9.0],
        "column_step": [1.0, 0.0, 0.0],
        "row_step": [0.0, 1.0, 0.0],
        "pixel_spacing_mm": [1.5, 1.2],
        "slab_height_mm": 9.0,
    }


def test_a_polygon_has_the_area_and_the_centre_of_its_pixels():
    labels = np.zeros((9, 8), np.uint8)
    labels[2:5, 1:5] = 1
    labels[2, 4] = 0  # 3 x 4 pixels less one at the corner
    (polygon,) = true_contours(labels == 1)
    assert shoelace(polygon) == pytest.approx(11)
    # x: (3 x (1 + 2 + 3) + 2 x 4) / 11; y: (3 x 2 + 4 x 3 + 4 x 4) / 11
    assert centroid(polygon) == pytest.approx((26 / 11, 34 / 11))


def test_a_hole_has_the_area_of_its_pixels():
    labels = np.zeros((12, 12), np.uint8)
    labels[2:10, 2:10] = 1
    labels[5:7, 5:7] = 0
    assert [shoelace(p) for p in true_contours(labels == 1)] == pytest.approx([64, -4])


@pytest.mark.parametrize("heights", [(0.0,), (0.0, 9.0, 4.0)])
def test_slab_heights_that_are_not_known_are_null(heights, contours_document):
    planes = tuple(
        Plane((0.0, 0.0, z), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.5, 1.2)) for z in heights
    )
    document = contours_document(*drawn(np.zeros((1, len(heights), 4, 5)), planes=planes))
    assert [entry["slab_height_mm"] for entry in document["slices"]] == [None] * len(heights)


def test_without_planes_millimetres_are_null(contours_document):
    labels = np.zeros((1, 1, 6, 7), np.uint8)
    labels[0, 0, 2:4, 2:4] = 1
    document = contours_document(*drawn(labels, pixel_spacing_mm=(1.5, 1.2)))
    assert document["patient"] is None
    assert document["slices"] is None
    assert document["contours"][0]["points_mm"] is None
    assert document["pixel_spacing_mm"] == [1.5, 1.2]


def test_the_file_is_json_with_a_contour_a_line_and_the_same_bytes_again(tmp_path):
    labels = np.zeros((2, 3, 9, 8), np.uint8)
    labels[:, 1:, 2:6, 3:7] = 1
    labels[1, 2] = 0
    mask, cine = drawn(labels)
    write_contours(mask, cine, tmp_path / "contours.json")
    text = (tmp_path / "contours.json").read_text()
    document = json.loads(text)
    places = [(entry["phase"], entry["slice"]) for entry in document["contours"]]
    assert places == [(0, 1), (0, 2), (1, 1)]
    assert len(text.splitlines()) == 2 + 3 + 1  # head, its key, one line each, tail
    write_contours(mask, cine, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == text


def test_phases_are_numbers_of_the_cine(contours_document):
    labels = np.zeros((2, 1, 5, 5), np.uint8)
    labels[1, 0, 2, 2] = 1
    cine = Cine(np.zeros((9, 1, 5, 5), np.float32), Source("array", "drawn"))
    document = contours_document(Mask(labels, (4, 8)), cine)
    assert document["contours"][0]["phase"] == 8
    assert document["shape"] == {"phases": 9, "slices": 1, "rows": 5, "columns": 5}


def test_an_empty_mask_is_an_empty_list(tmp_path):
    write_contours(*drawn(np.zeros((1, 1, 4, 5))), tmp_path / "contours.json")
    assert json.loads((tmp_path / "contours.json").read_text())["contours"] == []


def test_a_mask_of_another_grid_is_refused(contours_document):
    mask, _ = drawn(np.zeros((1, 1, 4, 5)))
    _, cine = drawn(np.zeros((1, 1, 5, 4)))
    with pytest.raises(GeometryMismatchError, match="expected a mask on the cine"):
        contours_document(mask, cine)
