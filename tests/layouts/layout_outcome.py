"""Outcome: what may come of a layout."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """What came of a layout, the best first."""

    EQUAL = 0
    FINDING = 1
    NO_VOLUMES = 2
    REFUSED = 3
    WRONG = 4


#: As tables have it.
SHOWN = {
    Outcome.EQUAL: "equal",
    Outcome.FINDING: "equal, with a finding",
    Outcome.NO_VOLUMES: "no volumes, with a finding",
    Outcome.REFUSED: "refused by name",
    Outcome.WRONG: "wrong",
}
