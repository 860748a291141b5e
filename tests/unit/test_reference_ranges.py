"""Reference ranges: the shipped table is pinned, and a range is shown only where it fits."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from lvseg.body import BodySettings, indexed
from lvseg.errors import UsageError
from lvseg.measurement import measure
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import assess
from lvseg.reference_ranges import CONVENTION, compare, load_table, shipped_tables
from lvseg.results import Authorship, LVMeasurements, Predecessor
from lvseg.settings import Settings
from lvseg.subject import Subject

SHIPPED = "healthy-hearts-2024-smooth"
MAN = Subject("M", 54.9, 178.0, 82.0)


@pytest.fixture(scope="module")
def values() -> LVMeasurements:
    labels = np.zeros((2, 4, 40, 44), np.uint8)
    labels[0, :, 5:35, 5:38], labels[1, :, 10:30, 10:33] = 1, 1
    measured = measure(labels, pixel_spacing_mm=(2.1, 1.9), slice_spacing_mm=9.0)
    return indexed(measured, MAN)


def test_the_shipped_table_is_what_it_was() -> None:
    assert shipped_tables() == (SHIPPED,)
    file = resources.files("lvseg").joinpath("tables", f"{SHIPPED}.json")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest == "0e6c8d2b875623c84d6da5223d4a6e1aeb688800c59e118bdaca303d0e4fa23b"


@pytest.mark.parametrize(
    ("value", "sex", "age", "expected"),
    [
        ("edv_ml", "M", 18, (134, 252)),
        ("edv_ml", "F", 75, (76, 160)),
        ("edv_ml_per_m2", "M", 55, (54, 109)),
        ("esv_ml", "F", 44, (30, 75)),
        ("esv_ml_per_m2", "M", 30, (21, 52)),
        ("sv_ml", "M", 69, (57, 133)),
        ("sv_ml_per_m2", "F", 29, (34, 64)),
        ("ef_percent", "F", 60, (51, 74)),
        ("mass_g", "F", 39, (54, 101)),
        ("mass_g_per_m2", "M", 99, (37, 64)),
    ],
)
def test_ten_cells_are_those_of_the_page(
    value: str, sex: str, age: int, expected: tuple[int, int]
) -> None:
    (row,) = [
        row
        for row in load_table(SHIPPED).rows
        if (row.value, row.sex) == (value, sex) and row.ages[0] <= age <= row.ages[1]
    ]
    assert row.range == expected


def test_the_shipped_table_says_plainly_that_nobody_checked_it() -> None:
    table = load_table(SHIPPED)
    assert not table.source.checked
    assert "not checked" in table.notice
    assert "second-hand" in table.notice
    assert table.source.copied
    assert table.source.doi
    assert table.source.licence
    assert table.papillary_muscles == CONVENTION
    assert len(table.rows) == 9 * 2 * 6


def test_values_lie_inside_or_outside(values: LVMeasurements) -> None:
    # 4 slices x 990 pixels x 3.99 mm2 x 9 mm = 142.2 ml; ES 4 x 460 = 66.1 ml
    assert values.edv_ml == pytest.approx(142.2, abs=0.1)
    found, issues = compare(values, MAN, load_table(SHIPPED), convention=CONVENTION)
    assert issues == ()
    assert found is not None
    assert found.ages == (50, 59)
    assert (found.ranges["edv_ml"].low, found.ranges["edv_ml"].inside) == (109, True)
    assert "mass_g" not in found.ranges  # no myocardium, no value
    assert found.ranges["edv_ml_per_m2"].inside
    woman, _ = compare(values, Subject("F", 75.0), load_table(SHIPPED), convention=CONVENTION)
    assert woman is not None
    assert not woman.ranges["esv_ml"].inside  # 66.1 ml above 66


@pytest.mark.parametrize(
    ("subject", "convention", "words"),
    [
        (Subject(None, 50.0), CONVENTION, "the sex is not known"),
        (Subject("M", None), CONVENTION, "the age is not known"),
        (MAN, None, "how the mask counts papillary muscles is not known"),
        (MAN, "left out", "in another way"),
        (Subject("M", 12.0), CONVENTION, "none for a man of 12 years"),
    ],
)
def test_what_does_not_fit_is_not_shown(
    values: LVMeasurements, subject: Subject, convention: str | None, words: str
) -> None:
    found, (issue,) = compare(values, subject, load_table(SHIPPED), convention=convention)
    assert found is None
    assert issue.code == "no-reference"
    assert words in issue.text


def test_values_by_another_formula_have_no_range(values: LVMeasurements) -> None:
    found, _ = compare(
        values, MAN, load_table(SHIPPED), convention=CONVENTION, bsa_formula="du-bois"
    )
    assert found is not None
    assert "edv_ml" in found.ranges
    assert not [name for name in found.ranges if name.endswith("per_m2")]


def test_a_result_has_ranges_only_when_asked_and_only_of_our_masks() -> None:
    cine, mask, _ = beating_ventricle(
        PhantomOptions(phases=3, slices=5, rows=72, columns=64, pixel_spacing_mm=(2.9, 2.6))
    )
    asked = Settings(body=BodySettings(reference_ranges=SHIPPED, sex="M", age_years=54.0))
    ours = Authorship("Ray", predecessor=Predecessor(0))
    assert assess(cine, mask, authorship=ours).to_dict()["reference"] is None
    assert "no-reference" not in {each.code for each in assess(cine, mask).issues}
    document = assess(cine, mask, settings=asked, authorship=ours).to_dict()
    assert document["reference"]["checked"] is False
    assert set(document["reference"]["ranges"]["edv_ml"]) == {"low", "high", "inside"}
    elsewhere = assess(cine, mask, settings=asked)  # whose mask this is nobody knows
    assert elsewhere.reference is None
    assert "no-reference" in {each.code for each in elsewhere.issues}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"rows": [{"value": "rv_ml", "sex": "M", "ages": [1, 2], "range": [1, 2]}]},
        {"rows": [{"value": "edv_ml", "sex": "M", "ages": [1, 2], "range": [2, 1]}]},
        {"rows": [{"value": "edv_ml", "sex": "M", "ages": [1, 2], "range": [1, 2]}] * 2},
        {"more": 1},
    ],
)
def test_a_table_of_ones_own_is_held_to_the_form(tmp_path: Path, change: dict[str, object]) -> None:
    text = resources.files("lvseg").joinpath("tables", f"{SHIPPED}.json").read_text("utf-8")
    path = tmp_path / "mine.json"
    path.write_text(text, "utf-8")
    assert load_table(str(path)).rows == load_table(SHIPPED).rows
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(json.loads(text) | change), "utf-8")
    with pytest.raises(UsageError, match=r"broken\.json"):
        load_table(str(broken))


def test_an_unknown_table_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=SHIPPED):
        load_table("scmr-1066")
