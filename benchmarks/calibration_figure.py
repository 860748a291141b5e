"""The picture of expected against true Dice in docs/quality.md, from ``results/calibration.json``.

Usage: ``python benchmarks/calibration_figure.py``.
"""

from __future__ import annotations

import json

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from provenance import RESULTS, ROOT

TARGET = ROOT / "docs" / "pictures" / "expected-dice.png"
#: Group of the result file -> label, colour, marker.
GROUPS = {
    "held_out": ("patients, held out", "#7f8c9b", "o"),
    "test": ("online patients, lv-sax-30", "#c2410c", "^"),
}


def panel(axes: Axes, pairs: dict[str, list[list[float]]], limit: float, failure: float) -> None:
    """Points of each group, the line of equality, the limit of review and of failure."""
    for group, points in pairs.items():
        label, colour, marker = GROUPS[group]
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=16, c=colour, marker=marker, alpha=0.75, linewidths=0, label=label)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axes.axvline(limit, color="#1d4ed8", linewidth=1, linestyle="--", label="limit of review")
    axes.axhline(failure, color="#1d4ed8", linewidth=1, linestyle=":", label="failure below")
    axes.set_xlabel("expected Dice")
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw slices and studies side by side."""
    result = json.loads((RESULTS / "calibration.json").read_text("utf-8"))
    groups = {name: result[name] for name in GROUPS if name in result}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4.2), dpi=110)
    limits = result["calibration"]
    slices = {
        name: [pair for pair in group["slice_pairs"] if pair[0] is not None]
        for name, group in groups.items()
    }
    studies = {
        name: [[each["expected"], each["true"]] for each in group["per_patient"]]
        for name, group in groups.items()
    }
    each = groups["held_out"]
    panel(left, slices, limits["slice_review_below"], each["slices"]["failure_below"])
    panel(right, studies, limits["review_below"], each["studies"]["failure_below"])
    left.set(title="Slices", ylabel="true Dice", xlim=(0.4, 1), ylim=(-0.02, 1.02))
    right.set(title="Studies", xlim=(0.75, 1), ylim=(0.7, 1))
    handles, labels = right.get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=9, frameon=False)
    figure.savefig(TARGET)
    print(f"wrote {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
