"""What a frame costs: the shipped network on both engines, and networks of others, in one run.

All take turns on the same frames and cores, so that a busy machine slows them alike. The network's
floating-point operations are counted layer by layer, the cores' peak is measured with a large
matrix product in the same rounds, and the share of the peak follows. lvseg and its float model see
the window that is cut around the heart, the others the full frame, as their users would give it.
Weights do not change the time, so MONAI's networks and nnU-Net's are untrained here. Peak memory is
of a process of its own that loads one network and predicts the frames once.

nnU-Net v2 plans for DATASET and predicts in an environment of its own (``nnunet.py``), with and
without mirroring; myopari is the network that ships in the PyPI package of that name, of which only
the wheel is unpacked. Both are left out where no option names them.
Usage: ``python benchmarks/network_speed.py [--rounds 9] [--nnunet PYTHON DATASET WORK]
[--myopari MODEL.onnx]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from provenance import DATA, own_peak_mb, save

from lvseg import model_store, preprocess
from lvseg.geometry import Box
from lvseg.predict import available_runtimes, load_model, predict, usable_cores
from lvseg.read import read_study

#: Frames of one round; frames at a time; side of the square matrices whose product is the peak.
FRAMES, BATCH, SIDE = 16, 4, 2048

Run = Callable[[], object]
Made = tuple[Run, dict[str, Any]]


def timed(run: Run) -> dict[str, float]:
    """Wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def shipped(images: np.ndarray, model: str, engine: str) -> Made:
    """A shipped model on one of the engines."""
    predictor = load_model(model_store.locate(model), runtime=engine)  # type: ignore[arg-type]
    facts = {"parameters": predictor.card.parameters}
    return partial(predict, images, predictor, batch_size=BATCH), facts


def by_torch(images: np.ndarray, name: str) -> Made:
    """A network in torch with untrained weights, a few frames at a time."""
    import torch
    from monai.networks import nets
    from torch.utils.flop_counter import FlopCounterMode

    from lvseg.train.network import NetworkOptions, build, count_parameters
    from lvseg.train.options import read_preset

    torch.set_num_threads(usable_cores())
    batch = torch.from_numpy(images)
    if name == "MONAI BasicUNet":
        network = nets.BasicUNet(spatial_dims=2, in_channels=1, out_channels=1).eval()
    elif name == "MONAI UNet":
        network = build(NetworkOptions(widths=(16, 32, 64, 128, 256))).eval()
    else:
        options = read_preset(model_store.DEFAULT)
        network = build(options.network, *options.channels).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(batch[:1])
    facts = {"parameters": count_parameters(network), "gflop": counter.get_total_flops() / 1e9}
    if name == "lvseg, torch eager":
        batch = batch.contiguous(memory_format=torch.channels_last)
    called = torch.compile(network) if name == "lvseg, torch.compile" else network

    def run() -> None:
        with torch.inference_mode():
            for part in batch.split(BATCH):
                called(part)

    return run, facts


def by_onnx(images: np.ndarray, file: Path) -> Made:
    """A network of others on onnxruntime, the engine its authors run it on."""
    import onnxruntime
    from onnx import load, numpy_helper

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    stored = load(file).graph.initializer

    def run() -> None:
        for start in range(0, len(images), BATCH):
            session.run(None, {name: images[start : start + BATCH]})

    return run, {"parameters": sum(numpy_helper.to_array(each).size for each in stored)}


def names(myopari: Path | None) -> list[str]:
    """What takes turns in this process."""
    ours = [f"lvseg, {engine}" for engine in available_runtimes()]
    torch = ["lvseg, torch eager", "lvseg, torch.compile", "MONAI BasicUNet", "MONAI UNet"]
    return [*ours, *torch, *(["myopari, onnxruntime"] if myopari else [])]


def made(name: str, frames: np.ndarray, windows: np.ndarray, myopari: Path | None) -> Made:
    """The call of a name, and facts about its network."""
    images = windows if name.startswith("lvseg") else frames[:, :1]
    engine = name.rpartition(", ")[2]
    if name.startswith("myopari") and myopari:
        run, facts = by_onnx(images, myopari)
    elif engine in available_runtimes():
        run, facts = shipped(images, model_store.DEFAULT, engine)
    else:
        run, facts = by_torch(images, name)
    return run, {**facts, "side_px": images.shape[-1]}


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Full frames of a study, and as many windows around the middle."""
    cine = read_study(DATA / "sunnybrook-dicom" / "SCD0000101" / "dicom").short_axis()
    spec = load_model(model_store.locate()).card.input
    prepared = preprocess.prepare(cine, spec)
    rows, columns = prepared.sides
    size = spec.crop_px
    place = Box((rows - size) // 2, (columns - size) // 2, size, size)
    return preprocess.locator_frames(prepared)[:FRAMES], preprocess.crop(prepared, place)[:FRAMES]


def alone(name: str, file: Path, myopari: Path | None) -> None:
    """Predict once and print the peak memory of this process in MB."""
    with np.load(file) as stored:
        run, _ = made(name, stored["frames"], stored["windows"], myopari)
    run()
    print(own_peak_mb())


def peak_mb(name: str, file: Path, myopari: Path | None) -> float:
    """Peak memory of a process that does nothing else."""
    words = [sys.executable, __file__, "--alone", name, "--stored", str(file)]
    if myopari:
        words += ["--myopari", str(myopari)]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(found.stdout.split()[-1])


class NnUnet:
    """nnU-Net's predictor in another environment, told over its input when to predict."""

    def __init__(self, python: Path, dataset: Path, work: Path, frames: Path) -> None:
        script = Path(__file__).with_name("nnunet.py")
        words = [python, script, dataset, work, "--frames", frames]
        self._process = subprocess.Popen(
            list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.facts = self._answer()
        self.peak_mb = 0.0

    def __call__(self, how: str) -> dict[str, float]:
        assert self._process.stdin is not None
        print(how, file=self._process.stdin, flush=True)
        found = self._answer()
        self.peak_mb = found.pop("peak_mb")
        return found

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("answer "):
                found: dict[str, float] = json.loads(line.removeprefix("answer "))
                return found
        raise SystemExit("nnU-Net ended without an answer: see above")

    def close(self) -> None:
        """End the other process."""
        self._process.terminate()
        self._process.wait()


def in_turn(
    runs: dict[str, Callable[[], dict[str, float]]], rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Times of every call, round after round; the first one warms up and does not count."""
    times: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            times[name].append(run())
    return {name: found[1:] for name, found in times.items()}


def rows_of(
    facts: dict[str, dict[str, Any]], times: dict[str, list[dict[str, float]]], peak: float
) -> dict[str, Any]:
    """One line a network; the share of the peak is of its fastest round."""
    result = {}
    for name, about in facts.items():
        wall, cpu = (
            statistics.median(each[key] for each in times[name]) / FRAMES * 1000
            for key in ("wall", "cpu")
        )
        row = {**about, "ms_a_frame": round(wall, 3), "cpu_ms_a_frame": round(cpu, 3)}
        if "gflop" in about:
            fastest = min(each["wall"] for each in times[name]) / FRAMES
            row["share_of_peak"] = round(about["gflop"] / fastest / peak, 3)
        result[name] = row
        print(name, row, flush=True)
    return result


def compared(rounds: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All networks, in turn."""
    frames, windows = pictures()
    stored, plain = folder / "pictures.npz", folder / "frames.npy"
    np.savez(stored, frames=frames, windows=windows)
    np.save(plain, frames[:, 0])
    runs, facts = {}, {}
    for name in names(options.myopari):
        run, facts[name] = made(name, frames, windows, options.myopari)
        facts[name]["peak_mb"] = round(peak_mb(name, stored, options.myopari))
        runs[name] = partial(timed, run)
    for name in facts:  # the same network
        if name.startswith("lvseg, "):
            facts[name]["gflop"] = facts["lvseg, torch eager"]["gflop"]
    theirs = NnUnet(*options.nnunet, plain) if options.nnunet else None
    if theirs:
        for name, how, times in (("", "plain", 1), (", mirrored", "mirrored", 4)):
            facts[f"nnU-Net v2 2D{name}"] = {**theirs.facts, "gflop": theirs.facts["gflop"] * times}
            runs[f"nnU-Net v2 2D{name}"] = partial(theirs, how)
    random = np.random.default_rng(0)
    left, right = random.random((2, SIDE, SIDE), np.float32)
    runs["matrix product"] = partial(timed, product(left, right))
    times = in_turn(runs, rounds)
    peak = 2 * SIDE**3 / min(each["wall"] for each in times.pop("matrix product")) / 1e9
    if theirs:
        for name in facts:
            if name.startswith("nnU-Net"):
                facts[name]["peak_mb"] = round(theirs.peak_mb)
        theirs.close()
    rows = rows_of(facts, times, peak)
    return {"frames": FRAMES, "rounds": rounds, "peak_gflop_s": round(peak, 1), "rows": rows}


def product(left: np.ndarray, right: np.ndarray) -> Run:
    """A large matrix product on all cores."""
    import torch

    torch.set_num_threads(usable_cores())
    first, second = torch.from_numpy(left), torch.from_numpy(right)
    return lambda: first @ second


def main() -> None:
    """Measure in turns, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--nnunet", nargs=3, metavar=("PYTHON", "DATASET", "WORK"))
    parser.add_argument("--myopari", type=Path)
    parser.add_argument("--alone")
    parser.add_argument("--stored", type=Path)
    options = parser.parse_args()
    if options.alone:
        alone(options.alone, options.stored, options.myopari)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = compared(options.rounds, options, Path(folder))
    about = " ".join(__doc__.split("\n\n", 1)[1].split("Usage")[0].split())
    save("network-speed", about, found)


if __name__ == "__main__":
    main()
