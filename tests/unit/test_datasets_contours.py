"""Contour files, areas and filled masks."""

from __future__ import annotations

import numpy as np
import pytest

from lvseg.contour_files import CONTOUR_OFFSET_PX
from lvseg.contours import area_px, centroid_px, coverage, fill
from lvseg.datasets.contours import read_contour
from lvseg.errors import DatasetError


def test_a_contour_file_is_shifted_by_a_quarter_pixel(tmp_path):
    path = tmp_path / "IM-0001-0048-icontour-manual.txt"
    path.write_text("136.00 118.50\n136.50 118.50\n137.00 120.00\n\n")
    assert CONTOUR_OFFSET_PX == -0.25
    assert read_contour(path).tolist() == [[135.75, 118.25], [136.25, 118.25], [136.75, 119.75]]


@pytest.mark.parametrize(
    "text", ["", "1 2\n3 4\n", "1 2\n3 4 5\n6 7\n", "1 2\n3 x\n5 6\n", "1 2\n3 nan\n5 6\n", "é"]
)
def test_a_broken_contour_file_is_refused(tmp_path, text):
    path = tmp_path / "c.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"c\.txt"):
        read_contour(path)


def test_area_and_centre_of_a_triangle():
    triangle = np.array([[1.0, 1.0], [7.0, 1.0], [1.0, 4.0]])
    assert area_px(triangle) == 9.0  # 6 x 3 / 2
    assert centroid_px(triangle) == (3.0, 2.0)  # means of the corners: 9 / 3, 6 / 3


def test_a_flat_contour_has_no_area_and_a_mean_point():
    flat = np.array([[1.0, 1.0], [3.0, 1.0], [5.0, 1.0]])
    assert area_px(flat) == 0
    assert centroid_px(flat) == (3.0, 1.0)
    assert not fill(flat, (4, 7)).any()


def test_shares_of_a_rectangle_by_hand():
    # Pixel (row 1, column 1) spans 0.5..1.5. x from 0.75 to 2.0 covers 0.75 of column 1 and 0.5 of
    # column 2; y from 1.1 to 1.5 covers 0.4 of row 1.
    box = np.array([[0.75, 1.1], [2.0, 1.1], [2.0, 1.5], [0.75, 1.5]])
    expected = np.zeros((3, 4))
    expected[1, 1], expected[1, 2] = 0.75 * 0.4, 0.5 * 0.4
    assert coverage(box, (3, 4)) == pytest.approx(expected)


def test_a_contour_that_crosses_itself_is_full_in_both_loops():
    # A figure of eight: one loop runs the other way round.
    eight = np.array([[0.5, 0.5], [4.5, 2.5], [4.5, 0.5], [0.5, 2.5]])
    share = coverage(eight, (4, 6))
    assert share.sum() == pytest.approx(2.0 * 2)  # two triangles of base 2 and height 2
    assert share.max() <= 1
