"""What an edited mask was made from: the folder it lies in, the one that is named, or a SEG."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from seg_maker import result_of, study

from lvseg.errors import UsageError
from lvseg.read import read_predecessor
from lvseg.write.segmentation import write_segmentations


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A result with a SEG, and the UID of its study."""
    root = tmp_path_factory.mktemp("result")
    cine, headers = study(root / "in")
    write_segmentations(result_of(cine), root / "out", headers)
    (root / "out" / "measurements.json").write_text('{"lvseg": "1", "version": 3}', "utf-8")
    assert cine.source.study_uid is not None
    return root / "out", cine.source.study_uid


def test_the_folder_of_the_mask_or_the_one_that_is_named(
    folder: tuple[Path, str], tmp_path: Path
) -> None:
    out, uid = folder
    for found, issues in (
        read_predecessor(out / "segmentation.nii.gz", study_uid=uid),
        read_predecessor(tmp_path / "edited.nii.gz", out, study_uid=uid),
        read_predecessor(out / "segmentation.dcm", study_uid=uid),
    ):
        assert issues == ()
        assert found is not None
        assert found.version == 3
        assert [each.study_uid for each in found.segmentations] == [uid]
        assert found.reports == ()


def test_a_segmentation_alone_is_one(folder: tuple[Path, str], tmp_path: Path) -> None:
    out, uid = folder
    (tmp_path / "edited.dcm").write_bytes((out / "segmentation.dcm").read_bytes())
    found, _ = read_predecessor(tmp_path / "edited.dcm", study_uid=uid)
    assert found is not None
    assert (found.version, len(found.segmentations)) == (None, 1)


def test_a_mask_from_elsewhere_has_none(tmp_path: Path) -> None:
    assert read_predecessor(tmp_path / "a.nii.gz") == (None, ())
    for text in ("{", "[]", json.dumps({"edv_ml": 3})):
        (tmp_path / "measurements.json").write_text(text, "utf-8")
        assert read_predecessor(tmp_path / "a.nii.gz") == (None, ())
        with pytest.raises(UsageError, match="predecessor"):
            read_predecessor(tmp_path / "a.nii.gz", tmp_path)


def test_objects_of_another_study_are_left_out(folder: tuple[Path, str]) -> None:
    found, (issue,) = read_predecessor(folder[0] / "a.nii.gz", study_uid="1.2.3")
    assert found is None
    assert issue.code == "other-study"
