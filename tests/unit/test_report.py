"""measurements.json: names, order, rounding and unknown values."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid, Plane
from lvseg.issues import Issue
from lvseg.modelcard import InputSpec, ModelCard, OutputSpec, TrainingData
from lvseg.report import to_json
from lvseg.results import Confidence, LVMeasurements, Phases, StudyResult, mask_document

CARD = ModelCard(
    name="lv-sax",
    version="1",
    sha256="ab" * 32,
    input=InputSpec(spacing_mm=1.4),
    output=OutputSpec(),
    training=TrainingData(name="none", citation="", licence="", patients=(), split="none"),
    parameters=1,
    intended_use="tests",
)
RATES = (
    "heart_rate_bpm",
    "cardiac_output_l_min",
    "peak_ejection_rate_ml_s",
    "peak_filling_rate_ml_s",
)
FINDINGS = (
    Issue("base-not-passed", "info", "The last slice at the base holds cavity.", 0, 3),
    Issue("implausible-ef", "warning", "An ejection fraction of 90 % is unusual."),
)


def result(**changes):
    planes = tuple(
        Plane((0.0, 0.0, z * 8.00004), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.36719, 1.4))
        for z in range(3)
    )
    cine = Cine(
        np.zeros((2, 3, 4, 5), np.float32),
        Source("dicom", "a", location="studies/a", order_rule="TriggerTime"),
        grid=Grid.of(np.zeros((2, 3, 4, 5), np.float32), planes=planes),
    )
    mask = Mask(
        np.zeros((2, 3, 4, 5), np.uint8),
        (0, 1),
        grid=Grid.of(np.zeros((2, 3, 4, 5), np.uint8), planes=planes),
    )
    values = LVMeasurements(
        phases=Phases(0, 1, "largest and smallest volume"),
        volume_ml=(120.004, 47.996),
        area_mm2=((10.126, 0.0, 2.5), (1.0, 2.0, 3.0)),
        area_px=((5, 0, 1), (1, 1, 2)),
        edv_ml=120.004,
        esv_ml=47.996,
        sv_ml=72.008,
        ef_percent=60.00466651,
        slices_ed=(0, 2),
        slices_es=(0, 2),
        methods={"papillary_muscles": "counted as cavity"},
    )
    whole = StudyResult(cine, mask, values, FINDINGS, CARD, {"read": 0.12345, "predict": 2.0})
    return replace(whole, **changes)


def test_the_names_and_their_order_are_those_of_the_contract():
    document = result().to_dict()
    head = "schema lvseg model study ed_phase es_phase edv_ml esv_ml sv_ml ef_percent volume_ml"
    assert list(document)[:14] == [*head.split(), "area_mm2", "quality", "seconds"]
    study = "source format slices phases pixel_spacing_mm slice_spacing_mm"
    assert list(document["study"])[:6] == study.split()
    quality = "verdict findings expected_dice expected_dice_by_slice"
    assert list(document["quality"]) == quality.split()
    keys = "code severity text slice phase"
    assert list(document["quality"]["findings"][0]) == keys.split()
    assert list(document["seconds"])[:4] == ["read", "predict", "write", "total"]


def test_values_are_rounded_and_in_their_place():
    document = result().to_dict()
    assert document["schema"] == 1
    assert document["model"] == {"name": "lv-sax", "sha256": "ab" * 32}
    assert document["study"]["source"] == "a"  # no folder of a machine
    assert (document["study"]["slices"], document["study"]["phases"]) == (3, 2)
    assert document["study"]["pixel_spacing_mm"] == [1.3672, 1.4]
    assert document["study"]["slice_spacing_mm"] == 8.0
    assert (document["edv_ml"], document["esv_ml"], document["sv_ml"]) == (120.0, 48.0, 72.01)
    assert document["ef_percent"] == 60.0
    assert document["area_mm2"] == [[10.13, 0.0, 2.5], [1.0, 2.0, 3.0]]
    assert document["quality"]["verdict"] == "review"
    assert document["quality"]["findings"][0]["phase"] == 3
    assert document["quality"]["findings"][1]["slice"] is None
    assert document["phases_rule"] == "largest and smallest volume"
    assert document["study"]["order_rule"] == "TriggerTime"


def test_heart_rate_output_and_rates_are_rounded_too():
    whole = result()
    measured = dict(zip(RATES, (64.96, 4.678, 412.349, 298.25), strict=True))
    whole = replace(whole, measurements=replace(whole.measurements, **measured))
    document = whole.to_dict()
    assert [document[name] for name in RATES] == [65.0, 4.68, 412.3, 298.2]
    of_a_mask = mask_document("m.nii.gz", whole.mask, whole.measurements, ())
    assert [of_a_mask[name] for name in RATES] == [65.0, 4.68, 412.3, 298.2]
    assert of_a_mask["quality"]["expected_dice"] is None


def test_the_expected_dice_stands_beside_the_verdict():
    certainty = Confidence(0.91249, ((0.95, None, 0.8126), (0.9, 0.87654, None)))
    quality = result(confidence=certainty).to_dict()["quality"]
    assert quality["expected_dice"] == 0.912
    assert quality["expected_dice_by_slice"] == [[0.95, None, 0.813], [0.9, 0.877, None]]


def test_seconds_name_every_stage_and_their_sum():
    # 0.12345 + 2.0 = 2.12345
    expected = {"read": 0.123, "predict": 2.0, "write": None, "total": 2.123}
    assert result().to_dict()["seconds"] == expected
    more = result(seconds={"read": 1.0, "locate": 0.5, "write": 0.25}).to_dict()
    assert more["seconds"]["locate"] == 0.5
    assert more["seconds"]["total"] == 1.75


def test_what_is_unknown_is_null():
    cine = Cine(np.zeros((1, 1, 4, 5), np.float32), Source("picture", "photo"))
    values = LVMeasurements(
        Phases(None, None, "not found"), None, None, ((7,),), None, None, None, None
    )
    mask = Mask(np.zeros((1, 1, 4, 5), np.uint8), (0,))
    document = StudyResult(cine, mask, values, (), None).to_dict()
    names = [
        "model",
        "ed_phase",
        "es_phase",
        "edv_ml",
        "sv_ml",
        "ef_percent",
        "volume_ml",
        "area_mm2",
    ]
    assert [document[name] for name in names] == [None] * 8
    assert document["study"]["pixel_spacing_mm"] is None
    assert document["study"]["slice_spacing_mm"] is None
    assert document["study"]["source"] == "photo"
    assert document["quality"] == {
        "verdict": "pass",
        "findings": [],
        "expected_dice": None,
        "expected_dice_by_slice": None,
    }
    assert [document[name] for name in RATES] == [None] * 4
    assert document["area_px"] == [[7]]


def test_settings_stand_there_where_they_are_known():
    assert "settings" not in result().to_dict()
    chosen = {"postprocess": {"threshold": 0.4}}
    document = result(settings=chosen).to_dict()
    assert document["settings"] == chosen
    assert "settings" not in mask_document("m.nii.gz", result().mask, result().measurements, ())


def test_slices_at_uneven_distances_have_no_single_spacing():
    whole = result()
    planes = tuple(
        replace(plane, origin_mm=(0.0, 0.0, z))
        for plane, z in zip(whole.cine.planes, (0.0, 8.0, 18.0), strict=True)
    )
    moved = replace(whole.cine, grid=replace(whole.cine.grid, planes=planes))
    document = replace(whole, cine=moved).to_dict()
    assert document["study"]["slice_spacing_mm"] is None


def test_the_text_is_json_of_the_document():
    text = to_json(result())
    assert json.loads(text) == result().to_dict()
    assert text.endswith("}\n")
    assert text.count("\n") == len(result().to_dict()) + 2


def test_a_number_that_is_none_at_all_is_refused():
    broken = result()
    values = replace(broken.measurements, edv_ml=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        to_json(replace(broken, measurements=values))
