"""Expected Dice and out-of-distribution check: worked examples, and what is never said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from card_maker import calibration
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg import model_store
from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Box
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.measurement import measure
from lvseg.modelcard import CARD, FeatureStatistics, ModelCard
from lvseg.prediction import Prediction
from lvseg.quality import Evidence, check, predict_dice
from lvseg.quality.confidence import expected_dice, low_confidence, self_dice
from lvseg.quality.ood import FEATURES, distance, features, ood_check

#: The expected Dice is the self-Dice.
PLAIN = calibration()


def test_self_dice_by_hand() -> None:
    probabilities = np.array([[[0.9, 0.6, 0.1]]], np.float32)
    inside = np.array([[[True, True, False]]])
    # 2 (0.9 + 0.6) / (0.9 + 0.6 + 0.1 + 2) = 3 / 3.6
    assert self_dice(probabilities, inside) == pytest.approx([3 / 3.6])
    assert self_dice(probabilities, ~inside & False) == pytest.approx([0])


def test_the_curve_by_hand() -> None:
    curve = PLAIN.model_copy(update={"intercept": 0.5, "slope": 2.0, "area_slope": 1.0})
    # logit(0.75) = ln 3; 0.5 + 2 ln 3 + ln(200 / 400) = 0.5 + ln 4.5
    found = expected_dice(np.array([0.75]), np.array([200.0]), curve)
    assert found == pytest.approx([1 / (1 + np.exp(-0.5) / 4.5)])


@given(
    own=st.floats(0.05, 0.99),
    more=st.floats(0, 0.5),
    area=st.floats(1, 5000),
    wider=st.floats(1, 4),
)
@settings(derandomize=True, deadline=None, max_examples=50)
def test_surer_and_larger_is_never_expected_to_be_worse(
    own: float, more: float, area: float, wider: float
) -> None:
    curve = PLAIN.model_copy(update={"area_slope": 0.7})
    low, surer, larger = expected_dice(
        np.array([own, min(1.0, own + more), own]), np.array([area, area, area * wider]), curve
    )
    assert 0 < low <= surer < 1
    assert low <= larger < 1


def card(**changes) -> ModelCard:
    """The shipped card with another calibration or feature statistics."""
    text = (model_store.locate(model_store.DEFAULT) / CARD).read_text("utf-8")
    known = {"calibration": PLAIN, "feature_statistics": None}
    return ModelCard.from_json(text).model_copy(update=known | changes)


def evidence(probabilities, mask, pixel_ratio=1.0, inputs=None, scores=None, **changes) -> Evidence:
    """A prediction that covers all of an image but its first row and column."""
    empty = np.zeros((1, 1, 4, 4), np.float32)
    shape = mask.labels.shape
    cine = Cine(np.zeros((max(mask.phases) + 1, *shape[1:]), np.float32), Source("array", "drawn"))
    whole = np.zeros(cine.shape, np.float32)
    whole[list(mask.phases)] = probabilities
    prediction = Prediction(
        whole[None, :, :, 1:, 1:],
        Box(1, 1, shape[2] - 1, shape[3] - 1),
        (Label.LV_CAVITY,),
        empty if inputs is None else inputs,
        empty if scores is None else scores,
        pixel_ratio,
    )
    return Evidence(cine, mask, measure(mask), prediction, card(**changes))


def study(sure: float) -> tuple[np.ndarray, Mask]:
    """Two phases of three slices; slice 2 is empty; slice 1 of phase 1 has probability ``sure``."""
    labels = np.zeros((2, 3, 8, 9), np.uint8)
    labels[:, :2, 2:6, 3:7] = 1
    probabilities = labels.astype(np.float32)
    probabilities[1, 1] *= sure
    return probabilities, Mask(labels, (4, 9))


def test_a_study_is_the_mean_over_its_slices() -> None:
    found = predict_dice(evidence(*study(0.5)))
    assert found is not None
    # 16 pixels at 0.5: 2 x 8 / (8 + 16) = 2 / 3; sure slices stop at 0.998
    assert found.by_slice[1][1] == pytest.approx(2 / 3)
    assert found.by_slice[0] == (pytest.approx(0.998), pytest.approx(0.998), None)
    assert found.expected_dice == pytest.approx((3 * 0.998 + 2 / 3) / 4)


def test_pixels_are_counted_on_the_models_grid() -> None:
    curve = PLAIN.model_copy(update={"area_slope": 1.0})
    fine = predict_dice(evidence(*study(0.5), calibration=curve))
    coarse = predict_dice(evidence(*study(0.5), 0.25, calibration=curve))
    assert fine is not None
    assert coarse is not None
    assert coarse.expected_dice < fine.expected_dice


def test_without_prediction_calibration_or_mask_nothing_is_expected() -> None:
    probabilities, mask = study(0.1)
    empty = Mask(np.zeros_like(mask.labels), mask.phases)
    for known in (
        evidence(probabilities, mask, calibration=None),
        evidence(probabilities, empty),
        replace(evidence(probabilities, mask), prediction=None),
        replace(evidence(probabilities, mask), card=None),
    ):
        assert predict_dice(known) is None
        assert list(low_confidence(known)) == []


def of_dice(*table: tuple[float, ...]) -> Evidence:
    """Slices with these expected Dice; 0: no cavity."""
    dice = np.array(table)[..., None, None]
    labels = np.zeros((2, 3, 8, 9), np.uint8)
    labels[:, :, 2:6, 3:7] = dice > 0
    # v on all n pixels: Dice = 2 v n / (v n + n), so v = Dice / (2 - Dice)
    return evidence(labels * dice / (2 - dice), Mask(labels, (4, 9)))


def test_a_low_confidence_asks_for_a_look_and_names_the_worst_slice() -> None:
    found = list(low_confidence(of_dice((0.9, 0.65, 0), (0.9, 0.6, 0.68))))
    assert [(each.code, each.severity) for each in found] == [
        ("unsure", "warning"),
        ("unsure-slice", "info"),
    ]
    assert (found[1].slice, found[1].phase) == (1, 9)
    assert "a Dice of 0.75 with an expert is expected, 0.80 or more" in found[0].text
    assert "2 slice(s)" in found[1].text
    assert "0.60" in found[1].text


def test_a_sure_study_is_silent() -> None:
    assert list(low_confidence(of_dice((0.9, 0, 0), (0.9, 0, 0)))) == []


def test_issues_come_in_the_order_of_the_steps() -> None:
    known = of_dice((0.9, 0.65, 0), (0.9, 0.6, 0.68))
    one, two, three = (Issue(code, "info", "Known.") for code in ("read", "predicted", "cleaned"))
    known = replace(
        known,
        cine=replace(known.cine, issues=(one,)),
        prediction=replace(known.prediction, issues=(two,)),
        left_out=(three,),
    )
    codes = [issue.code for issue in check(known)]
    measured = [issue.code for issue in known.measurements.issues]
    assert len(measured) > 0
    assert codes[: 5 + len(measured)] == [
        "read",
        "predicted",
        "cleaned",
        "unsure",
        "unsure-slice",
        *measured,
    ]
    assert "few-slices" in codes[5 + len(measured) :]


def frames(count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs of radius 9 on a darker, grainy ground, and sure scores."""
    rng = np.random.default_rng(5)
    row, column = np.mgrid[:64, :64]
    disc = ((row - 30) ** 2 + (column - 34) ** 2 < 81).astype(np.float32)
    inputs = 0.2 + 0.6 * disc + rng.normal(0, 0.02, (count, 64, 64))
    return inputs[:, None].astype(np.float32), np.repeat(disc[None, None], count, axis=0)


def ood(inputs, scores, statistics) -> list[Issue]:
    known = evidence(*study(1), inputs=inputs, scores=scores, feature_statistics=statistics)
    return list(ood_check(known))


def test_features_say_what_their_names_say() -> None:
    inputs, scores = frames()
    table = dict(zip(FEATURES, features(inputs, scores[:, 0]).mean(axis=0), strict=True))
    share = float(scores[0].mean())
    assert table["mean"] == pytest.approx(0.2 + 0.6 * share, abs=0.01)
    assert table["spread"] == pytest.approx(0.6 * np.sqrt(share * (1 - share)), abs=0.01)
    assert table["skewness"] > 1  # few bright pixels
    assert table["cavity"] > 2 > 0 > table["rim"]  # in spreads above and below the mean


def test_frames_without_cavity_say_nothing() -> None:
    inputs, scores = frames()
    assert features(inputs, scores[:, 0] * 0).shape == (0, len(FEATURES))
    statistics = FeatureStatistics(mean=(0.0,) * 8, precision=((0.0,) * 8,) * 8, limit=1.0)
    assert ood(inputs, scores * 0, statistics) == []
    assert ood(inputs, scores, None) == []


def test_no_more_than_24_frames_are_described() -> None:
    inputs, scores = frames(40)
    assert len(features(inputs, scores[:, 0])) == 24


def test_distance_by_hand() -> None:
    precision = np.diag([4.0, 1.0, *[0.0] * 6])
    statistics = FeatureStatistics(
        mean=(1.0, 2.0, *[0.0] * 6), precision=tuple(map(tuple, precision)), limit=5.0
    )
    found = np.array([[2.0, 5.0, *[7.0] * 6], [4.0, 7.0, *[7.0] * 6]])
    # mean (3, 6): offsets 2 and 4; 4 x 4 + 1 x 16 = 32
    assert distance(found, statistics) == pytest.approx(np.sqrt(32))


def test_an_inverted_image_is_unlike_the_training_images() -> None:
    inputs, scores = frames()
    known, answered = frames(24)
    table = features(known, answered[:, 0])
    spread = np.diag(1 / (table.std(axis=0) + 0.05) ** 2)
    statistics = FeatureStatistics(
        mean=tuple(table.mean(axis=0)), precision=tuple(map(tuple, spread)), limit=4.0
    )
    assert ood(inputs, scores, statistics) == []
    (found,) = ood(1 - inputs, scores, statistics)
    assert (found.code, found.severity) == ("unlike-training-data", "warning")


def test_the_shipped_card_is_calibrated_for_these_features() -> None:
    card = ModelCard.from_json((model_store.locate(model_store.DEFAULT) / CARD).read_text("utf-8"))
    assert card.calibration is not None
    assert card.feature_statistics is not None
    assert (
        len(card.feature_statistics.mean) == len(card.feature_statistics.precision) == len(FEATURES)
    )
    assert {len(row) for row in card.feature_statistics.precision} == {len(FEATURES)}
    assert 0.5 < card.calibration.slice_review_below < card.calibration.review_below < 1
    # surer is better, larger is better, and sureness says more
    assert card.calibration.slope > card.calibration.area_slope > 0
