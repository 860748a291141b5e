"""Masks from contours: what was written comes back, each contour at its phase, slice and label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mask_maker import with_myocardium
from seg_maker import study

from lvseg.bounds import USUAL
from lvseg.cine import Cine, Mask
from lvseg.contour_files import numbered_contours
from lvseg.errors import GeometryMismatchError, LimitError, ReadError, UsageError
from lvseg.labels import Label
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.read import read_mask
from lvseg.write import write_contour_text, write_contours

SMALL = PhantomOptions(
    phases=4, slices=5, rows=72, columns=64, pixel_spacing_mm=(2.3, 2.1), slices_above_base=1
)


@pytest.fixture(scope="module")
def heart() -> tuple[Cine, Mask]:
    cine, mask, _ = beating_ventricle(SMALL)
    return cine, mask


def test_contours_come_back_pixel_by_pixel(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    assert mask.labels_present == (Label.LV_CAVITY, Label.LV_MYOCARDIUM)
    write_contours(mask, cine, tmp_path / "contours.json")
    for like in (cine, None):
        read = read_mask(tmp_path / "contours.json", like=like)
        np.testing.assert_array_equal(read.labels, mask.labels)
        assert read.phases == mask.phases
        assert read.grid.same_place(cine.grid)


def test_contours_larger_than_the_limits_are_refused(
    heart: tuple[Cine, Mask], tmp_path: Path
) -> None:
    cine, mask = heart
    write_contours(mask, cine, tmp_path / "contours.json")
    pixels = 4 * 5 * 72 * 64
    read_mask(tmp_path / "contours.json", limits=replace(USUAL, pixels=pixels))
    with pytest.raises(LimitError, match="pixels"):
        read_mask(tmp_path / "contours.json", limits=replace(USUAL, pixels=pixels - 1))


def test_holes_and_pieces_come_back(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    labels = mask.labels.copy()
    labels[1, 2, 3:9, 5:12] = 1
    labels[1, 2, 5:7, 7:10] = 0  # a hole
    labels[1, 2, 20, 3] = 2  # a pixel alone
    drawn = replace(mask, labels=labels)
    write_contours(drawn, cine, tmp_path / "contours.json")
    np.testing.assert_array_equal(read_mask(tmp_path / "contours.json", like=cine).labels, labels)


def test_a_mask_of_some_phases_says_which(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    for phases in ((0, 1), (1, 3)):
        some = replace(mask, labels=mask.labels[list(phases)], phases=phases)
        write_contours(some, cine, tmp_path / "contours.json")
        read = read_mask(tmp_path / "contours.json", like=cine)
        assert read.phases == phases
        np.testing.assert_array_equal(read.labels, some.labels)
    document = json.loads((tmp_path / "contours.json").read_text("utf-8"))
    del document["phase_index"]  # of an earlier version: those with a contour
    (tmp_path / "old.json").write_text(json.dumps(document), "utf-8")
    assert read_mask(tmp_path / "old.json", like=cine).phases == (1, 3)


def test_an_empty_mask_comes_back_empty(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    empty = replace(mask, labels=np.zeros_like(mask.labels))
    write_contours(empty, cine, tmp_path / "contours.json")
    read = read_mask(tmp_path / "contours.json", like=cine)
    assert read.labels.shape == mask.labels.shape
    assert not read.labels.any()


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"shape": {"phases": 4, "slices": 2, "rows": 72, "columns": 64}},
        {"shape": {"phases": 10**6, "slices": 10**6, "rows": 10**6, "columns": 10**6}},
        {"phase_index": [0, 9]},
        {"contours": [{"phase": 0, "slice": 0, "label": "RV", "hole": False, "points_px": []}]},
        {
            "contours": [
                {"phase": 0, "slice": 0, "label": "LV_CAVITY", "hole": False, "points_px": [[1, 2]]}
            ]
        },
        {
            "contours": [
                {
                    "phase": 0,
                    "slice": 0,
                    "label": "LV_CAVITY",
                    "hole": False,
                    "points_px": [[1, 2], [1e9, 2], [3, 4]],
                }
            ]
        },
    ],
)
def test_broken_contours_are_refused(
    heart: tuple[Cine, Mask], tmp_path: Path, change: dict[str, object]
) -> None:
    cine, mask = heart
    write_contours(mask, cine, tmp_path / "contours.json")
    document = json.loads((tmp_path / "contours.json").read_text("utf-8")) | change
    (tmp_path / "broken.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(ReadError, match=r"broken\.json"):
        read_mask(tmp_path / "broken.json", like=cine)


def test_other_json_is_no_mask(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}', "utf-8")
    with pytest.raises(ReadError, match=r"contours as lvseg writes them"):
        read_mask(tmp_path / "a.json")


def test_contours_of_another_size_are_refused(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, mask = heart
    write_contours(mask, cine, tmp_path / "contours.json")
    shorter, _, _ = beating_ventricle(replace(SMALL, phases=3))
    with pytest.raises(GeometryMismatchError):
        read_mask(tmp_path / "contours.json", like=shorter)


def test_text_files_come_back_by_the_numbers_of_the_images(tmp_path: Path) -> None:
    cine, headers = study(tmp_path / "dicom")
    labels = np.zeros(cine.shape, np.uint8)
    labels[:, 1:4, 6:12, 8:16] = 1
    labels[2, 3] = 0
    mask = with_myocardium(Mask(labels, tuple(range(4)), cine.grid), 2)
    some = replace(mask, labels=mask.labels[[0, 2]], phases=(0, 2))
    write_contour_text(some, cine, tmp_path / "contours", headers)
    read = read_mask(tmp_path / "contours", like=cine, source_headers=headers)
    assert read.phases == (0, 2)
    # a text file has no holes, and cuts corners by two decimals
    np.testing.assert_array_equal(read.labels, some.labels)
    one = next(iter((tmp_path / "contours").glob("*-icontour-*")))
    assert read_mask(one, like=cine, source_headers=headers).labels.sum() > 0
    with pytest.raises(ReadError, match="--cine"):
        read_mask(tmp_path / "contours")
    with pytest.raises(UsageError, match="headers"):  # their numbers are in the headers
        read_mask(tmp_path / "contours", like=cine)
    one.rename(one.with_name("IM-0001-9999-icontour-auto.txt"))
    with pytest.raises(GeometryMismatchError, match="9999"):
        read_mask(tmp_path / "contours", like=cine, source_headers=headers)


def test_a_contour_of_a_person_goes_before_that_of_a_program() -> None:
    names = [f"IM-0001-0048-{kind}.txt" for kind in ("icontour-manual", "icontour-auto")]
    other = ["IM-0001-0048-p1contour-manual.txt", "notes.txt", "IM-0001-0048-ocontour-auto.txt"]
    found = numbered_contours([Path(name) for name in names + other])
    assert {key: path.name for key, path in found.items()} == {
        (48, Label.LV_CAVITY): names[0],
        (48, Label.LV_MYOCARDIUM): other[2],
    }


def test_broken_text_files_are_refused(heart: tuple[Cine, Mask], tmp_path: Path) -> None:
    cine, _ = heart
    file = tmp_path / "IM-0001-0001-icontour-manual.txt"
    for text in ("1 2\n3 4\n", "a b\n", "1 2\n3 4\n1e9 5\n", "1 nan\n3 4\n5 6\n"):
        file.write_text(text, "ascii")
        with pytest.raises(ReadError, match="expected"):
            read_mask(tmp_path, like=cine)
    file.unlink()
    with pytest.raises(ReadError, match="found a folder"):
        read_mask(tmp_path, like=cine)
