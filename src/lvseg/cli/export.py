"""`lvseg export`: a training run becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from lvseg.cli.app import command
from lvseg.cli.options import optional_libraries
from lvseg.cli.output import Output


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

    Writes the best weights as model.onnx with card.json, if torch and ONNX agree on them; what
    lvseg calibrate left in the run goes onto the card. With --int8 the model is about three times
    faster on OpenVINO and half as large; judge it with lvseg evaluate beside the other before you
    use it.
    """
    with optional_libraries():
        from lvseg.train.export import export as write_model

        with out.progress("exporting and comparing with torch"), TemporaryDirectory() as folder:
            if int8 is None:
                write_model(run, output, name=name, overwrite=overwrite)
            else:
                from lvseg.train.quantise import quantise

                exact = write_model(run, Path(folder) / "model")
                quantise(exact, output, int8, name=name, overwrite=overwrite)
    from lvseg.predict import load_model

    card = load_model(output).card
    facts = {"name": card.name, "sha256": card.sha256, "parameters": card.parameters}
    out.result({"model": output, **facts}, f"{output}: {card.name}, {card.parameters} parameters")
    return 0
