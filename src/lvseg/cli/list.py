"""`lvseg list`: the series of a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.bounds import USUAL
from lvseg.cli.app import command
from lvseg.cli.options import SettingsFile, load_settings
from lvseg.cli.output import Output, table
from lvseg.errors import ReadError

if TYPE_CHECKING:
    from lvseg.cine import SeriesSummary


@command("list", example="lvseg list dicom_folder")
def list_source(
    out: Output,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="DICOM, zip, NIfTI, picture, or a folder.")
    ],
    settings: SettingsFile = None,
) -> int:
    """Show the series of a source.

    The short-axis cine of each study is marked, and every line says why.
    """
    from lvseg.read import list_series

    limits = USUAL if settings is None else load_settings(settings).reading
    with out.progress("reading") as bar:
        found = list_series(
            source, progress=lambda done, total: bar("", done, total), limits=limits
        )
    out.result({"source": source, "series": found}, series_table(found))
    if any(each.chosen for each in found):
        return 0
    raise ReadError(f"expected a short-axis cine, found none among {len(found)} series of {source}")


def series_table(found: tuple[SeriesSummary, ...]) -> str:
    """One line a series; the chosen one is marked."""
    head = ("", "series", "modality", "files", "size", "slices x phases", "spacing mm", "why")
    rows = [
        (
            "*" if each.chosen else "",
            each.description or each.series_uid,
            each.modality,
            each.files,
            f"{each.rows} x {each.columns}",
            f"{each.slices} x {each.phases}",
            spacing_text(each),
            each.reason,
        )
        for each in found
    ]
    return table([head, *rows])


def spacing_text(each: SeriesSummary) -> str:
    """In-plane and slice spacing; ``?`` for what is not known."""
    known = each.pixel_spacing_mm
    plane = "?" if known is None else " x ".join(f"{value:.2f}" for value in known)
    depth = "?" if each.slice_spacing_mm is None else f"{each.slice_spacing_mm:.1f}"
    return f"{plane}, {depth} apart"
