"""A card is taken exactly, or refused with the place of the fault."""

from __future__ import annotations

import json

import pytest

from lvseg.errors import ModelCardError, ModelHashError
from lvseg.modelcard import InputSpec, ModelCard, OutputSpec, TrainingData


def card():
    return ModelCard(
        name="tiny",
        version="1",
        sha256="ab" * 32,
        input=InputSpec(spacing_mm=1.3),
        output=OutputSpec(),
        training=TrainingData(
            name="none", citation="none", licence="none", patients=("p1",), split="training"
        ),
        recipe={"widths": [16, 32], "rate": 0.002, "seed": 7, "held_out": None},
        parameters=2,
        scores={"online": {"dice": 0.93}},
        intended_use="tests",
    )


def changed(**parts):
    return json.dumps(json.loads(card().to_json()) | parts)


def test_a_card_survives_writing_and_reading():
    text = card().to_json()
    assert ModelCard.from_json(text) == card()
    assert ModelCard.from_json(text).to_json() == text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (changed(schema_version=3), "schema_version"),
        (changed(colour="red"), "colour"),
        (changed(parameters="many"), "parameters"),
        (changed(input={"spacing_mm": 1.3, "crops_px": 128}), "input.crops_px"),
        (changed(output={"activation": "softmax"}), "output.activation"),
        (changed(output={"labels": ["LEFT_ATRIUM"]}), "output.labels"),
        (changed(output={"labels": []}), "output.labels"),
        (changed(training={"name": "x"}), "training.patients"),
        ("[]", "the text"),
    ],
)
def test_unknown_missing_and_wrong_values_are_refused_with_their_place(text, where):
    with pytest.raises(ModelCardError, match="schema 1 or 2") as caught:
        ModelCard.from_json(text)
    assert f"a fault in {where}:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_json_is_refused():
    with pytest.raises(ModelCardError, match="no JSON"):
        ModelCard.from_json("{")


def test_a_card_of_schema_1_is_read():
    old = json.loads(card().to_json())
    old["schema_version"] = 1
    old["input"]["window_px"] = old["input"].pop("crop_px") + 16
    old["profile"] = {"mean": [1.0], "precision": [[2.0]], "limit": 3.0}
    del old["feature_statistics"], old["input"]["channels"]
    for key in ("centre", "outline_rule", "limits"):
        del old["training"][key]
    read = ModelCard.from_json(json.dumps(old))
    assert read.input.crop_px == 128 + 16
    assert read.input.channels == ("frame",)
    assert read.feature_statistics is not None
    assert read.feature_statistics.limit == 3.0
    assert read.training.centre == "unknown"
    assert json.loads(read.to_json())["schema_version"] == 2


def test_a_renamed_key_is_refused_by_its_new_name():
    old = changed(input={"spacing_mm": 1.3, "window_px": 128})
    with pytest.raises(ModelCardError, match="'window_px' is called 'crop_px' now"):
        ModelCard.from_json(old)


@pytest.mark.parametrize("key", ["name", "sha256", "input", "training", "intended_use"])
def test_what_a_card_must_say_has_no_default(key):
    parts = json.loads(card().to_json())
    del parts[key]
    with pytest.raises(ModelCardError, match=key):
        ModelCard.from_json(json.dumps(parts))


def test_a_card_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        card().name = "other"


def test_weights_are_held_to_the_hash_in_either_case_of_letters():
    card().check_weights("AB" * 32, "model.onnx")
    with pytest.raises(ModelHashError, match=r"found cdcdcdcdcdcd\.\.\. in here"):
        card().check_weights("cd" * 32, "here")
