"""Every layout of a study gives the same cine, or a refusal by name; never a wrong cine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_model import AXIS_ORDERS, DicomLayout, Layout, NiftiLayout, draw, odd_values, singles
from layout_oracle import try_layout
from layout_outcome import Outcome
from layout_rules import promised

import layouts

#: Layouts that Hypothesis draws: about a minute of one core.
DRAWN = 2000


def shown(layout: Layout) -> str:
    return f"{layout.kind} " + ", ".join(f"{k} {v}" for k, v in odd_values(layout).items())


@st.composite
def layouts_of(choice: st.DrawFn) -> Layout:
    """Any layout; a failing one shrinks to the fewest oddities."""
    return draw(lambda values: choice(st.sampled_from(values)))


@settings(
    derandomize=True,
    deadline=None,
    max_examples=DRAWN,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(layouts_of())
def test_a_layout_gives_the_same_cine_or_a_refusal_by_name(layout: Layout) -> None:
    found = try_layout(layout, listed=layout.seed % 4 == 0)
    assert found.outcome is not Outcome.WRONG, (shown(layout), found)


@pytest.mark.parametrize("kind", [DicomLayout, NiftiLayout])
@pytest.mark.parametrize("seed", [3, 20])
def test_each_oddity_alone_does_what_the_rules_say(kind: type[Layout], seed: int) -> None:
    wrong = {}
    for layout in singles(kind, seed):
        found = try_layout(layout, listed=True)
        if found.outcome not in promised(layout):
            wrong[shown(layout)] = found
    assert not wrong


def test_the_48_orders_of_axes_are_all_tried() -> None:
    assert len(set(AXIS_ORDERS)) == 48


def test_the_same_layout_is_written_and_judged_the_same_way() -> None:
    layout = DicomLayout(seed=5, numbers="random", times="acquisition time", names="shuffled")
    assert try_layout(layout) == try_layout(layout)


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("phases", lambda frames: frames[::-1]),
        ("slices", lambda frames: frames[:, ::-1]),
        ("rows", lambda frames: frames[:, :, ::-1]),
        ("columns", lambda frames: frames[..., ::-1]),
        ("grey values", lambda frames: frames + 5),
    ],
)
def test_the_oracle_sees_a_wrong_cine(
    what: str, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import layout_oracle

    from lvseg.cine import Study

    read = layout_oracle.read_study

    def spoiled(source: Any) -> Study:
        study = read(source)
        cine = study.short_axis()
        return Study((replace(cine, frames=spoil(cine.frames)),), study.series)

    monkeypatch.setattr(layout_oracle, "read_study", spoiled)
    for kind in (DicomLayout, NiftiLayout):
        assert try_layout(kind(seed=1)).outcome is Outcome.WRONG, what


def test_the_page_of_layouts_is_what_the_results_say() -> None:
    result = layouts.saved()
    assert layouts.PAGE.read_text("utf-8") == layouts.page(result)
    assert result["counts"]["wrong"] == 0
    assert set(result["singles"]) == {
        layouts.label(layout) for kind in (DicomLayout, NiftiLayout) for layout in singles(kind)
    }
