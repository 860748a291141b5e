"""A model folder whose network is one threshold: logit = 20 (x - 0.5). No weights to train."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from lvseg.modelcard import InputSpec, ModelCard, OutputSpec, TrainingData


def write_tiny_model(folder: Path, *, patients: tuple[str, ...] = ()) -> Path:
    """Write ``model.onnx`` and ``card.json``; input and output are [N, 1, Y, X] float32."""
    shape = ["n", 1, "y", "x"]
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["image", "half"], ["shifted"]),
            helper.make_node("Mul", ["shifted", "slope"], ["logits"]),
        ],
        "threshold",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
            helper.make_tensor("slope", TensorProto.FLOAT, [], [20.0]),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    card = ModelCard(
        name="tiny",
        version="1",
        sha256=hashlib.sha256(content).hexdigest(),
        input=InputSpec(spacing_mm=1.3),
        output=OutputSpec(),
        training=TrainingData(
            name="none", citation="none", licence="none", patients=patients, split="none"
        ),
        parameters=2,
        intended_use="tests",
    )
    (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
    onnx.checker.check_model(model)
    return folder
