"""`lvseg table`: one row a study from a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lvseg.cli.app import command
from lvseg.cli.options import CovariatesSheet
from lvseg.cli.output import Output
from lvseg.errors import UsageError


@command("table", example="lvseg table out -o cohort.xlsx")
def table(
    out: Output,
    results: Annotated[Path, typer.Argument(metavar="OUT", help="What segment -o wrote to.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Ends in .csv, .parquet or .xlsx (extra table).  [default: cohort.csv and "
            "cohort.html in OUT]",
        ),
    ] = None,
    covariates: CovariatesSheet = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier FILE.")
    ] = False,
) -> int:
    """Make one table of many results.

    One row a study, failed ones too: values with their units and intervals, verdict, findings,
    expected Dice, model, version, seconds, error.
    """
    from lvseg import batch, cohort
    from lvseg.atomic import recover

    if not results.is_dir():
        raise UsageError(f"expected a folder of results, found none at {results}: check the path")
    if output is not None and output.exists() and not overwrite:
        raise UsageError(
            f"expected a free place, found {output}; use --overwrite to replace it, or choose "
            "another place"
        )
    sheet = None if covariates is None else cohort.read_covariates(covariates)
    recover(results)
    with out.progress("reading results"):
        rows = cohort.by_name(batch.collect(results).values())
    if not rows:
        raise UsageError(f"expected results of lvseg segment, found none in {results}")
    document: dict[str, Any] = {"studies": len(rows), "failed": 0, "without_row": []}
    document |= {"failed": sum(bool(row["exit"]) for row in rows), "without_study": []}
    lines: list[str] = []
    if sheet is not None:
        both = cohort.joined(rows, sheet)
        rows, lines = both.rows, both.lines(sheet.name)
        document |= {"without_row": both.without_row, "without_study": both.without_study}
    written = [cohort.write_table(rows, output or results / cohort.TABLE)]
    if output is None:
        with out.progress("page"):
            written.append(cohort.write_page(rows, results))
    document["files"] = written
    head = f"{document['studies']} studies, {document['failed']} failed: "
    out.result(document, "\n".join([head + " ".join(map(str, written)), *lines]))
    return 0
