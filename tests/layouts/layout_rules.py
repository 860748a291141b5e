"""Rules: what each oddity of a layout alone must lead to.

An oddity without a row changes nothing: the cine is equal. A row names every outcome that is right,
and the findings of which an equal cine must carry one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from layout_model import DicomLayout, Layout, odd_values
from layout_outcome import Outcome

EQUAL, FINDING, NONE, REFUSED = (
    Outcome.EQUAL,
    Outcome.FINDING,
    Outcome.NO_VOLUMES,
    Outcome.REFUSED,
)


@dataclass(frozen=True)
class Rule:
    """What is right for one oddity.

    :param outcomes: all that are right; :param codes: one of these findings must be there.
    """

    outcomes: tuple[Outcome, ...]
    codes: tuple[str, ...] = ()


ORDINARY = Rule((EQUAL,))
_TOLD = Rule((EQUAL, FINDING))
_NO_NUMBER = Rule((NONE, REFUSED))
_AGAIN = Rule((FINDING,), ("reacquired-slice",))
_TWO = Rule((FINDING,), ("several-stacks", "reacquired-slice"))

DICOM: dict[tuple[str, Any], Rule] = {
    ("objects", "multi-frame of all"): Rule((REFUSED,)),
    ("series", "a file"): _TOLD,
    ("container", "tar"): Rule((EQUAL, REFUSED)),
    ("container", "tar.gz"): Rule((EQUAL, REFUSED)),
    ("syntax", "stated wrongly"): Rule((EQUAL, FINDING, REFUSED)),
    ("numbers", "backwards"): Rule((EQUAL, FINDING, NONE)),
    ("times", "trigger all alike"): Rule((EQUAL, FINDING, NONE, REFUSED)),
    ("times", "trigger absent in one slice"): Rule((EQUAL, FINDING, NONE, REFUSED)),
    ("gap", "one slice"): Rule((FINDING,), ("missing-slice",)),
    ("gap", "two slices"): _TOLD,
    ("tilt_degrees", 0.3): _TOLD,
    ("tilt_degrees", 0.8): _TOLD,
    ("tilt_degrees", 4.0): Rule((FINDING, NONE)),
    ("tilt_degrees", 25.0): _NO_NUMBER,
    ("repeat", "later"): _AGAIN,
    ("repeat", "later, lower number"): _AGAIN,
    ("repeat", "a third of a step away"): _AGAIN,
    ("repeat", "three slices"): _AGAIN,
    ("repeat", "incomplete"): _TOLD,
    ("second", "3 mm away, 25 min later"): _TWO,
    ("second", "in place, 25 min later"): _TWO,
    ("second", "half a step away"): _TWO,
    ("second", "0.3 degrees off"): _TWO,
    ("second", "2 degrees off"): _TWO,
    ("only", "axial"): _NO_NUMBER,
    ("only", "long axis"): Rule((REFUSED,)),
    ("only", "perfusion"): Rule((FINDING, NONE, REFUSED), ("not-one-heartbeat",)),
    ("only", "localizer"): Rule((REFUSED,)),
    ("only", "one phase"): Rule((REFUSED, NONE)),
    ("matrix", "narrower from the middle"): Rule((EQUAL, FINDING, REFUSED)),
    ("matrix", "one slice narrower"): Rule((EQUAL, FINDING, REFUSED)),
    ("turned", "one slice by 90 degrees"): Rule((EQUAL, FINDING, NONE)),
    ("turned", "one slice by 180 degrees"): Rule((EQUAL, FINDING, NONE)),
    ("spacing", "absent"): _NO_NUMBER,
    ("spacing", "of a metre"): _NO_NUMBER,
    ("spacing", "of a nanometre"): _NO_NUMBER,
    ("spacing", "one slice differs"): Rule((FINDING, NONE, REFUSED)),
    ("cosines", "two decimals"): _TOLD,
    ("cosines", "three decimals"): _TOLD,
    ("cosines", "not square"): _NO_NUMBER,
    ("cosines", "absent"): Rule((REFUSED,)),
    ("positions", "absent"): Rule((REFUSED,)),
    ("positions", "all equal"): Rule((REFUSED,)),
    ("counts", "fewer in two slices"): Rule((FINDING, NONE)),
    ("modality", "absent"): Rule((FINDING,), ("modality-contradicted",)),
    ("counts", "cut in one slice"): Rule((NONE,)),
    ("studies", "no UID"): _TOLD,
    ("studies", "one a series"): Rule((EQUAL, FINDING, REFUSED)),
    ("uids", "no SOP instance UID"): _TOLD,
    ("uids", "one SOP instance UID"): _TOLD,
    ("frame_of_reference", "one a series"): _TOLD,
    ("lost", "one file"): _NO_NUMBER,
    ("lost", "half a file"): _NO_NUMBER,
    ("interval", "differs"): Rule((FINDING,), ("heart-rate-varies",)),
}

NIFTI: dict[tuple[str, Any], Rule] = {
    ("forms", "sform of zeros"): Rule((EQUAL, FINDING), ("broken-sform",)),
    ("forms", "sform 20 % shorter"): _NO_NUMBER,
    ("forms", "qform 20 % shorter"): _NO_NUMBER,
    ("forms", "identity"): _NO_NUMBER,
    ("forms", "sheared"): _NO_NUMBER,
    ("packing", "label map beside"): _TOLD,
    ("units", "metre over millimetres"): _NO_NUMBER,
    ("units", "micron over millimetres"): _NO_NUMBER,
}


def rules_of(layout: Layout) -> dict[tuple[str, Any], Rule]:
    """The rules of the oddities of a layout."""
    table = DICOM if isinstance(layout, DicomLayout) else NIFTI
    return {key: table.get(key, ORDINARY) for key in odd_values(layout).items()}


def promised(layout: Layout) -> tuple[Outcome, ...]:
    """The outcomes that are right for a layout with at most one oddity, the best first."""
    rules = rules_of(layout)
    return next(iter(rules.values()), ORDINARY).outcomes


def best_of(layout: Layout) -> Outcome:
    """No better than the worst of the oddities of a layout is promised."""
    return max((min(rule.outcomes) for rule in rules_of(layout).values()), default=EQUAL)


def codes_of_all(layout: Layout) -> set[str]:
    """The findings that any oddity of a layout asks for."""
    return {code for rule in rules_of(layout).values() for code in rule.codes}


def unsaid(layout: Layout, codes: set[str], truth: str) -> str:
    """The oddity of which an equal cine says nothing; "" where all is said.

    :param truth: which of the true cines it is.
    """
    for (name, value), rule in rules_of(layout).items():
        wanted = {*rule.codes, *_other_codes(layout, name)}
        if rule.codes and not codes & wanted and _shows(layout, name, truth):
            return f"{name}: {value}"
    if truth == "untilted" and "missing-slice" not in codes and layout.slices >= 5:
        return "the gap that a tilted slice leaves"
    return ""


def _other_codes(layout: Layout, name: str) -> tuple[str, ...]:
    """Findings that say the same where oddities meet."""
    if not isinstance(layout, DicomLayout) or name not in ("repeat", "second"):
        return ()
    # a whole stack in a study of its own is another study
    codes = ("several-studies",) if layout.studies == "one a series" else ()
    # three slices acquired again where there are no more are a second stack
    return (*codes, "several-stacks") if layout.repeat == "three slices" else codes


def _shows(layout: Layout, name: str, truth: str) -> bool:
    """Whether an oddity can be seen at all: a gap among three slices is only two distances.

    A repeat of slices at rest says nothing about the stack under stress.
    """
    if name == "gap" and isinstance(layout, DicomLayout):
        return layout.slices >= 5
    return name != "repeat" or truth != "stress"
