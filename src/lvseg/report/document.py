"""The text of ``measurements.json``."""

from __future__ import annotations

import json

from lvseg.results import StudyResult


def to_json(result: StudyResult) -> str:
    """The document of a result as text: one top-level key a line, UTF-8 without escapes."""
    lines = [
        f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in result.to_dict().items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"
