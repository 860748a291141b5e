"""What a step noticed: a code for programs, a severity, and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity", "Verdict", "verdict_of"]

Severity = Literal["info", "warning", "error"]
Verdict = Literal["pass", "review", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation about a study.

    ``info`` is a fact worth recording, ``warning`` asks a person to look, ``error`` says that a
    result is missing or must not be used. ``slice`` and ``phase`` are indices from 0.
    """

    code: str
    severity: Severity
    text: str
    slice: int | None = None
    phase: int | None = None


def verdict_of(findings: tuple[Finding, ...]) -> Verdict:
    """The worst severity decides: error -> fail, warning -> review, otherwise pass.

    >>> verdict_of((Finding("one-phase", "warning", "only one phase"),))
    'review'
    """
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return "fail"
    return "review" if "warning" in severities else "pass"
