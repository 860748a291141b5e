"""`lvseg segment`: the main job, for one study or many."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.cli import batch
from lvseg.cli.app import command
from lvseg.cli.output import Output
from lvseg.cli.work import Work
from lvseg.errors import UsageError
from lvseg.formats import FORMATS
from lvseg.output import OutputOptions, chosen_formats

if TYPE_CHECKING:
    from lvseg.predict import Predictor

__all__ = ["FLIPS_HELP", "MODEL_HELP", "Runtime", "batch_line", "load_predictor", "segment"]

MODEL_HELP = "Name of a shipped model, or a model folder."
FLIPS_HELP = "Average four mirror images, for a model taught in every orientation."


class Runtime(StrEnum):
    """Inference engines."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


class SegPhases(StrEnum):
    """Which phases a DICOM SEG holds."""

    all = "all"
    ed_es = "ed-es"


class SegType(StrEnum):
    """What a DICOM SEG holds."""

    binary = "binary"
    fractional = "fractional"


class Engine(StrEnum):
    """Where a batch runs."""

    local = "local"
    ray = "ray"


def load_predictor(model: str | None, runtime: Runtime, threads: int | None) -> Predictor:
    """Load the model by shipped name or folder; None = the default one.

    :raises ModelError: missing, altered or broken.
    """
    from lvseg import model_store
    from lvseg.predict import load_model

    folder = model_store.locate(model_store.DEFAULT if model is None else model)
    return load_model(folder, runtime=runtime.value, threads=threads)


@command("segment", example="lvseg segment dicom_folder -o out")
def segment(
    out: Output,
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE", help="DICOM, zip, NIfTI, picture, or folders."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Gets one folder a study.")],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="In-plane spacing of pictures.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help=f"From {', '.join(each.name for each in FORMATS)}; default: what fits.",
        ),
    ] = None,
    seg_phases: Annotated[
        SegPhases, typer.Option(help="DICOM SEG of the whole cine, or one each of ED and ES.")
    ] = SegPhases.all,
    seg_type: Annotated[
        SegType, typer.Option(help="DICOM SEG as a mask, or with probabilities.")
    ] = SegType.binary,
    runtime: Annotated[Runtime, typer.Option(help="Inference engine.")] = Runtime.auto,
    flips: Annotated[bool, typer.Option(help=FLIPS_HELP)] = False,
    engine: Annotated[Engine, typer.Option(help="Where a batch runs.")] = Engine.local,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier results.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
) -> int:
    """Segment and measure the left ventricle.

    Every study of the sources gets a folder with its masks, measurements.json, contours, pictures,
    report.html and, from DICOM, a SEG and an SR. A study that fails does not stop the others.
    """
    out.blank["studies"] = []
    if engine is Engine.ray:
        raise UsageError("--engine ray is not available in this version; use --engine local")
    if spacing is not None and not 0 < spacing < float("inf"):
        raise UsageError(f"expected --spacing above 0 mm, found {spacing:g}")
    fractional = seg_type is SegType.fractional
    wanted = OutputOptions(chosen_formats(formats), seg_phases.value, fractional)
    batch.open_root(output)
    predictor = load_predictor(model, runtime, threads)
    with out.progress("looking for studies"):
        planned = list(batch.plan(sources, output))
    work = Work(out, predictor, wanted, spacing, overwrite, flips)
    entries: list[batch.Entry] = []

    def done(entry: batch.Entry) -> None:
        entries.append(entry)
        out.blank["studies"].append(entry.document())  # an interrupted batch tells these

    work.finish_all(planned, done)
    out.result({"studies": [entry.document() for entry in entries]}, batch_line(entries))
    return batch.status_of(entries)


def batch_line(entries: Sequence[batch.Entry]) -> str:
    """How a batch went; nothing for one study, whose own line says it."""
    failed = [entry.label for entry in entries if entry.exit]
    if len(entries) < 2:
        return ""
    text = f"{len(entries)} studies: {len(entries) - len(failed)} done, {len(failed)} failed"
    return f"{text}: {', '.join(failed)}" if failed else text
