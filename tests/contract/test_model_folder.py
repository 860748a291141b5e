"""Loading a model folder: the right one runs, any other ends with its own error."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import MissingExtraError, ModelCardError, ModelError, ModelHashError
from lvseg.predict import available_runtimes, load_model, usable_cores


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder of one's own to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def edit_card(folder: Path, **parts: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | parts), "utf-8")


@pytest.mark.parametrize("runtime", [*available_runtimes(), "auto"])
@pytest.mark.parametrize("threads", [None, 1])
def test_every_engine_computes_the_same_logits(
    tiny_model: Path, runtime: str, threads: int | None
) -> None:
    predictor = load_model(tiny_model, runtime=runtime, threads=threads)  # type: ignore[arg-type]
    batch = np.random.default_rng(0).random((3, 1, 32, 48)).astype(np.float32)
    found = predictor(batch[:, :, ::-1])  # a view that is not contiguous
    np.testing.assert_allclose(found, 20 * (batch[:, :, ::-1] - 0.5), atol=1e-5)
    assert found.dtype == np.float32
    assert predictor.card.name == "tiny"
    assert predictor.runtime == (available_runtimes()[0] if runtime == "auto" else runtime)


@pytest.mark.parametrize("name", ["model.onnx", "card.json"])
def test_a_missing_file_is_a_model_error(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=r"model\.onnx and card\.json") as caught:
        load_model(copy)
    assert caught.value.exit_code == 5


def test_one_changed_byte_is_a_hash_error(copy: Path) -> None:
    weights = copy / "model.onnx"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelHashError, match="damaged"):
        load_model(copy)


def test_a_broken_card_is_a_card_error(copy: Path) -> None:
    edit_card(copy, surprise=1)
    with pytest.raises(ModelCardError, match="surprise"):
        load_model(copy)
    (copy / "card.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelCardError, match="other bytes"):
        load_model(copy)


@pytest.mark.parametrize("runtime", available_runtimes())
def test_weights_that_are_no_network_are_a_model_error(copy: Path, runtime: str) -> None:
    (copy / "model.onnx").write_bytes(b"no network")
    edit_card(copy, sha256=hashlib.sha256(b"no network").hexdigest())
    with pytest.raises(ModelError, match="cannot load") as caught:
        load_model(copy, runtime=runtime)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_engine_that_is_not_installed_is_named(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert available_runtimes() == ("onnxruntime",)
    with pytest.raises(MissingExtraError, match=r"lvseg\[openvino\]"):
        load_model(tiny_model, runtime="openvino")
    assert load_model(tiny_model).runtime == "onnxruntime"


def test_at_least_one_core_is_usable() -> None:
    assert usable_cores() >= 1
