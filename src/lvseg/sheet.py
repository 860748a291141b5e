"""Sheets: CSV tables with one row a study, such as sex, age and body size."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from lvseg.errors import UsageError

#: The column that names the study.
KEY = "study"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Its columns without that of the study, and study -> column -> text."""

    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]


def read_sheet(path: Path) -> Sheet:
    """Read a CSV sheet: comma, semicolon or tab; a header with ``study`` and any other columns.

    Texts stay as they are: what a sheet means by them is for those who read it.

    :raises UsageError: unreadable, no column ``study``, a column twice, a study twice, or a row
        that is longer than the header.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the sheet {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"expected UTF-8 text in the sheet {path}, found other bytes: save it as CSV UTF-8"
        ) from error
    header, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=header.count)
    table = [row for row in csv.reader(StringIO(text), delimiter=delimiter) if any(row)]
    names = [name.strip() for name in table[0]] if table else []
    if names.count(KEY) != 1 or len(set(names)) < len(names):
        raise UsageError(
            f"expected one column '{KEY}' and each other once in the first row of {path}, found "
            f"{', '.join(names) or 'nothing'}: give the names of the study folders there"
        )
    rows: dict[str, Mapping[str, str]] = {}
    for number, cells in enumerate(table[1:], start=2):
        if len(cells) > len(names):
            raise UsageError(
                f"expected {len(names)} cells in row {number} of {path}, found {len(cells)}"
            )
        found = dict(zip(names, (cell.strip() for cell in cells), strict=False))
        study = found.pop(KEY, "")
        if study in rows:
            raise UsageError(f"expected every study once in {path}, found {study} twice")
        rows[study] = found
    return Sheet(tuple(name for name in names if name != KEY), rows)
