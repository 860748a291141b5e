"""Each check fires on what it is for, and a sound study passes."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from mask_maker import with_myocardium
from seg_maker import card

from lvseg import quality
from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid, Plane
from lvseg.issues import Issue, verdict_of
from lvseg.modelcard import OutputSpec
from lvseg.quality import Evidence, Limits
from lvseg.results import LVMeasurements, Phases

#: Cavity pixels at end-diastole from base to apex; the stack begins above the base.
SOUND = (0, 90, 100, 90, 80, 60, 40, 12)
PHASES = 20


def beating(row=SOUND, phases=PHASES):
    """[F, Z] pixel counts: 40 % at phase 7 of 20, back to 100 % at the end."""
    way = [0.5 - 0.5 * math.cos(2 * math.pi * (t / phases) ** 0.66) for t in range(phases)]
    return np.round(np.outer(1 - 0.6 * np.array(way), row)).astype(int)


def study(counts, *, ml_per_px=0.25, **changes):
    """A cine, a mask with discs of exactly these areas, and the measurements of the counts."""
    counts = np.asarray(counts)
    y, x = np.mgrid[:32, :34]
    # the rank of each pixel by its distance from the middle: the first N of them are a disc
    rank = np.hypot(y - 15.2, x - 16.3).ravel().argsort().argsort().reshape(32, 34)
    labels = (rank < counts[..., None, None]).astype(np.uint8)
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


def check(cine, mask, measurements, **limits):
    return quality.check(Evidence(cine, mask, measurements, limits=Limits(**limits)))


def codes(found):
    return [issue.code for issue in found]


def test_a_sound_study_passes():
    found = check(*study(beating()))
    assert codes(found) == []
    assert verdict_of(found) == "pass"


# The wall


def walled(bare=(), half=()):
    """A sound study with a wall, missing in some frames (phase, slice), cut in half in others."""
    cine, mask, measurements = study(beating())
    labels = with_myocardium(mask, 2).labels.copy()
    for phase, index in bare:
        labels[phase, index][labels[phase, index] == 2] = 0
    for phase, index in half:
        labels[phase, index, 15:][labels[phase, index, 15:] == 2] = 0
    return cine, replace(mask, labels=labels), measurements


def test_a_closed_wall_passes_and_an_open_one_is_named():
    assert codes(check(*walled())) == []
    (issue,) = check(*walled(bare=[(0, 3)], half=[(0, 2), (9, 4)]))
    assert (issue.code, issue.severity, issue.slice, issue.phase) == ("open-wall", "warning", 3, 0)
    assert "In 2 frame(s)" in issue.text
    assert "100 %" in issue.text


def test_a_wall_open_in_systole_alone_is_a_note():
    (issue,) = check(*walled(half=[(9, 4)]))
    assert (issue.code, issue.severity) == ("open-wall-not-at-ed", "info")
    assert (issue.slice, issue.phase) == (4, 9)
    assert codes(check(*walled(half=[(9, 4)]), open_wall_share=0.9)) == []


def test_a_model_of_two_structures_without_a_wall_asks_for_a_look():
    cine, mask, measurements = study(beating())
    both = card().model_copy(update={"output": OutputSpec(labels=("LV_CAVITY", "LV_MYOCARDIUM"))})
    found = quality.check(Evidence(cine, mask, measurements, card=both))
    assert [(issue.code, issue.severity) for issue in found] == [("wall-not-found", "warning")]
    assert quality.check(Evidence(cine, mask, measurements, card=card())) == ()


def test_an_apex_that_is_cut_off_asks_for_a_look():
    found = check(*study(beating((0, 90, 100, 90, 80, 60, 40))))  # 40 of 100
    assert codes(found) == ["apex-cut-off"]
    assert (found[0].severity, found[0].slice, found[0].phase) == ("warning", 6, 0)
    assert "40 %" in found[0].text


def test_base_and_apex_are_told_apart_by_size_not_by_order():
    found = check(*study(beating((40, 60, 80, 90, 100, 90, 0))))
    # the outer thirds hold 40 + 60 and 100 + 90: the apex is at slice 0, and it is cut off
    assert [(issue.code, issue.slice) for issue in found] == [("apex-cut-off", 0)]
    found = check(*study(beating((40, 60, 80, 90, 100, 90))))
    assert codes(found) == ["apex-cut-off", "base-not-passed"]
    assert [issue.slice for issue in found] == [0, 5]


@pytest.mark.parametrize("turn", [1, -1])
def test_in_doubt_the_smaller_end_is_the_apex(turn):
    # the outer thirds hold 40 + 60 and 80 + 20: neither is wider; 20 % is small enough for an apex
    found = check(*study(beating((40, 60, 90, 100, 80, 20)[::turn])))
    assert [(issue.code, issue.slice) for issue in found] == [
        ("base-not-passed", 0 if turn == 1 else 5)
    ]


def test_a_stack_that_begins_in_the_ventricle_is_a_fact():
    found = check(*study(beating((90, 100, 90, 80, 60, 40, 12))))
    assert codes(found) == ["base-not-passed"]
    assert found[0].severity == "info"
    assert found[0].slice == 0


def test_a_base_as_large_as_any_slice_in_both_phases_is_cut_off():
    found = check(*study(beating((100, 90, 90, 80, 60, 40, 12))))
    assert [(issue.code, issue.severity) for issue in found] == [("base-cut-off", "warning")]
    assert (found[0].slice, found[0].phase) == (0, 0)
    counts = beating((100, 90, 90, 80, 60, 40, 12))
    counts[5:10, 0] = 0  # the base leaves the slice in systole, as it should: only a fact
    assert codes(check(*study(counts))) == ["base-not-passed"]


def spaced(positions_mm, phases=PHASES):
    """A sound study whose slices lie at these places along the stack."""
    planes = tuple(
        Plane((3.0, -2.0, float(z)), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.5, 1.25))
        for z in positions_mm
    )
    cine, mask, measurements = study(beating()[:phases])
    cine = Cine(cine.frames, cine.source, grid=Grid.of(cine.frames, planes=planes))
    return (
        cine,
        Mask(mask.labels, mask.phases, grid=Grid.of(mask.labels, planes=planes)),
        measurements,
    )


def test_a_missing_slice_is_reported_once():
    cine, mask, measurements = spaced((0, 8, 16, 24, 40, 48, 56, 64))
    (found,) = check(cine, mask, measurements)
    # 16 mm where 8 mm is usual: one slice between slice 3 and 4
    assert (found.code, found.severity, found.slice) == ("missing-slice", "warning", 3)
    assert "16.0 mm apart where 8.0 mm is usual: about 1 slice(s)" in found.text
    told = replace(cine, issues=(Issue("missing-slice", "warning", "Known.", 3),))
    assert check(told, mask, measurements) == told.issues
    assert check(*spaced((0, 8, 16, 24, 32, 40, 48, 56))) == ()


def moved(study_, index, columns):
    cine, mask, measurements = study_
    labels = mask.labels.copy()
    labels[:, index] = np.roll(labels[:, index], columns, axis=2)
    return cine, Mask(labels, mask.phases, grid=Grid.of(labels, planes=mask.planes)), measurements


def test_a_shift_counts_from_the_line_between_the_neighbours():
    places = (0, 8, 16, 24, 32, 40, 48, 56)
    assert check(*moved(spaced(places), 3, 7)) == ()  # 7 columns of 1.25 mm = 8.75 mm
    (found,) = check(*moved(spaced(places), 3, -9))  # 11.25 mm
    assert (found.code, found.slice) == ("breathing-shift", 3)
    assert "lies 11.2 mm beside" in found.text
    # Slice 3 lies 8 mm after slice 2 and 12 mm before slice 4. Slice 4 moves 9 columns one way and
    # slice 3 6 columns the other: the line passes 9 x 8 / 20 = 3.6 columns aside at slice 3, which
    # is 6 + 3.6 = 9.6 columns = 12.0 mm off. Slice 4 itself: the line from slice 3 (12 mm) to slice
    # 5 (8 mm) passes -6 x 8 / 20 = -2.4 columns aside: 9 + 2.4 = 11.4 columns = 14.2 mm, the worst.
    uneven = spaced((0, 8, 16, 24, 36, 44, 52, 60))
    found = check(*moved(moved(uneven, 4, 9), 3, -6))
    assert [(issue.code, issue.slice) for issue in found] == [("breathing-shift", 4)]
    assert "lies 14.2 mm beside" in found[0].text
    cine, mask, measurements = moved(spaced(places), 3, -9)
    unknown = Mask(mask.labels, mask.phases)  # no millimetres: nothing is said
    assert check(Cine(cine.frames, cine.source), unknown, measurements) == ()


def test_a_slice_with_pixels_of_its_own_is_not_shifted():
    cine, mask, measurements = spaced((0, 8, 16, 24, 32, 40, 48, 56))
    planes = list(mask.planes)
    # the middle of the discs is column 16.3: 3 + 16.3 x 1.25 = 23.4 mm = -17.4 + 16.3 x 2.5 mm
    planes[3] = replace(planes[3], origin_mm=(-17.4, -2.0, 24.0), pixel_spacing_mm=(1.5, 2.5))
    mask = Mask(mask.labels, mask.phases, grid=Grid.of(mask.labels, planes=tuple(planes)))
    assert (
        check(
            Cine(cine.frames, cine.source, grid=Grid.of(cine.frames, planes=tuple(planes))),
            mask,
            measurements,
        )
        == ()
    )


def test_a_shift_in_a_few_phases_is_not_breathing():
    cine, mask, measurements = spaced((0, 8, 16, 24, 32, 40, 48, 56))
    labels = mask.labels.copy()
    labels[3:6, 3] = np.roll(labels[3:6, 3], 9, axis=2)
    assert (
        check(
            cine, Mask(labels, mask.phases, grid=Grid.of(labels, planes=mask.planes)), measurements
        )
        == ()
    )


def test_a_slice_out_of_its_row_is_uneven():
    found = check(*study(beating((0, 90, 100, 45, 80, 60, 40, 12))))
    # 45 / ((100 + 80) / 2) = 0.5
    assert [(issue.code, issue.slice, issue.phase) for issue in found] == [("uneven-stack", 3, 0)]
    assert "is 0.5 times" in found[0].text
    assert check(*study(beating((0, 90, 100, 60, 80, 60, 40, 12)))) == ()  # 0.67


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
    found = check(cine, Mask(labels, mask.phases), measurements)
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


def volumes(*millilitres):
    """A sound study with another volume curve, percent of 100 ml."""
    curve = tuple(float(value) for value in millilitres)
    return study(beating(phases=len(curve)), volume_ml=curve)


#: Rapid filling, diastasis with a dip of 4 ml, atrial part: what a heart at rest does.
REST = (100, 97, 88, 74, 60, 50, 44, 41, 40, 44, 56, 68, 76, 80, 81, 80, 78, 79, 88, 96)


def test_a_curve_with_diastasis_and_atrial_filling_is_one_beat():
    assert check(*volumes(*REST)) == ()
    assert check(*volumes(*np.roll(REST, 6))) == ()


def test_a_second_fall_by_more_than_a_third_is_a_second_beat():
    beat = np.array(REST[::2])
    found = check(*volumes(*beat, *beat))
    assert [(issue.code, issue.severity) for issue in found] == [("two-beats", "warning")]
    assert found[0].phase == 10
    assert "phases 0 and 10" in found[0].text


def test_the_step_that_closes_the_cycle_counts_only_in_a_whole_cycle():
    half = np.linspace(100, 40, PHASES)  # 60 ml back to the start: all of the change
    cine, mask, measurements = volumes(*half)
    found = check(cine, mask, measurements)
    assert [(issue.code, issue.phase) for issue in found] == [("volume-jump", 0)]
    assert "jumps by 60 ml (100 %" in found[0].text
    longer = Cine(np.zeros((25, *cine.shape[1:]), np.float32), cine.source)
    assert check(longer, mask, measurements) == ()


def test_a_phase_that_sticks_out_is_a_jump():
    curve = np.array(REST)
    curve[5] += 14  # mean of the neighbours (60 + 44) / 2 = 52; 64 is 12 off: 20 % of 60 ml
    assert check(*volumes(*curve)) == ()
    curve[5] += 1  # 13 ml off
    (found,) = check(*volumes(*curve))
    assert (found.code, found.phase) == ("volume-jump", 5)
    assert "lies 13 ml (22 % of the largest change)" in found.text


def test_the_noise_of_a_weak_heart_is_no_jump():
    weak = 200 - (100 - np.array(REST, float)) / 3  # a stroke of 20 of 200 ml
    weak[15] += 9  # 45 % of the stroke, 4.5 % of the volume
    assert check(*volumes(*weak)) == ()


def test_phases_that_are_not_neighbours_cannot_jump():
    counts = beating()
    counts[12] = counts[0]
    cine, mask, measurements = study(counts)
    cine = Cine(np.zeros((40, *cine.shape[1:]), np.float32), cine.source)
    assert check(cine, Mask(mask.labels, tuple(range(0, 40, 2))), measurements) == ()


def test_flicker_of_one_slice_is_named():
    counts = beating()
    counts[15, 2] -= 50  # of 100 at most; in the volume 18 % of the stroke, which is no jump
    cine, mask, measurements = study(counts)
    found = check(cine, mask, measurements)
    assert [(issue.code, issue.slice, issue.phase) for issue in found] == [("flicker", 2, 15)]
    counts = beating((0, 180, 200, 180, 160, 120, 80, 24))
    counts[4:12, 1] = 0  # the base leaves a slice: a step, not flicker
    counts[3, 1] //= 2  # even where one phase catches it half-way
    assert check(*study(counts)) == ()


def test_a_jump_of_every_slice_is_told_once():
    counts = beating((0, 180, 200, 180, 160, 120, 80, 24))
    counts[8] = counts[0]  # 200 px between two phases of about 80 in the largest slice
    assert codes(check(*study(counts))) == ["volume-jump"]


def test_phases_that_are_not_neighbours_cannot_flicker():
    counts = beating()
    counts[15, 2] -= 50
    cine, mask, measurements = study(counts)
    cine = Cine(np.zeros((40, *cine.shape[1:]), np.float32), cine.source)
    assert check(cine, Mask(mask.labels, tuple(range(0, 40, 2))), measurements) == ()


def test_a_phase_without_cavity_must_not_be_used():
    counts = beating()
    counts[7] = 0
    found = check(*study(counts))
    assert {"empty-phase"} <= set(codes(found))
    assert verdict_of(found) == "fail"
    assert next(f for f in found if f.code == "empty-phase").phase == 7


def test_a_named_end_diastole_without_cavity_is_replaced_by_the_fullest_phase():
    counts = beating((0, 90, 100, 90, 80, 60, 40))
    counts[0] = 0
    found = check(*study(counts, phases=Phases(0, 7, "drawn")))
    assert {"apex-cut-off", "empty-phase"} <= set(codes(found))
    assert found[0].phase == 19  # the last phase is the fullest now


def test_a_stroke_volume_below_zero_must_not_be_used():
    found = check(*study(beating(), sv_ml=-3.0))
    assert [(issue.code, issue.severity) for issue in found] == [("negative-stroke", "error")]


def drawn(frame):
    """A sound study with one frame (phase 3, slice 2) drawn by hand."""
    cine, mask, measurements = study(beating())
    labels = mask.labels.copy()
    labels[3, 2] = 0
    labels[3, 2][frame] = 1
    return cine, Mask(labels, mask.phases), measurements


def test_holes_dents_and_stripes_are_seen():
    y, x = np.mgrid[:32, :34]
    disc = (y - 15) ** 2 + (x - 16) ** 2 < 30
    assert check(*drawn(disc)) == ()
    (found,) = check(*drawn(disc & ((y != 15) | (x != 16))))
    assert (found.code, found.slice, found.phase) == ("hole-in-mask", 2, 3)
    # an L of 12 x 12 without 9 x 9: 63 px in a hull of 144 - 81 / 2 = 103.5 px: 61 %
    corner = (y >= 10) & (y < 22) & (x >= 10) & (x < 22) & ((y < 13) | (x < 13))
    (found,) = check(*drawn(corner))
    assert (found.code, found.slice, found.phase) == ("odd-outline", 2, 3)
    assert "fills 61 % of its convex hull" in found.text
    # 5 x 15: a rectangle is as many times as long as its sides say
    (found,) = check(*drawn((y >= 10) & (y < 15) & (x >= 10) & (x < 25)))
    assert found.code == "odd-outline"
    assert "3.0 times as long as wide" in found.text


def test_long_is_a_matter_of_millimetres():
    y, x = np.mgrid[:32, :34]
    cine, mask, measurements = drawn((y >= 10) & (y < 15) & (x >= 10) & (x < 25))
    flat = Mask(mask.labels, mask.phases, grid=Grid.of(mask.labels, pixel_spacing_mm=(2.0, 1.2)))
    assert check(cine, flat, measurements) == ()  # 5 x 2.0 mm by 15 x 1.2 mm: 1.8 times as long
    steep = Mask(mask.labels, mask.phases, grid=Grid.of(mask.labels, pixel_spacing_mm=(1.2, 1.25)))
    assert "3.1 times as long" in check(cine, steep, measurements)[0].text  # 18.75 / 6


def bright(study_, shift):
    """Blood of 200 in muscle of 90, this many columns beside the mask."""
    cine, mask, measurements = study_
    image = 90 + 110 * np.roll(mask.labels, shift, axis=3).astype(np.float32)
    return Cine(image, cine.source), mask, measurements


def test_a_mask_beside_the_blood_is_noticed():
    assert check(*bright(study(beating()), 0)) == ()
    found = check(*bright(study(beating()), 9))
    assert [(issue.code, issue.severity) for issue in found] == [("cavity-not-brighter", "warning")]
    few = study(beating()[:1, 1:3], phases=Phases(None, None, "drawn"))  # two frames prove nothing
    assert "cavity-not-brighter" not in codes(check(*bright(few, 9)))


def test_a_cine_that_does_not_fit_is_left_alone():
    cine, mask, measurements = study(beating())
    noise = np.random.default_rng(3).random((20, 9, 40, 44)).astype(np.float32)
    assert "cavity-not-brighter" in codes(check(*bright(study(beating()), 9)))
    for shape in ((3, 8, 32, 34), (20, 9, 32, 34), (20, 8, 40, 34), (20, 8, 32, 44)):
        part = noise[tuple(slice(length) for length in shape)]
        found = check(Cine(part, cine.source), mask, measurements)
        assert "cavity-not-brighter" not in codes(found)


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


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("few_slices", 8, "few-slices"),  # 7 of 8 slices hold cavity
        ("apex_cut_share", 0.11, "apex-cut-off"),  # 12 of 100 pixels
        ("neighbour_area_ratio", (0.6, 1.04), "uneven-stack"),  # 80 / ((90 + 60) / 2) = 1.07
        ("solidity_share", 0.99, "odd-outline"),
        ("elongation_ratio", 1.01, "odd-outline"),
        ("end_systole_share", (0.2, 0.34), "odd-phase"),  # 7 of 20 phases
        ("ef_percent", (61.0, 85.0), "implausible-ef"),  # 60 %
        ("edv_ml", (119.0, 500.0), "implausible-edv"),  # 472 px x 0.25 ml = 118 ml
    ],
)
def test_a_limit_is_what_the_caller_says(name, value, code):
    assert codes(check(*study(beating()), **{name: value})) == [code]


def test_every_limit_is_used_and_in_the_documents():
    package = Path(quality.__file__).parent
    source = "".join(p.read_text("utf-8") for p in package.glob("*.py") if p.stem != "limits")
    page = (Path(__file__).parents[2] / "docs" / "quality.md").read_text("utf-8")
    for limit in fields(Limits):
        assert f"limits.{limit.name}" in source
        assert f"`{limit.name}`" in page


def test_every_finding_is_one_plain_sentence():
    counts = beating((90, 100, 80, 0, 70))
    counts[9] = counts[0]
    found = check(*study(counts, edv_ml=10.0, ef_percent=99.0, phases=Phases(0, 19, "drawn")))
    assert len(found) >= 6
    for issue in found:
        assert issue.text.endswith(".")
        assert "\n" not in issue.text
        assert len(issue.text) < 160


def test_every_code_and_its_severity_are_in_the_documents():
    package = Path(quality.__file__).parent
    pattern = re.compile(r'[Ii]ssue\("([a-z-]+)", (?:"(info|warning|error)")?')
    emitted = {
        (code, severity or "warning")
        for path in package.glob("*.py")
        for code, severity in pattern.findall(path.read_text("utf-8"))
    }
    page = (Path(__file__).parents[2] / "docs" / "quality.md").read_text("utf-8")
    told = set(re.findall(r"^\| `([a-z-]+)` \| (info|warning|error) \|", page, re.MULTILINE))
    assert len(emitted) > 20
    assert emitted == told
