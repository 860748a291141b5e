"""The JSON document of a result: the content of ``measurements.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lvseg.cine import Cine, Mask
from lvseg.geometry import Grid
from lvseg.issues import Issue, verdict_of
from lvseg.results import Confidence, Interval, LVMeasurements, StudyResult
from lvseg.version import __version__

#: Version of the document; it changes when a name or a meaning does.
SCHEMA = 1
#: Stages that are always named, null where they did not run.
_STAGES = ("read", "predict", "write")


def measurements_document(result: StudyResult) -> dict[str, Any]:
    """Describe a result as the JSON object of ``measurements.json``, schema 1.

    Volumes in ml, areas in mm2, mass in g, wall thickness in mm, percent, cardiac output and the
    intervals of values (``[low, high]``) have 2 decimals, the heart rate and peak
    rates 1, seconds and Dice 3, spacings 4.
    ``volume_ml``, ``area_mm2`` and ``quality.expected_dice_by_slice`` have one entry per phase in
    ``phase_index``; they are null where they cannot be known, and so is every other value.
    ``seconds.total`` is the sum of the stages. ``settings`` stands there where the result has some.
    """
    card = result.card
    model = None if card is None else {"name": card.name, "sha256": card.sha256}
    return _document(
        {"model": model, "study": _study(result.cine)},
        result.measurements,
        {
            "quality": _quality(result.issues, result.confidence),
            "seconds": _seconds(result.seconds),
        },
        result.mask.phases,
    ) | ({"settings": dict(result.settings)} if result.settings else {})


def mask_document(
    source: str, mask: Mask, values: LVMeasurements, issues: tuple[Issue, ...]
) -> dict[str, Any]:
    """Describe the measurements of a mask alone: the keys of ``measurements.json`` it can fill.

    :param source: the path of the mask; :param issues: everything noticed, those of the
        measurements included.
    """
    study = {"source": _last_part(source) or source, **_size(len(mask.phases), mask.grid)}
    return _document({"study": study}, values, {"quality": _quality(issues)}, mask.phases)


def _document(
    origin: Mapping[str, Any],
    values: LVMeasurements,
    judgement: Mapping[str, Any],
    phases: tuple[int, ...],
) -> dict[str, Any]:
    """The keys of both documents in their order."""
    areas, volumes = values.area_mm2, values.volume_ml
    return {
        "schema": SCHEMA,
        "lvseg": __version__,
        **origin,
        "ed_phase": values.phases.end_diastole,
        "es_phase": values.phases.end_systole,
        "edv_ml": _rounded(values.edv_ml),
        "esv_ml": _rounded(values.esv_ml),
        "sv_ml": _rounded(values.sv_ml),
        "ef_percent": _rounded(values.ef_percent),
        "volume_ml": None if volumes is None else [_rounded(volume) for volume in volumes],
        "area_mm2": (
            None if areas is None else [[_rounded(area) for area in row] for row in areas]
        ),
        **judgement,
        "phase_index": list(phases),
        "heart_rate_bpm": _rounded(values.heart_rate_bpm, 1),
        "cardiac_output_l_min": _rounded(values.cardiac_output_l_min),
        "peak_ejection_rate_ml_s": _rounded(values.peak_ejection_rate_ml_s, 1),
        "peak_filling_rate_ml_s": _rounded(values.peak_filling_rate_ml_s, 1),
        "phases_rule": values.phases.how,
        "slices_ed": None if values.slices_ed is None else list(values.slices_ed),
        "slices_es": None if values.slices_es is None else list(values.slices_es),
        "conventions": dict(values.methods),
        "area_px": [list(row) for row in values.area_px],
        "mass_g": _rounded(values.mass_g),
        "wall_thickness_mm": (
            None
            if values.wall_thickness_mm is None
            else [_rounded(each) for each in values.wall_thickness_mm]
        ),
        "edv_ml_interval": _interval(values.edv_ml_interval),
        "esv_ml_interval": _interval(values.esv_ml_interval),
        "ef_percent_interval": _interval(values.ef_percent_interval),
        "mass_g_interval": _interval(values.mass_g_interval),
    }


def _quality(issues: tuple[Issue, ...], confidence: Confidence | None = None) -> dict[str, Any]:
    return {
        "verdict": verdict_of(issues),
        "findings": [issue.to_dict() for issue in issues],
        "expected_dice": None if confidence is None else _rounded(confidence.expected_dice, 3),
        "expected_dice_by_slice": (
            None
            if confidence is None
            else [[_rounded(dice, 3) for dice in row] for row in confidence.by_slice]
        ),
    }


def to_json(result: StudyResult) -> str:
    """The document of a result as text: one top-level key a line, UTF-8 without escapes."""
    document = measurements_document(result)
    lines = [
        f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in document.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _study(cine: Cine) -> dict[str, Any]:
    return {
        "source": _last_part(cine.source.location) or cine.source.name,
        "format": cine.source.format,
        **_size(cine.shape[0], cine.grid),
        "order_rule": cine.source.order_rule or None,
        "complete": cine.complete,
    }


def _last_part(location: str) -> str:
    """The name at the end of a path: the folders above it are of a machine and its people."""
    name = location.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return "" if name in (".", "..") else name


def _size(phases: int, grid: Grid) -> dict[str, Any]:
    pixels = grid.pixel_spacing_mm
    return {
        "slices": grid.slices,
        "phases": phases,
        "pixel_spacing_mm": None if pixels is None else [_rounded(mm, 4) for mm in pixels],
        "slice_spacing_mm": _rounded(grid.slice_spacing_mm, 4),
    }


def _seconds(seconds: Mapping[str, float]) -> dict[str, float | None]:
    stages: dict[str, float | None] = {name: _rounded(seconds.get(name), 3) for name in _STAGES}
    stages["total"] = _rounded(sum(v for name, v in seconds.items() if name != "total"), 3)
    more = {name: _rounded(v, 3) for name, v in seconds.items() if name not in stages}
    return stages | more


def _interval(found: Interval | None) -> list[float | None] | None:
    return None if found is None else [_rounded(bound) for bound in found]


def _rounded(value: float | None, digits: int = 2) -> float | None:
    # + 0.0 turns a negative zero into zero.
    return None if value is None else round(float(value), digits) + 0.0
