"""Is this result believable? Plain checks of the mask and the numbers; each limit has a reason.

A issue asks a person to look (``warning``), says that a number must not be used (``error``) or
records a fact (``info``). The mask and the measurements stay as they are. docs/quality.md lists
every issue with its limit.
"""

from __future__ import annotations

from lvseg.cine import Cine, Mask
from lvseg.issues import Issue
from lvseg.quality.certainty import expect_dice, unsure
from lvseg.quality.coverage import extent, missing_slices
from lvseg.quality.curve import empty_phases, jumps, numbers, timing, two_beats
from lvseg.quality.likeness import unlike
from lvseg.quality.neighbours import breathing_shift, flicker, gaps_in_mask, uneven_stack
from lvseg.quality.seen import look
from lvseg.quality.shape import shapes
from lvseg.quality.signal import brightness
from lvseg.results import LVMeasurements

__all__ = ["check", "expect_dice", "unlike", "unsure"]


def check(cine: Cine, mask: Mask, measurements: LVMeasurements) -> tuple[Issue, ...]:
    """Look for signs that the mask or the numbers are wrong.

    :param mask: labels ``[F, Z, Y, X]`` that ``measurements`` come from.
    :returns: issues in a fixed order, each code at most once, naming the place that is worst or
        first; none for an empty mask, which measuring has reported. Nothing is raised.
    """
    seen = look(cine, mask, measurements)
    if seen is None:
        return ()
    jumped = jumps(seen, measurements)
    # A jump of the whole volume shows in every slice and makes peaks: it is reported once.
    finer = () if jumped else (*flicker(seen), *two_beats(seen, measurements))
    return (
        *missing_slices(cine, seen),
        *extent(seen),
        *gaps_in_mask(seen),
        *uneven_stack(seen),
        *breathing_shift(seen),
        *shapes(seen),
        *brightness(cine, seen),
        *empty_phases(seen),
        *jumped,
        *finer,
        *numbers(measurements),
        *timing(cine, seen, measurements),
    )
