"""Limits of the quality checks, each with its unit in the name and its reason below."""

from __future__ import annotations

from dataclasses import dataclass

from lvseg.geometry import GAP_FACTOR
from lvseg.wall import OPEN_SHARE


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a check reports an issue. Shares are 0..1; a pair is (lowest, highest) usual.

    What "experts", "model" and "phantoms" were measured on is in docs/quality.md.
    """

    missing_slice_ratio: float = GAP_FACTOR
    """A distance between slices over the usual one from which a slice is missing between them; the
    reader, which reports it first where it can, has the same limit."""

    few_slices: int = 5
    """Fewer slices describe a ventricle of 7 to 10 cm too coarsely for Simpson's rule."""

    apex_cut_share: float = 0.3
    """The apical slice of a stack that reaches the apex is small; above this share of the largest
    slice at least one more slice would hold cavity."""

    middle_only_share: float = 0.6
    """Above this share on the apical and ``apex_cut_share`` on the basal side, the stack shows the
    middle of the ventricle only: what lies outside is a large part of the volume."""

    base_cut_share: float = 0.95
    """The base moves 10 mm and more towards the apex in systole, so a stack that begins at the
    base loses cavity in its first slice. Where that slice still holds this share of the largest
    one, at end-diastole and at end-systole, the stack begins below the base."""

    neighbour_area_ratio: tuple[float, float] = (0.6, 1.7)
    """Area of a slice over the mean of both neighbours. A ventricle tapers: an ellipsoid has 1.0
    to 1.1; experts at end-diastole 0.73 to 1.50 (190 slices)."""

    neighbour_from_share: float = 0.25
    """A slice is compared where both neighbours hold at least this share of the largest slice:
    towards apex and base the area falls steeply."""

    breathing_shift_mm: float = 10.0
    """The distance between slices is 8 to 10 mm: a breath that moves the heart this far in the
    plane moves it along the stack too, so that a level is counted twice or not at all. Of the
    experts' 30 patients (at 1.33 mm a pixel) 26 have less than 9 mm everywhere, the other four 10.2
    to 13.6 mm; the model's masks stay below 4.5 mm."""

    breathing_from_share: float = 0.2
    """Slices smaller than this share of the largest one bend away from the axis at apex and
    outflow tract."""

    solidity_share: float = 0.85
    """Share of its convex hull that a cavity fills: experts 0.87 and more (521 frames, 0.90 where a
    slice is not small), model 0.92. A ventricle with a piece of the other one attached fills
    less."""

    elongation_ratio: float = 2.2
    """Longest over shortest axis: experts up to 2.0 (one frame of a thick-walled heart at
    end-systole), the next 1.6. Two equal circles that touch have 2.24."""

    outline_from_px: int = 50
    """Below this many pixels the outline is a matter of pixels."""

    open_wall_share: float = OPEN_SHARE
    """Share of the border of the cavity without myocardium beside it. A boundary that passes one
    pixel inside the cavity here and there stays below; a wall that ends does not."""

    darker_ring_share: float = 0.8
    """Median over frames of the share of ring pixels that are darker than the middle value of the
    cavity (equal values count half). A place chosen by chance has half. Experts have 0.92 and more
    in 29 of 30 patients; in the other one (0.59) they lie beside the ventricle. Model 1.00."""

    ring_mm: tuple[float, float] = (1.5, 5.5)
    """The ring around the cavity that is compared with it: beyond the blur of the border, within
    the wall, which is 6 mm thick or more in most hearts."""

    ring_px: tuple[float, float] = (1.0, 4.0)
    """The same in pixels where the spacing is unknown."""

    ring_from_px: int = 50
    """Slices smaller than this are blurred by the wall."""

    ring_from_frames: int = 3
    """One frame may hold a bright ring of fat or of the right ventricle; a median of several does
    not."""

    jump_factor: float = 10.0
    """The ventricle empties within about a third of the beat: 3 / T of the stroke a phase for T
    phases. More than ``jump_factor`` / T, three times that, between neighbours is a jump of the
    mask."""

    jump_share: float = 0.2
    """However many phases there are, a smaller share of the stroke is noise of the outlines."""

    spike_share: float = 0.2
    """A phase this share of the stroke off the mean of its two neighbours. At 12 phases the turn
    at end-systole has 0.12 (phantoms); the model's masks, all with a small stroke, reach 0.12."""

    spike_across_end_share: float = 0.3
    """Likewise across the end of the cycle, where a prospectively triggered cine leaves out part of
    the filling: the atria bring about a quarter of the stroke."""

    spike_of_largest_share: float = 0.05
    """A spike smaller than this share of the largest volume is noise of the outlines, which in a
    heart with a small stroke is a large part of it (0.033 in the model's masks)."""

    second_beat_share: float = 1 / 3
    """A beat falls once and rises once. Between rapid filling and the atrial part the curve rests
    or dips by a few percent of the stroke; a fall of a third is a second ejection."""

    curve_from_phases: int = 12
    """Below this many phases neighbouring volumes differ too much to call it a jump."""

    flicker_share: float = 0.3
    """A phase whose area lies this share of the slice's largest area above, or below, both
    neighbours in time. The turn at end-systole reaches 0.1 (0.18 where the base leaves two slices
    at once, in phantoms); the model's masks stay below 0.05."""

    flicker_px: int = 40
    """Smaller changes are the coarseness of pixels."""

    flicker_from_phases: int = 12
    """Below this many phases neighbours differ too much to call a change flicker."""

    end_systole_share: tuple[float, float] = (0.2, 0.6)
    """End-systole as a share of the cycle after end-diastole: about 0.3 at rest, more in fast
    hearts."""

    end_systole_from_phases: int = 8
    """Below this many phases a share of the cycle means little."""

    ef_percent: tuple[float, float] = (5.0, 85.0)
    """Ejection fractions outside this range are rare in patients and common in failed masks."""

    edv_ml: tuple[float, float] = (30.0, 500.0)
    """Adults from small to severely dilated; a child's heart may lie below and asks for a look."""
