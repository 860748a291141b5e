"""The manifest of a study folder: SHA-256 of every file, and what has changed since."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lvseg.errors import AlteredResultError, ReadError
from lvseg.formats import MANIFEST, MEASUREMENTS
from lvseg.output import OutputOptions, check_manifest, study_folders, write_study
from lvseg.output.checksums import write_manifest
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import assess
from lvseg.results import StudyResult

SMALL = PhantomOptions(phases=3, slices=4, rows=64, columns=56, pixel_spacing_mm=(3.0, 2.6))
OPTIONS = OutputOptions(("nifti", "png", "contours"))


@pytest.fixture(scope="module")
def result() -> StudyResult:
    cine, mask, _ = beating_ventricle(SMALL)
    return assess(cine, mask)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two files, one of them in a folder."""
    folder = tmp_path / "study"
    (folder / "overlays").mkdir(parents=True)
    (folder / MEASUREMENTS).write_text('{"edv_ml": 1.0, "seconds": {"read": 0.5}}')
    (folder / "overlays" / "ed.png").write_bytes(b"abc")
    write_manifest(folder)
    return folder


def test_the_manifest_holds_sizes_and_hashes_worked_out_by_hand(made: Path) -> None:
    document = json.loads((made / MANIFEST).read_text())
    assert list(document["files"]) == [MEASUREMENTS, "overlays/ed.png"]
    # SHA-256 of "abc": FIPS 180-4, example B.1
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert document["files"]["overlays/ed.png"] == {"bytes": 3, "sha256": sha256}
    # the whole: "<sha256>  <name>" a line, the measurements without their seconds
    lasting = hashlib.sha256(b'{"edv_ml": 1.0}').hexdigest()
    whole = f"{lasting}  {MEASUREMENTS}\n{sha256}  overlays/ed.png\n".encode()
    assert document["result_sha256"] == hashlib.sha256(whole).hexdigest()


def test_a_folder_as_it_was_written_is_good(made: Path) -> None:
    found = check_manifest(made)
    assert found.good
    assert found.files == 2
    found.require_good()
    (made / "overlays" / ".DS_Store").write_bytes(b"of a file manager")
    assert check_manifest(made).good


def test_changed_missing_and_extra_files_are_named(made: Path) -> None:
    content = (made / MEASUREMENTS).read_bytes()
    (made / MEASUREMENTS).write_bytes(content.replace(b"1.0", b"2.0"))  # of the same size
    (made / "overlays" / "ed.png").unlink()
    (made / "overlays" / "es.png").write_bytes(b"")
    found = check_manifest(made)
    assert (found.changed, found.missing, found.extra) == (
        (MEASUREMENTS,),
        ("overlays/ed.png",),
        ("overlays/es.png",),
    )
    text = "changed: measurements.json; missing: overlays/ed.png; extra: overlays/es.png; "
    with pytest.raises(AlteredResultError, match=text) as caught:
        found.require_good()
    assert caught.value.exit_code == 3


def test_a_link_to_a_folder_is_an_extra_file_and_is_not_followed(made: Path) -> None:
    (made / "loop").symlink_to(made, target_is_directory=True)
    assert check_manifest(made).extra == ("loop",)


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", '{"files": {"a": 1}}', '{"files": ["a"]}', '"files"']
)
def test_a_manifest_that_says_nothing_is_one_named_error(text: str | None, made: Path) -> None:
    if text is None:
        (made / MANIFEST).unlink()
    else:
        (made / MANIFEST).write_text(text)
    with pytest.raises(AlteredResultError, match=r"manifest\.json.*--overwrite"):
        check_manifest(made)


def test_study_folders_are_found_in_an_output_folder(made: Path, tmp_path: Path) -> None:
    assert study_folders(made) == (made,)
    (tmp_path / ".study.0123456789ab.part").mkdir()
    (tmp_path / ".study.0123456789ab.part" / MEASUREMENTS).write_text("{}")
    (tmp_path / "cohort").mkdir()
    assert study_folders(tmp_path) == (made,)
    with pytest.raises(ReadError, match="lvseg segment"):
        study_folders(tmp_path / "cohort")
    with pytest.raises(ReadError):
        study_folders(tmp_path / "absent")


def test_a_study_is_written_with_its_manifest(tmp_path: Path, result: StudyResult) -> None:
    folder = tmp_path / "study"
    write_study(result, folder, OPTIONS)
    found = check_manifest(folder)
    assert found.good
    there = {path for path in folder.rglob("*") if path.is_file()}
    assert found.files == len(there) - 1  # all but the manifest itself


def test_the_same_result_has_the_same_bytes_but_for_the_seconds(
    tmp_path: Path, result: StudyResult
) -> None:
    for name, seconds in (("first", 1.0), ("second", 2.0)):
        write_study(replace(result, seconds={"read": seconds}), tmp_path / name, OPTIONS)
    first, second = (json.loads((tmp_path / n / MANIFEST).read_text()) for n in ("first", "second"))
    assert first["result_sha256"] == second["result_sha256"]
    assert first["files"].keys() == second["files"].keys()
    differ = {name for name, facts in first["files"].items() if second["files"][name] != facts}
    assert differ == {MEASUREMENTS}


def test_files_of_the_user_are_carried_over_and_told(tmp_path: Path, result: StudyResult) -> None:
    folder = tmp_path / "study"
    write_study(result, folder, OPTIONS)
    (folder / "notes.txt").write_text("mine")
    write_study(result, folder, OPTIONS, overwrite=True)
    assert check_manifest(folder).extra == ("notes.txt",)
