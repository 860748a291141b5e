"""The pictures of docs/paper.md, from ``results/paper-small.json`` and the runs of the ladder.

Usage: ``python benchmarks/paper_figures.py WORK``; WORK is the folder given to ``paper.py``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from provenance import RESULTS, ROOT

TARGET = ROOT / "docs" / "pictures"
#: Column -> (training, validation) in the log of a run.
PANELS = {
    "loss": ("loss", "validation_loss"),
    "Dice": ("training_dice", "validation_dice"),
    "Jaccard": ("training_jaccard", "validation_jaccard"),
}
COLOURS = {"training": "#7f8c9b", "validation": "#c2410c"}
#: Runs whose rows of pictures are shown.
SHOWN = ("official-se-encoder-decoder", "batch-size", "longer")
WORDS = {
    "official": "by patient",
    "image-level": "by image (leaks)",
    "patient-shares": "by patient, same shares",
}


def curves(steps: Sequence[dict[str, Any]], titles: Sequence[str], path: Path) -> None:
    """A row of loss, Dice and Jaccard for each step."""
    figure, grid = pyplot.subplots(
        len(steps), len(PANELS), figsize=(9, 1.35 * len(steps)), dpi=80, squeeze=False
    )
    for row, step, title in zip(grid, steps, titles, strict=True):
        for axes, (name, columns) in zip(row, PANELS.items(), strict=True):
            panel(axes, step["log"], columns)
            axes.set_ylim(0, None if name == "loss" else 1)
            axes.set_ylabel(name, fontsize=8)
        row[0].set_title(title, fontsize=9, loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize=8)
    figure.legend(*grid[0][1].get_legend_handles_labels(), loc="upper right", ncols=2, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.25 / (1.35 * len(steps))))
    figure.savefig(path)
    pyplot.close(figure)


def panel(axes: Axes, log: Sequence[dict[str, float]], columns: tuple[str, str]) -> None:
    """Training and validation over epochs; a validation that was not made has no point."""
    for part, column in zip(COLOURS, columns, strict=True):
        known = [(each["epoch"], each[column]) for each in log if column in each]
        if known:
            epochs, values = zip(*known, strict=True)
            axes.plot(epochs, values, color=COLOURS[part], marker=".", linewidth=1, label=part)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw the curves, copy the rows of pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work
    steps = json.loads((RESULTS / "paper-small.json").read_text("utf-8"))["steps"]
    standing = [step for step in steps if step["key"] == f"{step['split']}-{step['kind']}"]
    titles = [f"{step['title']}, {WORDS[step['split']]}" for step in standing]
    curves(standing, titles, TARGET / "paper-curves-networks.png")
    rungs = [step for step in steps if step["before"] is not None]
    curves(rungs, [step["change"] for step in rungs], TARGET / "paper-curves-ladder.png")
    for key in SHOWN:
        shutil.copyfile(work / "runs" / key / "examples.png", TARGET / f"paper-{key}.png")


if __name__ == "__main__":
    main()
