"""Export of a training run as a model folder: ``model.onnx``, ``card.json``, ``model.safetensors``.

Large weights are stored in half precision and computed with in single.
Refuses to finish unless ONNX and torch agree on fixed inputs, oblong ones included.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from lvseg.atomic import atomic_folder, atomic_write, write_text
from lvseg.errors import ModelError
from lvseg.labels import LABELS, Label
from lvseg.manifest import DatasetFacts
from lvseg.modelcard import CARD, WEIGHTS, InputSpec, ModelCard, OutputSpec, TrainingData
from lvseg.predict import available_runtimes, load_model
from lvseg.train import checkpoint
from lvseg.train.calibrate import read_calibration
from lvseg.train.network import count_parameters
from lvseg.train.options import TrainOptions
from lvseg.version import __version__

#: Largest difference of logits between torch and an engine, as a share of the logit where that
#: exceeds 1. At the edge of a mask a probability then moves by less than 0.0001.
PARITY_TOLERANCE = 3e-4
#: Batch and sides of the parity check: the crop, a full frame, an oblong one.
PARITY_SHAPES = ((1, 128, 128), (3, 128, 128), (2, 256, 208), (1, 176, 96))
OPSET = 18

INTENDED_USE = (
    "Research use only, not a medical device. Segments the {labels} in short-axis cine MRI."
)


def export(run: Path, folder: Path, *, name: str | None = None, overwrite: bool = False) -> Path:
    """Write the averaged weights of a run's ``best`` checkpoint as a model folder.

    What :mod:`lvseg.train.calibrate` left in the run goes onto the card.

    :param name: the model's name; None = the preset's.
    :raises ModelError: no checkpoint, a calibration of other weights, or ONNX and torch disagree.
    :raises UsageError: the folder may not be replaced (:func:`lvseg.atomic.atomic_folder`).
    """
    network, options, progress, data = checkpoint.exported_network(run)
    calibrated = read_calibration(run, checkpoint.weights_sha256(network))
    with atomic_folder(folder, CARD, overwrite=overwrite) as building:
        weights = _onnx_bytes(network, options.input)
        with atomic_write(building / WEIGHTS) as file:
            file.write_bytes(weights)
        with atomic_write(building / "model.safetensors") as file:
            file.write_bytes(checkpoint.weights_bytes(network))
        card = _card(options, data, name or options.name, weights, count_parameters(network))
        changes: dict[str, Any] = {
            "recipe": {**card.recipe, "epoch": progress.epoch, "steps": progress.step}
        }
        if calibrated is not None:
            changes["calibration"] = calibrated.calibration
            changes["feature_statistics"] = calibrated.feature_statistics
        write_text(building / CARD, card.model_copy(update=changes).to_json())
        check_parity(network, building)
    return folder


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about where each node came from: files of this computer."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")


def _store_halved(model: onnx.ModelProto) -> None:
    """Store large weights as float16 behind a Cast, which engines fold away when they load."""
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if weight.data_type != onnx.TensorProto.FLOAT or values.size < checkpoint.HALF_FROM:
            continue
        name, stored = weight.name, f"{weight.name}.half"
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)


def _onnx_bytes(network: nn.Module, spec: InputSpec) -> bytes:
    """The network as ONNX with dynamic batch, rows and columns."""
    side = 2 * spec.crop_px  # the exporter takes a side of one multiple for a constant
    example = torch.zeros(2, len(spec.channels), side, side)
    multiple = spec.multiple_px
    rows, columns = (multiple * torch.export.Dim(name, min=1) for name in ("rows", "columns"))
    shapes = {0: torch.export.Dim("batch", min=1), 2: rows, 3: columns}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=(shapes,),
            verbose=False,
        )
    if program is None:
        raise ModelError("the ONNX exporter returned nothing")
    model = program.model_proto
    _forget_origin(model)
    _store_halved(model)
    weights: bytes = model.SerializeToString()
    return weights


def _card(
    options: TrainOptions, data: dict[str, Any], name: str, weights: bytes, parameters: int
) -> ModelCard:
    facts = DatasetFacts.from_dict(data.get("dataset", {}))
    words = [LABELS[Label[name]].name for name in options.labels]
    recipe: dict[str, Any] = {
        "preset": options.name,
        "network": options.network.kind,
        "widths": list(options.network.widths),
        "batch_size": options.batch_size,
        "precision": options.precision,
        "optimizer": "adamw",
        "learning_rate": options.learning_rate,
        "ema_decay": options.ema_decay,
        "seed": options.seed,
        "started_from": data.get("started_from"),
    }
    return ModelCard(
        name=name,
        version=__version__,
        sha256=hashlib.sha256(weights).hexdigest(),
        input=options.input,
        output=OutputSpec(labels=options.labels, threshold=options.threshold),
        training=TrainingData(
            **asdict(facts),
            patients=tuple(data["patients"]),
            split=options.train_split,
            image_sha256=tuple(data["image_sha256"]),
        ),
        recipe=recipe,
        parameters=parameters,
        intended_use=INTENDED_USE.format(labels=" and the ".join(words)),
        limits=facts.limits,
    )


def check_parity(network: nn.Module, folder: Path) -> float:
    """Largest (relative) difference of logits between torch and every installed engine.

    :raises ModelError: it exceeds :data:`PARITY_TOLERANCE`.
    """
    worst = 0.0
    for runtime in available_runtimes():
        predictor = load_model(folder, runtime=runtime)  # type: ignore[arg-type]
        channels = len(predictor.card.input.channels)
        for count, rows, columns in PARITY_SHAPES:
            random = np.random.default_rng(rows * columns + count)
            image = random.random((count, channels, rows, columns), np.float32)
            with torch.no_grad():
                expected = network(torch.from_numpy(image)).numpy()
            difference = np.abs(predictor(image) - expected) / np.maximum(1, np.abs(expected))
            worst = max(worst, float(difference.max()))
    if not worst <= PARITY_TOLERANCE:
        raise ModelError(
            f"expected ONNX and torch to agree within {PARITY_TOLERANCE}, found {worst:.2g}"
        )
    return worst
