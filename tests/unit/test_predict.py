"""Batches through a network: nothing depends on how they are cut."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lvseg.predict import predict


class Slope:
    """Logits that depend on the place: 10 x pixel + column - row; remembers the batch sizes."""

    runtime = "none"

    def __init__(self):
        self.sizes = []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        rows, columns = np.mgrid[: batch.shape[2], : batch.shape[3]]
        return (10 * batch + columns - rows).astype(np.float32)


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def test_batches_give_the_same_as_one_go():
    frames = np.random.default_rng(0).random((7, 1, 5, 4)).astype(np.float32)
    whole = predict(frames, Slope(), batch_size=100)
    cut = Slope()
    np.testing.assert_array_equal(predict(frames, cut, batch_size=3), whole)
    assert cut.sizes == [3, 3, 1]


def test_logits_become_probabilities():
    frames = np.array([[[[0.0, 0.2]]]], np.float32)
    # logits 0 and 10 x 0.2 + 1 = 3
    assert predict(frames, Slope())[0, 0, 0] == pytest.approx([0.5, sigmoid(3)])


def test_huge_logits_end_at_0_and_1_without_a_warning():
    frames = np.array([[[[-1e9, 1e9]]]], np.float32)
    assert predict(frames, Slope())[0, 0, 0] == pytest.approx([0, 1])


def test_flips_average_the_four_mirror_images():
    frames = np.zeros((2, 1, 1, 2), np.float32)
    # one row, two columns: logits 0 1; mirrored left to right and back: 1 0; up and down: no change
    expected = (sigmoid(0) + sigmoid(1)) / 2
    found = predict(frames, Slope(), flips=True)
    assert found[1, 0, 0] == pytest.approx([expected, expected])


def test_progress_counts_frames_and_ends_with_all_of_them():
    calls = []
    frames = np.zeros((5, 1, 2, 3), np.float32)
    predict(frames, Slope(), batch_size=2, progress=lambda *call: calls.append(call))
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_no_frame_is_no_work():
    slope = Slope()
    assert predict(np.zeros((0, 1, 4, 4), np.float32), slope).shape == (0, 1, 4, 4)
    assert slope.sizes == []


def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code = (
        "import sys\n"
        "from lvseg import model_store\n"
        "from lvseg.predict import load_model\n"
        "load_model(model_store.locate(), runtime='openvino')\n"
        "print('openvino' in sys.modules, 'openvino_telemetry' in sys.modules)"
    )
    home = {**os.environ, "HOME": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=home
    )
    assert found.stdout == "True False\n"
    assert list(tmp_path.iterdir()) == []  # no identifier of the user either
