"""Quality issues: what a step noticed, as a code, a severity and a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lvseg.names import one_line

Severity = Literal["info", "warning", "error"]
Verdict = Literal["pass", "review", "fail"]


@dataclass(frozen=True, slots=True)
class Issue:
    """One observation about a study.

    ``info`` is a fact worth recording, ``warning`` asks a person to look, ``error`` says that a
    result is missing or must not be used. ``slice`` and ``phase`` are indices from 0.
    """

    code: str
    severity: Severity
    text: str
    slice: int | None = None
    phase: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The issue as JSON has it, under ``findings``: code, severity, text, slice, phase."""
        return asdict(self)


def verdict_of(issues: tuple[Issue, ...]) -> Verdict:
    """The worst severity decides: error -> fail, warning -> review, otherwise pass.

    >>> verdict_of((Issue("one-phase", "warning", "only one phase"),))
    'review'
    """
    severities = {issue.severity for issue in issues}
    if "error" in severities:
        return "fail"
    return "review" if "warning" in severities else "pass"


def finding_lines(issues: Iterable[Issue], *, all_of_them: bool = True) -> list[str]:
    """Write one indented line a finding; without ``all_of_them`` only what asks to be looked at."""
    return [
        f"  {each.severity}: {one_line(each.text)}"
        for each in issues
        if all_of_them or each.severity != "info"
    ]
