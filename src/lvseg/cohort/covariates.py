"""Covariates: a sheet with sex, age, size or group of each study, joined to the cohort table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from lvseg.cohort.rows import COLUMNS, Row
from lvseg.errors import UsageError

#: The column that names the study.
KEY = "study"
#: Names that a line for people lists at most.
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Covariates:
    """A sheet: its columns without that of the study, and study -> column -> text."""

    name: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]


def read_covariates(path: Path) -> Covariates:
    """Read a CSV sheet: comma, semicolon or tab; a header with ``study`` and any other columns.

    Texts stay as they are: what a sheet means by them is for those who read the table.

    :raises UsageError: unreadable, no column ``study``, a column twice or one that the table has, a
        study twice, a row that is longer than the header.
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
    if names.count(KEY) != 1:
        raise UsageError(
            f"expected one column '{KEY}' in the first row of {path}, found "
            f"{', '.join(names) or 'nothing'}: give the names of the study folders there"
        )
    columns = tuple(name for name in names if name != KEY)
    for name in columns:
        if columns.count(name) > 1 or name in COLUMNS or not name:
            raise UsageError(
                f"expected names of its own for the columns of {path}, found '{name}', which "
                "another column has: call it something else"
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
    return Covariates(path.name, columns, rows)


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows with the columns of a sheet after the study.

    :param without_row: studies that the sheet lacks; :param without_study: its names that are none.
    """

    rows: list[Row]
    without_row: tuple[str, ...]
    without_study: tuple[str, ...]

    def lines(self, sheet: str) -> list[str]:
        """Tell people what one side lacks, a line a side."""
        sides = (
            (self.without_row, f"without a row in {sheet}"),
            (self.without_study, f"in {sheet} without a study"),
        )
        return [
            f"  warning: {what}: {len(names)}: {', '.join(names[:MOST_NAMES])}"
            + (", ..." if len(names) > MOST_NAMES else "")
            for names, what in sides
            if names
        ]


def joined(rows: Iterable[Row], covariates: Covariates) -> Joined:
    """Join a sheet to the rows, by study."""
    whole, lacking = [], []
    names = set()
    for row in rows:
        study = str(row["study"])
        names.add(study)
        found = covariates.rows.get(study)
        if found is None:
            lacking.append(study)
        added = {name: (found or {}).get(name) or None for name in covariates.columns}
        whole.append({KEY: study, **added, **row})
    unknown = tuple(name for name in covariates.rows if name not in names)
    return Joined(whole, tuple(lacking), unknown)
