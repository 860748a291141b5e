"""The cohort table as a file: CSV, and Parquet or Excel where their libraries are installed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lvseg.atomic import atomic_write, write_text
from lvseg.cohort.rows import COLUMNS, Row
from lvseg.errors import MissingExtraError, UsageError

#: Its name in the output folder.
TABLE = "cohort.csv"
#: Columns of whole numbers, and of text; all others are numbers.
_WHOLE = frozenset({"exit", "ed_phase", "es_phase", "slices", "phases"})
_TEXT = frozenset(
    {"study", "verdict", "error", "findings", "format", "model", "model_sha256", "lvseg"}
)


def write_table(rows: Sequence[Row], path: Path) -> Path:
    """Write rows of equal columns, whole or not at all, in the format that the name says.

    Empty cells are unknown values. Columns that are not :data:`COLUMNS` (covariates) are text.

    :raises UsageError: another format. MissingExtraError: its library is not installed.
    """
    write = _FORMATS.get(path.suffix.lower())
    if write is None:
        raise UsageError(
            f"expected a table ending in {', '.join(_FORMATS)}, found {path.name}: choose one"
        )
    write(rows, path)
    return path


def _names(rows: Sequence[Row]) -> list[str]:
    return list(rows[0] if rows else COLUMNS)


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    text = StringIO()
    table = csv.DictWriter(text, _names(rows), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def _kind(name: str) -> type[str] | type[int] | type[float]:
    if name in _WHOLE:
        return int
    return str if name in _TEXT or name not in COLUMNS else float


def _write_parquet(rows: Sequence[Row], path: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("a Parquet table", "table") from error
    kinds: dict[Any, Any] = {str: pyarrow.string(), int: pyarrow.int32(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds[_kind(name)]) for name in _names(rows)])
    table = pyarrow.Table.from_pylist(list(rows), schema=schema)
    with atomic_write(path) as temporary:
        parquet.write_table(table, temporary)


def _write_xlsx(rows: Sequence[Row], path: Path) -> None:
    try:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell
    except ImportError as error:
        raise MissingExtraError("an Excel table", "table") from error
    book = Workbook(write_only=True)
    sheet = book.create_sheet("cohort")
    sheet.freeze_panes = "B2"
    names = _names(rows)
    sheet.append(names)
    for row in rows:
        cells = [WriteOnlyCell(sheet, row[name]) for name in names]
        for cell in cells:
            if isinstance(cell.value, str):
                cell.data_type = "s"  # a text that begins with = is no formula
        sheet.append(cells)
    with atomic_write(path) as temporary:
        book.save(temporary)


_FORMATS: MappingProxyType[str, Callable[[Sequence[Row], Path], None]] = MappingProxyType(
    {".csv": _write_csv, ".parquet": _write_parquet, ".xlsx": _write_xlsx}
)
