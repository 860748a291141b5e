"""Figures of examples: image, reference, prediction, borders and overlap, as in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lvseg.atomic import atomic_write
from lvseg.labels import Label
from lvseg.manifest import Sample, unaugmented
from lvseg.metrics import dice
from lvseg.reproduction.score import Options, predict
from lvseg.samples import read_sample

COLUMNS = ("image", "reference", "prediction", "borders", "overlap")
REFERENCE, PREDICTION = "#00a3ff", "#ff8c00"


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture [Y, X] with its two masks."""

    image: NDArray[np.float32]
    reference: NDArray[np.bool_]
    prediction: NDArray[np.bool_]


def chosen(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
    """So many originals, spread evenly over the file names: the same ones for every run."""
    plain = sorted(unaugmented(samples), key=_file)
    places = {round(place) for place in np.linspace(0, len(plain) - 1, min(count, len(plain)))}
    return tuple(plain[place] for place in sorted(places))


def _file(sample: Sample) -> str:
    return sample.file


def examples(
    network: nn.Module, options: Options, dataset: Path, samples: Sequence[Sample]
) -> tuple[Example, ...]:
    """What a network makes of some pictures."""
    found = []
    for sample in samples:
        cine, labels = read_sample(dataset, sample)
        mask = labels == Label.LV_CAVITY
        found.append(Example(cine.frames[0, 0], mask, predict(network, options, cine)))
    return tuple(found)


def draw_examples(shown: Sequence[Example], path: Path) -> None:
    """Draw a row for each example as a PNG; the reference is blue, the prediction orange."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.75 * max(1, len(shown))), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(max(1, len(shown)), len(COLUMNS), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, title in zip(grid[0], COLUMNS, strict=True):
        axes.set_title(title, fontsize=9)
    for row, example in zip(grid, shown, strict=False):
        _draw_row(row, example)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_row(row: Any, example: Example) -> None:
    grey = {"cmap": "gray", "vmin": 0, "vmax": float(example.image.max()) or 1.0}
    reference, prediction = example.reference, example.prediction
    row[0].imshow(example.image, **grey)
    row[1].imshow(reference, cmap="gray", vmin=0, vmax=1)
    row[2].imshow(prediction, cmap="gray", vmin=0, vmax=1)
    row[3].imshow(example.image, **grey)
    for mask, colour in ((reference, REFERENCE), (prediction, PREDICTION)):
        if mask.any() and not mask.all():
            row[3].contour(mask, levels=[0.5], colors=colour, linewidths=0.8)
    row[4].imshow(_overlap(reference, prediction))
    words = f"Dice {dice(reference, prediction):.2f}"
    row[4].text(0.03, 0.95, words, color="white", fontsize=7, va="top", transform=row[4].transAxes)


def _overlap(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Colours [Y, X, 3]: white both, blue missed, orange too much, black neither."""
    from matplotlib.colors import to_rgb

    colours = np.zeros((*reference.shape, 3))
    colours[reference & prediction] = 1.0
    colours[reference & ~prediction] = to_rgb(REFERENCE)
    colours[~reference & prediction] = to_rgb(PREDICTION)
    return colours
