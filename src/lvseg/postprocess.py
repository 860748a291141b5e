"""Post-processing of a mask: one ventricle, connected through slices and time, without holes.

Every piece is a pure function of a boolean array ``[T, Z, Y, X]``, and cleaning twice does what
cleaning once did. Phases lie on a circle: the last one is followed by the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from lvseg.cine import Cine, Mask, base_first
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Box
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.prediction import Prediction
from lvseg.runs import circular_runs, runs

BoolArray = NDArray[np.bool_]

#: A frame has one ventricle; more candidates than this are noise and only cost time.
_CANDIDATES = 4
#: The pieces of :func:`clean` agree after one or two rounds; this bounds a pathological input.
_ROUNDS = 8
#: In-plane neighbours that share an edge; frames do not touch each other.
_IN_PLANE = np.array([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])


@dataclass(frozen=True, slots=True)
class PostprocessSettings:
    """Choices of the clean-up."""

    threshold: float | None = None
    """Probability from which a pixel is inside; None: the model's own, or 0.5 = more likely than
    not."""
    faint_from: float = 0.15
    """In a frame of an image or short series whose highest probability is at least this, the
    threshold is taken of that value, so that a faint small cavity is not lost."""
    smoothing: float = 0.25
    """Weight of each neighbouring phase in the average over time; 0 = off. A quarter suppresses
    flicker and hardly flattens end-systole, which lasts several phases."""
    cycle_phases: int = 8
    """Phases from which a cine is dense enough in time for smoothing and for the rules on runs of
    phases; below it neighbours differ too much."""
    reach: float = 1.25
    """How far the centre of a piece may lie from its neighbour's in the next slice or phase, in
    radii of the larger of the two. 1 = within it; the rest allows for breath-holds in different
    positions. The right ventricle lies about 2 radii away."""
    gap_phases: int = 2
    """A slice empty for at most this many phases is filled; no beat empties and refills the middle
    of a ventricle within a tenth of a cycle."""
    shortest_run: int = 2
    """A slice that holds cavity for fewer phases in a row is flicker."""
    atrial_ratio: float = 0.95
    """At the basal end, a slice whose cavity at end-systole is at least this share of the one at
    end-diastole lies above the valve: ventricles shrink, atria fill. It goes, with all slices
    beyond it. 0 = off."""
    atrial_from_slices: int = 4
    """Fewer slices with cavity have no basal end that could be told from the rest."""
    beating_ratio: float = 0.9
    """Where most slices shrink to more than this share, nothing tells atrium from ventricle."""
    base_wall_ratio: float = 0.5
    """At the basal end of each phase, a frame whose wall is thinner on average than this share of
    the median of the phase lies above the valve by then: atria have no wall to speak of. For
    models that draw the myocardium; 0 = off. True basal frames have 0.7 and more."""
    orphan_share: float = 0.25
    """Pieces beyond an empty slice are dropped when smaller than this share of the main piece;
    larger ones are kept, because then the empty slice is the fault."""
    notable_px: float = 50
    """Pixels a phase, on average, from which a slice that was left out is worth an issue."""


_DEFAULT = PostprocessSettings()


def to_mask(prediction: Prediction, cine: Cine, options: PostprocessSettings = _DEFAULT) -> Mask:
    """Turn probabilities into a clean mask of every phase.

    Structures are nested: the innermost is cleaned by itself (:func:`clean`), each further one is
    held to the one inside it (:func:`enclose`), and what it adds gets its label.

    :returns: a mask with at most one piece a frame, which holds a cavity wherever the frame has
        one; empty where nothing reaches the threshold.
    :raises GeometryMismatchError: prediction and cine differ in shape.
    """
    box, found = prediction.box, prediction.probabilities.shape[1:]
    if found != (*cine.shape[:2], box.rows, box.columns) or box.clip(*cine.shape[2:]) != box:
        raise GeometryMismatchError(
            f"expected a prediction for the cine {cine.shape}, found one of {found} at {box}"
        )
    labels = np.zeros(cine.shape, np.uint8)
    part = labels[..., *box.slices]
    within: BoolArray | None = None
    for label in prediction.labels:
        outer = _structure(prediction.of(label), options, within)
        np.copyto(part, np.uint8(label), where=outer if within is None else outer & ~within)
        within = outer
    if Label.LV_MYOCARDIUM in prediction.labels:
        part[frames_above_the_valve(part, options)] = Label.BACKGROUND
    return Mask(labels, tuple(range(cine.shape[0])), cine.grid)


def _structure(
    probabilities: NDArray[np.float32], options: PostprocessSettings, inner: BoolArray | None
) -> BoolArray:
    """The cleaned inside of one structure around the one inside it, ``[T, Z, y, x]``."""
    levels = _levels(probabilities, options)
    result = np.zeros(probabilities.shape, bool)
    # Averages over time cannot exceed their parts: outside this box nothing can be inside.
    box = Box.around(probabilities >= levels)
    if box is not None:
        smooth = smooth_over_time(box.crop(probabilities), options)
        inside = smooth >= levels
        box.paste(clean(inside, options) if inner is None else inside, result)
    return result if inner is None else enclose(result, inner)


def _threshold(options: PostprocessSettings) -> float:
    return 0.5 if options.threshold is None else options.threshold


def _levels(
    probabilities: NDArray[np.float32], options: PostprocessSettings
) -> NDArray[np.float32]:
    """The probability from which a pixel of each frame is cavity, [T or 1, Z, 1, 1]."""
    if len(probabilities) >= options.cycle_phases:
        return np.full((1, probabilities.shape[1], 1, 1), _threshold(options), np.float32)
    peak = probabilities.max(axis=(2, 3))
    faint = np.where(peak >= options.faint_from, np.minimum(peak, 1), np.float32(1))
    return np.asarray(np.float32(_threshold(options)) * faint, np.float32)[:, :, None, None]


def left_out(
    prediction: Prediction, mask: Mask, options: PostprocessSettings = _DEFAULT
) -> tuple[Issue, ...]:
    """Report the slices that had cavity in the prediction and that the clean-up emptied."""
    inside = prediction.of(Label.LV_CAVITY) >= _threshold(options)
    seen = inside.sum(axis=(2, 3)).mean(axis=0)
    kept = mask.of(Label.LV_CAVITY).any(axis=(0, 2, 3))
    text = (
        "Signal like a cavity was left out of this slice: it does not shrink in systole as a "
        "ventricle does, or lies apart from the ventricle."
    )
    return tuple(
        Issue("slice-left-out", "info", text, slice=int(index))
        for index in np.flatnonzero(~kept & (seen >= options.notable_px))
    )


def smooth_over_time(
    probabilities: NDArray[np.float32], options: PostprocessSettings = _DEFAULT
) -> NDArray[np.float32]:
    """Average every pixel with its two neighbouring phases on the circle of the cycle.

    Fewer than ``cycle_phases`` phases come back unchanged. ``[T, Z, Y, X]`` in and out.
    """
    if len(probabilities) < options.cycle_phases or options.smoothing == 0:
        return probabilities
    side = np.float32(options.smoothing)
    neighbours = np.roll(probabilities, 1, axis=0) + np.roll(probabilities, -1, axis=0)
    result: NDArray[np.float32] = (1 - 2 * side) * probabilities + side * neighbours
    return result


def clean(inside: BoolArray, options: PostprocessSettings = _DEFAULT) -> BoolArray:
    """Keep one ventricle, close its holes and its short gaps in time, drop flicker and orphans.

    A single frame keeps its largest piece, with holes closed. The rules can feed each other (a
    dropped piece may have been the bridge to another), so they run until nothing changes.
    """
    for _ in range(_ROUNDS):
        before = inside
        inside = fill_holes(keep_ventricle(inside, options))
        inside = keep_longest_runs(fill_short_gaps(inside, options), options)
        inside = drop_atrial_slices(drop_orphan_slices(inside, options), options)
        if np.array_equal(inside, before):
            break
    return inside


def keep_ventricle(inside: BoolArray, options: PostprocessSettings = _DEFAULT) -> BoolArray:
    """Keep the pieces that form the largest body through slices and time, one piece a frame.

    Pieces of neighbouring frames belong together when the centre of one lies within ``reach``
    radii of the other's; a slice further is tried too, so that one bad slice does not cut the
    ventricle in two. Of several pieces in a frame the one wins that covers what is cavity in most
    phases of its slice.
    """
    phases, slices, rows, columns = inside.shape
    labels, count = ndimage.label(inside.reshape(-1, rows, columns), structure=_IN_PLANE)
    if count == 0:
        return inside
    places = np.flatnonzero(labels)
    piece = labels.ravel()[places]
    frame, y, x = np.unravel_index(places, labels.shape)
    area = np.bincount(piece, minlength=count + 1)[1:]
    centre_y = np.bincount(piece, y, count + 1)[1:] / area
    centre_x = np.bincount(piece, x, count + 1)[1:] / area
    frame_of = np.zeros(count, np.intp)
    frame_of[piece - 1] = frame
    slots = _slots(frame_of, area, phases * slices).reshape(phases, slices, _CANDIDATES)
    body = _largest_body(slots, area, centre_y, centre_x, options.reach)
    # votes: in how many phases is each pixel of the slice part of the body
    member = np.zeros(count + 1, bool)
    member[1:] = body
    votes = member[labels].reshape(inside.shape).sum(axis=0)
    score = np.bincount(piece, votes[frame % slices, y, x], count + 1)[1:] * body
    kept = np.zeros(count + 1, bool)
    kept[_best_of_frames(frame_of, score, area) + 1] = True
    kept[1:] &= body
    result: BoolArray = kept[labels].reshape(inside.shape)
    return result


def _slots(frame_of: NDArray[np.intp], area: NDArray[np.intp], frames: int) -> NDArray[np.intp]:
    """List the largest pieces of each frame, [frames, _CANDIDATES], -1 where there is none."""
    order = np.lexsort((-area, frame_of))
    ordered = frame_of[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    slots = np.full((frames, _CANDIDATES), -1, np.intp)
    near = rank < _CANDIDATES
    slots[ordered[near], rank[near]] = order[near]
    return slots


def _largest_body(
    slots: NDArray[np.intp],
    area: NDArray[np.intp],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    reach: float,
) -> BoolArray:
    """Whether each piece belongs to the connected group with the most pixels, [pieces]."""
    radius = np.sqrt(area / np.pi)
    pairs = [(slots, np.roll(slots, -1, axis=0))] if len(slots) > 1 else []
    pairs += [(slots[:, :-step], slots[:, step:]) for step in (1, 2) if slots.shape[1] > step]
    none = np.empty(0, np.intp)
    starts, ends = [none], [none]
    for a, b in pairs:
        first, second = np.broadcast_arrays(a[..., :, None], b[..., None, :])
        there = (first >= 0) & (second >= 0)
        first, second = first[there], second[there]
        apart = np.hypot(y[first] - y[second], x[first] - x[second])
        linked = apart <= reach * np.maximum(radius[first], radius[second])
        starts.append(first[linked])
        ends.append(second[linked])
    one, other = np.concatenate(starts), np.concatenate(ends)
    graph = sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=(len(area), len(area)))
    _, group = csgraph.connected_components(graph, directed=False)
    chosen = np.zeros(len(area), bool)
    chosen[slots[slots >= 0]] = True
    pixels = np.bincount(group, area * chosen)
    result: BoolArray = (group == pixels.argmax()) & chosen
    return result


def _best_of_frames(
    frame_of: NDArray[np.intp], score: NDArray[Any], area: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Pick the best piece of each frame; equal scores: the larger, then the first."""
    order = np.lexsort((-area, -score, frame_of))
    ordered = frame_of[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    result: NDArray[np.intp] = order[first]
    return result


def fill_holes(inside: BoolArray) -> BoolArray:
    """Close what the cavity of a slice surrounds (papillary muscles count as cavity)."""
    box = Box.around(inside)
    if box is None:
        return inside
    crop = box.crop(inside).reshape(-1, box.rows, box.columns)
    outside = np.pad(~crop, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    labels, count = ndimage.label(outside, structure=_IN_PLANE)
    if count == len(crop):
        return inside
    open_ones = np.zeros(count + 1, bool)
    open_ones[labels[:, 0, 0]] = True
    filled = inside.copy()
    closed = ~open_ones[labels[:, 1:-1, 1:-1]]
    box.paste(closed.reshape(*inside.shape[:2], box.rows, box.columns), filled)
    return filled


def fill_short_gaps(inside: BoolArray, options: PostprocessSettings = _DEFAULT) -> BoolArray:
    """Close gaps of at most ``gap_phases`` phases in a slice with the nearest phase's cavity.

    In the middle of a gap both are equally near: the smaller one is taken. Cines of fewer than
    ``cycle_phases`` phases come back unchanged.
    """
    phases = inside.shape[0]
    if phases < options.cycle_phases:
        return inside
    area = inside.sum(axis=(2, 3))
    filled = inside.copy()
    for index in range(inside.shape[1]):
        for start, length in circular_runs(area[:, index] == 0):
            before, after = (start - 1) % phases, (start + length) % phases
            if length > options.gap_phases or length == phases:
                continue
            for step in range(length):
                nearest = before if 2 * step < length - 1 else after
                if 2 * step == length - 1 and area[before, index] <= area[after, index]:
                    nearest = before
                filled[(start + step) % phases, index] = inside[nearest, index]
    return filled


def keep_longest_runs(inside: BoolArray, options: PostprocessSettings = _DEFAULT) -> BoolArray:
    """Keep one run of phases a slice: the longest, of equals the one with more cavity.

    The base moves through the outer slices once a beat, so cavity there comes and goes once; other
    runs are flicker, and so is a run shorter than ``shortest_run``. Cines of fewer than
    ``cycle_phases`` phases come back unchanged.
    """
    phases = inside.shape[0]
    if phases < options.cycle_phases:
        return inside
    area = inside.sum(axis=(2, 3))
    kept = inside.copy()
    for index in range(inside.shape[1]):
        found = circular_runs(area[:, index] > 0)
        members = [(start + np.arange(length)) % phases for start, length in found]
        members.sort(key=lambda run: (-len(run), -int(area[run, index].sum()), int(run[0])))
        if members and len(members[0]) < options.shortest_run:
            kept[:, index] = False
        for run in members[1:]:
            kept[run, index] = False
    return kept


def drop_atrial_slices(inside: BoolArray, options: PostprocessSettings = _DEFAULT) -> BoolArray:
    """Drop what lies above the valve: basal slices whose cavity does not shrink in systole.

    End-diastole and end-systole are where the summed cavity of the apical two thirds is largest and
    smallest, each averaged with its two neighbouring phases. Slices are looked at from the fullest
    one towards the base; the first that does not shrink goes, and all beyond it. The apical side is
    left alone: an aneurysm there may grow in systole. Fewer than ``cycle_phases`` phases, fewer
    than four slices with cavity, or a stack that does not beat, come back unchanged.
    """
    area = inside.sum(axis=(2, 3)).astype(float)
    held = np.flatnonzero(area.any(axis=0))
    too_few = len(area) < options.cycle_phases or held.size < options.atrial_from_slices
    if too_few or options.atrial_ratio == 0:
        return inside
    mean = area.mean(axis=0)
    towards_base = held[::-1] if base_first(mean) else held
    beat = area[:, towards_base[: held.size - held.size // 3]].sum(axis=1)
    smooth = (np.roll(area, 1, axis=0) + area + np.roll(area, -1, axis=0)) / 3
    full, small = smooth[int(beat.argmax())], smooth[int(beat.argmin())]
    if np.median(small[held] / np.maximum(full[held], 1)) > options.beating_ratio:
        return inside
    start = int(np.argmax(mean[towards_base]))
    for place in range(max(start, held.size // 2), held.size):
        index = towards_base[place]
        if small[index] >= options.atrial_ratio * full[index]:
            kept = inside.copy()
            kept[:, towards_base[place:]] = False
            return kept
    return inside


def frames_above_the_valve(
    labels: NDArray[np.uint8], options: PostprocessSettings = _DEFAULT
) -> BoolArray:
    """Frames at the basal end whose wall is too thin for a ventricle's, [T, Z].

    The valve comes down in systole, so a slice that shows the ventricle at end-diastole may show
    the atrium at end-systole. Thickness is that of a ring of the same two areas. From the basal end
    each phase is looked at as far as its middle, until a frame has a wall. None where nothing tells
    which end is the base, or too few slices hold a cavity.

    :param labels: of cavity and myocardium, ``[T, Z, Y, X]``.
    """
    cavity = (labels == Label.LV_CAVITY).sum(axis=(2, 3))
    radius, outer = np.sqrt(cavity / np.pi), np.sqrt((labels > 0).sum(axis=(2, 3)) / np.pi)
    found = np.zeros(cavity.shape, bool)
    at_first = base_first(cavity.mean(axis=0))
    for phase, thickness in enumerate(outer - radius):
        held = np.flatnonzero(cavity[phase])
        if at_first is None or held.size < options.atrial_from_slices:
            continue
        least = options.base_wall_ratio * np.median(thickness[held])
        for index in (held if at_first else held[::-1])[: held.size // 2]:
            if thickness[index] >= least:
                break
            found[phase, index] = True
    return found


def enclose(outer: BoolArray, inner: BoolArray) -> BoolArray:
    """Hold the inside of an outer boundary to the structure it surrounds, both ``[T, Z, Y, X]``.

    A frame with the inner structure keeps the one piece that holds it, and all of the inner
    structure. Of the frames without, those between such slices or beyond the apical one keep the
    piece that overlaps most with the slice next to it on the way to the apex: there the cavity is
    closed, or its tip passed. Beyond the basal one nothing is kept, nor at either end where nothing
    tells which is the base. Holes are closed.

    :param inner: at most one piece a frame, as :func:`clean` returns it.
    """
    slices, frames = inner.shape[1], (-1, *inner.shape[2:])
    pieces, _ = ndimage.label(fill_holes(outer | inner).reshape(frames), structure=_IN_PLANE)
    pieces = pieces.reshape(inner.shape)
    kept = np.zeros_like(inner)
    area = inner.sum(axis=(2, 3))
    at_first = base_first(area.mean(axis=0))
    for phase, row in enumerate(area):
        held = np.flatnonzero(row)
        if held.size == 0:
            continue
        order = range(held[0], held[-1] + 1)
        if at_first is not None:
            order = range(held[0], slices) if at_first else range(held[-1], -1, -1)
        around = inner[phase, order[0]]
        for index in order:
            own = pieces[phase, index]
            touched = own[(inner[phase, index] if row[index] else around) & (own > 0)]
            if touched.size:
                kept[phase, index] = own == np.bincount(touched).argmax()
            around = kept[phase, index]
    return kept


def drop_orphan_slices(inside: BoolArray, options: PostprocessSettings = _DEFAULT) -> BoolArray:
    """Drop small pieces that an empty slice separates from the main piece of the same phase."""
    area = inside.sum(axis=(2, 3))
    kept = inside.copy()
    for phase, areas in enumerate(area):
        found = runs(areas > 0)
        sizes = [int(areas[start : start + length].sum()) for start, length in found]
        for (start, length), size in zip(found, sizes, strict=True):
            if size < options.orphan_share * max(sizes):
                kept[phase, start : start + length] = False
    return kept
