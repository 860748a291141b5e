"""Each check fires on what it is for, and a sound study passes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lvseg.cine import Cine, Mask, Source
from lvseg.findings import verdict_of
from lvseg.quality import check
from lvseg.results import LVMeasurements, Phases

#: Cavity pixels at end-diastole from base to apex; the stack begins above the base.
SOUND = (0, 90, 100, 90, 80, 60, 40, 12)
PHASES = 20


def beating(row=SOUND, phases=PHASES):
    """[F, Z] pixel counts: 40 % at phase 7 of 20, back to 100 % at the end."""
    way = [0.5 - 0.5 * math.cos(2 * math.pi * (t / phases) ** 0.66) for t in range(phases)]
    return np.round(np.outer(1 - 0.6 * np.array(way), row)).astype(int)


def study(counts, *, ml_per_px=0.25, **changes):
    """A cine, a mask with squares of about these areas, and the measurements of the counts."""
    counts = np.asarray(counts)
    labels = np.zeros((*counts.shape, 32, 34), np.uint8)
    flat = labels[:, :, 8:24, 8:24]
    flat[...] = (np.arange(256) < counts[..., None]).reshape(*counts.shape, 16, 16)
    volumes = tuple(float(v) for v in counts.sum(axis=1) * ml_per_px)
    ed, es = int(np.argmax(volumes)), int(np.argmin(volumes))
    edv, esv = volumes[ed], volumes[es]
    measurements = LVMeasurements(
        phases=Phases(ed, es, "largest and smallest volume"),
        volume_ml=volumes,
        area_mm2=None,
        area_px=tuple(tuple(int(v) for v in row) for row in counts),
        edv_ml=edv,
        esv_ml=esv,
        sv_ml=edv - esv,
        ef_percent=100 * (edv - esv) / edv if edv else None,
    )
    cine = Cine(np.zeros(labels.shape, np.float32), Source("array", "drawn"))
    mask = Mask(labels, tuple(range(len(counts))))
    return cine, mask, replace(measurements, **changes)


def codes(found):
    return [finding.code for finding in found]


def test_a_sound_study_passes():
    found = check(*study(beating()))
    assert codes(found) == []
    assert verdict_of(found) == "pass"


def test_an_apex_that_is_cut_off_asks_for_a_look():
    found = check(*study(beating((0, 90, 100, 90, 80, 60, 40))))  # 40 of 100
    assert codes(found) == ["apex-cut-off"]
    assert (found[0].severity, found[0].slice, found[0].phase) == ("warning", 6, 0)
    assert "40 %" in found[0].text


def test_base_and_apex_are_told_apart_by_size_not_by_order():
    found = check(*study(beating((40, 60, 80, 90, 100, 90, 0))))
    # the outer thirds hold 40 + 60 and 100 + 90: the apex is at slice 0, and it is cut off
    assert [(finding.code, finding.slice) for finding in found] == [("apex-cut-off", 0)]
    found = check(*study(beating((40, 60, 80, 90, 100, 95))))
    assert codes(found) == ["apex-cut-off", "base-not-passed"]
    assert [finding.slice for finding in found] == [0, 5]


def test_a_stack_that_begins_in_the_ventricle_is_a_fact():
    found = check(*study(beating((90, 100, 90, 80, 60, 40, 12))))
    assert codes(found) == ["base-not-passed"]
    assert found[0].severity == "info"
    assert found[0].slice == 0


def test_three_slices_of_the_middle_must_not_be_used():
    found = check(*study(beating((90, 100, 80))))
    assert {"few-slices", "stack-does-not-cover-ventricle"} <= set(codes(found))
    assert verdict_of(found) == "fail"


def test_an_empty_slice_in_the_middle_is_a_gap():
    counts = beating()
    counts[5, 3] = counts[6, 3] = 0
    found = check(*study(counts))
    assert codes(found) == ["gap-in-mask"]
    assert (found[0].slice, found[0].phase) == (3, 5)
    assert "2 phase(s)" in found[0].text


def test_several_pieces_and_the_border_are_seen():
    cine, mask, measurements = study(beating())
    labels = mask.labels.copy()
    labels[4, 2, 28, 28] = 1
    labels[9, 3, 31, 20] = 1
    found = check(cine, Mask(labels, mask.frame_index), measurements)
    assert codes(found) == ["several-pieces", "touches-border"]
    assert (found[0].slice, found[0].phase) == (2, 4)
    assert "2 frame(s)" in found[0].text
    assert (found[1].slice, found[1].phase) == (3, 9)


def test_a_jump_of_the_curve_names_the_phase():
    counts = beating()
    counts[12] = counts[0]
    cine, mask, measurements = study(counts)
    found = check(cine, mask, measurements)
    assert codes(found) == ["volume-jump"]
    # either side of the spike is a jump of more than half the stroke
    assert found[0].phase in (12, 13)
    assert codes(check(*study(counts[::2]))) == []  # ten phases are too few to tell


@pytest.mark.parametrize(("ef", "expected"), [(4.9, True), (5.0, False), (85.0, False), (86, True)])
def test_ejection_fractions_out_of_range_are_flagged(ef, expected):
    found = check(*study(beating(), ef_percent=ef))
    assert ("implausible-ef" in codes(found)) == expected


@pytest.mark.parametrize(("edv", "expected"), [(29, True), (30, False), (500, False), (501, True)])
def test_volumes_out_of_range_are_flagged(edv, expected):
    found = check(*study(beating(), edv_ml=float(edv)))
    assert ("implausible-edv" in codes(found)) == expected


def test_end_systole_at_an_odd_place_is_flagged():
    odd = study(beating(), phases=Phases(0, 14, "drawn"))  # 70 % of the cycle
    assert codes(check(*odd)) == ["odd-phase"]
    wrapped = study(beating(), phases=Phases(18, 5, "drawn"))  # (5 - 18) mod 20 = 7: 35 %
    assert codes(check(*wrapped)) == []
    few = study(beating(phases=6), phases=Phases(0, 5, "drawn"))
    assert codes(check(*few)) == []


def test_two_phases_of_a_cine_are_judged_by_their_own_numbers():
    cine, mask, measurements = study(beating()[[0, 7]])
    cine = Cine(np.zeros((20, *cine.shape[1:]), np.float32), cine.source)
    mask = Mask(mask.labels, (3, 11))
    measurements = replace(measurements, phases=Phases(3, 11, "drawn"))
    assert check(cine, mask, measurements) == ()


def test_a_picture_and_an_empty_mask_have_nothing_to_check():
    unknown = {"volume_ml": None, "edv_ml": None, "ef_percent": None}
    nowhere = Phases(None, None, "not found")
    assert check(*study([[60]], phases=nowhere, **unknown)) == ()
    assert check(*study(np.zeros((20, 8), int), phases=nowhere, **unknown)) == ()


def test_every_finding_is_one_plain_sentence():
    counts = beating((90, 100, 80, 0, 70))
    counts[9] = counts[0]
    found = check(*study(counts, edv_ml=10.0, ef_percent=99.0, phases=Phases(0, 19, "drawn")))
    assert len(found) >= 6
    for finding in found:
        assert finding.text.endswith(".")
        assert "\n" not in finding.text
        assert len(finding.text) < 160
