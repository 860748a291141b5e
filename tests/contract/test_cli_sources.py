"""Sources as people have them, on the command line: names, containers, two files of one heart."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Ended

from lvseg.cine import Cine, Mask
from lvseg.phantom import Truth
from lvseg.phantom.dicom_export import write_dicom_cine
from lvseg.write import write_cine_nifti

Run = Callable[..., Ended]


@pytest.fixture
def segment(lvseg_command: Run, tiny_model: Path, tmp_path: Path) -> Run:
    """``lvseg segment --json`` of sources into ``tmp_path/out``; the JSON is in ``document``."""

    def run(*arguments: object) -> Ended:
        places = ("-o", tmp_path / "out", "--model", tiny_model, "--json")
        return lvseg_command("segment", *arguments, *places)

    return run


def volumes(ended: Ended) -> list[tuple[float, float]]:
    assert ended.status == 0, ended.err
    found = [each["measurements"] for each in ended.document["studies"]]
    return [(each["edv_ml"], each["esv_ml"]) for each in found]


def names(ended: Ended) -> list[str]:
    return [Path(each["folder"]).name for each in ended.document["studies"]]


def test_a_folder_name_that_is_no_utf8_becomes_a_readable_one(
    segment: Run, phantom_dicom: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"Coeur_\xe9")
    shutil.copytree(phantom_dicom, odd)
    ended = segment(odd, phantom_dicom)
    assert volumes(ended)[0] == volumes(ended)[1]
    assert names(ended) == ["Coeur_é", "heart"]
    assert ended.document["studies"][0]["source"] == str(tmp_path / "Coeur_é")
    written = json.loads((tmp_path / "out" / "Coeur_é" / "measurements.json").read_text("utf-8"))
    assert written["study"]["source"] == "Coeur_é"


def test_files_of_one_name_are_called_after_their_patients(
    segment: Run, phantom: tuple[Cine, Mask, Truth], tmp_path: Path
) -> None:
    sources = [tmp_path / f"patient{number:03}" / "cine.nii.gz" for number in (1, 2)]
    for path in sources:
        path.parent.mkdir()
        write_cine_nifti(phantom[0], path)
    assert names(segment(*sources)) == ["patient001-cine", "patient002-cine"]
    assert names(segment(tmp_path, "--overwrite")) == ["patient001-cine", "patient002-cine"]


def one_phase(cine: Cine, phase: int, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_cine_nifti(replace(cine, frames=cine.frames[[phase]], times_ms=None), path)
    return path


def test_two_files_are_one_study_with_an_ejection_fraction(
    segment: Run, phantom: tuple[Cine, Mask, Truth], tmp_path: Path
) -> None:
    cine, mask, _ = phantom
    smallest = int(mask.labels.astype(bool).sum(axis=(1, 2, 3)).argmin())
    ed = one_phase(cine, 0, tmp_path / "in" / "patient001" / "ED_image.nii.gz")
    es = one_phase(cine, smallest, tmp_path / "in" / "patient001" / "ES_image.nii.gz")
    given = segment("--pair", f"ED={ed}", "--pair", f"ES={es}")
    assert names(given) == ["patient001"]
    (study,) = given.document["studies"]
    edv, esv = volumes(given)[0]
    assert study["measurements"]["ef_percent"] == pytest.approx(100 * (edv - esv) / edv, abs=0.02)
    assert (study["measurements"]["ed_phase"], study["measurements"]["es_phase"]) == (0, 1)
    found = segment(tmp_path / "in", "--overwrite")
    assert volumes(found) == volumes(given)
    assert names(found) == ["patient001"]


@pytest.mark.parametrize(
    "pair", [["ED=a.nii"], ["ED=a.nii", "ED=b.nii"], ["ED=a", "XX=b"], ["a", "b"], ["ED=", "ES=b"]]
)
def test_half_a_pair_is_wrong_usage(segment: Run, pair: list[str]) -> None:
    ended = segment(*(part for each in pair for part in ("--pair", each)))
    assert ended.status == 2
    assert "expected --pair ED=FILE and --pair ES=FILE" in ended.err


def test_no_source_at_all_is_wrong_usage(segment: Run) -> None:
    ended = segment()
    assert ended.status == 2
    assert "expected a SOURCE" in ended.err


def test_studies_of_one_folder_are_told_apart_in_json_also_those_that_fail(
    segment: Run, phantom: tuple[Cine, Mask, Truth], tmp_path: Path
) -> None:
    """Three studies; the last has lost all slices but one phase of one, and what remains of it."""
    for seed, name in enumerate(("p1", "p2", "p3")):
        write_dicom_cine(phantom[0], tmp_path / "in" / name / "dicom", seed=seed)
    first, *others = sorted((tmp_path / "in" / "p3" / "dicom").iterdir())
    for path in others:
        path.unlink()
    first.write_bytes(first.read_bytes()[:2000])
    ended = segment(tmp_path / "in")
    assert ended.status == 4
    studies = ended.document["studies"]
    told = {each["study"]: (each["source"], each["exit"]) for each in studies}
    sources = {name: str(tmp_path / "in" / name / "dicom") for name in ("p1", "p2", "p3")}
    assert told == {"p1": (sources["p1"], 0), "p2": (sources["p2"], 0), "p3": (sources["p3"], 3)}
    assert [each["folder"] for each in studies if each["study"] == "p3"] == [None]
    for each in studies[:2]:
        if each["exit"] == 0:
            assert each["measurements"]["study"]["source"] == Path(each["source"]).name
