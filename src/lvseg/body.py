"""Body size: what is known of the person, and volumes and mass over body surface area."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lvseg.errors import UsageError
from lvseg.issues import Issue
from lvseg.results import INDEXED, LVMeasurements
from lvseg.sheet import Sheet, read_sheet
from lvseg.subject import (
    AGE_RANGE_YEARS,
    BSA_WORDS,
    HEIGHT_RANGE_CM,
    UNKNOWN,
    WEIGHT_RANGE_KG,
    BsaFormula,
    Sex,
    Subject,
    bsa_m2,
)

#: Field of a subject -> what it can be, its name and its unit.
_RANGES: Mapping[str, tuple[tuple[float, float], str, str]] = MappingProxyType(
    {
        "age_years": (AGE_RANGE_YEARS, "age", "years"),
        "height_cm": (HEIGHT_RANGE_CM, "height", "cm"),
        "weight_kg": (WEIGHT_RANGE_KG, "weight", "kg"),
    }
)
#: What sheets and people write for a sex.
_SEXES: Mapping[str, Sex] = MappingProxyType(
    {"f": "F", "female": "F", "w": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
)
#: Two statements of one length or weight differ by more than this share: one of them is wrong.
_SAME_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class BodySettings:
    """Body surface area, reference ranges, and what is known where the header does not say it."""

    bsa_formula: BsaFormula = "mosteller"
    """``mosteller`` (1987) or ``du-bois`` (1916); cm and kg."""
    reference_ranges: str | None = None
    """Name of a table that comes with lvseg, or a JSON file of your own (docs/reference.md). Not
    set: no ranges are shown."""
    covariates: str | None = None
    """A CSV sheet with a column ``study`` and any of ``sex``, ``age_years``, ``height_cm``,
    ``weight_kg``, for values that the header does not state."""
    sex: Sex | None = None
    """``F`` or ``M``, where neither header nor sheet says it."""
    age_years: float | None = None
    """Likewise."""
    height_cm: float | None = None
    """Likewise."""
    weight_kg: float | None = None
    """Likewise."""


def states_body(sheet: Sheet) -> bool:
    """Whether a sheet has a column about the person that serves the measurements."""
    return any(each.name in sheet.columns for each in fields(Subject))


def check_body(settings: BodySettings) -> None:
    """Hold the settings that are given to what a person can have.

    :raises UsageError: one of them is not; the sheet cannot be read.
    """
    for name, (limits, word, unit) in _RANGES.items():
        value = getattr(settings, name)
        if value is not None and not limits[0] <= value <= limits[1]:
            raise UsageError(
                f"expected {word} from {limits[0]:g} to {limits[1]:g} {unit}, found {value:g}"
            )
    if settings.covariates is not None:
        sheet = _sheet(settings.covariates)
        for study in sheet.rows:
            _of_sheet(sheet, study, settings.covariates)


def subject_in_sheet(settings: BodySettings, study: str) -> Subject:
    """What the sheet says of a study; nothing without a sheet, or where it does not list it.

    :raises UsageError: the sheet cannot be read, or says what nobody can have.
    """
    if settings.covariates is None:
        return UNKNOWN
    return _of_sheet(_sheet(settings.covariates), study, settings.covariates)


def subject_of(
    stated: Subject, settings: BodySettings, study: str
) -> tuple[Subject, tuple[Issue, ...]]:
    """What is known of the person: as the header states it where that can be, else as given.

    :param stated: by the header; :param study: its name in the sheet.
    :returns: the subject, and ``implausible-body-size`` for what the header states and nobody can
        have, ``body-size-differs`` where header and given values contradict each other.
    :raises UsageError: the sheet cannot be read, or what was given is what nobody can have.
    """
    check_body(settings)
    given = Subject(settings.sex, settings.age_years, settings.height_cm, settings.weight_kg)
    row = subject_in_sheet(settings, study)
    given = Subject(**{each.name: _first(row, given, each.name) for each in fields(Subject)})
    plausible, issues = _plausible(stated)
    differing = [
        each.name.partition("_")[0]
        for each in fields(Subject)
        if _differ(getattr(plausible, each.name), getattr(given, each.name))
    ]
    if differing:
        text = (
            f"The header states another {' and '.join(differing)} than was given: the header was "
            "believed."
        )
        issues = (*issues, Issue("body-size-differs", "warning", text))
    known = {each.name: _first(plausible, given, each.name) for each in fields(Subject)}
    return Subject(**known), issues


def _first(one: Subject, other: Subject, name: str) -> Any:
    value = getattr(one, name)
    return getattr(other, name) if value is None else value


def _differ(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return False
    if isinstance(one, str):
        return bool(one != other)
    return bool(abs(one - other) > max(1.0, _SAME_SHARE * one))


def _plausible(stated: Subject) -> tuple[Subject, tuple[Issue, ...]]:
    """The subject without what nobody can have."""
    issues = []
    for name, (limits, word, unit) in _RANGES.items():
        value = getattr(stated, name)
        if value is not None and not limits[0] <= value <= limits[1]:
            stated = replace(stated, **{name: None})
            text = (
                f"The {word} in the header lies outside {limits[0]:g} to {limits[1]:g} {unit}: it "
                "is not used."
            )
            issues.append(Issue("implausible-body-size", "info", text))
    return stated, tuple(issues)


@lru_cache(maxsize=4)
def _sheet(path: str) -> Sheet:
    return read_sheet(Path(path))


def _of_sheet(sheet: Sheet, study: str, path: str) -> Subject:
    """What a sheet says of a study; nothing where it does not list it.

    :raises UsageError: no number, a number that nobody can have, or an unknown word for a sex.
    """
    row = sheet.rows.get(study, {})
    word = row.get("sex", "")
    sex = _SEXES.get(word.lower())
    if word and sex is None:
        raise UsageError(f"expected F or M as sex of {study} in {path}, found {word[:20]!r}")
    numbers = dict(_numbers(row, study, path))
    return Subject(sex=sex, **numbers)


def _numbers(row: Mapping[str, str], study: str, path: str) -> Iterator[tuple[str, float]]:
    for name, (limits, _, unit) in _RANGES.items():
        text = row.get(name, "").replace(",", ".")
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not limits[0] <= value <= limits[1]:
            raise UsageError(
                f"expected {name} of {study} in {path} from {limits[0]:g} to {limits[1]:g} {unit}, "
                f"found {text[:20]!r}"
            )
        yield name, value


def indexed(
    values: LVMeasurements, subject: Subject, formula: BsaFormula = "mosteller"
) -> LVMeasurements:
    """Add the body surface area, and volumes and mass divided by it.

    Without height and weight an issue ``unknown-body-size`` says so, where there is a volume that
    could have been divided.
    """
    if subject.height_cm is None or subject.weight_kg is None:
        if all(getattr(values, name) is None for name in INDEXED):
            return values
        absent = " and ".join(
            word
            for word, value in (("height", subject.height_cm), ("weight", subject.weight_kg))
            if value is None
        )
        verb = "are" if " and " in absent else "is"
        text = (
            f"{absent.capitalize()} {verb} not known, so volumes and mass are not divided by the "
            "body surface area."
        )
        issue = Issue("unknown-body-size", "info", text)
        return replace(values, issues=(*values.issues, issue))
    area = bsa_m2(subject.height_cm, subject.weight_kg, formula)
    known = {name: getattr(values, name) for name in INDEXED}
    per_m2: dict[str, Any] = {
        INDEXED[name]: None if value is None else value / area for name, value in known.items()
    }
    methods = {**values.methods, "body_surface": BSA_WORDS[formula]}
    return replace(values, bsa_m2=area, methods=methods, **per_m2)
