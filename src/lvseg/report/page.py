"""The HTML report of a study: one file that works without a network."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from lvseg.cine import Cine, base_first
from lvseg.display import heart_box
from lvseg.issues import Issue, Severity, Verdict
from lvseg.labels import LABELS, Label
from lvseg.modelcard import ModelCard
from lvseg.report.curve import Curve, curve, summed
from lvseg.report.figures import figures, number, result_line
from lvseg.report.sprites import STEPS, Contours, SpriteSheets, frame_contours, sprite_sheets
from lvseg.results import StudyResult
from lvseg.version import __version__

if TYPE_CHECKING:
    from jinja2 import Template

VERDICTS: dict[Verdict, str] = {
    "pass": "No check asks for a look.",
    "review": "A person should look before this result is used.",
    "fail": "A result is missing or must not be used.",
}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
#: A beat where neither times nor heart rate are known.
BEAT_MS = 1000.0
TIMES = "\N{MULTIPLICATION SIGN}"


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
    script = _resource("page.js")
    return _template().render(
        name=result.cine.source.name,
        kind="picture" if result.cine.source.format == "picture" else "cine",
        version=__version__,
        style=_resource("page.css"),
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
    )


@cache
def _resource(name: str) -> str:
    return resources.files("lvseg.report").joinpath(name).read_text("utf-8")


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.from_string(_resource("page.html"))


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
    area = _areas(result)[result.mask.phases.index(phase)][index] if held else 0
    words = f"{number(area, 0)} {_area_unit(result)}" if area else ""
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


def _areas(result: StudyResult) -> tuple[tuple[float, ...], ...]:
    values = result.measurements
    return values.area_px if values.area_mm2 is None else values.area_mm2


def _area_unit(result: StudyResult) -> str:
    return "px" if result.measurements.area_mm2 is None else "mm²"


def _player(
    result: StudyResult,
    sprites: SpriteSheets,
    contours: dict[Label, Contours],
    volume_curve: Curve | None,
) -> dict[str, Any]:
    """What the script needs; phases and slices of the cine, null where the mask has no phase."""
    cine, mask, found = result.cine, result.mask, result.measurements.phases
    phases, slices = cine.shape[:2]
    areas: list[list[float] | None] = [None] * phases
    dice: list[tuple[float | None, ...] | None] = [None] * phases
    values: list[float | None] = [None] * phases
    _, unit, sums = summed(result.measurements)
    for row, phase in enumerate(mask.phases):
        areas[phase] = [round(float(area), 1) for area in _areas(result)[row]]
        values[phase] = round(sums[row], 1)
        if result.confidence is not None:
            dice[phase] = result.confidence.by_slice[row]
    by_slice = [sum(row[index] for row in areas if row) for index in range(slices)]
    held = [index for index, area in enumerate(by_slice) if area]
    return {
        "slices": slices,
        "phases": phases,
        "edge": sprites.edge_px,
        "columns": sprites.columns,
        "steps": STEPS,
        "contours": [
            {"colour": _colour(label), "frames": frames} for label, frames in contours.items()
        ],
        "areas": areas,
        "areaUnit": _area_unit(result),
        "dice": dice,
        "values": values,
        "unit": unit,
        "times": None if cine.times_ms is None else [round(time, 1) for time in cine.times_ms],
        "beatMs": round(_beat_ms(cine) or BEAT_MS, 1),
        "realTime": _beat_ms(cine) is not None,
        "ed": found.end_diastole,
        "es": found.end_systole,
        "base": _base(by_slice),
        "slice": held[(len(held) - 1) // 2] if held else slices // 2,
        "phase": mask.phases[0] if found.end_diastole is None else found.end_diastole,
        "plot": volume_curve and _plot(volume_curve),
    }


def _plot(chart: Curve) -> dict[str, Any]:
    """Where the points of the curve are, for the cursor."""
    points = {name: [getattr(each, name) for each in chart.points] for name in ("x", "y", "phase")}
    return {"left": chart.left, "right": chart.right, "width": chart.width, **points}


def _base(by_slice: list[float]) -> str | None:
    """Which end of the stack is the base, as the mask tells."""
    first = base_first(np.array(by_slice)) if any(by_slice) else None
    return None if first is None else "first" if first else "last"


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
    if rules:
        facts.append(("How it was measured", rules))
    if result.card is not None:
        facts.append(("Model", _model(result.card)))
    return facts


def _study(result: StudyResult) -> list[tuple[str, str]]:
    cine, values = result.cine, result.measurements
    formats = {"dicom": "DICOM", "nifti": "NIfTI", "picture": "picture", "array": "array"}
    pixels, between = cine.grid.pixel_spacing_mm, cine.grid.slice_spacing_mm
    total = sum(seconds for stage, seconds in result.seconds.items() if stage != "total")

    def extent(slices: tuple[int, int] | None) -> str:
        return "unknown" if slices is None else f"slices {slices[0]} to {slices[1]}"

    facts = [
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
    ]
    return facts + ([("computing time", f"{total:.1f} s")] if result.seconds else [])


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
