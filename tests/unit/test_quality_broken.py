"""Plausible phantoms pass; every way to break their true masks is noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mask_maker import cavity_alone
from scipy import ndimage

from lvseg import quality
from lvseg.cine import Cine, Mask
from lvseg.geometry import Grid
from lvseg.issues import verdict_of
from lvseg.measurement import measure
from lvseg.phantom import PhantomOptions, beating_ventricle

#: Slices run from apex (1) to base (9); the image is not square, and neither are its pixels.
SMALL = PhantomOptions(
    rows=104, columns=112, pixel_spacing_mm=(1.9, 1.7), heart_offset_mm=(14.0, -20.0)
)
SOUND = {
    "default": {},
    "dilated": {"edv_ml": 280.0, "ef_percent": 20.0, "length_mm": 105.0, "slices": 13},
    "vigorous": {"edv_ml": 95.0, "ef_percent": 75.0, "length_mm": 80.0, "slices": 10},
    "thirty phases": {"phases": 30, "slices": 11, "gap_mm": 1.0},
    "twelve phases": {"phases": 12},
    "shallow breaths": {"breathing_mm": 1.5, "seed": 3},
    "long shortening": {"shortening_slabs": 2, "seed": 4},
    "two phases": {"phases": 2},
    "oblique": {"tilt_degrees": (12.0, -25.0, 8.0), "seed": 6},
}


@pytest.fixture(scope="module")
def phantom() -> tuple[Cine, Mask]:
    cine, mask, _ = beating_ventricle(SMALL)
    return cine, cavity_alone(mask)


def found_in(cine: Cine, mask: Mask):
    return quality.check(quality.Evidence(cine, mask, replace(measure(mask), issues=())))


@pytest.mark.parametrize("name", SOUND)
def test_the_true_mask_of_a_plausible_heart_passes(name: str) -> None:
    cine, mask, _ = beating_ventricle(replace(SMALL, **SOUND[name]))
    found = found_in(cine, mask)
    assert verdict_of(found) == "pass"
    assert found == ()


def swap_slices(labels):
    labels[:, [3, 8]] = labels[:, [8, 3]]


def shift_a_slice(labels):
    labels[:, 5] = np.roll(labels[:, 5], 8, axis=1)  # 8 rows of 1.9 mm = 15.2 mm


def erase_a_middle_slice(labels):
    labels[:, 5] = 0


def dilate_a_phase(labels, phase=4):
    grown = [ndimage.binary_dilation(frame, iterations=3) for frame in labels[phase]]
    labels[phase] = np.array(grown)


def dilate_end_diastole(labels):
    dilate_a_phase(labels, 0)


def mirror(labels):
    labels[...] = labels[..., ::-1].copy()


def turn_upside_down(labels):
    labels[...] = labels[:, :, ::-1].copy()


def mirror_a_slice(labels):
    labels[:, 6] = labels[:, 6, :, ::-1].copy()


def merge_with_the_right_ventricle(labels):
    y, x = np.mgrid[: labels.shape[2], : labels.shape[3]]
    rows, columns = np.nonzero(labels[0, 7])
    # the other side of the septum: 26 columns = 44 mm from the middle, 14 columns = 24 mm in radius
    blob = (y - rows.mean()) ** 2 + (x - columns.mean() + 26) ** 2 < 14**2
    labels[:, 4:9] |= blob.astype(np.uint8)


def drop_slices(*kept):
    def broken(labels):
        return list(range(labels.shape[1]))[slice(*kept)]

    return broken


def permute_phases(labels):
    order = np.random.default_rng(7).permutation(len(labels))
    labels[...] = labels[order]


def play_two_beats(labels):
    labels[...] = labels[np.concatenate([np.arange(0, 20, 2), np.arange(0, 20, 2)])]


def reverse_time(labels):
    labels[...] = labels[::-1].copy()  # rapid filling becomes slow emptying: 12 of 20 phases


def empty_a_phase(labels):
    labels[9] = 0


def flicker_in_a_slice(labels):
    labels[12, 4] = ndimage.binary_dilation(labels[12, 4], iterations=4)


def punch_a_hole(labels):
    rows, columns = np.nonzero(labels[0, 6])
    labels[:, 6, int(rows.mean()), int(columns.mean())] = 0


BROKEN = {
    "two slices swapped": (swap_slices, {"uneven-stack"}),
    "a slice shifted": (shift_a_slice, {"breathing-shift"}),
    "a middle slice erased": (erase_a_middle_slice, {"gap-in-mask"}),
    "a phase dilated": (dilate_a_phase, {"volume-jump"}),
    "end-diastole dilated": (dilate_end_diastole, {"volume-jump"}),
    "mirrored": (mirror, {"cavity-not-brighter"}),
    "upside down": (turn_upside_down, {"cavity-not-brighter"}),
    "a slice mirrored": (mirror_a_slice, {"breathing-shift"}),
    "merged with the other side": (merge_with_the_right_ventricle, {"odd-outline"}),
    "basal slices dropped": (drop_slices(0, 8), {"base-cut-off"}),
    "one basal slice dropped": (drop_slices(0, 9), {"base-cut-off"}),
    "four slices left": (drop_slices(4, 8), {"few-slices", "stack-does-not-cover-ventricle"}),
    "apex cut": (drop_slices(4, None), {"apex-cut-off"}),
    "every third slice": (drop_slices(None, None, 3), {"few-slices"}),
    "phases permuted": (permute_phases, {"volume-jump"}),
    "two beats": (play_two_beats, {"two-beats"}),
    "time reversed": (reverse_time, {"odd-phase"}),
    "a phase empty": (empty_a_phase, {"empty-phase", "volume-jump"}),
    "flicker": (flicker_in_a_slice, {"flicker"}),
    "a hole": (punch_a_hole, {"hole-in-mask"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_mask_is_noticed(phantom: tuple[Cine, Mask], name: str) -> None:
    cine, mask = phantom
    spoil, expected = BROKEN[name]
    labels = mask.labels.copy()
    kept = spoil(labels)
    if kept is not None:  # the stack itself is shorter, not only its mask
        labels = labels[:, kept]
        planes = tuple(cine.planes[index] for index in kept)
        cine = Cine(
            cine.frames[:, kept],
            cine.source,
            grid=Grid.of(cine.frames[:, kept], planes=planes),
            times_ms=cine.times_ms,
        )
    found = found_in(cine, Mask(labels, mask.phases, grid=Grid.of(labels, planes=cine.planes)))
    asking = {issue.code for issue in found if issue.severity != "info"}
    assert expected <= asking
    assert verdict_of(found) != "pass"


def test_no_break_is_told_in_more_than_four_findings(phantom: tuple[Cine, Mask]) -> None:
    cine, mask = phantom
    for spoil, _ in BROKEN.values():
        labels = mask.labels.copy()
        if spoil(labels) is None:
            found = found_in(
                cine, Mask(labels, mask.phases, grid=Grid.of(labels, planes=mask.planes))
            )
            assert 1 <= len(found) <= 4
            assert len({issue.code for issue in found}) == len(found)


def test_the_shift_and_its_slice_are_named(phantom: tuple[Cine, Mask]) -> None:
    cine, mask = phantom
    labels = mask.labels.copy()
    shift_a_slice(labels)
    (found,) = found_in(cine, Mask(labels, mask.phases, grid=Grid.of(labels, planes=mask.planes)))
    assert (found.code, found.slice, found.phase) == ("breathing-shift", 5, 0)
    # 15.2 mm, less what the axis itself bends (0.1 mm)
    assert "lies 15.1 mm beside" in found.text
