"""Reference ranges: tables of what healthy hearts measure, and where a result lies in one.

A table is a JSON file (docs/reference.md). It is used only where sex and age are known and its
contours were drawn by the convention of the mask, and only when it is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from lvseg.bounds import MOST_JSON_BYTES, read_bytes
from lvseg.errors import UsageError
from lvseg.issues import Issue
from lvseg.results import INDEXED, LVMeasurements, Range, Reference
from lvseg.subject import BsaFormula, Sex, Subject

#: How the masks of our models count papillary muscles and trabeculae.
CONVENTION = "counted as cavity"
#: Values that a table may have.
VALUES = ("edv_ml", "esv_ml", "sv_ml", "ef_percent", "mass_g", *INDEXED.values())
_SEX_WORDS = {"F": "a woman", "M": "a man"}
_FOLDER = "tables"
_Pair = tuple[FiniteFloat, FiniteFloat]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Where the figures of a table come from.

    :param tables: which of its tables; :param copied: from where, when, and how it was checked;
    :param checked: whether two people compared every figure with the authors' own page.
    """

    citation: str
    doi: str
    population: str
    tables: str
    licence: str
    copied: str
    checked: bool


class Row(_Strict):
    """One range: the value, for whom, and its limits; ages are whole years, both included."""

    value: Literal[
        "edv_ml",
        "esv_ml",
        "sv_ml",
        "ef_percent",
        "mass_g",
        "edv_ml_per_m2",
        "esv_ml_per_m2",
        "sv_ml_per_m2",
        "mass_g_per_m2",
    ]
    sex: Sex
    ages: tuple[int, int]
    range: _Pair

    @model_validator(mode="after")
    def _ascends(self) -> Row:
        if self.ages[0] > self.ages[1] or self.range[0] >= self.range[1]:
            raise ValueError("expected ages and limits that ascend")
        return self


class RangeTable(_Strict):
    """A table of reference ranges.

    :param limits: what the limits are, as "95 % prediction interval".
    :param papillary_muscles: how they were counted; only :data:`CONVENTION` fits our masks.
    :param bsa_formula: of the values per square metre.
    :param notice: what everybody who sees a range must know.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str
    title: str
    limits: str
    papillary_muscles: str
    bsa_formula: BsaFormula
    notice: str
    source: Source
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _once(self) -> RangeTable:
        seen: set[tuple[str, str, int]] = set()
        for row in self.rows:
            ages = {(row.value, row.sex, age) for age in range(row.ages[0], row.ages[1] + 1)}
            if ages & seen:
                raise ValueError(f"expected one range of {row.value} for each sex and age")
            seen |= ages
        return self


def shipped_tables() -> tuple[str, ...]:
    """Names of the tables that come with lvseg."""
    folder = resources.files("lvseg").joinpath(_FOLDER)
    return tuple(sorted(each.name[:-5] for each in folder.iterdir() if each.name.endswith(".json")))


@lru_cache(maxsize=4)
def load_table(name_or_path: str) -> RangeTable:
    """A table by its shipped name or from a JSON file.

    :raises UsageError: there is none, or it breaks the form (docs/reference.md).
    """
    if name_or_path in shipped_tables():
        text = resources.files("lvseg").joinpath(_FOLDER, f"{name_or_path}.json").read_text("utf-8")
    else:
        try:
            text = read_bytes(Path(name_or_path), MOST_JSON_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"expected reference ranges by name ({', '.join(shipped_tables())}) or as a JSON "
                f"file, found {name_or_path}"
            ) from error
    try:
        return RangeTable.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise UsageError(
            f"in the reference ranges {name_or_path}, at {where}: {first['msg']}; see "
            "docs/reference.md"
        ) from error


def compare(
    values: LVMeasurements,
    subject: Subject,
    table: RangeTable,
    *,
    convention: str | None,
    bsa_formula: BsaFormula = "mosteller",
) -> tuple[Reference | None, tuple[Issue, ...]]:
    """Where the values lie in the ranges for the sex and the age of the person.

    :param convention: how the mask counts papillary muscles; None = nobody knows.
    :param bsa_formula: that of the values per square metre; another than the table's gives none.
    :returns: the ranges, and None with an issue ``no-reference`` that says what is missing.
    """
    missing = []
    if convention is None:
        missing.append("how the mask counts papillary muscles is not known")
    elif convention != table.papillary_muscles:
        missing.append("the table counts papillary muscles in another way than the mask")
    if subject.sex is None:
        missing.append("the sex is not known")
    if subject.age_years is None:
        missing.append("the age is not known")
    if subject.sex is None or subject.age_years is None or missing:
        return None, (_none(table, " and ".join(missing)),)
    age = int(subject.age_years)
    rows: dict[str, Row] = {
        row.value: row
        for row in table.rows
        if row.sex == subject.sex and row.ages[0] <= age <= row.ages[1]
    }
    if not rows:
        return None, (_none(table, f"it has none for {_SEX_WORDS[subject.sex]} of {age} years"),)
    per_m2 = set(INDEXED.values()) if bsa_formula != table.bsa_formula else set()
    ranges: dict[str, Range] = {
        name: Range(*rows[name].range, inside=rows[name].range[0] <= value <= rows[name].range[1])
        for name in VALUES
        if name in rows and name not in per_m2 and (value := getattr(values, name)) is not None
    }
    ages = next(iter(rows.values())).ages
    source = table.source
    return Reference(
        table.name,
        table.title,
        table.limits,
        table.notice,
        source.citation,
        source.doi,
        source.checked,
        subject.sex,
        ages,
        ranges,
    ), ()


def _none(table: RangeTable, why: str) -> Issue:
    return Issue("no-reference", "info", f"No range of {table.title} is shown: {why}.")
