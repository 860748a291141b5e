"""Learning rate and momentum by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from train_maker import tiny_options  # noqa: E402

from lvseg.train.schedule import learning_rate, momentum, set_step  # noqa: E402

pytestmark = pytest.mark.torch


def test_cosine_warms_up_then_falls_to_zero() -> None:
    # 12 steps, 2 of warm-up; after the warm-up 10 steps of half a cosine
    options = tiny_options(epochs=3, steps_per_epoch=4, warmup_steps=2, peak_rate=0.02)
    rates = [learning_rate(step, options) for step in range(13)]
    assert rates[:3] == pytest.approx([0.01, 0.02, 0.02])
    assert rates[7] == pytest.approx(0.01)
    assert rates[12] == pytest.approx(0)


def test_constant_stays_at_the_peak_after_the_warm_up() -> None:
    options = tiny_options(schedule="constant", warmup_steps=4, peak_rate=0.01)
    rates = [learning_rate(step, options) for step in range(6)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])
    study = tiny_options(schedule="constant", warmup_steps=0, peak_rate=0.01)
    assert {learning_rate(step, study) for step in range(6)} == {0.01}


def test_one_cycle_goes_up_down_and_dies_away_while_momentum_does_the_opposite() -> None:
    # 21 steps: 0 to 9 up, 9 to 18 down, 18 to 20 to a thousandth of the peak
    options = tiny_options(
        schedule="one-cycle", epochs=3, steps_per_epoch=7, peak_rate=0.1, momentum=0.95
    )
    rates = [learning_rate(step, options) for step in range(21)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[3] == pytest.approx(0.01 + 0.09 / 3)
    assert rates[9] == pytest.approx(0.1)
    assert rates[12] == pytest.approx(0.1 - 0.09 / 3)
    assert rates[18] == pytest.approx(0.01)
    assert rates[19] == pytest.approx((0.01 + 0.0001) / 2)
    assert rates[20] == pytest.approx(0.0001)
    moments = [momentum(step, options) for step in (0, 3, 9, 18, 20)]
    assert moments == pytest.approx([0.95, 0.95 - 0.1 / 3, 0.85, 0.95, 0.95])


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_other_schedules_leave_momentum_alone(schedule: str) -> None:
    options = tiny_options(schedule=schedule, momentum=0.9)
    assert {momentum(step, options) for step in range(6)} == {0.9}


def test_a_step_sets_both_numbers_of_both_optimisers() -> None:
    options = tiny_options(
        schedule="one-cycle", epochs=3, steps_per_epoch=7, peak_rate=0.1, momentum=0.95
    )
    weights = [torch.zeros(1, requires_grad=True)]
    sgd = torch.optim.SGD(weights, lr=1.0, momentum=0.9, nesterov=True)
    adamw = torch.optim.AdamW(weights, lr=1.0)
    for optimiser in (sgd, adamw):
        set_step(optimiser, 9, options)
        assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1)
    assert sgd.param_groups[0]["momentum"] == pytest.approx(0.85)
    assert adamw.param_groups[0]["betas"] == pytest.approx((0.85, 0.999))
