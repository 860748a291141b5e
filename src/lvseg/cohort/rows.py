"""Rows of the cohort table: one study each, finished or failed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lvseg.errors import ReadError
from lvseg.formats import MEASUREMENTS
from lvseg.results import INDEXED

#: Column -> text, number or None.
Row = dict[str, Any]

SEVERITIES = ("error", "warning", "info")
#: Why a folder has no row of values.
NO_DOCUMENT = f"expected measurements as lvseg writes them, found something else in {MEASUREMENTS}"
#: Values with an interval: ``<name>_low`` and ``<name>_high`` follow.
WITH_INTERVAL = ("ef_percent", "edv_ml", "esv_ml", "mass_g")
#: Values of ``measurements.json`` in the order of the columns.
VALUES = (
    "ef_percent",
    "edv_ml",
    "esv_ml",
    "sv_ml",
    "mass_g",
    "heart_rate_bpm",
    "cardiac_output_l_min",
    "peak_ejection_rate_ml_s",
    "peak_filling_rate_ml_s",
    "bsa_m2",
    *INDEXED.values(),
    "ed_phase",
    "es_phase",
)
STUDY = ("slices", "phases", "slice_spacing_mm", "format")


def _columns() -> tuple[str, ...]:
    found = ["study", "verdict", "exit", "error", "expected_dice", "findings"]
    for name in VALUES:
        found.append(name)
        if name in WITH_INTERVAL:
            found += [f"{name}_low", f"{name}_high"]
    found += [*STUDY, "pixel_spacing_row_mm", "pixel_spacing_column_mm"]
    return (*found, "model", "model_sha256", "lvseg", "seconds")


#: Every column of the table, in order.
COLUMNS = _columns()


def study_row(study: str, document: Mapping[str, Any]) -> Row:
    """The row of a study with a result.

    ``findings`` are their codes, the worst first, each once, with a blank between.

    :param study: name of its folder; :param document: the content of ``measurements.json``.
    """
    row: Row = dict.fromkeys(COLUMNS)
    about, model = document.get("study") or {}, document.get("model") or {}
    quality = document.get("quality") or {}
    row |= {"study": study, "exit": 0, "verdict": quality.get("verdict")}
    row["expected_dice"] = quality.get("expected_dice")
    row["findings"] = " ".join(codes(quality.get("findings") or ()))
    row |= {name: document.get(name) for name in VALUES}
    for name in WITH_INTERVAL:
        low, high = document.get(f"{name}_interval") or (None, None)
        row |= {f"{name}_low": low, f"{name}_high": high}
    row |= {name: about.get(name) for name in STUDY}
    between = about.get("pixel_spacing_mm") or (None, None)
    row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"] = between
    row |= {"model": model.get("name"), "model_sha256": model.get("sha256")}
    row["lvseg"] = document.get("lvseg")
    row["seconds"] = (document.get("seconds") or {}).get("total")
    return row


def failed_row(study: str, status: int, error: str, seconds: float | None = None) -> Row:
    """The row of a study without a result."""
    row: Row = dict.fromkeys(COLUMNS)
    return row | {
        "study": study,
        "exit": status,
        "error": error,
        "seconds": None if seconds is None else round(seconds, 3),
    }


def codes(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The codes of findings, the worst first, each once.

    >>> codes([{"code": "a", "severity": "info"}, {"code": "b", "severity": "error"}])
    ['b', 'a']
    """
    worst = sorted(findings, key=lambda each: SEVERITIES.index(each["severity"]))
    return list(dict.fromkeys(str(each["code"]) for each in worst))


def read_rows(root: Path, failed: Iterable[Row] = ()) -> dict[str, Row]:
    """The rows of an output folder by study: those of its study folders, and those that failed.

    :param failed: rows of studies that failed; an older result of the same study does not count.
    """
    rows = {str(row["study"]): row for row in failed}
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(".") or folder.name in rows:
            continue
        document = read_document(folder)
        if document is not None:
            rows[folder.name] = study_row(folder.name, document)
        elif (folder / MEASUREMENTS).is_file():
            rows[folder.name] = failed_row(folder.name, ReadError.exit_code, NO_DOCUMENT)
    return rows


def read_document(folder: Path) -> dict[str, Any] | None:
    """The measurements in a study folder; None where there are none as we write them."""
    try:
        found = json.loads((folder / MEASUREMENTS).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if is_document(found) else None


def is_document(found: Any) -> bool:
    """Whether a value has what rows and pages take from measurements."""
    if not isinstance(found, dict) or "lvseg" not in found:
        return False
    study, quality = found.get("study"), found.get("quality")
    if not isinstance(study, dict) or not isinstance(quality, dict):
        return False
    findings = quality.get("findings")
    pairs = [found.get(f"{name}_interval") for name in WITH_INTERVAL]
    pairs += [study.get("pixel_spacing_mm"), found.get("slices_ed"), found.get("slices_es")]
    numbers = [*(found.get(name) for name in VALUES), quality.get("expected_dice")]
    numbers += [
        study.get("slices"),
        *(each for pair in pairs if isinstance(pair, list) for each in pair),
    ]
    return (
        quality.get("verdict") in ("pass", "review", "fail")
        and isinstance(findings, list)
        and all(isinstance(each, dict) and _is_finding(each) for each in findings)
        and all(pair is None or (isinstance(pair, list) and len(pair) == 2) for pair in pairs)
        and all(each is None or isinstance(each, int | float) for each in numbers)
        and all(isinstance(found.get(name) or {}, dict) for name in ("model", "seconds"))
    )


def _is_finding(found: Mapping[str, Any]) -> bool:
    texts = isinstance(found.get("code"), str) and isinstance(found.get("text"), str)
    return texts and found.get("severity") in SEVERITIES


def by_name(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of their studies' names, numbers in them by value.

    >>> [row["study"] for row in by_name([{"study": "p10"}, {"study": "p9"}])]
    ['p9', 'p10']
    """

    def key(row: Row) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", str(row["study"]))
        return [(0, int(each), each) if each.isdecimal() else (1, 0, each) for each in parts]

    return sorted(rows, key=key)
