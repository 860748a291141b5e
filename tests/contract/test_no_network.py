"""No command opens a network connection: the process would die of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import no_network
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="missing: seccomp of Linux")


def run(tmp_path: Path, commands: list[list[object]]) -> subprocess.CompletedProcess[str]:
    given = [[str(part) for part in command] for command in commands]
    (tmp_path / "commands.json").write_text(json.dumps(given))
    call = [sys.executable, no_network.__file__, str(tmp_path / "commands.json")]
    return subprocess.run(call, capture_output=True, text=True)


def test_the_process_really_dies_of_a_socket(tmp_path: Path) -> None:
    assert run(tmp_path, [["connect"]]).returncode < 0


def test_no_command_opens_a_network_connection(
    tmp_path: Path, phantom_dicom: Path, tiny_model: Path
) -> None:
    out, mask = tmp_path / "out", tmp_path / "out" / "heart" / "segmentation.nii.gz"
    ended = run(
        tmp_path,
        [
            ["list", phantom_dicom],
            ["segment", phantom_dicom, "-o", out, "--model", tiny_model],
            ["segment", phantom_dicom, "-o", tmp_path / "o2", "--runtime", "onnxruntime"],
            ["measure", mask, "--cine", phantom_dicom],
            ["compare", mask, mask],
            ["check", tmp_path],
            ["models"],
            ["doctor"],
            ["demo", "-o", tmp_path / "demo"],
            ["export", tmp_path, "-o", tmp_path / "model"],
        ],
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stderr.splitlines()[-1])
    assert told["kernel"]
    assert told["statuses"] == [0, 0, 0, 0, 0, 3, 0, 0, 0, 5]
