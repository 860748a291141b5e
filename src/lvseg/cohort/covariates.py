"""Covariates: a sheet with sex, age, size or group of each study, joined to the cohort table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lvseg.cohort.rows import COLUMNS, Row
from lvseg.sheet import KEY, Sheet, column_taken, read_sheet

#: Names that a line for people lists at most.
MOST_NAMES = 5


def read_covariates(path: Path) -> Sheet:
    """Read a sheet (:func:`lvseg.sheet.read_sheet`) whose columns can be joined to the table.

    :raises UsageError: as there, and for a column that the table has.
    """
    sheet = read_sheet(path)
    for name in sheet.columns:
        if name in COLUMNS:
            raise column_taken(path, name)
    return sheet


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


def joined(rows: Iterable[Row], covariates: Sheet) -> Joined:
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
