"""Strict JSON (RFC 8259): any of our values as JSON values, NaN and infinity as null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from lvseg.names import readable


def jsonable(value: Any) -> Any:
    """Make JSON values: dataclasses as objects, arrays as lists, paths as text, NaN as null.

    >>> jsonable({"a": (1.5, float("nan")), 2: Path("x/y")})
    {'a': [1.5, None], '2': 'x/y'}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if isinstance(value, (str, Path)):
        return readable(str(value))
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def json_text(value: Any, *, indent: int | None = None) -> str:
    """One JSON text of :func:`jsonable` values, without a line end."""
    return json.dumps(jsonable(value), indent=indent, allow_nan=False)
