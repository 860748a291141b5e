"""Fingerprints of a study's files: what changes them and what does not."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvseg.read import StudyRef, byte_fingerprint, find_studies, pair_ref, quick_fingerprint


def picture(path: Path, value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 36), value, np.uint8)).save(path)
    return path


def ref(path: Path) -> StudyRef:
    (found,) = find_studies(path)
    return found


def test_a_copy_in_another_folder_has_the_bytes_of_the_first_and_its_times_tell(
    tmp_path: Path,
) -> None:
    first = picture(tmp_path / "a" / "x.png")
    (tmp_path / "b").mkdir()
    kept = shutil.copy2(first, tmp_path / "b" / "x.png")
    assert quick_fingerprint(ref(kept)) == quick_fingerprint(ref(first))
    os.utime(kept, (1, 1))
    assert quick_fingerprint(ref(kept)) != quick_fingerprint(ref(first))
    assert byte_fingerprint(ref(kept)) == byte_fingerprint(ref(first))


def test_another_byte_is_another_study(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png")
    before = quick_fingerprint(ref(path)), byte_fingerprint(ref(path))
    picture(path, 8)
    os.utime(path, (1, 1))
    after = quick_fingerprint(ref(path)), byte_fingerprint(ref(path))
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_member_of_an_archive_has_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(path, "deep/x.png")
    packed = ref(tmp_path / "x.zip")
    assert byte_fingerprint(packed) == byte_fingerprint(ref(path))
    assert quick_fingerprint(packed) != quick_fingerprint(ref(path))


def test_which_file_is_end_diastole_counts(tmp_path: Path) -> None:
    ed, es = picture(tmp_path / "ed.png", 1), picture(tmp_path / "es.png", 2)
    assert byte_fingerprint(pair_ref(ed, es)) != byte_fingerprint(pair_ref(es, ed))
    assert quick_fingerprint(pair_ref(ed, es)) != quick_fingerprint(pair_ref(es, ed))


def test_both_files_of_a_nifti_pair_count(tmp_path: Path) -> None:
    header, image = tmp_path / "a.hdr", tmp_path / "a.img"
    header.write_bytes((348).to_bytes(4, "little") + bytes(340) + b"ni1\0")
    image.write_bytes(b"1234")
    before = quick_fingerprint(ref(header)), byte_fingerprint(ref(header))
    image.write_bytes(b"1235")
    os.utime(image, (1, 1))
    assert quick_fingerprint(ref(header)) != before[0]
    assert byte_fingerprint(ref(header)) != before[1]


def test_a_file_that_is_gone_is_an_error_of_the_system(tmp_path: Path) -> None:
    gone = ref(picture(tmp_path / "x.png"))
    gone_path = tmp_path / "x.png"
    gone_path.unlink()
    with pytest.raises(FileNotFoundError):
        quick_fingerprint(gone)
