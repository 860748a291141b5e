"""Logging of a run: ``log.csv``, ``curves.png`` and, if asked for, TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lvseg.atomic import atomic_write, write_text
from lvseg.bounds import MOST_JSON_BYTES, read_bytes
from lvseg.errors import ModelError

Figures = Mapping[str, float]
LOG_FIELDS = (
    "epoch",
    "step",
    "learning_rate",
    "loss",
    "training_dice",
    "training_jaccard",
    "validation_loss",
    "validation_dice",
    "validation_jaccard",
)
#: Panel -> (column of training, column of validation).
PANELS = {
    "Loss": ("loss", "validation_loss"),
    "Dice": ("training_dice", "validation_dice"),
    "Jaccard": ("training_jaccard", "validation_jaccard"),
}


def write_log(run: Path, log: Sequence[Figures]) -> None:
    """Write ``log.csv``, a row an epoch; what an epoch did not measure is blank."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(log), lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    write_text(run / "log.csv", text.getvalue())


def _columns(log: Sequence[Figures]) -> list[str]:
    """Those of every log, then those of single labels."""
    return [*LOG_FIELDS, *sorted({key for row in log for key in row} - {*LOG_FIELDS})]


def read_log(run: Path) -> list[dict[str, float]]:
    """Rows of ``log.csv`` without the blanks; no file, no rows.

    :raises ModelError: it is no log of a training.
    """
    path = run / "log.csv"
    if not path.is_file():
        return []
    whole = ("epoch", "step")  # written again as they were
    try:
        text = read_bytes(path, MOST_JSON_BYTES).decode("utf-8")
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(io.StringIO(text))]
        return [{k: int(v) if k in whole else float(v) for k, v in row.items()} for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise ModelError(
            f"expected a log of lvseg train, found another file or a part of one at {path}: "
            "remove it, or copy the run again"
        ) from error


def draw_curves(log: Sequence[Figures], path: Path) -> None:
    """Draw loss, Dice and Jaccard over epochs, training and validation, as a PNG.

    Epochs that were not validated have no validation point; an empty log gives empty axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, columns) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
        for column, label in zip(columns, ("training", "validation"), strict=True):
            points = [(row["epoch"], row[column]) for row in log if column in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if title != "Loss":
            axes.set_ylim(0, 1)
        if axes.has_data():
            axes.legend(frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def tensorboard(run: Path, epoch: int, wanted: bool = True) -> AbstractContextManager[Any]:
    """A writer below ``run/tensorboard`` to give to :func:`log_scalars`; None if not ``wanted``.

    :param epoch: epochs done; what an earlier, stopped process wrote beyond them is hidden.
    :raises ModuleNotFoundError: TensorBoard is not installed.
    """
    if not wanted:
        return nullcontext()
    from torch.utils.tensorboard import SummaryWriter

    writer: AbstractContextManager[Any] = SummaryWriter(
        str(run / "tensorboard"), purge_step=epoch + 1
    )
    return writer


def log_scalars(writer: Any, figures: Figures) -> None:
    """Send the figures of an epoch to TensorBoard; a writer of None takes nothing."""
    if writer is None:
        return
    for name in _columns([figures])[2:]:
        if name in figures:
            writer.add_scalar(name.replace("_", "/", 1), figures[name], int(figures["epoch"]))
    writer.flush()
