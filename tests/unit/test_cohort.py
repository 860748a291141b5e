"""The cohort table: rows by hand, formats, a sheet joined; the page: order, pictures, links."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lvseg.cohort import (
    TABLE,
    by_name,
    failed_row,
    joined,
    read_covariates,
    read_rows,
    study_row,
    write_page,
    write_table,
)
from lvseg.cohort.histogram import histogram
from lvseg.cohort.page import to_html, worst_first
from lvseg.cohort.rows import COLUMNS, Row
from lvseg.errors import MissingExtraError, UsageError

DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "lvseg": "0.1.0",
    "model": {"name": "tiny", "sha256": "ab" * 32},
    "study": {
        "source": "/home/somebody/cohort/p1",
        "format": "dicom",
        "slices": 11,
        "phases": 20,
        "pixel_spacing_mm": [1.4, 1.3],
        "slice_spacing_mm": 9.6,
    },
    "ed_phase": 0,
    "es_phase": 8,
    "edv_ml": 140.0,
    "esv_ml": 60.0,
    "sv_ml": 80.0,
    "ef_percent": 57.14,
    "mass_g": None,
    "ef_percent_interval": [51.0, 62.5],
    "edv_ml_interval": None,
    "quality": {
        "verdict": "review",
        "expected_dice": 0.913,
        "findings": [
            {"code": "few-phases", "severity": "info", "text": "Few.", "slice": None},
            {"code": "gap-in-mask", "severity": "warning", "text": "A <gap>.", "slice": 3},
            {"code": "gap-in-mask", "severity": "warning", "text": "Another.", "slice": 4},
        ],
    },
    "seconds": {"read": 0.5, "total": 4.25},
    "slices_ed": [2, 8],
}


def study(name: str, **changes: Any) -> Row:
    return study_row(name, {**DOCUMENT, **changes})


def test_a_row_has_every_figure_under_its_unit_and_no_place_of_the_machine() -> None:
    row = study("p1")
    assert tuple(row) == COLUMNS
    known = {name: value for name, value in row.items() if value is not None}
    assert known == {
        "study": "p1",
        "verdict": "review",
        "exit": 0,
        "expected_dice": 0.913,
        "findings": "gap-in-mask few-phases",
        "ef_percent": 57.14,
        "ef_percent_low": 51.0,
        "ef_percent_high": 62.5,
        "edv_ml": 140.0,
        "esv_ml": 60.0,
        "sv_ml": 80.0,
        "ed_phase": 0,
        "es_phase": 8,
        "slices": 11,
        "phases": 20,
        "slice_spacing_mm": 9.6,
        "format": "dicom",
        "pixel_spacing_row_mm": 1.4,
        "pixel_spacing_column_mm": 1.3,
        "model": "tiny",
        "model_sha256": "ab" * 32,
        "lvseg": "0.1.0",
        "seconds": 4.25,
    }
    assert "somebody" not in str(row)


def test_a_document_that_lacks_everything_is_a_row_of_unknowns() -> None:
    """As of an older version; a folder with such a file is not taken."""
    row = study_row("p1", {"lvseg": "0.1.0"})
    known = {name: value for name, value in row.items() if value not in (None, "")}
    assert known == {"study": "p1", "exit": 0, "lvseg": "0.1.0"}


def folder_of(root: Path, name: str, **changes: Any) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "measurements.json").write_text(json.dumps({**DOCUMENT, **changes}), "utf-8")
    return folder


def test_rows_of_a_folder_are_its_results_and_what_failed(tmp_path: Path) -> None:
    folder_of(tmp_path, "p10")
    folder_of(tmp_path, "p9")
    folder_of(tmp_path, "again")
    folder_of(tmp_path, ".hidden")
    (tmp_path / "notes").mkdir()
    (tmp_path / "cohort.csv").write_text("old")
    failed = [failed_row("again", 3, "no longer"), failed_row("p2", 1, "a defect", 1.23456)]
    rows = by_name(read_rows(tmp_path, failed).values())
    assert [(row["study"], row["exit"]) for row in rows] == [
        ("again", 3),
        ("p2", 1),
        ("p9", 0),
        ("p10", 0),
    ]
    assert rows[0]["ef_percent"] is None
    assert (rows[1]["error"], rows[1]["seconds"]) == ("a defect", 1.235)


@pytest.mark.parametrize(
    "change",
    [
        {"quality": []},
        {"quality": {"verdict": "good", "findings": []}},
        {"quality": {"verdict": "pass", "findings": [{"code": "x"}]}},
        {"quality": {"verdict": "pass", "findings": [], "expected_dice": "high"}},
        {"study": "p1"},
        {"study": {"slices": "many"}},
        {"study": {"pixel_spacing_mm": 1.4}},
        {"ef_percent": "57"},
        {"edv_ml_interval": [1]},
        {"slices_ed": ["a", "b"]},
        {"model": "tiny"},
    ],
    ids=str,
)
def test_measurements_that_somebody_changed_are_a_row_that_says_so(
    change: dict[str, Any], tmp_path: Path
) -> None:
    folder_of(tmp_path, "p1", **change)
    (row,) = read_rows(tmp_path).values()
    assert (row["exit"], row["verdict"]) == (3, None)
    assert "found something else in measurements.json" in row["error"]
    assert "found something else" in to_html([row], tmp_path)


ROWS = [study("p1"), failed_row("p2", 3, 'a "word", and\na line')]


def test_a_csv_has_the_rows_and_empty_cells_for_what_is_unknown(tmp_path: Path) -> None:
    path = write_table(ROWS, tmp_path / TABLE)
    with path.open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(COLUMNS)
    assert (first["ef_percent"], first["mass_g"], first["exit"]) == ("57.14", "", "0")
    assert second["error"] == 'a "word", and\na line'
    assert [each.name for each in tmp_path.iterdir()] == [TABLE]


def test_parquet_and_excel_hold_the_same_with_their_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    openpyxl = pytest.importorskip("openpyxl")
    rows = [{"study": "p1", "sex": "F", **study("p1")}, {"study": "p2", "sex": "=1+1", **ROWS[1]}]
    table = parquet.read_table(write_table(rows, tmp_path / "a.parquet"))
    assert table.to_pylist() == rows
    kinds = {name: str(table.schema.field(name).type) for name in ("sex", "exit", "mass_g")}
    assert kinds == {"sex": "string", "exit": "int32", "mass_g": "double"}
    sheet = openpyxl.load_workbook(write_table(rows, tmp_path / "a.xlsx")).active
    names, *values = sheet.iter_rows(values_only=True)
    assert [dict(zip(names, each, strict=True)) for each in values] == rows
    assert sheet["B3"].data_type == "s"  # no formula


@pytest.mark.parametrize("name", ["a.txt", "a"])
def test_another_format_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv, \.parquet, \.xlsx"):
        write_table(ROWS, tmp_path / name)


@pytest.mark.parametrize(("name", "library"), [("a.parquet", "pyarrow"), ("a.xlsx", "openpyxl")])
def test_a_format_without_its_library_says_what_to_install(
    name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingExtraError, match=r"lvseg\[table\]"):
        write_table(ROWS, tmp_path / name)


@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_a_sheet_is_joined_by_study_and_both_sides_tell_what_lacks(
    comma: str, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.csv"
    lines = [("sex", "study", "age"), ("F", " p1 ", "61"), ("M", "p7", ""), ("", "", "")]
    sheet.write_text("\ufeff" + "\r\n".join(comma.join(line) for line in lines), "utf-8")
    found = joined(ROWS, read_covariates(sheet))
    rows = found.rows
    assert list(rows[0])[:4] == ["study", "sex", "age", "verdict"]
    assert [(row["study"], row["sex"], row["age"]) for row in rows] == [
        ("p1", "F", "61"),
        ("p2", None, None),
    ]
    assert (found.without_row, found.without_study) == (("p2",), ("p7",))
    assert found.lines("s.csv") == [
        "  warning: without a row in s.csv: 1: p2",
        "  warning: in s.csv without a study: 1: p7",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "found nothing"),
        ("name,sex\np1,F\n", "one column 'study'"),
        ("study,study\np1,p1\n", "one column 'study'"),
        ("study,edv_ml\np1,1\n", "found 'edv_ml'"),
        ("study,sex,sex\np1,F,F\n", "found 'sex'"),
        ("study,\np1,F\n", "found ''"),
        ("study,sex\np1,F\np1,M\n", "found p1 twice"),
        ("study,sex\np1,F,x\n", "row 2"),
    ],
)
def test_a_sheet_that_does_not_fit_is_refused_by_name(
    text: str, named: str, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=re.escape(named)):
        read_covariates(sheet)


def test_a_sheet_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the sheet"):
        read_covariates(tmp_path / "nowhere.csv")
    (tmp_path / "a.csv").write_bytes("study,grö\n".encode("latin-1"))
    with pytest.raises(UsageError, match="CSV UTF-8"):
        read_covariates(tmp_path / "a.csv")


def test_bars_hold_every_value_once_and_end_at_round_numbers() -> None:
    # 10, 12, 14, 26, 40: a spread of 30 in at most 4 bars makes bars of 10
    chart = histogram([10.0, 12.0, 14.0, 26.0, 40.0], "EDV", "ml")
    assert chart is not None
    assert [(bar.low, bar.high, bar.count) for bar in chart.bars] == [
        (10, 20, 3),
        (20, 30, 1),
        (40, 50, 1),
    ]
    assert chart.words == "median 14.0, middle half 12.0 to 26.0, 5 studies"
    assert [words for _, words in chart.x_ticks] == ["10", "20", "30", "40", "50"]
    heights = [bar.height for bar in chart.bars]
    assert heights[0] == pytest.approx(3 * heights[1], abs=0.3)
    assert chart.bars[0].x < chart.median < chart.bars[0].x + chart.bars[0].width


def test_equal_values_are_one_bar_and_one_value_is_no_distribution() -> None:
    chart = histogram([5.0, 5.0, 5.0], "EF", "%")
    assert chart is not None
    assert [bar.count for bar in chart.bars] == [3]
    assert histogram([5.0], "EF", "%") is None


def with_verdict(name: str, verdict: str, dice: float | None) -> Row:
    quality = {"verdict": verdict, "expected_dice": dice, "findings": []}
    return study(name, quality=quality)


def test_the_worst_comes_first() -> None:
    rows = [
        with_verdict("good", "pass", 0.9),
        with_verdict("fair", "pass", 0.8),
        with_verdict("look", "review", 0.95),
        with_verdict("unknown", "review", None),
        with_verdict("bad", "fail", 0.9),
        failed_row("gone", 3, "why"),
    ]
    order = [row["study"] for row in worst_first(rows)]
    assert order == ["gone", "bad", "unknown", "look", "fair", "good"]


def test_the_page_shows_every_study_with_link_and_pictures_and_asks_nobody(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "p 1")
    (folder / "overlays").mkdir()
    # a montage of 11 slices: 4 columns, 3 rows, tiles of 240 with 2 between, 30 above; slice 5,
    # the middle of 2..8, is the second of the second row
    montage = np.zeros((30 + 3 * 242 - 2, 4 * 242 - 2, 3), np.uint8)
    montage[30 + 242 : 30 + 242 + 240, 242 : 242 + 240] = (250, 40, 40)
    for name in ("ed", "es"):
        Image.fromarray(montage).save(folder / "overlays" / f"{name}.png")
    (folder / "report.html").write_text("report")
    folder_of(tmp_path, "p2")
    rows = [*read_rows(tmp_path).values(), failed_row("p3", 3, "found <none>")]
    path = write_page(rows, tmp_path)
    html = path.read_text("utf-8")
    assert html == to_html(rows, tmp_path)
    assert re.findall(r'<a href="([^"]*)"', html) == ["p%201/report.html"]
    assert "found &lt;none&gt;" in html
    assert "A &lt;gap&gt;." in html
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', html)
    assert len(pictures) == 2
    from base64 import b64decode
    from io import BytesIO

    with Image.open(BytesIO(b64decode(pictures[0]))) as thumbnail:
        pixels = np.asarray(thumbnail)
    assert pixels.shape == (128, 128, 3)
    assert pixels[..., 0].min() > 200
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html


def test_a_broken_overlay_is_no_picture(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "p1")
    (folder / "overlays").mkdir()
    (folder / "overlays" / "ed.png").write_bytes(b"no picture")
    assert "<img" not in to_html(list(read_rows(tmp_path).values()), tmp_path)


def test_a_page_without_any_result_is_a_page(tmp_path: Path) -> None:
    html = to_html([failed_row("p1", 3, "why")], tmp_path)
    assert "no ejection fraction known" in html
