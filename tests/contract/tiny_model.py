"""A model folder whose network is a threshold a label: logit = 20 (x - t). No weights to train."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from lvseg.modelcard import Calibration, InputSpec, ModelCard, OutputSpec, TrainingData


def write_tiny_model(
    folder: Path,
    *,
    patients: tuple[str, ...] = (),
    thresholds: tuple[float, ...] = (0.5,),
    calibration: Calibration | None = None,
) -> Path:
    """Write ``model.onnx`` and ``card.json``; [N, 1, Y, X] -> [N, thresholds, Y, X], float32.

    :param thresholds: of the cavity, and of what lies inside the epicardium.
    """
    count = len(thresholds)
    labels = ("LV_CAVITY", "LV_MYOCARDIUM")[:count]
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["image", "half"], ["shifted"]),
            helper.make_node("Mul", ["shifted", "slope"], ["logits"]),
        ],
        "threshold",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, "y", "x"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", count, "y", "x"])],
        [
            helper.make_tensor("half", TensorProto.FLOAT, [1, count, 1, 1], thresholds),
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
        output=OutputSpec(labels=labels),
        training=TrainingData(
            name="none", citation="none", licence="none", patients=patients, split="none"
        ),
        parameters=2,
        calibration=calibration,
        intended_use="tests",
    )
    (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
    onnx.checker.check_model(model)
    return folder
