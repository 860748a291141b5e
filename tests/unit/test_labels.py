"""Label values of other tools become ours."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.sr.codedict import codes

from lvseg.cine import Mask
from lvseg.labels import LABELS, Label, remap

#: A public set that counts 1 = right ventricle, 2 = muscle, 3 = left ventricle.
FOREIGN = {3: Label.LV_CAVITY}


def test_every_value_goes_where_the_table_says_and_the_rest_is_background():
    values = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
    assert remap(values, FOREIGN).tolist() == [[0, 0, 0], [1, 0, 0]]
    assert remap(values, FOREIGN).dtype == np.uint8
    assert values.tolist() == [[0, 1, 2], [3, 4, 255]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_values_beyond_eight_bits_are_themselves(dtype):
    values = np.array([1, 256 + 3, 3, 65535], dtype)
    table = {3: Label.LV_CAVITY, 65535: Label.LV_CAVITY}
    assert remap(values, table).tolist() == [0, 0, 1, 1]


def test_translating_commutes_with_cropping_and_turning():
    labels = np.random.default_rng(0).integers(0, 4, (5, 7)).astype(np.uint8)
    for change in (lambda a: a[1:4, 2:], np.transpose, lambda a: a[::-1]):
        np.testing.assert_array_equal(
            remap(change(labels), FOREIGN), change(remap(labels, FOREIGN))
        )


def test_every_label_is_described_and_only_the_background_has_no_code():
    assert set(LABELS) == set(Label)
    assert [label for label in Label if LABELS[label].code is None] == [Label.BACKGROUND]
    assert len({info.colour for info in LABELS.values()}) == len(LABELS)


def test_the_myocardium_has_the_code_of_the_standard_dictionary():
    code, listed = LABELS[Label.LV_MYOCARDIUM].code, codes.SCT.LeftVentricleMyocardium
    assert code is not None
    assert (code.value, code.scheme, code.meaning) == (
        listed.value,
        listed.scheme_designator,
        listed.meaning,
    )


def test_what_a_boundary_encloses_by_hand():
    labels = np.zeros((1, 2, 3, 5), np.uint8)
    labels[0, 0, 1] = [0, 2, 1, 2, 0]
    labels[0, 1, 1] = [0, 0, 1, 0, 0]  # no wall in this slice
    mask = Mask(labels, (0,))
    assert mask.labels_present == (Label.LV_CAVITY, Label.LV_MYOCARDIUM)
    assert mask.within(Label.LV_CAVITY)[0, :, 1].astype(int).tolist() == [[0, 0, 1, 0, 0]] * 2
    found = mask.within(Label.LV_MYOCARDIUM)[0].astype(int)
    assert found[:, 1].tolist() == [[0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert found.sum() == 3
