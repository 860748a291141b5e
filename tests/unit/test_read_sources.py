"""Bad input: one line each, the right class, exit code 3."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import pytest
from read_maker import computed_tomography, image, save, stack, to_bytes

from lvseg.errors import NotACineError, ReadError
from lvseg.read import find_studies, list_series, read_study
from lvseg.read.sources import sniff, stem


def refused(path: Path, *words: str) -> str:
    with pytest.raises(ReadError) as caught:
        read_study(path)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert "\n" not in text
    for word in ("expected", "found", *words):
        assert word in text
    return text


def test_a_text_file_named_dcm(tmp_path: Path) -> None:
    path = tmp_path / "note.dcm"
    path.write_text("this is no image, " * 40)
    refused(path, str(path), "DICOM")


def test_an_empty_file_named_dcm(tmp_path: Path) -> None:
    path = tmp_path / "empty.dcm"
    path.write_bytes(b"")
    refused(path, str(path))


@pytest.mark.parametrize("size", [140, 300, 700, 1000])
def test_a_header_cut_short(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.dcm"
    path.write_bytes(to_bytes(image())[:size])
    refused(path, str(path))


def test_pixels_cut_short(tmp_path: Path) -> None:
    folder = save(stack(), tmp_path / "s")
    victim = folder / "im0005.dcm"
    victim.write_bytes(victim.read_bytes()[:-100])
    refused(folder, "2048", "1948", "im0005.dcm")


def test_pixels_shorter_than_the_frame(tmp_path: Path) -> None:
    datasets = stack()
    datasets[2].PixelData = datasets[2].PixelData[:1000]
    refused(save(datasets, tmp_path), "2048", "1000")


def test_a_broken_file_among_good_ones_is_reported(tmp_path: Path) -> None:
    folder = save(stack(), tmp_path)
    (folder / "zz.dcm").write_bytes(to_bytes(image())[:500])
    cine = read_study(folder).short_axis()
    assert [f.text[:2] for f in cine.issues if f.code == "unreadable-files"] == ["1 "]


def test_a_broken_file_that_a_slice_needs_makes_the_stack_incomplete(tmp_path: Path) -> None:
    folder = save(stack(4), tmp_path)
    (folder / "im0003.dcm").write_bytes((folder / "im0003.dcm").read_bytes()[:400])
    cine = read_study(folder).short_axis()
    assert not cine.complete
    assert {"unreadable-files", "incomplete-slice"} <= {f.code for f in cine.issues}


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "empty folder", str(tmp_path))


def test_earlier_results_below_the_source_are_no_sources(tmp_path: Path) -> None:
    save(stack(), tmp_path / "series")
    result = tmp_path / "out" / "series"
    (result / "overlays").mkdir(parents=True)
    picture = b"\x89PNG\r\n\x1a\n"
    outputs = ("overlays/ed.png", "segmentation.nii.gz", "a_mask.png", "a_overlay.png")
    for name in outputs:
        (result / name).write_bytes(picture)
    assert len(find_studies(tmp_path)) == 1 + len(outputs)  # nothing says yet whose they are
    (result / "measurements.json").write_text('{\n "schema": 1,\n "lvseg": "0.1.0"\n}\n')
    assert [ref.format for ref in find_studies(tmp_path)] == ["dicom"]
    refused(tmp_path / "out", "results of lvseg", str(tmp_path / "out"))
    (result / "own.png").write_bytes(picture)
    assert [ref.format for ref in find_studies(tmp_path)] == ["dicom", "picture"]


def test_no_such_path(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nothing", "nowhere")


def test_only_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    refused(tmp_path, "none among 1 file")


def test_a_folder_without_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(stack(), tmp_path / "locked")

    def deny(path: object, *_: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", deny)
    refused(tmp_path / "locked", "permission", "locked")


def test_a_file_without_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(stack(), tmp_path)
    original = os.open

    def deny(path: Path, *args: int) -> int:
        if Path(path).name == "im0003.dcm":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args)

    monkeypatch.setattr(os, "open", deny)
    refused(folder, "permission", "im0003.dcm")


def test_a_zip_without_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.zip"
    path.write_bytes(b"PK")

    def deny(*_: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(zipfile, "ZipFile", deny)
    refused(path, "permission", "study.zip")


def test_a_broken_zip(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for number, dataset in enumerate(stack()):
            out.writestr(f"{number}.dcm", to_bytes(dataset))
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    refused(path, "zip", str(path))
    data[60:200] = b"\xff" * 140
    path.write_bytes(data)
    refused(path, "broken", str(path))


def test_a_zip_with_password(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a.dcm", to_bytes(image()))
    data = bytearray(path.read_bytes())
    # set the flag bit "encrypted" in the local header and in the central directory
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(mark) + place
        data[at : at + 2] = struct.pack("<H", struct.unpack("<H", data[at : at + 2])[0] | 1)
    path.write_bytes(data)
    refused(path, "password", str(path))


def test_an_empty_zip(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w"):
        pass
    refused(path, "empty")


def test_a_dicom_object_without_image(tmp_path: Path) -> None:
    report = image(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", Modality="DOC")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    (tmp_path / "report.dcm").write_bytes(to_bytes(report))
    with pytest.raises(NotACineError, match="without images"):
        read_study(tmp_path)
    save(stack(), tmp_path)
    rows = {row.modality: row for row in list_series(tmp_path)}
    assert rows["MR"].chosen


def test_a_single_slice_is_told_apart_from_a_stack(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(to_bytes(image()))
    refused(path, "a single image")


def test_a_zip_inside_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "part.zip", "w") as out:
        for number, dataset in enumerate(stack()):
            out.writestr(f"x/{number}", to_bytes(dataset))
    (ref,) = find_studies(tmp_path)
    assert read_study(ref).short_axis().shape == (4, 3, 32, 32)


def test_names_are_safe() -> None:
    assert stem("x.NII.GZ") == "x"
    assert stem("scan.2020") == "scan.2020"


def test_kinds_are_told_by_content_first() -> None:
    assert sniff(b"\0" * 128 + b"DICM", "photo.png") == "dicom"
    assert sniff(b"\x89PNG\r\n\x1a\n", "noname") == "picture"
    assert sniff(b"hello", "readme.md") is None


def test_ct_is_named_in_the_message(tmp_path: Path) -> None:
    refused(save(computed_tomography(), tmp_path), "CT: not MR")
