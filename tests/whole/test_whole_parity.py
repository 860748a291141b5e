"""The shipped models are one network in torch, in ONNX on both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from lvseg import model_store  # noqa: E402
from lvseg.geometry import Box  # noqa: E402
from lvseg.phantom import PhantomOptions, beating_ventricle  # noqa: E402
from lvseg.predict import available_runtimes, load_model  # noqa: E402
from lvseg.preprocess import crop, locator_frames, prepare  # noqa: E402
from lvseg.train.export import PARITY_TOLERANCE  # noqa: E402
from lvseg.train.network import build  # noqa: E402
from lvseg.train.options import read_preset  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def inputs() -> list[NDArray[np.float32]]:
    """Noise of the window's size, a full frame and windows of the phantom."""
    card = load_model(model_store.locate()).card
    size = card.input.crop_px
    cine, _, _ = beating_ventricle(PhantomOptions(phases=4, seed=3))
    prepared = prepare(cine, card.input)
    rows, columns = prepared.sides
    middle = Box((rows - size) // 2, (columns - size) // 2, size, size)
    noise = np.random.default_rng(0).random((2, len(card.input.channels), size, size), np.float32)
    return [noise, locator_frames(prepared)[4:5], crop(prepared, middle)[:12]]


def in_torch(folder: Path, preset: str) -> Any:
    """The network of the recipe with the weights that are stored in the model file."""
    stored = {
        tensor.name.removesuffix(".half"): torch.from_numpy(
            onnx.numpy_helper.to_array(tensor).astype(np.float32)
        )
        for tensor in onnx.load(folder / "model.onnx").graph.initializer
    }
    options = read_preset(preset)
    network = build(options.network, *options.channels)
    state = network.state_dict()
    network.load_state_dict({name: stored.get(name, value) for name, value in state.items()})
    missing = {name for name in state if name not in stored} - {
        name for name in state if name.endswith("num_batches_tracked")
    }
    assert not missing
    return network.eval()


@pytest.mark.parametrize("name", ["lv-sax", "lv-sax-30"])
def test_torch_and_both_engines_give_the_same_logits(
    name: str, inputs: list[NDArray[np.float32]]
) -> None:
    folder = model_store.locate(name)
    network = in_torch(folder, name)
    for runtime in available_runtimes():
        predictor = load_model(folder, runtime=runtime)  # type: ignore[arg-type]
        for image in inputs:
            with torch.no_grad():
                expected = network(torch.from_numpy(image)).numpy()
            found = predictor(image)
            worst = np.abs(found - expected) / np.maximum(1, np.abs(expected))
            assert worst.max() <= PARITY_TOLERANCE, (runtime, image.shape)
