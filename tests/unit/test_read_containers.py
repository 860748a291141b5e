"""What a study comes in: archives, discs, packed files, links and files in two parts."""

from __future__ import annotations

import gc
import gzip
import io
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_maker import SHORT_AXIS, grey
from nifti_maker import save as save_nifti
from pydicom.fileset import FileSet
from read_maker import expected, image, save, stack, to_bytes

from lvseg.bounds import ReadingLimits
from lvseg.errors import LimitError, LvsegError
from lvseg.read import archives, find_studies, read_study


def files() -> dict[str, bytes]:
    """The files of one study."""
    return {f"im{number:04d}.dcm": to_bytes(each) for number, each in enumerate(stack())}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTAINERS: dict[str, Callable[[], bytes]] = {
    "a.zip": lambda: zipped(files()),
    "b.zip": lambda: zipped({"README.txt": b"one patient", "study/images.zip": zipped(files())}),
    "c.zip": lambda: zipped({"x.tar.gz": tarred(files(), "w:gz")}),
    "d.tar": lambda: tarred(files()),
    "e.tar.gz": lambda: tarred(files(), "w:gz"),
    "f.tgz": lambda: tarred({"study.zip": zipped(files())}, "w:gz"),
    "g.zip": lambda: zipped({f"{name}.gz": gzip.compress(c) for name, c in files().items()}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_study_is_found_in_any_container(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(CONTAINERS[name]())
    (ref,) = find_studies(path)
    np.testing.assert_array_equal(read_study(ref).short_axis().frames, expected())
    assert ref.name == name.split(".")[0]
    (below,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(below).short_axis().frames, expected())


def test_packed_dicom_files(tmp_path: Path) -> None:
    for name, content in files().items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    np.testing.assert_array_equal(read_study(tmp_path).short_axis().frames, expected())


def disc(folder: Path) -> Path:
    """A disc with an index; files have no endings."""
    with warnings.catch_warnings():  # pydicom leaves folders of its own to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        index = FileSet()
        for each in stack():
            each.PatientID, each.StudyDate, each.StudyTime = "P", "20200101", "100000"
            each.StudyID, each.AccessionNumber = "1", ""
            index.add(each)
        index.write(folder)
        del index
        gc.collect()
    return folder / "DICOMDIR"


def test_a_dicomdir_stands_for_the_files_that_it_lists(tmp_path: Path) -> None:
    path = disc(tmp_path / "disc")
    save([image(0, 7, StudyInstanceUID="1.9")], tmp_path / "disc" / "more")
    (ref,) = find_studies(path)
    assert ref.name == "disc"
    np.testing.assert_array_equal(read_study(ref).short_axis().frames, expected())


def test_a_dicomdir_whose_files_went_elsewhere_stands_for_its_folder(tmp_path: Path) -> None:
    path = disc(tmp_path / "disc")
    listed = [each for each in (tmp_path / "disc").rglob("*") if each.is_file() and each != path]
    for number, each in enumerate(listed):
        each.rename(tmp_path / "disc" / f"flat{number}")
    np.testing.assert_array_equal(read_study(path).short_axis().frames, expected())
    path.write_bytes(b"no index")
    np.testing.assert_array_equal(read_study(path).short_axis().frames, expected())


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    real = save(stack(), tmp_path / "store" / "series")
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").symlink_to(real)
    (source / "b").symlink_to(tmp_path / "store")
    (real / "loop").symlink_to(source)
    (real / "gone").symlink_to(tmp_path / "nowhere")
    (ref,) = find_studies(source)
    assert len(ref.frames) == len(stack())
    np.testing.assert_array_equal(read_study(ref).short_axis().frames, expected())


def test_a_link_goes_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = save(stack(), tmp_path / "store" / "1.2.840")
    (tmp_path / "patient001").symlink_to(real)
    (ref,) = find_studies(tmp_path / "patient001")
    assert ref.name == "patient001"
    monkeypatch.chdir(real / ".." / ".." / "patient001")
    (below,) = find_studies(Path("../1.2.840"))
    assert below.name == "1.2.840"


@pytest.mark.parametrize("ending", ["img", "img.gz"])
@pytest.mark.parametrize("given", ["hdr", "img", "folder", "zip"])
def test_a_nifti_in_two_files(tmp_path: Path, given: str, ending: str) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    data = grey(24, 20, 5, 2)
    nib.save(nib.Nifti1Pair(data, SHORT_AXIS), folder / "heart.img")
    if ending == "img.gz":
        content = (folder / "heart.img").read_bytes()
        (folder / "heart.img.gz").write_bytes(gzip.compress(content))
        (folder / "heart.img").unlink()
    if given == "zip":
        content = zipped({f"x/{path.name}": path.read_bytes() for path in folder.iterdir()})
        (tmp_path / "pair.zip").write_bytes(content)
    source = {
        "hdr": folder / "heart.hdr",
        "img": folder / f"heart.{ending}",
        "folder": folder,
        "zip": tmp_path / "pair.zip",
    }[given]
    (ref,) = find_studies(source)
    assert ref.name == "heart"
    cine = read_study(ref).short_axis()
    np.testing.assert_array_equal(cine.frames, data.transpose(3, 2, 1, 0))
    assert cine.slice_spacing_mm == pytest.approx(9, rel=1e-5)


def test_a_nifti_pair_of_the_other_byte_order_with_an_offset(tmp_path: Path) -> None:
    data = grey(24, 20, 5)
    header = nib.nifti1.Nifti1PairHeader(endianness=">")
    pair = nib.Nifti1Pair(data, SHORT_AXIS, header)
    pair.header.set_data_offset(16)
    nib.save(pair, tmp_path / "big.img")
    cine = read_study(tmp_path / "big.hdr").short_axis()
    np.testing.assert_array_equal(cine.frames[0], data.transpose(2, 1, 0))


def refused(path: Path, *words: str) -> None:
    with pytest.raises(LvsegError) as caught:
        read_study(path)
    assert caught.value.exit_code == 3
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_analyze_pair_and_half_a_pair_are_named(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(grey(24, 20, 5), SHORT_AXIS), tmp_path / "old.img")
    refused(tmp_path / "old.hdr", "Analyze 7.5", "convert the pair")
    (tmp_path / "old.hdr").unlink()
    refused(tmp_path / "old.img", "an .img without the .hdr beside it: give both")
    nib.save(nib.Nifti1Pair(grey(24, 20, 5), SHORT_AXIS), tmp_path / "new.img")
    (tmp_path / "new.img").unlink()
    refused(tmp_path / "new.hdr", "new.hdr")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("study.7z", "an archive that lvseg does not look into: unpack it"),
        ("study.rar", "unpack it"),
        ("disc.iso", "the image of a disc: open it and give the folder"),
        ("heart.nrrd", "save them as NIfTI"),
        ("heart.avi", "export the DICOM images"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"something")
    refused(tmp_path / name, f"{name} among 1 file", words)
    (tmp_path / "notes.txt").write_text("x")
    refused(tmp_path, f"{name} among 2 file", words)


def test_archives_nested_too_deeply_are_named(tmp_path: Path) -> None:
    content = zipped(files())
    for depth in range(3):
        content = zipped({f"{depth}.zip": content})
    (tmp_path / "deep.zip").write_bytes(content)
    refused(tmp_path / "deep.zip", "at most 3 archives in one another", "nested_archives")


@pytest.mark.parametrize("name", ["heart.zip", "heart.tar.gz", "heart.dcm.gz"])
def test_what_unpacks_to_far_more_than_an_image_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(archives, "SUSPICIOUS_BYTES", 10**6)
    zeros = bytes(4 * 10**6)
    content = {
        "heart.zip": lambda: zipped({"heart.png": zeros}),
        "heart.tar.gz": lambda: tarred({"heart.nii": zeros}, "w:gz"),
        "heart.dcm.gz": lambda: gzip.compress(bytes(128) + b"DICM" + zeros),
    }[name]()
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "at most 200 times the packed bytes", "unpacked_ratio", "unpack it")


def test_looking_at_a_member_does_not_unpack_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_nifti(tmp_path / "a.nii", grey(24, 20, 5))
    (tmp_path / "a.zip").write_bytes(zipped({"a.nii": (tmp_path / "a.nii").read_bytes()}))

    def unpack(*_: object) -> bytes:
        raise AssertionError("unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "read", unpack)
    assert [ref.format for ref in find_studies(tmp_path / "a.zip")] == ["nifti"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_broken_tar_is_refused(tmp_path: Path, name: str) -> None:
    content = tarred(files(), "w:gz" if name.endswith("gz") else "w")
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    refused(tmp_path / name, name)
    (tmp_path / name).write_bytes(os.urandom(2000))
    refused(tmp_path / name, name, "tar")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "folder"])
def test_too_many_files_are_refused(tmp_path: Path, name: str) -> None:
    if name == "folder":
        save(stack(), tmp_path / name)
    else:
        content = zipped(files()) if name == "a.zip" else tarred(files())
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LimitError, match="at most 3 files in a source"):
        find_studies(tmp_path / name, limits=ReadingLimits(files=3))
