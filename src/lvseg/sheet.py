"""Sheets: CSV tables with one row a study, such as sex, age and body size."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from lvseg.bounds import MOST_JSON_BYTES, read_bytes
from lvseg.errors import UsageError

#: The column that names the study.
KEY = "study"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Name of the file, its columns without that of the study, and study -> column -> text."""

    name: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]


def read_sheet(path: Path) -> Sheet:
    """Read a CSV sheet: comma, semicolon or tab; a header with ``study`` and any other columns.

    Texts stay as they are: what a sheet means by them is for those who read it.

    :raises UsageError: unreadable, no column ``study``, a column twice or without a name, a study
        twice, or a row that is longer than the header.
    """
    try:
        text = read_bytes(path, MOST_JSON_BYTES).decode("utf-8-sig")
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
    if names.count(KEY) != 1:
        raise UsageError(
            f"expected one column '{KEY}' in the first row of {path}, found "
            f"{', '.join(names) or 'nothing'}: give the names of the study folders there"
        )
    columns = tuple(name for name in names if name != KEY)
    for name in columns:
        if columns.count(name) > 1 or not name:
            raise column_taken(path, name)
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
    return Sheet(path.name, columns, rows)


def column_taken(path: Path, name: str) -> UsageError:
    """What to say of a column whose name another one has."""
    return UsageError(
        f"expected names of its own for the columns of {path}, found '{name}', which another "
        "column has: call it something else"
    )
