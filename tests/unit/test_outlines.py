"""Outlines of a data set: recovered from masks, filled as the public masks were, stored."""

import csv

import numpy as np
import pytest
from PIL import Image

from lvseg.contours import area_px, centroid_px, coverage
from lvseg.errors import DatasetError
from lvseg.labels import Label
from lvseg.outlines import (
    Outline,
    fill_with_line,
    inside_share,
    outlines_path,
    read_outlines,
    recover_outline,
    write_outlines,
)


def circle(radius, centre=(31.3, 28.6), count=400):
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.array(centre) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_a_square_is_filled_with_its_line():
    square = np.array([[2.9, 1.2], [5.5, 1.9], [5.1, 3.7], [2.2, 3.1]])  # cut to 2..5, 1..3
    filled = fill_with_line(square, (6, 8))
    assert np.argwhere(filled).min(axis=0).tolist() == [1, 2]
    assert np.argwhere(filled).max(axis=0).tolist() == [3, 5]
    assert filled.sum() == 3 * 4


def test_a_slanted_line_is_part_of_the_mask_and_what_is_outside_the_image_is_cut_off():
    filled = fill_with_line(np.array([[0.0, 0.0], [4.0, 4.0], [0.0, 4.0]]), (5, 3))
    assert filled.astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("radius", [4, 9, 18, 27])
def test_the_outline_of_a_filled_disc_is_recovered(radius):
    drawn = circle(radius)
    # contour files step by half a pixel and are a quarter of a pixel on
    mask = fill_with_line(np.round(2 * (drawn + 0.25)) / 2, (64, 64))
    found = recover_outline(mask)
    assert abs(mask.sum() / area_px(drawn) - 1) > 0.9 / radius  # too large, by the line
    assert area_px(found) == pytest.approx(area_px(drawn), rel=0.35 / radius)
    assert centroid_px(found) == pytest.approx(centroid_px(drawn), abs=0.3)


def test_one_pixel_and_nothing_at_all():
    mask = np.zeros((5, 6), bool)
    with pytest.raises(DatasetError, match="empty"):
        recover_outline(mask)
    mask[2, 3] = True
    assert recover_outline(mask).tolist() == [[3.0, 2.0]]


def test_shares_follow_the_resampling_of_the_image():
    outlines = {Label.LV_CAVITY: circle(10), Label.LV_MYOCARDIUM: circle(15)}
    labels = [Label.LV_CAVITY, Label.LV_MYOCARDIUM]
    share = inside_share(outlines, labels, (1.5, 0.5), (96, 32))
    assert share.sum(axis=(1, 2)) == pytest.approx(
        [0.75 * area_px(circle(radius)) for radius in (10, 15)], rel=1e-4
    )
    assert (share[1] >= share[0] - 1e-6).all()
    # pixel areas are aligned: the middle of the image stays where it is
    rows = (share[0].sum(axis=1) * (np.arange(96) + 0.5)).sum() / share[0].sum()
    assert rows / 1.5 - 0.5 == pytest.approx(28.6, abs=0.01)
    assert not inside_share({}, labels, (1, 1), (8, 8)).any()


def test_outlines_are_read_back(tmp_path):
    path = outlines_path(tmp_path, "a-1.png")
    drawn = (Outline(Label.LV_CAVITY, circle(5, count=20), "contour file"),)
    write_outlines(drawn, path)
    (found,) = read_outlines(path)
    assert (found.label, found.source) == (Label.LV_CAVITY, "contour file")
    assert np.abs(found.points - drawn[0].points).max() <= 0.0005
    write_outlines((), path)
    assert read_outlines(path) == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '[{"label": "LV_LIVER", "source": "contour file", "points_px": [[1,2],[3,4],[5,7]]}]',
        '[{"label": "LV_CAVITY", "source": "contour file", "points_px": [[1,2],[3,4]]}]',
        '[{"label": "LV_CAVITY", "source": "hearsay", "points_px": [[1,2],[3,4],[5,7]]}]',
    ],
)
def test_other_files_are_refused_by_name(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"a\.json"):
        read_outlines(path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "kind", "count"), [("masks", "i", 204), ("epi_masks", "o", 106)]
)
def test_public_masks_are_an_exact_function_of_the_contour_files(data_dir, folder, kind, count):
    source, ious, errors = data_dir / "sunnybrook", [], []
    with (source / "manifest.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    for name in names:
        patient, number = name[: name.index("-IM-")], name[-8:-4]
        path = source / "contours" / patient / f"IM-0001-{number}-{kind}contour-manual.txt"
        if not path.is_file() or not (source / folder / name).is_file():
            continue
        mask, points = np.asarray(Image.open(source / folder / name)) > 0, np.loadtxt(path)
        assert (fill_with_line(points, mask.shape) == mask).all()
        true = coverage(points - 0.25, mask.shape)
        found = coverage(recover_outline(mask), mask.shape)
        ious.append(np.minimum(true, found).sum() / np.maximum(true, found).sum())
        errors.append(found.sum() - true.sum())
    assert len(ious) == count
    assert np.mean(ious) > 0.98
    assert abs(np.mean(errors)) < 6
