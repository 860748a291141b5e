"""Quantisation of a model folder to int8, for OpenVINO on processors with VNNI.

The ranges of the numbers inside the network are taken from what it sees while it segments the
images that trained it: no other patient has a say. The result is ONNX like every model. NNCF
quantises; what it writes is changed in one way: signed activations become unsigned ones of the
same values, because OpenVINO computes some convolutions with signed ones wrongly.
"""

from __future__ import annotations

import hashlib
import io
import logging
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from lvseg.atomic import atomic_folder, atomic_write, write_text
from lvseg.errors import ModelError, UsageError
from lvseg.evaluate import evaluate
from lvseg.model_store import verify
from lvseg.modelcard import CARD, WEIGHTS, ModelCard
from lvseg.predict import Predictor, available_runtimes, load_model, unreported

with unreported(), redirect_stdout(io.StringIO()):  # where it introduces itself
    import nncf

FloatArray = NDArray[np.float32]

logging.getLogger("nncf").setLevel(logging.ERROR)

#: Inputs that the ranges are taken from, a random choice of all that the network saw.
INPUTS, SEED = 300, 0
#: Lowest Dice of the int8 network with the float one, over the inputs, on any engine.
LEAST_AGREEMENT = 0.97


class _Recorder:
    """A predictor that keeps what it is given."""

    def __init__(self, predictor: Predictor) -> None:
        self.card, self.runtime, self._predictor = predictor.card, predictor.runtime, predictor
        self.seen: list[FloatArray] = []

    def __call__(self, batch: FloatArray) -> FloatArray:
        self.seen.extend(batch[place : place + 1].copy() for place in range(len(batch)))
        return self._predictor(batch)


def quantise(
    model: Path, folder: Path, dataset: Path, *, name: str | None = None, overwrite: bool = False
) -> Path:
    """Write the int8 form of a model folder.

    The card keeps data, recipe and input; scores and calibration are of the float model and go.

    :param dataset: the data set that trained the model: its training split gives the ranges.
    :param name: of the int8 model; None = the model's with ``-int8``.
    :raises UsageError: the folder may not be replaced (:func:`lvseg.atomic.atomic_folder`),
        or an image of the split is of a patient who did not train the model.
    :raises ModelError: the int8 network does not agree with the float one.
    """
    with atomic_folder(folder, CARD, overwrite=overwrite) as building:
        card = verify(model)
        inputs = _inputs(model, card, dataset)
        weights = _quantised(onnx.load_model(model / WEIGHTS), inputs).SerializeToString()
        changes = {
            "name": name or f"{card.name}-int8",
            "sha256": hashlib.sha256(weights).hexdigest(),
            "recipe": {**card.recipe, "precision": "int8", "quantised_from": card.sha256},
            "calibration": None,
            "scores": {},
        }
        with atomic_write(building / WEIGHTS) as file:
            file.write_bytes(weights)
        write_text(building / CARD, card.model_copy(update=changes).to_json())
        check_agreement(model, building, inputs)
    return folder


def _inputs(model: Path, card: ModelCard, dataset: Path) -> list[FloatArray]:
    """Inputs ``[1, C, Y, X]`` of the network while it segments the patients that trained it."""
    recorder = _Recorder(load_model(model))
    found = evaluate(dataset, card.training.split, recorder, by_patient=True)
    strangers = {row.patient_id for row in found.images} - set(card.training.patients)
    if strangers:
        raise UsageError(
            f"expected the data set that trained {card.name}, found other patients: "
            + ", ".join(sorted(strangers))
        )
    order = np.random.default_rng(SEED).permutation(len(recorder.seen))
    return [recorder.seen[place] for place in order[:INPUTS]]


def _quantised(model: onnx.ModelProto, inputs: list[FloatArray]) -> onnx.ModelProto:
    _fold_casts(model)
    name = model.graph.input[0].name
    with redirect_stdout(io.StringIO()):  # where NNCF draws bars
        result: onnx.ModelProto = nncf.quantize(
            model,
            nncf.Dataset(inputs, lambda image: {name: image}),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
        )
    return unsigned(result)


def _fold_casts(model: onnx.ModelProto) -> None:
    """Turn weights stored in half precision behind a Cast into single precision."""
    graph = model.graph
    stored = {weight.name: weight for weight in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            weight = stored[node.input[0]]
            values = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with activations in uint8: zero points move by 128, values stay."""
    graph = model.graph
    stored = {weight.name: weight for weight in graph.initializer}
    points = {node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"}
    for name in points:
        values = numpy_helper.to_array(stored[name])
        if values.dtype == np.int8:
            moved = (values.astype(np.int16) + 128).astype(np.uint8)
            stored[name].CopyFrom(numpy_helper.from_array(moved, name))
    del graph.value_info[:]  # states the types of before
    onnx.checker.check_model(model)
    return model


def check_agreement(model: Path, quantised: Path, inputs: list[FloatArray]) -> float:
    """Dice of the int8 masks with the float masks over all inputs, the lowest of the engines.

    :raises ModelError: it is below :data:`LEAST_AGREEMENT`.
    """
    lowest = 1.0
    for runtime in available_runtimes():
        exact, rounded = (
            load_model(each, runtime=runtime)  # type: ignore[arg-type]
            for each in (model, quantised)
        )
        both = either = 0
        for image in inputs:
            left, right = exact(image) > 0, rounded(image) > 0
            both += int((left & right).sum())
            either += int(left.sum() + right.sum())
        lowest = min(lowest, 2 * both / either if either else 1.0)
    if not lowest >= LEAST_AGREEMENT:
        raise ModelError(
            f"expected int8 masks to agree with float ones (Dice from {LEAST_AGREEMENT}), "
            f"found {lowest:.3f}"
        )
    return lowest
