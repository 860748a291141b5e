"""Sizes that a file states are held to the limits before memory is taken for them."""

from __future__ import annotations

import gzip
import os
import socket
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hostile_maker import (
    CODES,
    coded,
    deflated,
    dicom_with,
    nested,
    nifti,
    run_lengths,
    white_noise,
)
from pydicom.uid import RLELossless
from read_maker import image, pixels, save, stack, to_bytes

from lvseg.bounds import _WORDS, ReadingLimits, open_regular, read_bytes
from lvseg.errors import LimitError, LvsegError, ReadError
from lvseg.read import find_studies, list_series, read_mask, read_study
from lvseg.read.codes import coded_size
from lvseg.read.codes import run_lengths as decoded_run_lengths
from lvseg.read.dicom import read_dicom_frame

MIB = 2**20


@contextmanager
def little_memory(mib: int = 40) -> Iterator[None]:
    """Fails where arrays and bytes of more than so many MiB are held at once."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mib * MIB


def refused(work: Callable[[], object], *words: str, error: type[LvsegError] = ReadError) -> None:
    with little_memory(), pytest.raises(error) as caught:
        work()
    assert caught.value.exit_code == 3
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_limit_has_its_words_and_is_named_when_exceeded() -> None:
    names = {field.name for field in fields(ReadingLimits)}
    assert set(_WORDS) == names
    for name in names:
        limits = ReadingLimits(**{name: 3})
        limits.hold(name, 3, "a.dcm")
        with pytest.raises(LimitError, match=f"at most 3 .*found 4 in a.dcm.*raise {name} under"):
            limits.hold(name, 4, "a.dcm")


# What is opened


def special(kind: str, folder: Path) -> Path:
    if kind == "device":
        return Path(os.devnull)
    if kind == "zero":
        return Path("/dev/zero")
    path = folder / "a.dcm"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        place = socket.socket(socket.AF_UNIX)
        place.bind(str(path))
        place.close()
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="missing: POSIX pipes and devices")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "zero"])
def test_pipes_sockets_and_devices_are_not_opened(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = special(kind, tmp_path_factory.mktemp("s"))
    with pytest.raises(OSError, match="not a file"):
        open_regular(path)
    refused(lambda: find_studies(path), "not a file", str(path))
    refused(lambda: read_mask(path), "not a file")


@pytest.mark.skipif(sys.platform == "win32", reason="missing: POSIX pipes")
def test_a_pipe_in_a_folder_is_no_part_of_its_study(tmp_path: Path) -> None:
    save(stack(), tmp_path)
    os.mkfifo(tmp_path / "im9999.dcm")
    (tmp_path / "link.dcm").symlink_to(os.devnull)
    (ref,) = find_studies(tmp_path)
    assert len(ref.frames) == len(stack())


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_bytes(tmp_path / "b", 3) == b"abc"
    with pytest.raises(OSError, match="more than 2 bytes"):
        read_bytes(tmp_path / "b", 2)


# NIfTI


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


NIFTIS = {
    "pixels.nii": (lambda: nifti((1000, 1000, 300, 10), bytes(98_000)), "3000000000", "pixels"),
    "pixels.nii.gz": (
        lambda: gzip.compress(nifti((1000, 1000, 300, 10), bytes(98_000))),
        "3000000000",
        "pixels",
    ),
    "phases.nii.gz": (
        lambda: gzip.compress(nifti((16, 16, 1, 30_000), bytes(15_360_000))),
        "30000",
        "frames",
    ),
    # the third axis is short, but the first is taken for slices here: 4 x 3000
    "slices.nii": (lambda: nifti((16, 16, 4, 3000), bytes(2048 * 3000)), "12000", "frames"),
}


@pytest.mark.parametrize("name", NIFTIS)
def test_a_nifti_that_claims_too_much_is_refused(tmp_path: Path, name: str) -> None:
    make, found, limit = NIFTIS[name]
    path = written(tmp_path / name, make())
    refused(lambda: read_study(path), found, f"raise {limit} under", error=LimitError)
    with pytest.raises(LimitError):
        read_mask(path)


def test_of_a_packed_nifti_only_what_its_header_claims_is_unpacked(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 900, (3, 4, 24, 20)).astype("<i2")
    content = nifti((20, 24, 4, 3), values.tobytes()) + bytes(120 * MIB)
    path = written(tmp_path / "a.nii.gz", gzip.compress(content, 1))
    with little_memory():
        cine = read_study(path).short_axis()
    np.testing.assert_array_equal(cine.frames, values)


# Pictures


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = white_noise(tmp_path / "a.png", 60, 50)
    limits = ReadingLimits(frame_pixels=2999)
    refused(lambda: read_study(path, limits=limits), "found 3000", "frame_pixels", error=LimitError)


def test_a_study_that_was_found_keeps_its_limits(tmp_path: Path) -> None:
    path = white_noise(tmp_path / "a.png", 60, 50)
    (ref,) = find_studies(path, limits=ReadingLimits(frame_pixels=2999))
    with pytest.raises(LimitError):
        read_study(ref)


# DICOM headers


@pytest.mark.parametrize("side", [20_000, 65_535])
def test_an_image_of_absurd_size_is_no_part_of_a_stack(tmp_path: Path, side: int) -> None:
    path = written(tmp_path / "a.dcm", to_bytes(image(Rows=side, Columns=side)))
    refused(lambda: read_study(path), f"{side} x {side} pixels", "frame_pixels = 16777216")
    (row,) = list_series(path)
    assert "frame_pixels" in row.reason
    refused(lambda: read_dicom_frame(path), "frame_pixels")


def test_an_object_of_two_thousand_million_frames_is_refused(tmp_path: Path) -> None:
    many = image(NumberOfFrames=2_000_000_000, FrameTime=40)
    path = written(tmp_path / "a.dcm", to_bytes(many))
    refused(lambda: read_study(path), "2000000000 frames", "frames = 4000")


def test_a_stack_larger_than_the_limits_is_refused(tmp_path: Path) -> None:
    save(stack(3, 4), tmp_path)
    for limits in (ReadingLimits(frames=11), ReadingLimits(pixels=12 * 32 * 32 - 1)):
        refused(lambda limits=limits: read_study(tmp_path, limits=limits), error=LimitError)
    read_study(tmp_path, limits=ReadingLimits(frames=12, pixels=12 * 32 * 32))


@pytest.mark.parametrize("depth", [33, 100_000])
def test_sequences_nested_too_deeply_are_broken(tmp_path: Path, depth: int) -> None:
    path = written(tmp_path / "a.dcm", dicom_with(nested(depth)))
    refused(lambda: read_study(path))


def test_zeros_behind_a_header_are_not_walked(tmp_path: Path) -> None:
    whole = to_bytes(image(Rows=5000, Columns=3000))
    path = written(tmp_path / "a.dcm", whole[: whole.index(b"\xe0\x7f\x10\x00")])
    with path.open("ab") as file:
        file.truncate(50 * MIB)
    refused(lambda: read_study(path), "ends in zeros", "cut short")


@pytest.mark.parametrize("wanted", [False, True])
def test_a_header_longer_than_the_limit_is_refused(tmp_path: Path, wanted: bool) -> None:
    tag = b"\x08\x00\x05\x00" if wanted else b"\x08\x00\x04\x00"  # the character set is read
    text = tag + b"UT\0\0" + (3 * MIB).to_bytes(4, "little") + b"A" * (3 * MIB)
    path = written(tmp_path / "a.dcm", dicom_with(text))
    limits = ReadingLimits(header_bytes=2 * MIB)
    if wanted:
        refused(lambda: find_studies(path, limits=limits), "header_bytes")
    else:
        assert find_studies(path, limits=limits)[0].frames[0].rows == 32


def test_a_deflated_file_is_unpacked_within_the_ratio(tmp_path: Path) -> None:
    plain = written(tmp_path / "a.dcm", deflated(image(), 1000))
    np.testing.assert_array_equal(read_dicom_frame(plain)[0], pixels(0, 0))
    bomb = written(tmp_path / "b.dcm", deflated(image(), 200 * MIB))
    with little_memory(160), pytest.raises(ReadError, match="unpacked_ratio"):
        read_study(bomb)


# Coded pixels


@pytest.mark.parametrize("name", CODES)
def test_a_code_that_unpacks_to_another_size_is_not_decoded(tmp_path: Path, name: str) -> None:
    syntax, code = CODES[name]
    path = written(tmp_path / "a.dcm", to_bytes(coded(syntax, code())))
    if name == "rle":  # it states no size: what is beyond the frame is not unpacked
        with little_memory():
            assert read_dicom_frame(path)[0].max() == 0
    else:
        refused(lambda: read_dicom_frame(path), "cannot be decoded", "copy the file again")


def test_run_lengths_by_hand() -> None:
    # 2 planes of 2 x 3: high bytes 0 0 0 1 1 2, low bytes 7 seven times, of which 6 count
    high, low = b"\xfe\x00\x80\xff\x01\x00\x02", b"\xfa\x07"
    head = np.array([2, 64, 64 + len(high), *[0] * 13], "<u4").tobytes()
    found = decoded_run_lengths(head + high + low, (2, 3), 16)
    assert found.tolist() == [[7, 7, 7], [263, 263, 519]]
    with pytest.raises(ValueError, match="too short"):
        decoded_run_lengths(head + high + low, (2, 4), 16)
    with pytest.raises(ValueError, match="another number"):
        decoded_run_lengths(head + high + low, (2, 3), 8)


@pytest.mark.parametrize("signed", [0, 1])
def test_run_lengths_are_those_of_pydicom(tmp_path: Path, signed: int) -> None:
    dataset = image(2, 1, PixelRepresentation=signed)
    dataset.compress(RLELossless)
    path = written(tmp_path / "a.dcm", to_bytes(dataset))
    np.testing.assert_array_equal(read_dicom_frame(path)[0], pixels(2, 1))


def test_sizes_of_codes() -> None:
    from hostile_maker import jpeg, jpeg_2000

    assert coded_size(jpeg(40, 30)) == (40, 30, 1)
    assert coded_size(jpeg(40, 30).replace(b"\xff\xc3", b"\xff\xff\xc3")) == (40, 30, 1)
    assert coded_size(jpeg_2000(40, 30, 3)) == (40, 30, 3)
    assert coded_size(run_lengths(2)) is None
    assert coded_size(b"") is None


# Archives


def test_a_member_larger_than_its_directory_says_is_cut_there(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.png", bytes(150 * MIB))
    content = path.read_bytes()
    wrong = content.replace((150 * MIB).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert wrong != content
    refused(lambda: read_study(written(path, wrong)))


def test_a_packing_that_takes_as_much_memory_as_it_asks_for_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as out:
        out.writestr("a.png", b"x" * 1000)
    refused(lambda: find_studies(tmp_path / "a.zip"), "unsupported packing")
