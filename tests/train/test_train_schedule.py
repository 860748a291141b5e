"""Learning rates by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from lvseg.train.schedule import learning_rate

pytestmark = pytest.mark.torch


def test_cosine_warms_up_then_falls_to_zero() -> None:
    # 12 steps, 2 of warm-up; after the warm-up 10 steps of half a cosine
    rates = [
        learning_rate(step, 0.02, schedule="cosine", warmup_steps=2, total_steps=12)
        for step in range(13)
    ]
    assert rates[:3] == pytest.approx([0.01, 0.02, 0.02])
    assert rates[7] == pytest.approx(0.01)
    assert rates[12] == pytest.approx(0)


def test_constant_stays_at_the_peak_after_the_warm_up() -> None:
    def rates(warmup_steps: int) -> list[float]:
        how = {"warmup_steps": warmup_steps, "total_steps": 6}
        return [learning_rate(step, 0.01, schedule="constant", **how) for step in range(6)]

    assert rates(4) == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])
    assert set(rates(0)) == {0.01}
