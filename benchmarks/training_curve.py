"""Held-out Dice over minutes of training: a preset of lvseg beside nnU-Net v2 on the same cores.

Beside ``nnunet.py`` (in its own environment, same WORK, same minutes) or after it. All are taught
the same pictures by one thread each, judge the same ones full frame, and stop the clock while they
judge; minutes are those the core worked, so other work on the machine does not count. lvseg's
preset is cut to the number of steps that fit the minutes, so its learning rate falls to zero within
them, as nnU-Net's does. Writes ``results/training-curve.json`` and
``docs/pictures/training-curve.png``, with every WORK/nnunet-N.json that is there; what an earlier
call left in WORK is not trained and judged again.
Usage: ``python benchmarks/training_curve.py DATASET WORK --minutes 75 [--preset NAME]``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot
from provenance import ROOT, save

from lvseg import evaluate as judging
from lvseg.predict import load_model
from lvseg.train.export import export
from lvseg.train.options import TrainOptions, read_preset
from lvseg.train.trainer import fit

LOOKS, TRIAL_STEPS, GOAL = 5, 20, 0.93
TARGET = ROOT / "docs" / "pictures" / "training-curve.png"


def seconds_a_step(options: TrainOptions, dataset: Path, folder: Path) -> float:
    """Seconds of one step, start of the process left out."""
    times = []
    trial = options.model_copy(update={"epochs": 2, "steps_per_epoch": TRIAL_STEPS})
    fit(trial, dataset, folder, report=lambda *told: times.append(time.process_time()))
    return (times[1] - times[0]) / TRIAL_STEPS


def train(options: TrainOptions, dataset: Path, work: Path) -> None:
    """Train; keep the weights of every look, and when it was, in ``work``."""
    begun, run = time.process_time(), work / "lvseg-run"
    looks: list[dict[str, Any]] = []

    def keep(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        minutes = (time.process_time() - begun) / 60
        looks.append({"minutes": minutes, "steps": epoch * options.steps_per_epoch})
        look = work / "looks" / str(epoch)
        look.mkdir(parents=True, exist_ok=True)
        for file in run.glob("best.*"):
            shutil.copyfile(file, look / file.name)

    fit(options, dataset, run, report=keep)
    (work / "lvseg.json").write_text(json.dumps(looks))


def judged(dataset: Path, work: Path, split: str, files: list[str]) -> list[dict[str, Any]]:
    """The looks with the mean Dice of these pictures."""
    rows = []
    for number, row in enumerate(json.loads((work / "lvseg.json").read_text()), 1):
        dice = dice_of(work / "looks" / str(number), dataset, split)
        rows.append({**row, "dice": sum(dice[file] for file in files) / len(files)})
    return rows


def dice_of(look: Path, dataset: Path, split: str) -> dict[str, float]:
    """The Dice of every picture, full frame; kept beside the weights, so that this is one look."""
    kept = look / f"{split}.json"
    if not kept.is_file():
        model = export(look, look / "model", overwrite=True)
        found = judging.evaluate(dataset, split, load_model(model, threads=1))
        kept.write_text(json.dumps({row.file: row.dice for row in found.of().images}))
    dice: dict[str, float] = json.loads(kept.read_text())
    return dice


def draw(ours: list[dict[str, Any]], peers: list[dict[str, Any]]) -> None:
    """All lines in one picture."""
    lines = [("lvseg", ours, "#c2410c", "-")]
    for peer, style in zip(peers, ("-", "--", ":"), strict=False):
        label = f"nnU-Net v2 2D, {peer['batch_size']} frames a step"
        lines.append((label, peer["curve"], "#64748b", style))
    figure, axes = pyplot.subplots(figsize=(6.4, 4), dpi=110)
    for label, rows, colour, style in lines:
        x, y = zip(*((row["minutes"], row["dice"]) for row in rows), strict=True)
        axes.plot(x, y, marker="o", color=colour, linestyle=style, label=label)
    axes.axhline(GOAL, color="#94a3b8", linewidth=0.8)
    axes.text(1, GOAL + 0.01, f"{GOAL}", color="#64748b", fontsize=8)
    axes.set(xlabel="minutes of training on one core", ylabel="held-out Dice")
    axes.set(xlim=(0, None), ylim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center right")
    figure.tight_layout()
    figure.savefig(TARGET)


def main() -> None:
    """Train ours unless that is done, judge it, read nnU-Net's, save all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--preset", default="lv-sax-30")
    parser.add_argument("--taught", default="training+validation")
    parser.add_argument("--judged", default="online")
    options = parser.parse_args()
    torch.set_num_threads(1)
    preset = read_preset(options.preset).model_copy(update={"train_split": options.taught})
    if not (options.work / "lvseg.json").is_file():
        step = seconds_a_step(preset, options.dataset, options.work / "trial")
        steps = int(60 * options.minutes / step / LOOKS)
        cut = preset.model_copy(update={"epochs": LOOKS, "steps_per_epoch": steps})
        train(cut, options.dataset, options.work)
    while not (found := sorted(options.work.glob("nnunet-*.json"))):
        time.sleep(10)
    peers = [json.loads(file.read_text("utf-8")) for file in found]
    peers.sort(key=lambda peer: -peer["batch_size"])
    if any((peer["taught"], peer["judged"]) != (options.taught, options.judged) for peer in peers):
        raise SystemExit("nnU-Net's result is of other patients")
    ours = judged(options.dataset, options.work, options.judged, peers[0]["files"])
    draw(ours, peers)
    protocol = __doc__.split("\n\n")[1].split("Writes")[0].replace("\n", " ").strip()
    about = {"preset": options.preset, "batch_size": preset.batch_size, "curve": ours}
    save("training-curve", protocol, {"lvseg": about, "nnunet": peers}, seed=preset.seed)


if __name__ == "__main__":
    main()
