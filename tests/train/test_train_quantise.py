"""A model in int8: the same masks, in a smaller file, or no file at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("nncf")
onnx = pytest.importorskip("onnx")

import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from train_maker import larger_options, make_larger_dataset  # noqa: E402

from lvseg.cli import main  # noqa: E402
from lvseg.errors import ModelError, UsageError  # noqa: E402
from lvseg.predict import available_runtimes, load_model  # noqa: E402
from lvseg.train import quantise as module  # noqa: E402
from lvseg.train import trainer  # noqa: E402
from lvseg.train.export import export  # noqa: E402
from lvseg.train.quantise import check_agreement, quantise, unsigned  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

OPTIONS = larger_options(epochs=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_larger_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trainer.fit(OPTIONS, dataset, tmp_path_factory.mktemp("tiny") / "run", device="cpu")


@pytest.fixture(scope="module")
def model(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture(scope="module")
def small(model: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantise(model, tmp_path_factory.mktemp("quantised") / "small", dataset)


def test_it_computes_in_int8_and_says_where_it_comes_from(model: Path, small: Path) -> None:
    graph = onnx.load(small / "model.onnx").graph
    stored = {weight.name: weight for weight in graph.initializer}
    assert any(weight.data_type == TensorProto.INT8 for weight in graph.initializer)
    points = [node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert points
    assert all(stored[name].data_type == TensorProto.UINT8 for name in points)
    exact, card = load_model(model).card, load_model(small).card
    assert card.name == "tiny-int8"
    assert card.recipe["precision"] == "int8"
    assert card.recipe["quantised_from"] == exact.sha256
    assert (card.training, card.input, card.output) == (exact.training, exact.input, exact.output)
    assert card.scores == {}  # they are of another network


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_engine_draws_the_masks_of_the_float_model(
    model: Path, small: Path, runtime: str
) -> None:
    if runtime not in available_runtimes():
        pytest.skip(f"{runtime} is not installed")
    y, x = np.mgrid[:32, :32]
    disc = (y - 14) ** 2 + (x - 17) ** 2 < 49
    image = (0.2 + 0.6 * disc + np.random.default_rng(3).normal(0, 0.04, (2, 1, 32, 32))).clip(0, 1)
    exact, rounded = (
        load_model(folder, runtime=runtime)(image.astype(np.float32)) > 0  # type: ignore[arg-type]
        for folder in (model, small)
    )
    assert exact.sum() > 100  # the float model finds the discs
    assert 2 * (exact & rounded).sum() / (exact.sum() + rounded.sum()) > 0.97


def test_a_network_that_disagrees_is_not_written(
    model: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> object:
        network = onnx.load(model / "model.onnx")
        for weight in network.graph.initializer:
            values = numpy_helper.to_array(weight)
            if values.ndim == 4:
                weight.CopyFrom(numpy_helper.from_array(-values, weight.name))
        return network

    monkeypatch.setattr(module, "_quantised", broken)
    with pytest.raises(ModelError, match="agree"):
        quantise(model, tmp_path / "small", dataset)
    assert list(tmp_path.iterdir()) == []


def test_agreement_of_a_model_with_itself_is_one(model: Path) -> None:
    image = np.random.default_rng(0).random((1, 1, 32, 32), np.float32)
    assert check_agreement(model, model, [image]) == 1.0


def test_only_patients_that_taught_it_give_ranges(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("images", "masks"):
        (other / name).symlink_to(dataset / name)
    text = (dataset / "manifest.csv").read_text()
    (other / "manifest.csv").write_text(text.replace(",validation", ",training"))
    with pytest.raises(UsageError, match="other patients: p3"):
        quantise(model, tmp_path / "small", other)


def test_the_command_makes_it_from_a_run(
    run: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(run), "-o", str(tmp_path / "small"), "--int8", str(dataset), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny-int8"  # and nothing else
    assert main(words) == 2  # it is there


def test_nothing_is_reported_to_the_makers_of_nncf() -> None:
    code = (  # in a process without pytest, in which NNCF is quiet anyway
        "import sys, lvseg.train.quantise\n"
        "from nncf.telemetry.wrapper import telemetry\n"
        "print(type(telemetry).__name__, 'openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "MagicMock False\n"  # what NNCF uses in place of its own


def test_without_nncf_it_says_what_to_install(
    run: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    monkeypatch.delitem(sys.modules, "lvseg.train.quantise")
    words = ["export", str(run), "-o", str(tmp_path / "small"), "--int8", str(dataset)]
    assert main(words) == 2
    assert "pip install 'lvseg[int8]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unsigned_zero_points_keep_every_value() -> None:
    scale, point = np.float32(0.02), np.int8(-37)
    stored = [
        numpy_helper.from_array(np.asarray(scale), "scale"),
        numpy_helper.from_array(np.asarray(point), "point"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph(nodes, "one", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    from onnx.reference import ReferenceEvaluator

    values = np.linspace(-3, 4, 200, dtype=np.float32)
    before = ReferenceEvaluator(model).run(None, {"x": values})[0]
    after = ReferenceEvaluator(unsigned(model)).run(None, {"x": values})[0]
    assert model.graph.initializer[1].data_type == TensorProto.UINT8
    np.testing.assert_array_equal(before, after)
