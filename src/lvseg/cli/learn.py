"""`lvseg train`, `lvseg export`, `lvseg evaluate`: from a data set to a judged model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvseg.cli.app import command
from lvseg.cli.output import Bar, Output, one_line, staged, table
from lvseg.cli.segment import FLIPS_HELP, MODEL_HELP, Runtime, load_predictor
from lvseg.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from lvseg.train.options import TrainOptions

__all__ = ["evaluate", "evaluation_text", "export", "train"]

#: Top-level modules of the optional part ``train``.
TRAINING_LIBRARIES = frozenset(
    {"torch", "monai", "tensorboard", "onnx", "onnxscript", "safetensors"}
)


class Device(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@contextmanager
def training_libraries() -> Iterator[None]:
    """Turn a missing library of the optional part into the sentence that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name == "nncf":
            raise MissingExtraError("a model in int8", "int8") from error
        if (error.name or "").partition(".")[0] in TRAINING_LIBRARIES:
            raise MissingExtraError("training", "train") from error
        raise


@command("train", example="lvseg train --preset lv-sax-30 --data dataset -o run")
def train(
    out: Output,
    data: Annotated[Path, typer.Option(help="Data set folder (see lvseg prepare).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder.")],
    preset: Annotated[str | None, typer.Option(help="A recipe that comes with lvseg.")] = None,
    config: Annotated[Path | None, typer.Option(help="A recipe of your own, TOML.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    start: Annotated[
        Path | None, typer.Option(help="A finished run whose weights to start from.")
    ] = None,
    device: Annotated[
        Device, typer.Option(help="auto = a CUDA GPU if there is one.")
    ] = Device.auto,
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
    with training_libraries():
        from lvseg.train.trainer import fit

        options = recipe(preset, config)
    if deterministic:
        options = options.model_copy(update={"deterministic": True})
    leads = os.environ.get("RANK", "0") == "0"  # of torchrun: one process speaks
    figures: dict[str, float] = {}
    try:
        with training_libraries(), out.progress("training") if leads else nullcontext() as bar:
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


def recipe(preset: str | None, config: Path | None) -> TrainOptions:
    """Read the training options of exactly one of ``--preset`` and ``--config``.

    :raises UsageError: none or both, or what they name is not there.
    """
    from lvseg.train.options import load_options, preset_names, read_preset

    if preset is not None and config is None:
        return read_preset(preset)
    if config is not None and preset is None:
        return load_options(config)
    known = ", ".join(preset_names())
    raise UsageError(f"expected either --preset (one of {known}) or --config FILE")


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


@command("export", example="lvseg export run -o model")
def export(
    out: Output,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of lvseg train.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder.")],
    name: Annotated[str | None, typer.Option(help="Name on the card; default: the preset.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model.")] = False,
    int8: Annotated[
        Path | None,
        typer.Option(metavar="DATASET", help="Make it int8, by the data set that taught it."),
    ] = None,
) -> int:
    """Turn a training run into a model folder.

    Writes the best weights as model.onnx with card.json, if torch and ONNX agree on them. With
    --int8 the model is about three times faster on OpenVINO and half as large; judge it with
    lvseg evaluate beside the other before you use it.
    """
    with training_libraries():
        from lvseg.train.export import export as write_model

        with out.progress("exporting and comparing with torch"):
            if int8 is None:
                write_model(run, output, name=name, overwrite=overwrite)
            else:
                write_int8(run, output, int8, name=name, overwrite=overwrite)
    from lvseg.predict import load_model

    card = load_model(output).card
    facts = {"name": card.name, "sha256": card.sha256, "parameters": card.parameters}
    out.result({"model": output, **facts}, f"{output}: {card.name}, {card.parameters} parameters")
    return 0


def write_int8(
    run: Path, output: Path, dataset: Path, *, name: str | None, overwrite: bool
) -> None:
    """Export a run to a folder that does not stay, and from there in int8 to ``output``."""
    from lvseg.train.export import export as write_model
    from lvseg.train.quantise import quantise

    with TemporaryDirectory() as folder:
        exact = write_model(run, Path(folder) / "model")
        quantise(exact, output, dataset, name=name, overwrite=overwrite)


@command("evaluate", example="lvseg evaluate --data dataset --split online")
def evaluate(
    out: Output,
    data: Annotated[Path, typer.Option(help="Data set folder (see lvseg prepare).")],
    split: Annotated[str, typer.Option(help="Split names joined by '+', or 'all'.")],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the figures to a JSON file.")
    ] = None,
    runtime: Annotated[Runtime, typer.Option(help="Inference engine.")] = Runtime.auto,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
    by_patient: Annotated[
        bool,
        typer.Option("--by-patient", help="Pictures of a patient together, as a study."),
    ] = False,
    flips: Annotated[bool, typer.Option(help=FLIPS_HELP)] = False,
) -> int:
    """Judge a model on held-out patients.

    Each picture is judged alone, full frame. With --by-patient the pictures of a patient go
    together, as a study of two phases.
    """
    from lvseg import evaluate as judging
    from lvseg.settings import Settings

    predictor, settings = load_predictor(model, runtime, threads), Settings(flips=flips)
    with out.progress(f"evaluating {predictor.card.name}") as bar:
        found = judging.evaluate(
            data, split, predictor, settings, progress=staged(bar), by_patient=by_patient
        )
        document = judging.document(found)
    if found.leaked_patients:
        names = ", ".join(found.leaked_patients)
        out.warn(f"these patients taught the model, so the figures flatter it: {names}")
    save_json(document, output)
    out.result(document, evaluation_text(document))
    return 0


def save_json(document: dict[str, Any], path: Path | None) -> None:
    """Write a document as a JSON file, whole or not at all; nothing for None."""
    if path is not None:
        from lvseg.atomic import write_text
        from lvseg.json_text import json_text

        write_text(path, json_text(document, indent=1) + "\n")


def evaluation_text(document: dict[str, Any]) -> str:
    """Show people the table of an evaluation, the agreement of EF and what was noticed."""
    from lvseg.evaluate import table as rows_of

    ef = document["ef"]
    lines = [
        f"{document['n_images']} images of {document['n_patients']} patients",
        table(rows_of(document)),
    ]
    if ef.get("bias") is not None:
        known = [key for key in ("bias", "sd", "mae", "r") if ef[key] is not None]
        figures = ", ".join(f"{key} {ef[key]:.2f}" for key in known)
        lines.append(f"EF, percentage points: {figures}")
    notes = [each for each in document["findings"] if each["severity"] != "info"]
    lines += [f"  {each['severity']}: {one_line(each['text'])}" for each in notes]
    return "\n".join(lines)
