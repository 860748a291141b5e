"""Bad input ends with the right exit code and exactly one line, never with a traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_inputs import MAKERS, Maker, one_pixel
from command_line import Ended
from hostile_maker import white_noise


def assert_one_line(err: str) -> None:
    assert err.count("\n") == 1, err
    assert err.startswith("lvseg: ")
    assert "Traceback" not in err
    assert "internal error" not in err


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_a_bad_source_is_3_and_one_line(
    maker: Maker,
    tmp_path: Path,
    phantom_dicom: Path,
    tiny_model: Path,
    lvseg_command: Callable[..., Ended],
) -> None:
    source, out = maker(tmp_path, phantom_dicom), tmp_path / "out"
    ended = lvseg_command("segment", source, "-o", out, "--model", tiny_model)
    assert ended.status == 3
    assert_one_line(ended.err)
    assert ended.out == ""
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_a_bad_source_with_json_is_one_entry(
    maker: Maker,
    tmp_path: Path,
    phantom_dicom: Path,
    tiny_model: Path,
    lvseg_command: Callable[..., Ended],
) -> None:
    source = maker(tmp_path, phantom_dicom)
    ended = lvseg_command("segment", source, "-o", tmp_path / "o", "--model", tiny_model, "--json")
    (entry,) = ended.document["studies"]
    assert (entry["source"], entry["exit"], entry["folder"]) == (str(source), 3, None)
    assert entry["error"] in ended.err
    assert entry["measurements"] is None


def test_a_picture_too_small_for_the_model_is_refused_in_one_line(
    tmp_path: Path, phantom_dicom: Path, tiny_model: Path, lvseg_command: Callable[..., Ended]
) -> None:
    source = one_pixel(tmp_path, phantom_dicom)
    ended = lvseg_command("segment", source, "-o", tmp_path / "out", "--model", tiny_model)
    # 3: the reader refuses it; 5: it is read, and does not fit the model.
    assert ended.status in {3, 5}
    assert_one_line(ended.err)


@pytest.mark.parametrize("options", [[], ["--spacing", "0.7"], "settings"], ids=str)
def test_a_large_picture_needs_its_spacing_or_another_limit(
    options: list[str] | str, tmp_path: Path, tiny_model: Path, lvseg_command: Callable[..., Ended]
) -> None:
    # 1,080,000 pixels, 1024 x 1024 = 1,048,576 are the limit; at 0.7 mm the model sees 647 x 485
    source = white_noise(tmp_path / "large.png", 1200, 900)
    if options == "settings":
        (tmp_path / "a.toml").write_text("[reading]\nnetwork_pixels = 1080000\n")
        options = ["--settings", str(tmp_path / "a.toml")]
    out = tmp_path / "out"
    ended = lvseg_command("segment", source, "-o", out, "--model", tiny_model, *options)
    assert ended.status == (0 if options else 3)
    if not options:
        assert_one_line(ended.err)
        for word in ("1048576", "1080000", "--spacing", "network_pixels"):
            assert word in ended.err


#: Root may read everything, so the process gives its rights up. It loads all modules before that,
#: by a first run on a source that is not there, because it may not read the interpreter after.
AS_NOBODY = """
import contextlib, io, os, sys
from lvseg.cli import main
if os.geteuid() == 0:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main([sys.argv[1], sys.argv[2] + "-not-there", *sys.argv[3:]])
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="missing: POSIX permissions")
def test_a_folder_without_read_permission_is_3_and_one_line(
    tmp_path: Path, phantom_dicom: Path, tiny_model: Path
) -> None:
    # Everything the unprivileged process needs lies below one folder it may enter; pytest's own
    # folders are closed to it.
    place = Path(tempfile.mkdtemp()) / "shared"
    shutil.copytree(phantom_dicom, place / "secret")
    shutil.copytree(tiny_model, place / "model")
    (place / "out").mkdir()
    for path in (place / "out", place, place.parent):
        path.chmod(0o777)
    (place / "secret").chmod(0)
    arguments = ["segment", place / "secret", "-o", place / "out", "--model", place / "model"]
    arguments += ["--runtime", "onnxruntime", "--json"]
    try:
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *map(str, arguments)], capture_output=True, text=True
        )
    finally:
        (place / "secret").chmod(0o700)
        shutil.rmtree(place.parent)
    assert done.returncode == 3, done.stderr
    assert_one_line(done.stderr)
    assert json.loads(done.stdout)["studies"][0]["exit"] == 3


def test_a_missing_model_is_5_and_one_line(
    phantom_dicom: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    ended = lvseg_command("segment", phantom_dicom, "-o", tmp_path / "out", "--model", "nowhere")
    assert ended.status == 5
    assert_one_line(ended.err)


def test_altered_weights_are_5_and_one_line(
    phantom_dicom: Path, tiny_model: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    with (tmp_path / "model" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    ended = lvseg_command(
        "segment", phantom_dicom, "-o", tmp_path / "o", "--model", tmp_path / "model", "--json"
    )
    assert ended.status == 5
    assert_one_line(ended.err)
    assert ended.document["exit"] == 5
    assert ended.document["studies"] == []


def test_an_output_that_is_a_file_is_2_and_one_line(
    phantom_dicom: Path, tiny_model: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    (tmp_path / "out").write_text("x")
    ended = lvseg_command("segment", phantom_dicom, "-o", tmp_path / "out", "--model", tiny_model)
    assert ended.status == 2
    assert_one_line(ended.err)


@pytest.mark.parametrize(
    "options",
    [
        ["--formats", "jpeg"],
        ["--engine", "cloud"],
        ["--jobs", "0"],
        ["--study-timeout", "0"],
        ["--memory-limit", "-1"],
        ["--covariates", "nowhere.csv"],
        ["--spacing", "0"],
        ["--spacing", "-1.5"],
        ["--spacing", "nan"],
        ["--threads", "0"],
    ],
    ids=" ".join,
)
def test_wrong_options_are_2_and_one_line(
    options: list[str], phantom_dicom: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    ended = lvseg_command("segment", phantom_dicom, "-o", tmp_path / "out", *options)
    assert ended.status == 2
    assert_one_line(ended.err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "label", ["ventricle=1", "=1", "cavity", "cavity=0", "cavity=65536", "cavity=-1", "cavity=1.5"]
)
@pytest.mark.parametrize("command", [["measure"], ["compare", "b.nii"]], ids=lambda c: c[0])
def test_a_label_that_is_none_is_2_and_one_line(
    command: list[str], label: str, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    ended = lvseg_command(*command, tmp_path / "a.nii", "--label", label)
    assert ended.status == 2
    assert_one_line(ended.err)
    assert "cavity" in ended.err


@pytest.mark.parametrize("command", [["list"], ["measure"], ["check"]], ids=" ".join)
def test_a_missing_path_is_3_and_one_line(
    command: list[str], tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    ended = lvseg_command(*command, tmp_path / "missing", "--json")
    assert ended.status == 3
    assert_one_line(ended.err)
    assert ended.document["exit"] == 3
