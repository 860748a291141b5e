"""Loading a model folder: the right one runs, any other ends with its own error."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from lvseg import model_store
from lvseg.errors import (
    MissingExtraError,
    ModelCardError,
    ModelError,
    ModelHashError,
    ModelInputError,
)
from lvseg.predict import available_runtimes, load_model, reason, usable_cores


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


def give(folder: Path, weights: bytes) -> Path:
    """Give a model folder other weights, and its card their hash."""
    (folder / "model.onnx").write_bytes(weights)
    edit_card(folder, sha256=hashlib.sha256(weights).hexdigest())
    return folder


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (b"no network", "no Protocol Buffers"),
        (b"", "0 graphs"),
        (b"\x3a\xff\x01", "cut short"),
        (b"\x80\x04\x95", "a pickle, which runs code"),
        (b"PK\x03\x04data.pkl", "a pickle, which runs code"),
    ],
)
def test_weights_that_are_no_network_are_a_model_error(
    copy: Path, weights: bytes, words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_model(give(copy, weights))
    assert "\n" not in str(caught.value)


def changed(folder: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """A model folder whose graph was changed, its hash with it."""
    model = onnx.load(folder / "model.onnx")
    change(model)
    return give(folder, model.SerializeToString())


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain, model.graph.node[0].op_type = "com.else", "Run"


def random_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("RandomNormal", [], ["r"], shape=[9]))


def branch(model: onnx.ModelProto) -> None:
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(
        onnx.helper.make_node("If", ["half"], [], then_branch=body, else_branch=body)
    )


def external_weights(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")


def external_constant(model: onnx.ModelProto) -> None:
    value = onnx.helper.make_tensor("c", 1, [1], [1.0])
    value.data_location = onnx.TensorProto.EXTERNAL
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=value))


def own_function(model: onnx.ModelProto) -> None:
    model.functions.add(name="F", domain="mine")


def many_nodes(model: onnx.ModelProto) -> None:
    model.graph.node.extend(onnx.helper.make_node("Identity", ["image"], ["x"]) for _ in range(50))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unknown_operator, "com.else.Run"),
        (random_operator, "RandomNormal"),
        (branch, "found If"),
        (external_weights, r"in another file \(external data, first: half\)"),
        (external_constant, "external data, first: c"),
        (own_function, "a function of its own"),
        (many_nodes, "at most 40 nodes, found 52"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_graph_that_no_engine_gets(
    copy: Path,
    change: Callable[[onnx.ModelProto], object],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_store, "MOST_NODES", 40)
    monkeypatch.setattr("lvseg.predict._ENGINES", {})
    with pytest.raises(ModelError, match=words) as caught:
        load_model(changed(copy, change))
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (5, False)


def sizes(folder: Path, side: int, **parts: object) -> Path:
    """A model folder whose input (0) or output (1) states other sizes or another type."""

    def change(model: onnx.ModelProto) -> None:
        ends = [*model.graph.input, *model.graph.output]
        kind, shape = parts.get("kind", 1), parts["shape"]
        ends[side].CopyFrom(onnx.helper.make_tensor_value_info(ends[side].name, kind, shape))

    return changed(folder, change)


@pytest.mark.parametrize(
    ("side", "parts", "words"),
    [
        (0, {"shape": ["n", 3, "y", "x"]}, r"input \[any, 1, any, any\] for frame .* \[any, 3,"),
        (0, {"shape": ["n", 1, 128, 128]}, "128, 128"),
        (0, {"shape": [1, 1, "y", "x"]}, r"found float32 \[1, 1, any, any\]"),
        (0, {"shape": ["n", 1, "x"]}, "found float32"),
        (0, {"shape": ["n", 1, "y", "x"], "kind": 11}, "found type 11"),
        (1, {"shape": ["n", 2, "y", "x"]}, r"output \[any, 1, any, any\] for LV_CAVITY"),
    ],
)
def test_a_graph_that_does_not_fit_its_card(
    copy: Path, side: int, parts: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelInputError, match=words):
        load_model(sizes(copy, side, **parts))


def test_two_outputs_do_not_fit_a_card(copy: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.output.add().CopyFrom(model.graph.output[0])

    with pytest.raises(ModelInputError, match="one output, found 2"):
        load_model(changed(copy, change))


@pytest.mark.parametrize("runtime", available_runtimes())
def test_what_an_engine_cannot_load_is_told_with_its_reason(copy: Path, runtime: str) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[0].input[0] = "nowhere"

    with pytest.raises(ModelError, match=r"cannot load at .*model\.onnx: ") as caught:
        load_model(changed(copy, change), runtime=runtime)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert "Exception from" not in text
    assert len(text.split("model.onnx: ")[1]) > 20


@pytest.mark.parametrize("runtime", available_runtimes())
def test_scores_of_another_shape_are_refused(copy: Path, runtime: str) -> None:
    def shrink(model: onnx.ModelProto) -> None:
        model.graph.node[1].output[0] = "large"
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        model.graph.node.append(onnx.helper.make_node("MaxPool", ["large"], ["logits"], **pool))

    batch = np.ones((1, 1, 32, 48), np.float32)
    predictor = load_model(changed(copy, shrink), runtime=runtime)  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match=r"\(1, 1, 32, 48\) .*found \(1, 1, 16, 24\)"):
        predictor(batch)


@pytest.mark.parametrize("runtime", available_runtimes())
def test_scores_that_are_no_numbers_are_refused(tiny_model: Path, runtime: str) -> None:
    predictor = load_model(tiny_model, runtime=runtime)  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="no numbers"):
        predictor(np.full((1, 1, 32, 48), np.nan, np.float32))


def test_the_reason_of_an_engine_is_its_last_line_that_says_something() -> None:
    told = "Exception from src/core.cpp:109:\nCheck 'x' failed at a.cpp:1:\nno such operator\n"
    assert reason(RuntimeError(told)) == "no such operator"
    assert reason(RuntimeError("")) == "RuntimeError"
    assert len(reason(RuntimeError("x" * 1000))) == 243


@pytest.mark.parametrize(
    ("part", "value", "key"),
    [
        ("input", {"spacing_mm": 0}, "input.spacing_mm"),
        ("input", {"spacing_mm": 1e9}, "input.spacing_mm"),
        ("input", {"spacing_mm": 1.3, "crop_px": 10**9}, "input.crop_px"),
        ("input", {"spacing_mm": 1.3, "crop_px": 100}, "crop_px must be a multiple of 16"),
        ("input", {"spacing_mm": 1.3, "multiple_px": 0}, "input.multiple_px"),
        ("input", {"spacing_mm": 1.3, "low_percent": 99.5}, "low_percent must be below"),
        ("input", {"spacing_mm": 1.3, "channels": []}, "input.channels"),
        ("output", {"threshold": 7}, "output.threshold"),
        ("name", "a\x1b[31m\nb", "name"),
        ("name", "a" * 1000, "name"),
        ("sha256", "abc", "sha256"),
        ("parameters", -1, "parameters"),
        (
            "feature_statistics",
            {"mean": [1.0, 2.0], "precision": [[1.0]], "limit": 3.0},
            "as many rows and columns",
        ),
    ],
)
def test_a_card_with_absurd_values_is_a_card_error(
    copy: Path, part: str, value: object, key: str
) -> None:
    edit_card(copy, **{part: value})
    with pytest.raises(ModelCardError, match=key) as caught:
        load_model(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_card_without_numbers_where_they_belong_is_a_card_error(copy: Path, number: str) -> None:
    card = copy / "card.json"
    card.write_text(card.read_text("utf-8").replace('"threshold": 0.5', f'"threshold": {number}'))
    assert number in card.read_text("utf-8")
    with pytest.raises(ModelCardError):
        load_model(copy)


def test_a_card_or_weights_larger_than_any_are_not_read(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "MOST_WEIGHTS_BYTES", 100)
    with pytest.raises(ModelError, match=r"more than 100 bytes at .*model\.onnx"):
        load_model(copy)
    monkeypatch.setattr(model_store, "MOST_CARD_BYTES", 99)
    with pytest.raises(ModelError, match=r"more than 99 bytes at .*card\.json"):
        load_model(copy)


@pytest.mark.parametrize("name", ["best.pt", "best.pth", "model.pkl", "last.ckpt"])
@pytest.mark.parametrize("inside", [False, True], ids=["file", "folder"])
def test_a_pickle_is_refused_by_name(tmp_path: Path, name: str, inside: bool) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=f"{name}, a pickle, which runs code when it is loaded"):
        model_store.locate(str(tmp_path if inside else tmp_path / name))


def test_a_file_is_no_model_folder(copy: Path) -> None:
    with pytest.raises(ModelError, match=r"found the file .*model\.onnx: name the folder"):
        model_store.locate(str(copy / "model.onnx"))


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
