"""Quality checks of a mask, its numbers and its prediction, behind one door: :func:`check`.

An issue asks a person to look (``warning``), says that a number must not be used (``error``) or
records a fact (``info``). The mask and the measurements stay as they are. docs/quality.md lists
every issue with its limit (:class:`Limits`).
"""

from __future__ import annotations

from lvseg.issues import Issue
from lvseg.quality import checks
from lvseg.quality.confidence import low_confidence, predict_dice
from lvseg.quality.evidence import Evidence
from lvseg.quality.limits import Limits
from lvseg.quality.ood import ood_check

__all__ = ["Evidence", "Limits", "check", "predict_dice"]


def check(evidence: Evidence) -> tuple[Issue, ...]:
    """Every issue of a study: what reading, predicting and measuring reported, and the checks.

    :returns: issues in the order of the steps. Each code of a check comes at most once, naming the
        place that is worst or first. An empty mask, which measuring has reported, is not checked
        further. Nothing is raised.
    """
    network = () if evidence.prediction is None else evidence.prediction.issues
    return (
        *evidence.cine.issues,
        *network,
        *evidence.left_out,
        *low_confidence(evidence),
        *ood_check(evidence),
        *evidence.measurements.issues,
        *(_check_mask(evidence) if evidence.features.areas_px.any() else ()),
    )


def _check_mask(evidence: Evidence) -> tuple[Issue, ...]:
    jumped = tuple(checks.volume_jump(evidence))
    # A jump of the whole volume shows in every slice and makes peaks: it is reported once.
    finer = () if jumped else (*checks.flicker(evidence), *checks.two_beats(evidence))
    return (
        *checks.missing_slices(evidence),
        *checks.extent(evidence),
        *checks.gaps_in_mask(evidence),
        *checks.uneven_stack(evidence),
        *checks.breathing_shift(evidence),
        *checks.odd_outlines(evidence),
        *checks.open_wall(evidence),
        *checks.blood_pool_contrast(evidence),
        *checks.empty_phases(evidence),
        *jumped,
        *finer,
        *checks.plausible_values(evidence),
        *checks.end_systole_timing(evidence),
        *checks.exchanged_phases(evidence),
    )
