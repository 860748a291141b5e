"""`lvseg train`: train a network on a data set."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from lvseg.cli.app import command
from lvseg.cli.options import (
    Config,
    DatasetOption,
    Device,
    DeviceOption,
    LabelValues,
    Preset,
    label_values,
    optional_libraries,
    recipe,
)
from lvseg.cli.output import Bar, Output


@command("train", example="lvseg train --preset lv-sax-30 --data dataset -o run")
def train(
    out: Output,
    data: DatasetOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder.")],
    preset: Preset = None,
    config: Config = None,
    label: LabelValues = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    start: Annotated[
        Path | None, typer.Option(help="A finished run whose weights to start from.")
    ] = None,
    device: DeviceOption = Device.auto,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Refuse operations that do not repeat exactly.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write logs to RUN/tensorboard.")
    ] = False,
) -> int:
    """Train a network on a data set.

    Ctrl-C or a crash costs at most one epoch; --resume goes on. Several GPUs or machines: start it
    with torchrun (torchrun --nproc-per-node 2 -m lvseg.cli train ...). Needs the optional part
    'train'.
    """
    with optional_libraries():
        from lvseg.train.trainer import fit

        options = recipe(preset, config)
    values = label_values(label)
    if values is not None:
        options = options.with_label_values(values)
    if deterministic:
        options = options.model_copy(update={"deterministic": True})
    leads = os.environ.get("RANK", "0") == "0"  # of torchrun: one process speaks
    figures: dict[str, float] = {}
    try:
        with optional_libraries(), out.progress("training") if leads else nullcontext() as bar:
            report = None if bar is None else follow(out, bar, figures)
            how: dict[str, Any] = {"device": device.value, "board": tensorboard}
            fit(options, data, output, resume=resume, init_from=start, report=report, **how)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("(go on with --resume)") from None
    if not leads:
        return 0
    document = {"run": output, "options": options.model_dump(mode="json"), "last": figures}
    out.result(document, f"run: {output}\n{figures_text(figures)}")
    return 0


def follow(
    out: Output, bar: Bar, figures: dict[str, float]
) -> Callable[[int, int, dict[str, float]], None]:
    """Make the report of a training: moves the bar, or prints a line an epoch without a terminal.

    ``figures`` always holds those of the last epoch.
    """

    def report(epoch: int, epochs: int, latest: dict[str, float]) -> None:
        figures.clear()
        figures.update(latest)
        bar(figures_text(latest), epoch, epochs)
        if not sys.stderr.isatty():
            out.note(f"{epoch}/{epochs} {figures_text(latest)}")

    return report


def figures_text(figures: dict[str, float]) -> str:
    """Loss and scores of an epoch in a few words."""
    parts = [
        f"{key.replace('_', ' ')} {figures[key]:.4f}"
        for key in ("loss", "validation_dice", "validation_jaccard")
        if key in figures
    ]
    return ", ".join(parts)
