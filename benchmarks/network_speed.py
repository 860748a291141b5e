"""What a frame costs: the shipped network on both engines, and networks of others, in one run.

All take turns on the same frames and cores, so that a busy machine slows them alike. The network's
floating-point operations are counted layer by layer, the cores' peak is measured with a large
matrix product in the same rounds, and the share of the peak follows. lvseg and its float model see
the window that is cut around the heart, the others the full frame, as their users would give it.
Weights do not change the time, so MONAI's networks are untrained here.
Usage: ``python benchmarks/network_speed.py [--rounds 9]``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from header import DATA, save
from monai.networks import nets
from torch.utils.flop_counter import FlopCounterMode

from lvseg import preprocess, weights
from lvseg.predict import available_runtimes, load_model, predict, usable_cores
from lvseg.read import read_study
from lvseg.train.network import NetworkOptions, build, count_parameters
from lvseg.train.options import read_preset

#: Frames of one round; side of the square matrices whose product measures the peak.
FRAMES, SIDE = 16, 2048
BATCH = 4

Run = Callable[[], object]


def timed(run: Run) -> dict[str, float]:
    """Wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def eager(network: torch.nn.Module, images: torch.Tensor) -> Run:
    """The network in torch, a few frames at a time."""

    def run() -> None:
        with torch.inference_mode():
            for part in images.split(BATCH):
                network(part)

    return run


def flops_a_frame(network: torch.nn.Module, image: torch.Tensor) -> float:
    """Floating-point operations of one frame; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    return float(counter.get_total_flops())


def contenders(frames: np.ndarray, windows: np.ndarray) -> tuple[dict[str, Run], dict[str, Any]]:
    """What takes turns, and facts about each."""
    options = read_preset(weights.DEFAULT).network
    small, full = torch.from_numpy(windows), torch.from_numpy(frames)
    ours = build(options).eval()
    runs: dict[str, Run] = {}
    for engine in available_runtimes():
        predictor = load_model(weights.locate(), runtime=engine)  # type: ignore[arg-type]
        runs[f"lvseg, {engine}"] = lambda p=predictor: predict(windows, p, batch_size=BATCH)
    runs["lvseg, torch eager"] = eager(ours, small.contiguous(memory_format=torch.channels_last))
    runs["lvseg, torch.compile"] = eager(torch.compile(ours), small)
    peers = {
        "MONAI BasicUNet": nets.BasicUNet(spatial_dims=2, in_channels=1, out_channels=1),
        "MONAI UNet": build(NetworkOptions(widths=(16, 32, 64, 128, 256))),
    }
    facts: dict[str, Any] = {
        name: {"parameters": count_parameters(ours), "side_px": windows.shape[-1]} for name in runs
    }
    flops = flops_a_frame(ours, small[:1])
    for name in runs:
        facts[name]["gflop"] = flops / 1e9
    for name, network in peers.items():
        runs[name] = eager(network.eval(), full)
        facts[name] = {
            "parameters": count_parameters(network),
            "side_px": frames.shape[-1],
            "gflop": flops_a_frame(network, full[:1]) / 1e9,
        }
    return runs, facts


def main() -> None:
    """Measure in turns, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(usable_cores())
    cine = read_study(DATA / "sunnybrook-dicom" / "SCD0000101" / "dicom").short_axis()
    spec = load_model(weights.locate()).card.input
    prepared = preprocess.prepare(cine, spec)
    frames = preprocess.scouts(prepared)[:FRAMES]
    rows, columns = prepared.sides
    place = preprocess.Window(
        (rows - spec.window_px) // 2, (columns - spec.window_px) // 2, spec.window_px
    )
    runs, facts = contenders(frames, preprocess.cut(prepared, place)[:FRAMES])
    left, right = torch.rand(2, SIDE, SIDE)
    runs["matrix product"] = lambda: left @ right
    times: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            times[name].append(timed(run))
    best = {name: min(each["wall"] for each in found[1:]) for name, found in times.items()}
    peak = 2 * SIDE**3 / best.pop("matrix product") / 1e9
    result = {}
    for name, found in times.items():
        if name not in facts:
            continue
        wall, cpu = (
            statistics.median(each[key] for each in found[1:]) / FRAMES * 1000
            for key in ("wall", "cpu")
        )
        result[name] = {
            **facts[name],
            "ms_a_frame": round(wall, 3),
            "cpu_ms_a_frame": round(cpu, 3),
            "share_of_peak": round(facts[name]["gflop"] / (best[name] / FRAMES) / peak, 3),
        }
        print(name, result[name], flush=True)
    facts = {"frames": FRAMES, "rounds": rounds, "peak_gflop_s": round(peak, 1)}
    save("network-speed", __doc__.split("\n\n")[1].replace("\n", " "), {**facts, "rows": result})


if __name__ == "__main__":
    main()
