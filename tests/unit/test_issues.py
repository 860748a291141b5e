"""The worst finding decides."""

from __future__ import annotations

from itertools import permutations

import pytest

from lvseg.issues import Issue, verdict_of


@pytest.mark.parametrize(
    ("severities", "verdict"),
    [
        ((), "pass"),
        (("info",), "pass"),
        (("info", "warning"), "review"),
        (("warning", "error"), "fail"),
        (("info", "warning", "error"), "fail"),
    ],
)
def test_the_worst_severity_decides_whatever_the_order(severities, verdict):
    for order in permutations(severities):
        assert verdict_of(tuple(Issue("code", each, "text") for each in order)) == verdict
