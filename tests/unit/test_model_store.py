"""Finding and verifying models."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lvseg import model_store
from lvseg.errors import ModelCardError, ModelError, ModelHashError
from lvseg.modelcard import InputSpec, ModelCard, OutputSpec, TrainingData


def model_folder(folder: Path, content: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    card = ModelCard(
        name=folder.name,
        version="1",
        sha256=hashlib.sha256(content).hexdigest(),
        input=InputSpec(spacing_mm=1.4),
        output=OutputSpec(),
        training=TrainingData(name="none", citation="", licence="", patients=(), split="none"),
        parameters=1,
        intended_use="tests",
    )
    (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with three shipped models, one of them incomplete."""
    root = tmp_path / "models"
    for name in ("zebra", model_store.DEFAULT):
        model_folder(root / name)
    model_folder(root / "broken").joinpath("card.json").unlink()
    monkeypatch.setattr(model_store, "_models_folder", lambda: root)
    return root


def test_shipped_models_are_listed_default_first(package):
    models = model_store.shipped()
    assert [(model.name, model.default) for model in models] == [
        (model_store.DEFAULT, True),
        ("zebra", False),
    ]


def test_a_package_without_models_ships_none(tmp_path, monkeypatch):
    monkeypatch.setattr(model_store, "_models_folder", lambda: tmp_path / "nothing")
    assert model_store.shipped() == ()
    with pytest.raises(ModelError, match=r"shipped model \(none\)"):
        model_store.locate()


def test_a_name_and_a_folder_are_located(package, tmp_path):
    assert model_store.locate() == package / model_store.DEFAULT
    assert model_store.locate("zebra") == package / "zebra"
    own = model_folder(tmp_path / "own")
    assert model_store.locate(str(own)) == own


def test_an_unknown_name_lists_the_shipped_ones(package):
    with pytest.raises(ModelError, match="zebra") as caught:
        model_store.locate("lion")
    assert caught.value.exit_code == 5


def test_an_incomplete_folder_is_named_with_what_is_there(tmp_path):
    folder = model_folder(tmp_path / "own")
    (folder / "model.onnx").rename(folder / "weights.bin")
    for action in (lambda: model_store.locate(str(folder)), lambda: model_store.verify(folder)):
        with pytest.raises(ModelError, match=r"found card\.json, weights\.bin"):
            action()


def test_a_whole_model_is_verified(tmp_path):
    assert model_store.verify(model_folder(tmp_path / "own")).name == "own"


def test_one_changed_byte_is_found(tmp_path):
    folder = model_folder(tmp_path / "own")
    (folder / "model.onnx").write_bytes(b"weightz")
    with pytest.raises(ModelHashError, match="SHA-256"):
        model_store.verify(folder)


@pytest.mark.parametrize("text", [b"{}", b"no card", b"\xff\xfe"])
def test_a_broken_card_is_refused(tmp_path, text):
    folder = model_folder(tmp_path / "own")
    (folder / "card.json").write_bytes(text)
    with pytest.raises(ModelCardError):
        model_store.verify(folder)


def test_what_the_package_ships_is_whole():
    for model in model_store.shipped():
        assert model_store.verify(model.folder).name == model.name
