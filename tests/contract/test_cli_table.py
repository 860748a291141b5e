"""`lvseg table`: the table of a folder of results, with a sheet and in other formats."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended


@pytest.fixture(scope="module")
def results(
    phantom_dicom: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output of a batch of which one study failed; read only."""
    from lvseg.cli import main

    folder = tmp_path_factory.mktemp("cohort")
    for name in ("p1", "p2"):
        shutil.copytree(phantom_dicom, folder / "in" / name)
    sources = [folder / "in" / name for name in ("p1", "p2", "p3")]
    places = ["-o", folder / "out", "--model", tiny_model]
    assert main(["segment", *map(str, [*sources, *places]), "--quiet"]) == 4
    return folder / "out"


@pytest.fixture
def out(results: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "out"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_is_that_of_the_batch(out: Path, lvseg_command: Callable[..., Ended]) -> None:
    before = {name: (out / name).read_bytes() for name in ("cohort.csv", "cohort.html")}
    for name in before:
        (out / name).unlink()
    ended = lvseg_command("table", out)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"3 studies, 1 failed: {out / 'cohort.csv'} {out / 'cohort.html'}\n"
    assert {name: (out / name).read_bytes() for name in before} == before
    found = rows(out / "cohort.csv")
    assert [(row["study"], row["exit"]) for row in found] == [("p1", "0"), ("p2", "0"), ("p3", "3")]
    assert "found nothing at p3" in found[2]["error"]
    assert found[0]["model"] == "tiny"
    assert float(found[0]["edv_ml"]) > 0


def test_a_sheet_is_joined_and_what_lacks_is_said(
    out: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("study,sex,age\np1,F,61\np3,M,40\np9,F,50\n")
    ended = lvseg_command("table", out, "--covariates", sheet, "-o", tmp_path / "t.csv")
    assert ended.status == 0
    assert ended.out.splitlines()[1:] == [
        "  warning: without a row in sheet.csv: 1: p2",
        "  warning: in sheet.csv without a study: 1: p9",
    ]
    assert [row["sex"] for row in rows(tmp_path / "t.csv")] == ["F", "", "M"]
    again = lvseg_command("table", out, "--covariates", sheet, "--json")
    document = again.document
    assert (document["studies"], document["failed"]) == (3, 1)
    assert (document["without_row"], document["without_study"]) == (["p2"], ["p9"])
    assert document["files"] == [str(out / "cohort.csv"), str(out / "cohort.html")]


def test_a_batch_joins_a_sheet_too(
    out: Path, tmp_path: Path, lvseg_command: Callable[..., Ended], tiny_model: Path
) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("study,group\nmissing-1,control\nmissing-2,case\nmissing-3,case\n")
    sources = [tmp_path / "missing-1", tmp_path / "missing-2"]
    places = ("-o", tmp_path / "new", "--model", tiny_model, "--covariates", sheet)
    ended = lvseg_command("segment", *sources, *places)
    assert ended.status == 4
    assert ended.out.splitlines()[-1] == "  warning: in sheet.csv without a study: 1: missing-3"
    document = lvseg_command("segment", *sources, *places, "--json").document
    assert (document["without_row"], document["without_study"]) == ([], ["missing-3"])
    assert [row["group"] for row in rows(tmp_path / "new" / "cohort.csv")] == ["control", "case"]


def test_a_sheet_for_one_study_is_refused(
    phantom_dicom: Path, tmp_path: Path, lvseg_command: Callable[..., Ended], tiny_model: Path
) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("study,group\nheart,case\n")
    places = ("-o", tmp_path / "new", "--model", tiny_model, "--covariates", sheet)
    ended = lvseg_command("segment", phantom_dicom, *places)
    assert ended.status == 2
    assert "two or more studies" in ended.err


def test_an_earlier_table_elsewhere_stays_without_overwrite(
    out: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("mine")
    ended = lvseg_command("table", out, "-o", file)
    assert ended.status == 2
    assert "--overwrite" in ended.err
    assert file.read_text() == "mine"
    assert lvseg_command("table", out, "-o", file, "--overwrite").status == 0


def test_a_folder_without_results_is_refused(
    tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        ended = lvseg_command("table", place)
        assert ended.status == 2
        assert ended.err.count("\n") == 1
    assert [*tmp_path.iterdir()] == []
