"""The measurements of a report as words: value and unit, or why it is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lvseg.results import StudyResult

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


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    :param value: as text, None where it is unknown; :param why: the reason then, or empty.
    :param main: one of those that people look for first.
    """

    name: str
    meaning: str
    value: str | None
    unit: str
    why: str = ""
    main: bool = False


def number(value: float, digits: int = 1) -> str:
    r"""Write a number with thin spaces between thousands; -0 is 0.

    >>> number(1234.56), number(-0.04)
    ('1\u202f234.6', '0.0')
    """
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def figures(result: StudyResult) -> tuple[Figure, ...]:
    """Every number of the page in reading order; nothing is left out, unknown ones say why."""
    values, why = result.measurements, _why_no_volume(result)
    main = (
        ("EF", "ejection fraction", values.ef_percent, "%"),
        ("EDV", "end-diastolic volume", values.edv_ml, "ml"),
        ("ESV", "end-systolic volume", values.esv_ml, "ml"),
        ("SV", "stroke volume", values.sv_ml, "ml"),
    )
    return (
        *_single_phase(result),
        *(_figure(name, says, value, unit, why, main=True) for name, says, value, unit in main),
        *_more(result, why),
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
) -> Figure:
    if value is None:
        return Figure(name, meaning, None, unit, why, main)
    return Figure(name, meaning, number(value, digits), unit, "", main)


def _single_phase(result: StudyResult) -> Iterator[Figure]:
    """What is known of a study without end-diastole and end-systole because it has one phase."""
    values = result.measurements
    if len(values.area_px) != 1 or not any(values.area_px[0]):
        return
    if values.volume_ml is not None:
        yield _figure("Volume", "of the only phase", values.volume_ml[0], "ml", "", main=True)
    elif values.area_mm2 is not None:
        area = sum(values.area_mm2[0])
        yield _figure("Area", "of the cavity", area, "mm²", "", digits=0, main=True)
    else:
        area = sum(values.area_px[0])
        yield _figure("Area", "of the cavity", area, "px", "", digits=0, main=True)


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
