"""Pictures of a data set put together as the cine they came from."""

from __future__ import annotations

import numpy as np
import pytest

from lvseg.cine import Cine, Source
from lvseg.manifest import Sample
from lvseg.samples import phases_as_cine


def picture(value, side=4):
    return Cine(np.full((1, 1, side, side), value, np.float32), Source("picture", str(value)))


def sample(phase, index):
    return Sample("x.png", "p", "online", phase, index)


def values(cine):
    return cine.frames[:, :, 0, 0].tolist()


def test_both_phases_make_one_cine_and_a_missing_frame_is_the_other_phase():
    samples = {7: sample("ES", 2), 3: sample("ED", 5), 4: sample("ED", 2), 9: sample("ED", 3)}
    ((cine, places),) = phases_as_cine(samples, {number: picture(number) for number in samples})
    assert values(cine) == [[4, 9, 3], [7, 9, 3]]
    assert places == {7: (1, 0), 3: (0, 2), 4: (0, 0), 9: (0, 1)}


def test_one_phase_is_a_cine_of_one_phase():
    samples = {0: sample("ES", 1), 1: sample("ES", 0)}
    ((cine, places),) = phases_as_cine(samples, {number: picture(number) for number in samples})
    assert values(cine) == [[1, 0]]
    assert places == {0: (0, 1), 1: (0, 0)}


@pytest.mark.parametrize("odd", [sample(None, 3), sample("ED", None), sample("ED", 2)])
def test_what_has_no_place_of_its_own_stays_alone(odd):
    samples = {0: sample("ED", 2), 1: sample("ES", 2), 2: odd}
    found = list(phases_as_cine(samples, {number: picture(number) for number in samples}))
    assert [(values(cine), places) for cine, places in found] == [
        ([[2]], {2: (0, 0)}),
        ([[0], [1]], {0: (0, 0), 1: (1, 0)}),
    ]


def test_pictures_of_two_sizes_make_two_cines():
    samples = {0: sample("ED", 0), 1: sample("ED", 1)}
    found = list(phases_as_cine(samples, {0: picture(0), 1: picture(1, side=5)}))
    assert [cine.shape for cine, _ in found] == [(1, 1, 4, 4), (1, 1, 5, 5)]
    assert [places for _, places in found] == [{0: (0, 0)}, {1: (0, 0)}]
