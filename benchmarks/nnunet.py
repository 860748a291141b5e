"""nnU-Net v2 2D on the same patients, for as long: held-out Dice over minutes of training.

Runs in an environment of its own, without lvseg:

    python -m venv nnunet && nnunet/bin/pip install torch==2.13.0 nnunetv2
    nnunet/bin/python benchmarks/nnunet.py DATASET WORK --minutes 75 [--batch-size 2]

nnU-Net plans, preprocesses and augments as it always does; its trainer's own step is called until
the minutes are over, the learning rate falling with the share of time as it falls with epochs. One
thread; minutes are those its core worked, so other work beside it does not count. The clock
stands still while held-out pictures, every third with a cavity, are predicted: full frame, without
mirroring. Its plan's batch is made for a GPU; ``--batch-size`` takes a smaller one, for more steps
in the same minutes. Writes WORK/nnunet-N.json, N frames a step, which ``training_curve.py`` puts
into results. With ``--frames FILE.npy`` it trains nothing: ``network_speed.py`` tells it over
its input when to predict these frames, and how.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from provenance import own_peak_mb

NAME = "Dataset001_LV"
LOOKS, EVERY = 5, 3


def rows(dataset: Path, splits: str) -> list[str]:
    """Picture files of the splits joined by '+'."""
    with (dataset / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [row["file"] for row in csv.DictReader(file) if row["split"] in splits.split("+")]


def with_cavity(dataset: Path, files: list[str]) -> list[str]:
    """The pictures in whose mask there is something."""
    return [file for file in files if np.asarray(Image.open(dataset / "masks" / file)).any()]


def write_raw(dataset: Path, files: list[str], raw: Path) -> None:
    """The training pictures in nnU-Net's own layout."""
    for name in ("imagesTr", "labelsTr"):
        (raw / NAME / name).mkdir(parents=True, exist_ok=True)
    for file in files:
        stem = Path(file).stem
        picture = Image.open(dataset / "images" / file).convert("L")
        mask = np.asarray(Image.open(dataset / "masks" / file)) >= 128
        picture.save(raw / NAME / "imagesTr" / f"{stem}_0000.png")
        Image.fromarray(mask.astype(np.uint8)).save(raw / NAME / "labelsTr" / f"{stem}.png")
    document = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "LV": 1},
        "numTraining": len(files),
        "file_ending": ".png",
    }
    (raw / NAME / "dataset.json").write_text(json.dumps(document))


def trainer_of(work: Path, batch_size: int | None = None) -> Any:
    """nnU-Net's trainer for its own 2D plans, on all training pictures."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    folder = work / "preprocessed" / NAME
    if not (folder / "nnUNetPlans_2d").exists():
        api.extract_fingerprints([1], num_processes=1)
        api.plan_experiments([1])
        api.preprocess([1], configurations=["2d"], num_processes=[1])
    os.environ.update(nnUNet_n_proc_DA="0")
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["continue_training"] = False
    if batch_size:
        plans["configurations"]["2d"]["batch_size"] = batch_size
    about = json.loads((folder / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, "2d", "all", about, device=torch.device("cpu"))
    trainer.initialize()
    trainer.on_train_start()
    return trainer


def predictions(trainer: Any, images: Iterable[np.ndarray], mirrored: bool) -> Iterator[np.ndarray]:
    """The mask of each picture, full frame, by nnU-Net's own predictor."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=mirrored,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    predictor.list_of_parameters = [trainer.network.state_dict()]
    for image in images:
        found = predictor.predict_single_npy_array(image[None, None], {"spacing": [999, 1, 1]})
        yield np.asarray(found)[0] == 1


def judged(trainer: Any, dataset: Path, files: list[str]) -> dict[str, Any]:
    """Mean Dice over the pictures, and seconds a picture."""
    images = [
        np.asarray(Image.open(dataset / "images" / file).convert("L"), np.float32) for file in files
    ]
    references = [np.asarray(Image.open(dataset / "masks" / file)) >= 128 for file in files]
    begun, values = time.perf_counter(), []
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    for reference, found in zip(references, predictions(trainer, images, False), strict=True):
        values.append(2 * (reference & found).sum() / (reference.sum() + found.sum()))
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    seconds = (time.perf_counter() - begun) / len(files)
    return {"dice": float(np.mean(values)), "pictures": len(values), "seconds_a_picture": seconds}


def serve(trainer: Any, frames: np.ndarray) -> None:
    """Predict ``frames`` [N, Y, X] at each line of the input, "plain" or "mirrored"; tell how long.

    The first answer is of the network: parameters and operations of a frame.
    """
    from torch.utils.flop_counter import FlopCounterMode

    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        trainer.network(torch.zeros(1, 1, *trainer.configuration_manager.patch_size))
    facts = {
        "parameters": sum(weight.numel() for weight in trainer.network.parameters()),
        "side_px": trainer.configuration_manager.patch_size[0],
        "gflop": counter.get_total_flops() / 1e9,
    }
    tell(facts)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in predictions(trainer, frames, line.strip() == "mirrored"):
            pass
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        tell({**spent, "peak_mb": own_peak_mb()})


def tell(facts: dict[str, Any]) -> None:
    """One line that the other side knows from nnU-Net's own."""
    print("answer " + json.dumps(facts), flush=True)


def main() -> None:
    """Prepare, train for so many minutes, look now and then."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--taught", default="training+validation")
    parser.add_argument("--judged", default="online")
    parser.add_argument("--frames", type=Path)
    options = parser.parse_args()
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(options.work.absolute() / name)
    os.environ.update(nnUNet_n_proc_DA="1", nnUNet_compile="f", OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    write_raw(options.dataset, rows(options.dataset, options.taught), options.work / "raw")
    trainer = trainer_of(options.work, options.batch_size)
    if options.frames:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        serve(trainer, np.load(options.frames))
        return
    held_out = with_cavity(options.dataset, rows(options.dataset, options.judged))[::EVERY]
    spent, steps, whole, curve = 0.0, 0, 60 * options.minutes, list[dict[str, Any]]()
    while spent < whole:
        begun = time.process_time()
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - spent / whole) ** 0.9
        trainer.train_step(next(trainer.dataloader_train))
        spent, steps = spent + time.process_time() - begun, steps + 1
        if spent >= whole * (len(curve) + 1) / LOOKS:
            found = judged(trainer, options.dataset, held_out)
            curve.append({"minutes": spent / 60, "steps": steps, **found})
            print(json.dumps(curve[-1]), flush=True)
    result = {
        "taught": options.taught,
        "judged": options.judged,
        "files": held_out,
        "batch_size": trainer.batch_size,
        "patch_px": list(trainer.configuration_manager.patch_size),
        "parameters": sum(weight.numel() for weight in trainer.network.parameters()),
        "curve": curve,
    }
    (options.work / f"nnunet-{trainer.batch_size}.json").write_text(
        json.dumps(result, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
