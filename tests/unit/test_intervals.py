"""Intervals by hand: which errors bound them, how they are applied, and when there are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from card_maker import KNOWN, card_with
from pydantic import ValidationError
from seg_maker import card

from lvseg.errors import MeasureError
from lvseg.intervals import QUANTITIES, fit_intervals, interval, with_intervals
from lvseg.issues import Issue
from lvseg.modelcard import Intervals, ModelCard
from lvseg.results import LVMeasurements, Phases

VALUES = LVMeasurements(
    phases=Phases(0, 1, "drawn"),
    volume_ml=(100.0, 40.0),
    area_mm2=None,
    area_px=((1,), (1,)),
    edv_ml=100.0,
    esv_ml=40.0,
    sv_ml=60.0,
    ef_percent=60.0,
)


def codes(issues: tuple[Issue, ...]) -> list[tuple[str, str]]:
    return [(issue.code, issue.severity) for issue in issues]


def test_the_bounds_are_errors_of_the_studies_in_rank_order() -> None:
    # 39 studies and 90 %: 40 x 0.05 = 2nd smallest and 40 x 0.95 = 38th smallest error
    true = [100.0] * 39
    errors = [float(k) for k in range(-10, 29)]  # -10, -9, ... 28 percent
    measured = [100.0 + error for error in errors]
    found = fit_intervals(
        {"edv_ml": true, "ef_percent": [50.0] * 39},
        {"edv_ml": measured, "ef_percent": [50.0 + error / 10 for error in errors]},
    )
    assert found.edv_percent == pytest.approx((-9.0, 27.0))
    assert found.ef_points == pytest.approx((-0.9, 2.7))
    assert found.esv_percent is found.mass_percent is None
    assert (found.coverage, found.widening_unlike, found.studies) == (0.9, 2.0, 39)


@pytest.mark.parametrize(("studies", "known"), [(18, False), (19, True)])
def test_nineteen_studies_are_the_fewest_for_ninety_percent(studies: int, known: bool) -> None:
    # (19 + 1) x 0.05 = 1: the smallest and the largest error
    measured = [110.0 + k for k in range(studies)]
    found = fit_intervals({"mass_g": [100.0] * studies}, {"mass_g": measured})
    assert (found.mass_percent is not None) == known
    if found.mass_percent is not None:
        assert found.mass_percent == pytest.approx((10.0, 28.0))


def test_a_study_counts_where_both_values_are_known() -> None:
    true: dict[str, list[float | None]] = {"edv_ml": [100.0] * 21, "mass_g": [None] * 21}
    measured: dict[str, list[float | None]] = {
        "edv_ml": [None, *[100.0 + k for k in range(20)]],
        "mass_g": [90.0] * 21,
    }
    found = fit_intervals(true, measured)
    assert found.studies == 20
    assert found.mass_percent is None
    assert found.edv_percent is not None


def test_a_cavity_that_was_missed_bounds_nothing() -> None:
    # an error of -100 %: any cavity may be behind a value of 0
    found = fit_intervals({"esv_ml": [40.0] * 19}, {"esv_ml": [0.0, *[40.0] * 18]})
    assert found.esv_percent is None


@pytest.mark.parametrize(
    ("true", "measured", "words"),
    [
        ([100.0], [100.0, 90.0], "a true and a measured edv_ml of each study, found 1 and 2"),
        ([0.0], [10.0], "a true edv_ml above 0, found 0.0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    true: list[float], measured: list[float], words: str
) -> None:
    with pytest.raises(MeasureError, match=words):
        fit_intervals({"edv_ml": true}, {"edv_ml": measured})


def test_a_value_is_corrected_by_the_errors_the_card_states() -> None:
    values, told = with_intervals(VALUES, card_with(KNOWN), ())
    # 100 / 1.25 = 80 and 100 / 0.95 = 105.26; 40 / 1.6 = 25 and 40 / 0.8 = 50
    assert values.edv_ml_interval == pytest.approx((80.0, 100 / 0.95))
    assert values.esv_ml_interval == pytest.approx((25.0, 50.0))
    # 60 - 3 and 60 + 9
    assert values.ef_percent_interval == pytest.approx((57.0, 69.0))
    assert values.mass_g_interval is None
    assert told == ()
    assert (values.edv_ml, values.ef_percent) == (100.0, 60.0)


def test_a_quantity_without_errors_on_the_card_is_named() -> None:
    values, told = with_intervals(replace(VALUES, mass_g=90.0), card_with(KNOWN), ())
    assert values.mass_g_interval is None
    assert values.edv_ml_interval is not None
    assert codes(told) == [("no-intervals", "info")]
    assert "mass_g" in told[0].text
    assert values.issues == told


@pytest.mark.parametrize(
    ("made_by", "words"),
    [
        (None, "No model is known"),
        (card(), "card of the model tiny"),
        (card_with(None), "card of the model tiny"),
    ],
)
def test_without_known_errors_there_are_none_and_it_is_said(
    made_by: ModelCard | None, words: str
) -> None:
    values, told = with_intervals(VALUES, made_by, ())
    assert values == replace(VALUES, issues=told)
    assert codes(told) == [("no-intervals", "info")]
    assert words in told[0].text


def test_a_study_unlike_the_training_data_has_wider_ones_or_none() -> None:
    unlike = Issue("unlike-training-data", "warning", "The images are unlike.")
    values, told = with_intervals(VALUES, card_with(KNOWN), [unlike])
    # 57 to 69 about its middle of 63, twice as wide: 51 to 75
    assert values.ef_percent_interval == pytest.approx((51.0, 75.0))
    assert codes(told) == [("wide-intervals", "info")]
    strict = KNOWN.model_copy(update={"widening_unlike": None})
    values, told = with_intervals(VALUES, card_with(strict), [unlike])
    assert values.ef_percent_interval is None
    assert codes(told) == [("no-intervals", "info")]


def test_a_study_that_failed_has_none() -> None:
    failed = Issue("stack-does-not-cover-ventricle", "error", "It does not.")
    values, told = with_intervals(VALUES, card_with(KNOWN), [failed])
    assert values.edv_ml_interval is values.ef_percent_interval is None
    assert codes(told) == [("no-intervals", "info")]


def test_unknown_values_have_no_interval_and_no_second_finding() -> None:
    nothing = replace(VALUES, edv_ml=None, esv_ml=None, ef_percent=None)
    assert with_intervals(nothing, card_with(KNOWN), ()) == (nothing, ())
    assert with_intervals(nothing, None, ()) == (nothing, ())


def test_no_value_is_below_nothing_or_above_everything() -> None:
    assert interval(2.0, (-9.0, 3.0), QUANTITIES["ef_percent"]) == (0.0, 11.0)
    assert interval(97.0, (-9.0, 3.0), QUANTITIES["ef_percent"]) == (94.0, 100.0)
    assert interval(10.0, (-50.0, 100.0), QUANTITIES["esv_ml"], widening=3.0)[0] == 0.0
    assert interval(0.0, (-50.0, 100.0), QUANTITIES["esv_ml"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"edv_percent": (5.0, -5.0)},
        {"esv_percent": (-100.0, 5.0)},
        {"ef_points": (float("nan"), 1.0)},
        {"coverage": 1.0},
        {"widening_unlike": 0.5},
        {"studies": None},
    ],
)
def test_a_card_with_impossible_errors_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Intervals.model_validate({"studies": 44} | wrong)


def test_the_card_keeps_them() -> None:
    made = card_with(KNOWN)
    read = ModelCard.from_json(made.to_json())
    assert read.calibration is not None
    assert read.calibration.intervals == KNOWN
