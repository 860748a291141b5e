"""Held-out Dice over minutes of training: a preset of lvseg beside nnU-Net v2 on the same cores.

Beside ``nnunet.py`` (in its own environment, same WORK, same minutes) or after it. Both are taught
the same pictures by one thread each, judge the same ones full frame, and stop the clock while they
judge; minutes are those the core worked, so other work on the machine does not count. lvseg's
preset is cut to the number of steps that fit the minutes, so its learning rate falls to zero within
them, as nnU-Net's does. Writes ``results/training-curve.json`` and
``docs/pictures/training-curve.png``.
Usage: ``python benchmarks/training_curve.py DATASET WORK --minutes 40 [--preset NAME]``.
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
from header import ROOT, save
from matplotlib import pyplot

from lvseg import evaluate as judging
from lvseg.predict import load_model
from lvseg.train.export import export
from lvseg.train.options import TrainOptions, read_preset
from lvseg.train.trainer import fit

LOOKS, TRIAL_STEPS = 5, 20
TARGET = ROOT / "docs" / "pictures" / "training-curve.png"


def seconds_a_step(options: TrainOptions, dataset: Path, folder: Path) -> float:
    """Seconds of one step, start of the process left out."""
    times = []
    trial = options.model_copy(update={"epochs": 2, "steps_per_epoch": TRIAL_STEPS})
    fit(trial, dataset, folder, report=lambda *told: times.append(time.process_time()))
    return (times[1] - times[0]) / TRIAL_STEPS


def curve(
    options: TrainOptions, dataset: Path, work: Path, judged: str
) -> list[tuple[float, int, dict[str, float]]]:
    """Train; keep the weights at every look; judge them when the training is over.

    :returns: minutes, steps, and the Dice of every picture with a cavity, at each look.
    """
    begun, minutes = time.process_time(), []
    run = work / "lvseg-run"

    def keep(epoch: int, epochs: int, figures: dict[str, float]) -> None:
        minutes.append((time.process_time() - begun) / 60)
        look = work / "looks" / str(epoch)
        look.mkdir(parents=True, exist_ok=True)
        for file in run.glob("best.*"):
            shutil.copyfile(file, look / file.name)

    fit(options, dataset, run, report=keep)
    rows = []
    for epoch in range(1, options.epochs + 1):
        look = work / "looks" / str(epoch)
        model = export(look, look / "model", overwrite=True)
        found = judging.evaluate(dataset, judged, load_model(model, threads=1))
        dice = {row.file: row.dice for row in found.images if row.reference_px}
        rows.append((minutes[epoch - 1], epoch * options.steps_per_epoch, dice))
        print(rows[-1][:2], sum(dice.values()) / len(dice), flush=True)
    return rows


def draw(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Both lines in one picture."""
    figure, axes = pyplot.subplots(figsize=(6.4, 4), dpi=110)
    for rows, label, colour in ((ours, "lvseg", "#c2410c"), (theirs, "nnU-Net v2 2D", "#7f8c9b")):
        x, y = zip(*((row["minutes"], row["dice"]) for row in rows), strict=True)
        axes.plot(x, y, marker="o", color=colour, label=label)
    axes.set(xlabel="minutes of training on one core", ylabel="held-out Dice", ylim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(TARGET)


def main() -> None:
    """Train ours, read theirs, save both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--preset", default="lv-sax-30")
    parser.add_argument("--taught", default="training+validation")
    parser.add_argument("--judged", default="online")
    options = parser.parse_args()
    torch.set_num_threads(1)
    preset = read_preset(options.preset).model_copy(update={"train_split": options.taught})
    step = seconds_a_step(preset, options.dataset, options.work / "trial")
    steps = int(60 * options.minutes / step / LOOKS)
    cut = preset.model_copy(update={"epochs": LOOKS, "steps_per_epoch": steps})
    looks = curve(cut, options.dataset, options.work, options.judged)
    while not (options.work / "nnunet.json").is_file():
        time.sleep(10)
    theirs = json.loads((options.work / "nnunet.json").read_text("utf-8"))
    if (theirs["taught"], theirs["judged"]) != (options.taught, options.judged):
        raise SystemExit("nnunet.json is of other patients")
    ours = [
        {
            "minutes": minutes,
            "steps": done,
            "dice": sum(dice[file] for file in theirs["files"]) / len(theirs["files"]),
        }
        for minutes, done, dice in looks
    ]
    draw(ours, theirs["curve"])
    protocol = __doc__.split("\n\n")[1].split("Writes")[0].replace("\n", " ").strip()
    result = {"lvseg": {"preset": options.preset, "curve": ours}, "nnunet": theirs}
    save("training-curve", protocol, result, seed=preset.seed)


if __name__ == "__main__":
    main()
