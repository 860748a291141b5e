"""Inference engines: a model folder run by onnxruntime, or by OpenVINO where installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import MissingExtraError, ModelError, ModelInputError
from lvseg.model_store import check_graph, read_model
from lvseg.modelcard import WEIGHTS, ModelCard

FloatArray = NDArray[np.float32]
Runtime = Literal["auto", "onnxruntime", "openvino"]
#: What keeps ONNX Runtime from reporting to its makers.
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"}
#: Characters of what an engine says that are passed on.
LONGEST_REASON = 240


class Network(Protocol):
    """Anything that maps images to logits: a loaded model, or a network in training."""

    def __call__(self, batch: FloatArray, /) -> FloatArray:
        """``[N, input channels, Y, X]`` in 0..1 -> logits ``[N, labels, Y, X]``."""
        ...


class Predictor(Network, Protocol):
    """A model that is ready to run, with its card."""

    card: ModelCard
    runtime: str


class _Loaded:
    """A session of one of the engines behind the :class:`Predictor` protocol."""

    def __init__(
        self, card: ModelCard, runtime: str, run: Callable[[FloatArray], FloatArray]
    ) -> None:
        self.card = card
        self.runtime = runtime
        self._run = run

    def __call__(self, batch: FloatArray) -> FloatArray:
        """As :class:`Network`.

        :raises ModelError: the engine fails. ModelInputError: scores of another shape than the card
            says, or that are no numbers.
        """
        name, shape = self.card.name, (len(batch), len(self.card.labels), *batch.shape[2:])
        try:
            result = self._run(np.ascontiguousarray(batch, np.float32))
        except Exception as error:  # the errors of the engines share no base class but this
            raise ModelError(
                f"expected {self.runtime} to run the model {name} on {tuple(batch.shape)}, found: "
                f"{reason(error)}; use another model, or smaller images if memory is short"
            ) from error
        if result.shape != shape or not np.isfinite(result).all():
            what = "values that are no numbers" if result.shape == shape else f"{result.shape}"
            raise ModelInputError(
                f"expected scores {shape} of the model {name}, found {what}: use another model"
            )
        return result


def reason(error: BaseException) -> str:
    """What an engine says went wrong, without the places in its source: its last line but those."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    text = (told or lines or [type(error).__name__])[-1]
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def available_runtimes() -> tuple[str, ...]:
    """Engines that are installed, the one that ``auto`` takes first."""
    return tuple(name for name in ("openvino", "onnxruntime") if find_spec(name) is not None)


@contextmanager
def unreported() -> Iterator[None]:
    """Import an engine, and what builds on one, without what reports to its makers.

    OpenVINO would send a message at every import, and leave an identifier in the user's home; it
    does without where that module cannot be imported. ONNX Runtime, from 1.29 on, sends what it
    knows of the model and the machine (onnxruntime pull request 27379), unless a variable says no
    before it is imported; the switch of its interface comes too late.
    """
    os.environ.update(NO_TELEMETRY)
    before = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["openvino_telemetry"]
        if before is not None:
            sys.modules["openvino_telemetry"] = before


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_model(folder: Path, *, runtime: Runtime = "auto", threads: int | None = None) -> Predictor:
    """Load ``model.onnx`` and ``card.json`` from a model folder.

    :param runtime: ``auto`` takes OpenVINO where it is installed, else onnxruntime.
    :param threads: None = the cores this process may use.
    :raises ModelError: files missing, a graph that is not run (:func:`check_graph`) or that the
        engine cannot load. ModelInputError: it does not fit its card. ModelHashError: the weights
        are not those of the card. ModelCardError: a broken card.
    :raises MissingExtraError: the engine is not installed.
    """
    card, weights = read_model(folder)
    check_graph(weights, card, folder / WEIGHTS)
    engine = available_runtimes()[0] if runtime == "auto" else runtime
    try:
        run = _ENGINES[engine](weights, threads or usable_cores())
    except ImportError as error:
        raise MissingExtraError(f"the runtime {engine}", engine) from error
    except Exception as error:  # the errors of the engines share no base class but this
        raise ModelError(
            f"expected a model that {engine} runs, found one that it cannot load at "
            f"{folder / WEIGHTS}: {reason(error)}; use another model or --runtime"
        ) from error
    return _Loaded(card, engine, run)


def _open_onnxruntime(weights: bytes, threads: int) -> Callable[[FloatArray], FloatArray]:
    with unreported():
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    onnxruntime.set_default_logger_severity(4)  # what goes wrong comes as an error
    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: FloatArray) -> FloatArray:
        result: FloatArray = session.run(None, {name: batch})[0]
        return result

    return run


def _open_openvino(weights: bytes, threads: int) -> Callable[[FloatArray], FloatArray]:
    with unreported():
        import openvino

    core = openvino.Core()
    options: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(weights, b""), "CPU", options)
    request = compiled.create_infer_request()
    port = compiled.output(0)

    def run(batch: FloatArray) -> FloatArray:
        result: FloatArray = np.array(request.infer([batch])[port])
        return result

    return run


_ENGINES = {"onnxruntime": _open_onnxruntime, "openvino": _open_openvino}


def predict(
    batch: FloatArray,
    network: Network,
    *,
    batch_size: int = 16,
    flips: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Probabilities 0..1 of each label, ``[N, input channels, Y, X]`` -> ``[N, labels, Y, X]``.

    :param flips: average over the four mirror images: slower, a little steadier.
    :param progress: called with (frames done, frames in all).
    """
    results: list[FloatArray] = []
    for start in range(0, len(batch), batch_size):
        part = batch[start : start + batch_size]
        scores = _sigmoid(network(part))
        if flips:
            for axes in ((2,), (3,), (2, 3)):
                scores += np.flip(_sigmoid(network(np.flip(part, axes))), axes)
            scores /= 4
        results.append(scores)
        if progress is not None:
            progress(start + len(part), len(batch))
    return np.concatenate(results) if results else np.empty(batch.shape, np.float32)


def _sigmoid(logits: FloatArray) -> FloatArray:
    return (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(np.float32)
