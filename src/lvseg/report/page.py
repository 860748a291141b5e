"""The HTML report of a study: one file that works without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import isqrt
from types import MappingProxyType
from typing import Any

import numpy as np

from lvseg.cine import Cine, base_first
from lvseg.display import heart_box
from lvseg.issues import Issue, Severity, Verdict
from lvseg.labels import LABELS, Label
from lvseg.modelcard import ModelCard
from lvseg.report.curve import Curve, areas, curve, number, summed
from lvseg.report.norms import norms
from lvseg.report.sprites import STEPS, Contours, SpriteSheets, frame_contours, sprite_sheets
from lvseg.report.template import resource, template
from lvseg.report.thickness import thickness_chart
from lvseg.results import Interval, StudyResult
from lvseg.version import __version__

VERDICTS: dict[Verdict, str] = {
    "pass": "No check asks for a look.",
    "review": "A person should look before this result is used.",
    "fail": "A result is missing or must not be used.",
}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
#: A beat where neither times nor heart rate are known.
BEAT_MS = 1000.0
TIMES = "\N{MULTIPLICATION SIGN}"
#: Code of an issue -> why there is no volume; the first that applies is given.
_WHY: Mapping[str, str] = MappingProxyType(
    {
        "no-cavity": "no cavity found",
        "incomplete-stack": "slices are missing",
        "irregular-stack": "slices not parallel",
        "one-slice": "one slice only",
        "unknown-spacing": "spacing not known",
        "one-phase": "one phase only",
        "flat-curve": "no change over the phases",
    }
)
#: The same for the mass.
_WHY_NO_MASS: Mapping[str, str] = MappingProxyType(
    {"no-myocardium": "no myocardium outlined", "incomplete-wall": "a slice without wall"}
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    :param value: as text, None where it is unknown; :param why: the reason then, or empty.
    :param main: one of those that people look for first.
    :param interval: where the true value lies, as text; empty where that is unknown.
    """

    name: str
    meaning: str
    value: str | None
    unit: str
    why: str = ""
    main: bool = False
    interval: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice of a montage.

    :param x, y: where its frame begins in the sprite sheet of the slice.
    :param paths: its contours, (colour, SVG path); colours are those of :func:`_colour`.
    """

    slice: int
    phase: int
    x: int
    y: int
    paths: tuple[tuple[str | None, str], ...]
    area: str
    label: str


@dataclass(frozen=True, slots=True)
class Montage:
    """All slices of one phase side by side; ``held``: some of them hold cavity."""

    title: str
    words: str
    columns: int
    tiles: tuple[Tile, ...]
    held: bool


def to_html(result: StudyResult) -> str:
    """Describe a result as one page that asks nothing of any server; the same input, same text.

    It shows verdict and issues, the numbers, the curve, end-diastole and end-systole of every
    slice, a player, and how all of it was made. What is unknown says why; a study without cavity
    shows its images, a study of one phase no curve and a picture no sliders.

    :raises GeometryMismatchError: mask and cine are not on the same grid.
    """
    box = heart_box(result.mask)
    sprites = sprite_sheets(result.cine, box)
    contours = frame_contours(result.mask, result.cine, box, sprites.edge_px)
    volume_curve = curve(result)
    script = resource("page.js")
    return template("page.html").render(
        name=result.cine.source.name,
        kind="picture" if result.cine.source.format == "picture" else "cine",
        version=__version__,
        style=resource("page.css"),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        line=result_line(result),
        verdict=result.verdict,
        verdict_words=VERDICTS[result.verdict],
        findings=_issues(result),
        figures=figures(result),
        curve=volume_curve,
        sprites=sprites,
        montages=_montages(result, sprites, contours),
        labels=[(LABELS[label].name, _colour(label)) for label in reversed(contours)],
        contour_steps=STEPS,
        player=_player(result, sprites, contours, volume_curve),
        facts=_facts(result),
        thickness=thickness_chart(result),
        coverage=_coverage(result),
        norms=norms(result),
    )


def figures(result: StudyResult) -> tuple[Figure, ...]:
    """Every number of the page in reading order; nothing is left out, unknown ones say why."""
    values, why = result.measurements, _why_no_volume(result)
    main = (
        ("EF", "ejection fraction", values.ef_percent, "%", values.ef_percent_interval),
        ("EDV", "end-diastolic volume", values.edv_ml, "ml", values.edv_ml_interval),
        ("ESV", "end-systolic volume", values.esv_ml, "ml", values.esv_ml_interval),
        ("SV", "stroke volume", values.sv_ml, "ml", None),
    )
    mass = _mass(result, why)
    return (
        *_single_phase(result),
        *(
            _figure(name, says, value, unit, why, main=True, interval=interval)
            for name, says, value, unit, interval in main
        ),
        *((mass,) if mass.main else ()),
        *_more(result, why),
        *(() if mass.main else (mass,)),
    )


def _mass(result: StudyResult, why: str) -> Figure:
    """The mass: a main number where there is a myocardium, else one of the others."""
    values = result.measurements
    codes = {issue.code for issue in (*result.issues, *values.issues)}
    own = next((words for code, words in _WHY_NO_MASS.items() if code in codes), "")
    return _figure(
        "Mass",
        "of the myocardium",
        values.mass_g,
        "g",
        why or own,
        main=Label.LV_MYOCARDIUM in result.mask.labels_present,
        interval=values.mass_g_interval,
    )


def result_line(result: StudyResult) -> str:
    """The main numbers in one line, e.g. ``EF 57.1 %, EDV 140.0 ml, ESV 60.0 ml``."""
    main = [each for each in figures(result) if each.main and each.name != "SV"]
    known = [f"{each.name} {each.value} {each.unit}" for each in main if each.value is not None]
    unknown = [each for each in main if each.value is None]
    if unknown:
        why = f" ({unknown[0].why})" if unknown[0].why else ""
        known.append(f"no {', '.join(each.name for each in unknown)}{why}")
    words = ", ".join(known)
    return words[0].upper() + words[1:]


def _figure(
    name: str,
    meaning: str,
    value: float | None,
    unit: str,
    why: str,
    *,
    digits: int = 1,
    main: bool = False,
    interval: Interval | None = None,
) -> Figure:
    if value is None:
        return Figure(name, meaning, None, unit, why, main)
    known = "" if interval is None else " to ".join(number(bound, digits) for bound in interval)
    return Figure(name, meaning, number(value, digits), unit, "", main, known)


def _single_phase(result: StudyResult) -> Iterator[Figure]:
    """What is known of a study without end-diastole and end-systole because it has one phase."""
    values = result.measurements
    if len(values.area_px) != 1 or not any(values.area_px[0]):
        return
    _, unit, (value,) = summed(values)
    if values.volume_ml is not None:
        yield _figure("Volume", "of the only phase", value, unit, "", main=True)
    else:
        yield _figure("Area", "of the cavity", value, unit, "", digits=0, main=True)


def _more(result: StudyResult, why: str) -> Iterator[Figure]:
    values, cine = result.measurements, result.cine
    rate = values.heart_rate_bpm
    if rate is None:
        rate = cine.heart_rate_bpm
    yield _figure("Heart rate", "", rate, "/min", "not stated by the source", digits=0)
    no_output = why if values.sv_ml is None else "heart rate unknown"
    yield _figure("Cardiac output", "", values.cardiac_output_l_min, "l/min", no_output)
    no_rate = why or ("times of the phases unknown" if cine.times_ms is None else "too few phases")
    for name, value in (
        ("Peak ejection rate", values.peak_ejection_rate_ml_s),
        ("Peak filling rate", values.peak_filling_rate_ml_s),
    ):
        yield _figure(name, "", value, "ml/s", no_rate, digits=0)
    confidence = result.confidence
    expected = None if confidence is None else confidence.expected_dice
    no_dice = "the model is not calibrated"
    if not any(map(any, values.area_px)):
        no_dice = _WHY["no-cavity"]
    elif result.card is None:
        no_dice = "no model"
    yield _figure("Expected Dice", "against an expert", expected, "", no_dice, digits=2)


def _why_no_volume(result: StudyResult) -> str:
    codes = {issue.code for issue in (*result.issues, *result.measurements.issues)}
    return next((words for code, words in _WHY.items() if code in codes), "")


def _issues(result: StudyResult) -> list[dict[str, Any]]:
    """Worst first; a place outside the cine gets no link."""
    phases, slices = result.cine.shape[:2]

    def entry(issue: Issue) -> dict[str, Any]:
        index = issue.slice if issue.slice in range(slices) else None
        phase = issue.phase if issue.phase in range(phases) else None
        named = {"slice": index, "phase": phase}
        words = ", ".join(f"{name} {at}" for name, at in named.items() if at is not None)
        text = issue.text[:1].upper() + issue.text[1:]
        return {**issue.to_dict(), **named, "text": text, "where": words}

    ordered = sorted(result.issues, key=lambda issue: SEVERITIES.index(issue.severity))
    return [entry(issue) for issue in ordered]


def _montages(
    result: StudyResult, sprites: SpriteSheets, contours: dict[Label, Contours]
) -> tuple[Montage, ...]:
    """End-diastole and end-systole, or the first phase of the mask where they are unknown."""
    found = result.measurements.phases
    named = {"End-diastole": found.end_diastole, "End-systole": found.end_systole}
    known = {title: phase for title, phase in named.items() if phase is not None}
    slices = result.cine.shape[1]
    columns = min(6, slices)
    if len(known) > 1 and slices > 3:
        columns = min(4, isqrt(slices - 1) + 1)
    montages = []
    for title, phase in (known or {"All slices": result.mask.phases[0]}).items():
        tiles = tuple(
            _tile(result, sprites, contours, title, phase, each) for each in range(slices)
        )
        words = f"phase {phase}"
        if result.cine.times_ms is not None:
            words += f", {number(result.cine.times_ms[phase], 0)} ms"
        montages.append(Montage(title, words, columns, tiles, any(tile.area for tile in tiles)))
    return tuple(montages)


def _tile(
    result: StudyResult,
    sprites: SpriteSheets,
    contours: dict[Label, Contours],
    title: str,
    phase: int,
    index: int,
) -> Tile:
    held = phase in result.mask.phases
    unit, rows = areas(result.measurements)
    area = rows[result.mask.phases.index(phase)][index] if held else 0
    words = f"{number(area, 0)} {unit}" if area else ""
    label = f"Slice {index}, {title.lower()}, {f'cavity {words}' if words else 'no cavity'}"
    paths = tuple(
        (_colour(each), _path(contour))
        for each, frames in contours.items()
        for contour in frames[phase][index]
    )
    return Tile(index, phase, *sprites.corner_px(phase), paths, words, label)


def _colour(label: Label) -> str | None:
    """The CSS colour of a label's contours; None: the bright red of the page, for the cavity."""
    if label == Label.LV_CAVITY:
        return None
    red, green, blue = LABELS[label].colour
    return f"rgb({red} {green} {blue})"


def _path(contour: list[int]) -> str:
    """A contour as an SVG path: a curve through the middles between its points."""
    xs, ys = accumulate(contour[::2]), accumulate(contour[1::2])
    points = list(zip(xs, ys, strict=True))
    middles = [
        ((x + next_x) / 2, (y + next_y) / 2)
        for (x, y), (next_x, next_y) in zip(points, points[1:] + points[:1], strict=True)
    ]
    parts = [f"M{middles[-1][0]:g} {middles[-1][1]:g}"]
    parts += [f"Q{x} {y} {mx:g} {my:g}" for (x, y), (mx, my) in zip(points, middles, strict=True)]
    return "".join(parts) + "Z"


def _player(
    result: StudyResult,
    sprites: SpriteSheets,
    contours: dict[Label, Contours],
    volume_curve: Curve | None,
) -> dict[str, Any]:
    """What the script needs; phases and slices of the cine, null where the mask has no phase."""
    cine, mask, found = result.cine, result.mask, result.measurements.phases
    phases, slices = cine.shape[:2]
    by_phase: list[list[float] | None] = [None] * phases
    dice: list[tuple[float | None, ...] | None] = [None] * phases
    values: list[float | None] = [None] * phases
    _, unit, sums = summed(result.measurements)
    area_unit, rows = areas(result.measurements)
    for row, phase in enumerate(mask.phases):
        by_phase[phase] = [round(float(area), 1) for area in rows[row]]
        values[phase] = round(sums[row], 1)
        if result.confidence is not None:
            dice[phase] = result.confidence.by_slice[row]
    by_slice = [sum(row[index] for row in by_phase if row) for index in range(slices)]
    held = [index for index, area in enumerate(by_slice) if area]
    first = base_first(np.array(by_slice))
    return {
        "slices": slices,
        "phases": phases,
        "edge": sprites.edge_px,
        "columns": sprites.columns,
        "steps": STEPS,
        "contours": [
            {"colour": _colour(label), "frames": frames} for label, frames in contours.items()
        ],
        "areas": by_phase,
        "areaUnit": area_unit,
        "dice": dice,
        "values": values,
        "unit": unit,
        "times": None if cine.times_ms is None else [round(time, 1) for time in cine.times_ms],
        "beatMs": round(_beat_ms(cine) or BEAT_MS, 1),
        "realTime": _beat_ms(cine) is not None,
        "ed": found.end_diastole,
        "es": found.end_systole,
        "base": None if first is None else "first" if first else "last",
        "slice": held[(len(held) - 1) // 2] if held else slices // 2,
        "phase": mask.phases[0] if found.end_diastole is None else found.end_diastole,
        "plot": volume_curve and _plot(volume_curve),
    }


def _plot(chart: Curve) -> dict[str, Any]:
    """Where the points of the curve are, for the cursor."""
    points = {name: [getattr(each, name) for each in chart.points] for name in ("x", "y", "phase")}
    return {"left": chart.left, "right": chart.right, "width": chart.width, **points}


def _beat_ms(cine: Cine) -> float | None:
    """One beat: the phases share it evenly; None where neither times nor heart rate are known."""
    if cine.times_ms is not None and len(cine.times_ms) > 1:
        times = cine.times_ms
        return (times[-1] - times[0]) / (len(times) - 1) * len(times)
    return None if cine.heart_rate_bpm is None else 60000 / cine.heart_rate_bpm


def _facts(result: StudyResult) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headings with (name, words) below them."""
    values = result.measurements
    rules = [(key.replace("_", " "), rule) for key, rule in values.methods.items()]
    facts = [("Study", _study(result))]
    if coverage := _coverage(result):
        rules.append(("intervals", f"{coverage}, from errors on patients the model had not seen"))
    if rules:
        facts.append(("How it was measured", rules))
    if result.card is not None:
        facts.append(("Model", _model(result.card)))
    return facts


def _coverage(result: StudyResult) -> str:
    """The coverage of the intervals, as text; empty where there are none."""
    values, card = result.measurements, result.card
    every = (values.edv_ml_interval, values.esv_ml_interval, values.ef_percent_interval)
    section = None if card is None or card.calibration is None else card.calibration.intervals
    if section is None or not any((*every, values.mass_g_interval)):
        return ""
    return f"{number(100 * section.coverage, 0)} %"


def _study(result: StudyResult) -> list[tuple[str, str]]:
    cine, values = result.cine, result.measurements
    formats = {"dicom": "DICOM", "nifti": "NIfTI", "picture": "picture", "array": "array"}
    pixels, between = cine.grid.pixel_spacing_mm, cine.grid.slice_spacing_mm

    def extent(slices: tuple[int, int] | None) -> str:
        return "unknown" if slices is None else f"slices {slices[0]} to {slices[1]}"

    return [
        ("source", formats[cine.source.format]),
        ("slices", f"{cine.shape[1]}" + ("" if cine.grid.complete else ", some are missing")),
        ("phases", f"{cine.shape[0]}"),
        ("image", f"{cine.shape[2]} {TIMES} {cine.shape[3]} pixels"),
        ("pixel spacing", f"{pixels[0]:.4g} {TIMES} {pixels[1]:.4g} mm" if pixels else "unknown"),
        ("slice spacing", f"{between:.4g} mm, centre to centre" if between else "unknown"),
        ("order of phases", cine.source.order_rule or "unknown"),
        ("ED and ES", values.phases.how),
        ("cavity at ED", extent(values.slices_ed)),
        ("cavity at ES", extent(values.slices_es)),
        ("version", f"lvseg {__version__}"),
        *_author(result),
    ]


def _author(result: StudyResult) -> list[tuple[str, str]]:
    """Who answers for the mask, and what it was edited from; nothing for a model's own."""
    author = result.authorship
    if author is None:
        return []
    parent = "" if author.parent is None else f", edited from version {author.parent}"
    facts = [
        ("result", f"version {author.version}{parent}"),
        ("reader", author.reader or "unknown"),
    ]
    return facts + ([("verified for", author.verified_by)] if author.verified_by else [])


def _model(card: ModelCard) -> list[tuple[str, str]]:
    patients = len(card.training.patients)
    facts = [
        ("name", f"{card.name}, version {card.version}"),
        ("SHA-256", f"{card.sha256[:12]}…"),
        ("taught by", f"{card.training.name}, {patients} patients ({card.training.split})"),
        ("data licence", card.training.licence),
        ("model licence", card.licence),
        ("intended use", card.intended_use),
    ]
    return facts + [("limits" if not row else "", limit) for row, limit in enumerate(card.limits)]
