"""Study folders: names never collide, folders appear whole, earlier results are safe."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lvseg.cli.batch import Entry, open_root, status_of
from lvseg.errors import UsageError


def test_a_lone_study_ends_with_its_own_status_and_a_batch_with_4() -> None:
    assert status_of([]) == 0
    assert status_of([Entry("a", exit=5)]) == 5
    assert status_of([Entry("a"), Entry("b")]) == 0
    assert status_of([Entry("a", exit=3), Entry("b", exit=3)]) == 4


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="it is a file"):
        open_root(tmp_path / "file")
    with pytest.raises(UsageError):
        open_root(tmp_path / "file" / "below")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_process_leaves_finished_folders_alone_and_no_half_one(
    stop: signal.Signals, phantom_dicom: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """A real process; it is stopped while the second study of five is written."""
    out = tmp_path / "out"
    sources = [str(phantom_dicom)] * 5
    call = [sys.executable, "-W", "error", "-m", "lvseg.cli", "segment", *sources, "-o", str(out)]
    with subprocess.Popen(
        [*call, "--model", str(tiny_model), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background passes on that interrupts are ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while process.poll() is None and not any(out.glob(".heart-2.*.part")):
            time.sleep(0.002)
        process.send_signal(stop)
        printed, told = process.communicate()
    shown = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    assert "heart" in shown
    for name in shown:
        assert (out / name / "measurements.json").is_file()
        assert (out / name / "segmentation.nii.gz").is_file()
    if stop is not signal.SIGKILL:
        assert (process.returncode, told) == (130, "lvseg: interrupted\n")
        assert [path for path in out.iterdir() if path.name.startswith(".")] == []
        done = [Path(each["folder"]).name for each in json.loads(printed)["studies"]]
        assert sorted(done) == sorted(shown)
