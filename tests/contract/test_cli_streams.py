"""What reaches a terminal: no command hidden in the text of others, no line of a library."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended
from read_maker import save, stack

from lvseg.cli.output import one_line, table

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="missing: POSIX streams")

ESCAPES = "\x1b]0;title\x07\x1b[31mred"
#: Everything below a blank but tab and line end, and what C1 and bidirectional text obey.
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A line of shell in which ``lvseg`` is the command; ``$1`` and so on are the arguments."""
    command = line.replace("lvseg", f"{sys.executable} -m lvseg.cli")
    given = ["sh", "-c", command, "sh", *map(str, arguments)]
    return subprocess.run(given, capture_output=True, text=True)


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_escapes_in_a_description_are_not_printed(
    tmp_path: Path, options: list[str], lvseg_command: Callable[..., Ended]
) -> None:
    save(
        stack(2, 1, SeriesDescription=f"{ESCAPES}\u202etxt", SpecificCharacterSet="ISO_IR 192"),
        tmp_path / "dicom",
    )
    ended = lvseg_command("list", tmp_path / "dicom", *options)
    assert ended.status == 3
    assert "red" in ended.out
    assert not COMMANDS.search(ended.out + ended.err)


@pytest.mark.parametrize("command", ["list", "segment"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_escapes_in_names_of_members_are_not_printed(
    tmp_path: Path,
    command: str,
    options: list[str],
    tiny_model: Path,
    lvseg_command: Callable[..., Ended],
) -> None:
    with zipfile.ZipFile(tmp_path / "esc.zip", "w") as archive:
        archive.writestr(f"{ESCAPES}.nii", b"junk")
        archive.writestr("two\nlines\x9b2J.png", b"junk")
    where = ["-o", tmp_path / "out", "--model", tiny_model] if command == "segment" else []
    ended = lvseg_command(command, tmp_path / "esc.zip", *where, *options)
    assert ended.status in (3, 4)
    assert not COMMANDS.search(ended.out + ended.err)
    assert all(line.startswith("lvseg: ") for line in ended.err.splitlines())


def test_a_cell_of_a_table_stays_one_line() -> None:
    assert table([("a\nb", 1), ("\x1b[2J", 22)]) == "a b   1\n\ufffd[2J  22"
    assert one_line("a\n\tb\x07") == "a b\ufffd"


@pytest.mark.parametrize(
    ("line", "status", "err"),
    [
        ("lvseg models >/dev/full", 2, "No space left on device"),
        ("lvseg models --json >/dev/full", 2, "No space left on device"),
        ("lvseg --help >/dev/full", 2, "No space left on device"),
        ("lvseg list /missing --json >/dev/full", 3, "/missing"),
    ],
)
def test_an_output_that_takes_nothing_is_one_line(line: str, status: int, err: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("missing: /dev/full")
    ended = shell(line)
    assert ended.returncode == status
    assert err in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "internal error" not in ended.stderr


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full", "2>&- <&-"])
def test_without_stderr_the_status_and_the_result_stay(end: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("missing: /dev/full")
    assert shell(f"lvseg list /missing {end}").returncode == 3
    ended = shell(f"lvseg models --json {end}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("{")


def test_a_closed_stdout_takes_nothing_and_breaks_nothing() -> None:
    assert shell("lvseg models >&-").returncode == 0
    assert shell("lvseg list /missing >&- 2>&-").returncode == 3


NATIVE = """
import os, sys
from lvseg.cli.streams import open_streams
open_streams(debug={debug})
os.write(2, b"[W:onnxruntime] a line of a library\\n")
print("ours", file=sys.stderr)
"""


@pytest.mark.parametrize("debug", [False, True])
def test_lines_of_libraries_are_for_debugging_only(debug: bool) -> None:
    code = [sys.executable, "-c", NATIVE.format(debug=debug)]
    err = subprocess.run(code, capture_output=True, text=True, check=True).stderr
    assert err == ("[W:onnxruntime] a line of a library\nours\n" if debug else "ours\n")
