"""Values over body surface area and reference ranges, as the report shows them.

A range says inside or outside and never more: it is no diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass

from lvseg.report.curve import number
from lvseg.results import INDEXED, Range, StudyResult
from lvseg.subject import AGE_RANGE_YEARS

_NAMES = (
    ("edv_ml", "EDV", "ml", 1),
    ("esv_ml", "ESV", "ml", 1),
    ("sv_ml", "SV", "ml", 1),
    ("mass_g", "Mass", "g", 1),
    ("ef_percent", "EF", "%", 1),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A value with its unit and its range; ``inside`` is a word, empty without a range."""

    value: str
    unit: str
    range: str = ""
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Norms:
    """The table: for each name the value, and the value per square metre (None: there is none).

    :param surface: the body surface area and its formula, empty where unknown.
    :param source: of the ranges, for whom; empty without ranges. :param notice: what everybody
        who sees a range must know.
    """

    rows: tuple[tuple[str, Cell, Cell | None], ...]
    surface: str
    source: str
    notice: str

    @property
    def indexed(self) -> bool:
        """Whether a row has a value per square metre."""
        return any(each for _, _, each in self.rows)


def norms(result: StudyResult) -> Norms | None:
    """What is known of body size and ranges; None where neither is."""
    values, reference = result.measurements, result.reference
    if values.bsa_m2 is None and reference is None:
        return None
    rows = []
    for field, name, unit, digits in _NAMES:
        cell = _cell(result, field, unit, digits)
        over = INDEXED.get(field)
        indexed = None if over is None else _cell(result, over, f"{unit}/m²", digits)
        if cell is not None and (reference is not None or indexed is not None):
            rows.append((name, cell, indexed))
    surface = ""
    if values.bsa_m2 is not None:
        surface = f"{number(values.bsa_m2, 2)} m² ({values.methods.get('body_surface', '')})"
    if reference is None:
        return Norms(tuple(rows), surface, "", "")
    people = {"F": "women", "M": "men"}[reference.sex]
    low, high = reference.ages
    ages = f"{low} years and more" if high >= AGE_RANGE_YEARS[1] else f"{low} to {high} years"
    source = (
        f"{reference.title}: {people} of {ages}, {reference.limits}. "
        f"{reference.citation}, doi {reference.doi}"
    )
    return Norms(tuple(rows), surface, source, reference.notice)


def _cell(result: StudyResult, field: str, unit: str, digits: int) -> Cell | None:
    value = getattr(result.measurements, field)
    if value is None:
        return None
    found: Range | None = None if result.reference is None else result.reference.ranges.get(field)
    text = number(value, digits)
    if found is None:
        return Cell(text, unit)
    limits = f"{found.low:g} to {found.high:g}"
    return Cell(text, unit, limits, "inside" if found.inside else "outside")
