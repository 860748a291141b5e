"""ED and ES in two files: found by name or given, joined on one grid or refused by name."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_maker import SHORT_AXIS, grey, reoriented, save

from lvseg.cine import Mask
from lvseg.errors import GeometryMismatchError, LabelMapError
from lvseg.pipeline import assess
from lvseg.read import StudyRef, find_studies, list_series, pair_ref, read_study
from lvseg.write import write_mask

SHAPE = (24, 20, 5)
ED, ES = grey(*SHAPE), grey(*SHAPE) + np.int16(3)


def refs(folder: Path) -> dict[str, StudyRef]:
    return {ref.name: ref for ref in find_studies(folder)}


def frames(ref: StudyRef) -> np.ndarray:
    return read_study(ref).short_axis().frames


BOTH = np.stack([ED, ES]).transpose(0, 3, 2, 1)


@pytest.mark.parametrize(
    ("names", "study"),
    [
        (("ED_image.nii.gz", "ES_image.nii.gz"), "p1"),
        (("ed.nii", "es.nii"), "p1"),
        (("heart7-ED.nii.gz", "heart7-ES.nii.gz"), "heart7"),
        (("A1_ED_sax.nii", "A1_ES_sax.nii"), "A1_sax"),
    ],
)
def test_two_files_with_the_words_ed_and_es_are_one_study(
    tmp_path: Path, names: tuple[str, str], study: str
) -> None:
    for name, data in zip(names, (ED, ES), strict=True):
        save(tmp_path / "p1" / name, data)
    found = refs(tmp_path)
    assert list(found) == [study]
    np.testing.assert_array_equal(frames(found[study]), BOTH)
    cine = read_study(found[study]).short_axis()
    assert cine.source.phase_names == ("ED", "ES")
    assert cine.times_ms is None
    assert [issue.code for issue in cine.issues] == ["two-files"]
    (row,) = list_series(tmp_path)
    assert (row.files, row.phases, row.chosen) == (2, 2, True)


def test_the_masks_beside_the_images_are_a_pair_of_their_own_and_no_image(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        for phase, data in (("ED", ED), ("ES", ES)):
            save(tmp_path / patient / f"{phase}_image.nii.gz", data)
            save(tmp_path / patient / f"{phase}_lv.nii.gz", (data % 2).astype(np.uint8))
    found = refs(tmp_path)
    assert list(found) == ["p1", "p1-lv", "p2", "p2-lv"]
    np.testing.assert_array_equal(frames(found["p2"]), BOTH)
    with pytest.raises(LabelMapError, match="ED_lv"):
        read_study(found["p1-lv"])


def acdc(folder: Path, *, info: bool = True) -> Path:
    """A patient as ACDC ships it: end-diastole need not be the first frame."""
    save(folder / "patient001_frame12.nii.gz", ED)
    save(folder / "patient001_frame01.nii.gz", ES)
    save(folder / "patient001_4d.nii.gz", np.stack([ES, ED, ES], axis=-1))
    if info:
        (folder / "Info.cfg").write_text("ED: 12\nES: 1\nGroup: DCM\nHeight: 184.0\n")
    return folder


def test_acdc_says_in_a_file_which_frame_is_which(tmp_path: Path) -> None:
    found = refs(acdc(tmp_path / "patient001"))
    assert list(found) == ["patient001_4d", "patient001"]
    np.testing.assert_array_equal(frames(found["patient001"]), BOTH)
    assert frames(found["patient001_4d"]).shape[0] == 3


def test_frames_that_nothing_names_stay_single(tmp_path: Path) -> None:
    found = refs(acdc(tmp_path / "patient001", info=False))
    assert len(found) == 3
    assert all(ref.pair is None for ref in found.values())


def test_a_pair_in_an_archive(tmp_path: Path) -> None:
    acdc(tmp_path / "patient001")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as out:
        for path in (tmp_path / "patient001").iterdir():
            out.write(path, f"x/patient001/{path.name}")
    found = refs(tmp_path / "all.zip")
    np.testing.assert_array_equal(frames(found["patient001"]), BOTH)


def test_one_alone_two_of_one_phase_and_other_folders_are_no_pair(tmp_path: Path) -> None:
    save(tmp_path / "a" / "ED_image.nii.gz", ED)
    save(tmp_path / "b" / "ES_image.nii.gz", ES)
    save(tmp_path / "c" / "ED_image.nii.gz", ED)
    save(tmp_path / "c" / "ED_image.nii", ED)
    save(tmp_path / "c" / "ES_image.nii", ES)
    assert all(ref.pair is None for ref in refs(tmp_path).values())


def test_the_files_may_be_given_whatever_they_are_called(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.nii", ED), save(tmp_path / "x" / "b.nii", ES)
    ref = pair_ref(a, b)
    assert ref.name == "a-b"
    np.testing.assert_array_equal(frames(ref), BOTH)
    np.testing.assert_array_equal(frames(pair_ref(b, a)), BOTH[::-1])


def test_other_grids_and_films_are_refused_by_name(tmp_path: Path) -> None:
    ed = save(tmp_path / "ED.nii", ED)
    moved = SHORT_AXIS.copy()
    moved[0, 3] += 5
    others = {
        "place": save(tmp_path / "place.nii", ES, moved),
        "size": save(tmp_path / "size.nii", ES[:, :, :4]),
        "spacing": save(tmp_path / "spacing.nii", ES, SHORT_AXIS @ np.diag([1.1, 1, 1, 1])),
        "axes": save(tmp_path / "axes.nii", *reoriented(ES, SHORT_AXIS, (1, 3, 2))),
        "nowhere": save(tmp_path / "nowhere.nii", ES, np.eye(4)),
    }
    for name, path in others.items():
        with pytest.raises(GeometryMismatchError, match="on one grid") as caught:
            read_study(pair_ref(ed, path))
        assert all(part in str(caught.value) for part in ("ED.nii", f"{name}.nii", "one by one"))
    film = save(tmp_path / "film.nii", np.stack([ES, ED], axis=-1))
    with pytest.raises(GeometryMismatchError, match=r"one phase in each .* found 2 in .*film"):
        read_study(pair_ref(ed, film))


def test_the_mask_of_a_pair_has_its_two_phases_and_its_place(tmp_path: Path) -> None:
    ref = pair_ref(save(tmp_path / "ED.nii", ED), save(tmp_path / "ES.nii", ES))
    cine = read_study(ref).short_axis()
    labels = (cine.frames % 5 == 0).astype(np.uint8)
    write_mask(Mask(labels, (0, 1), cine.grid), tmp_path / "m.nii.gz", cine.source)
    written = nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels.transpose(3, 2, 1, 0))
    np.testing.assert_allclose(written.affine, SHORT_AXIS, atol=1e-4)


@pytest.mark.parametrize(("first", "noticed"), [(8, False), (2, True)])
def test_phases_that_seem_exchanged_are_noticed(tmp_path: Path, first: int, noticed: bool) -> None:
    ref = pair_ref(save(tmp_path / "ED.nii", ED), save(tmp_path / "ES.nii", ES))
    cine = read_study(ref).short_axis()
    labels = np.zeros(cine.shape, np.uint8)
    labels[0, :, 5 : 5 + first, 5:12] = labels[1, :, 5:10, 5:12] = 1
    result = assess(cine, Mask(labels, (0, 1), cine.grid))
    codes = {issue.code for issue in result.issues}
    assert ("phases-exchanged" in codes) is noticed
    assert result.measurements.ef_percent > 0
