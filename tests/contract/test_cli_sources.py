"""Sources as people have them, on the command line: names, containers, two files of one heart."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended

from lvseg.cine import Cine, Mask
from lvseg.phantom import Truth
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
    assert written["study"]["source"] == str(tmp_path / "Coeur_é")


def test_files_of_one_name_are_called_after_their_patients(
    segment: Run, phantom: tuple[Cine, Mask, Truth], tmp_path: Path
) -> None:
    sources = [tmp_path / f"patient{number:03}" / "cine.nii.gz" for number in (1, 2)]
    for path in sources:
        path.parent.mkdir()
        write_cine_nifti(phantom[0], path)
    assert names(segment(*sources)) == ["patient001-cine", "patient002-cine"]
    assert names(segment(tmp_path, "--overwrite")) == ["patient001-cine", "patient002-cine"]
