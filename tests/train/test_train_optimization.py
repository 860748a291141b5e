"""Loss and learning rates by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from lvseg.train.optimization import dice_cross_entropy, learning_rate  # noqa: E402

pytestmark = pytest.mark.torch


def test_uncertain_everywhere_on_half_a_mask() -> None:
    # 4 pixels at p = 0.5, two of them cavity: overlap 1, sum 2 + 2 = 4
    # Dice (2 * 1 + 1) / (4 + 1) = 0.6; cross-entropy ln 2
    logits = torch.zeros(1, 1, 2, 2)
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert dice_cross_entropy(logits, target).item() == pytest.approx(0.4 + math.log(2))


def test_empty_target_and_empty_prediction_cost_nothing() -> None:
    loss = dice_cross_entropy(torch.full((1, 1, 4, 4), -30.0), torch.zeros(1, 1, 4, 4))
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_false_cavity_on_an_empty_target_gets_a_gradient() -> None:
    logits = torch.full((1, 1, 4, 4), 2.0, requires_grad=True)
    dice_cross_entropy(logits, torch.zeros(1, 1, 4, 4)).backward()
    assert (logits.grad > 0).all()


def test_each_sample_weighs_the_same_whatever_its_size() -> None:
    # both samples miss half of their cavity; the Dice terms differ only by the smoothing pixel
    small, large = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    small[..., :2, :2], large[..., :8, :8] = 1, 1
    found_small, found_large = small.clone(), large.clone()
    found_small[..., :1, :2], found_large[..., :4, :8] = 0, 0
    losses = []
    for found, target in ((found_small, small), (found_large, large)):
        logits = (found - 0.5) * 60
        cross = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        losses.append((dice_cross_entropy(logits, target) - cross).item())
    # 1 - (2 * 2 + 1) / (6 + 1) = 0.2857;  1 - (2 * 32 + 1) / (96 + 1) = 0.3299
    assert losses == pytest.approx([1 - 5 / 7, 1 - 65 / 97], abs=1e-5)


def test_two_labels_by_hand() -> None:
    # 4 pixels at p = 0.5. First label: 2 of 4 inside, overlap 1, sums 2 + 2: Dice 3 / 5.
    # Second label: all 4 inside, overlap 2, sums 2 + 4: Dice 5 / 7. Their mean counts;
    # of both channels taken as one it would be (2 * 3 + 1) / (4 + 6 + 1) = 7 / 11.
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    loss = dice_cross_entropy(torch.zeros(1, 2, 2, 2), target)
    assert loss.item() == pytest.approx(1 - (3 / 5 + 5 / 7) / 2 + math.log(2))


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


def test_an_unknown_label_costs_nothing() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 2, 6, 5, generator=generator).requires_grad_()
    target = (torch.rand(3, 2, 6, 5, generator=generator) > 0.5).float()
    known = torch.tensor([[True, False], [True, True], [True, False]])
    for over_batch in (False, True):
        losses = []
        for filling in (0.0, 1.0):
            changed = torch.where(known[:, :, None, None], target, torch.tensor(filling))
            losses.append(dice_cross_entropy(logits, changed, known=known, over_batch=over_batch))
        assert losses[0].item() == pytest.approx(losses[1].item())
        (gradient,) = torch.autograd.grad(losses[0], logits)
        assert not gradient[~known].any()
        assert gradient[known].any()


def test_weights_of_labels_by_hand() -> None:
    logits, target = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    target[0, 1] = 1
    # soft Dice with s = 1: 1 / (2 + 1) of the empty label, (4 + 1) / (2 + 4 + 1) of the full one
    one, other = 1 - 1 / 3, 1 - 5 / 7
    for over_batch in (False, True):
        found = dice_cross_entropy(
            logits, target, over_batch=over_batch, label_weights=(1.0, 0.5)
        ).item()
        assert found == pytest.approx((one + 0.5 * other) / 1.5 + math.log(2))


def test_over_the_batch_a_small_structure_counts_by_its_pixels() -> None:
    target = torch.zeros(2, 1, 8, 8)
    target[0, 0, :4] = 1  # 32 pixels, all found
    target[1, 0, 0, :2] = 1  # 2 pixels, missed
    logits = torch.where(target > 0, 40.0, -40.0)
    logits[1] = -40.0
    exact = torch.nn.functional.binary_cross_entropy_with_logits(logits, target).item()
    sample = dice_cross_entropy(logits, target).item() - exact
    batch = dice_cross_entropy(logits, target, over_batch=True).item() - exact
    assert sample == pytest.approx((0 + 1 - 1 / 3) / 2, abs=1e-5)
    assert batch == pytest.approx(1 - (64 + 1) / (32 + 34 + 1), abs=1e-5)


def test_the_plain_loss_is_the_weighted_one_with_equal_weights() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(3, 2, 6, 5, generator=generator)
    target = torch.rand(3, 2, 6, 5, generator=generator)
    plain = dice_cross_entropy(logits, target).item()
    assert dice_cross_entropy(logits, target, label_weights=(2.0, 2.0)).item() == pytest.approx(
        plain
    )
