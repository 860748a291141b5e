"""Foreign label numbers become ours, or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from lvseg.errors import GeometryError
from lvseg.labels import LABELS, Label, remap

#: A public set that counts 1 = right ventricle, 2 = muscle, 3 = left ventricle.
FOREIGN = {0: Label.BACKGROUND, 1: Label.BACKGROUND, 2: Label.BACKGROUND, 3: Label.LV_CAVITY}


def test_every_number_goes_where_the_table_says():
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    assert remap(labels, FOREIGN).tolist() == [[0, 0], [0, 1]]
    assert remap(labels, FOREIGN).dtype == np.uint8
    assert labels.tolist() == [[0, 1], [2, 3]]


def test_a_number_outside_the_table_is_refused_and_named():
    with pytest.raises(GeometryError, match=r"\[4, 255\]"):
        remap(np.array([0, 4, 255], np.uint8), FOREIGN)


def test_the_numbers_that_do_not_occur_need_no_entry():
    assert remap(np.array([3], np.uint8), {3: Label.LV_CAVITY}).tolist() == [1]


def test_remapping_commutes_with_cropping_and_turning():
    labels = np.random.default_rng(0).integers(0, 4, (5, 7)).astype(np.uint8)
    for change in (lambda a: a[1:4, 2:], np.transpose, lambda a: a[::-1]):
        np.testing.assert_array_equal(
            remap(change(labels), FOREIGN), change(remap(labels, FOREIGN))
        )


def test_every_label_is_described_and_only_the_background_has_no_code():
    assert set(LABELS) == set(Label)
    assert [label for label in Label if LABELS[label].code is None] == [Label.BACKGROUND]
    assert len({info.colour for info in LABELS.values()}) == len(LABELS)
