"""`lvseg evaluate`: judge a model on held-out patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lvseg.atomic import write_text
from lvseg.cli.app import command
from lvseg.cli.options import (
    DatasetOption,
    Flips,
    LabelValues,
    Model,
    Runtime,
    RuntimeOption,
    SettingsFile,
    Threads,
    label_values,
    load_predictor,
    load_settings,
)
from lvseg.cli.output import Output, evaluation_text, staged
from lvseg.json_text import json_text


@command("evaluate", example="lvseg evaluate --data dataset --split online")
def evaluate(
    out: Output,
    data: DatasetOption,
    split: Annotated[str, typer.Option(help="Split names joined by '+', or 'all'.")],
    model: Model = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the figures to a JSON file.")
    ] = None,
    runtime: RuntimeOption = Runtime.auto,
    threads: Threads = None,
    by_patient: Annotated[
        bool, typer.Option("--by-patient", help="Pictures of a patient together, as a study.")
    ] = False,
    label: LabelValues = None,
    flips: Flips = None,
    settings: SettingsFile = None,
) -> int:
    """Judge a model on held-out patients.

    Each picture is judged alone, full frame. With --by-patient the pictures of a patient go
    together, as a study of two phases.
    """
    from lvseg import evaluate as judging

    chosen = load_settings(settings, flips=flips)
    how: dict[str, Any] = {"by_patient": by_patient, "label_values": label_values(label)}
    predictor = load_predictor(model, runtime, threads)
    with out.progress(f"evaluating {predictor.card.name}") as bar:
        found = judging.evaluate(data, split, predictor, chosen, progress=staged(bar), **how)
        document = judging.document(found)
    if found.leaked_patients:
        names = ", ".join(found.leaked_patients)
        out.warn(f"these patients taught the model, so the figures flatter it: {names}")
    if output is not None:
        write_text(output, json_text(document, indent=1) + "\n")
    out.result(document, evaluation_text(document, found.issues))
    return 0
