"""`lvseg compare`: how two masks agree, or two folders of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lvseg.cli.app import command
from lvseg.cli.options import LabelValues, label_values
from lvseg.cli.output import Output, evaluation_text, staged


@command("compare", example="lvseg compare expert.nii.gz out/study/segmentation.nii.gz")
def compare(
    out: Output,
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="A mask, or a folder of masks.")
    ],
    prediction: Annotated[
        Path, typer.Argument(metavar="PREDICTION", help="Another, matched by file name.")
    ],
    label: LabelValues = None,
) -> int:
    """Measure how two masks agree.

    Takes two mask files, or two folders matched by file name: the output of any tool. --label goes
    for both, but a side that has none of its values and only 0 and 1, or 255, stays as it is.
    """
    from lvseg import evaluate as judging

    values = label_values(label)
    with out.progress("comparing") as bar:
        found = judging.compare(reference, prediction, staged(bar), label_values=values)
        document = judging.document(found)
    out.result(document, evaluation_text(document, found.issues))
    return 0
