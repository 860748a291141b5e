"""The frame every command shares: endings, exit codes, one line, one JSON object."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lvseg.cli import main
from lvseg.cli.output import Output, explain, one_line, table
from lvseg.errors import MissingExtraError, ModelHashError, NotACineError, UsageError
from lvseg.json_text import jsonable


def test_a_text_becomes_one_line() -> None:
    assert one_line("expected\n  this,\tfound that ") == "expected this, found that"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 2),
        (MissingExtraError("training", "train"), 2),
        (NotACineError("x"), 3),
        (ModelHashError("x"), 5),
        (PermissionError(13, "Permission denied", "/there"), 2),
        (ValueError("x"), 1),
        (OSError("without a path"), 1),
    ],
)
def test_every_error_has_its_status(error: Exception, status: int) -> None:
    assert explain(error)[1] == status


def test_json_values_are_plain() -> None:
    found = jsonable(
        {"a": np.array([1.0, np.nan]), "b": Path("x"), "c": math.inf, 3: (np.float32(0.5), None)}
    )
    assert found == {"a": [1.0, None], "b": "x", "c": None, "3": [0.5, None]}


def test_a_table_aligns_its_columns_and_has_no_blanks_at_the_end() -> None:
    assert table([("a", "b"), ("long", 1)]) == "a     b\nlong  1"
    assert table([]) == ""


def test_a_defect_is_one_line_and_a_traceback_only_with_debug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def defect() -> int:
        raise ValueError("two\nlines")

    assert Output().guard(defect) == 1
    quiet = capsys.readouterr()
    assert quiet.err.count("\n") == 1
    assert quiet.err.startswith("lvseg: internal error, ValueError: two lines; run again with")
    assert quiet.out == ""
    assert Output(debug=True).guard(defect) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_error_with_json_is_one_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> int:
        raise NotACineError("expected a cine, found none")

    assert Output(as_json=True).guard(missing) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": "expected a cine, found none", "exit": 3}
    assert captured.err == "lvseg: expected a cine, found none\n"


def test_an_error_after_the_result_prints_no_second_object(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Output(as_json=True)

    def late() -> int:
        out.result({"errors": 2}, "")
        raise NotACineError("two errors")

    assert out.guard(late) == 3
    assert json.loads(capsys.readouterr().out) == {"errors": 2}


def test_control_c_ends_with_130_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert Output().guard(interrupted) == 130
    assert capsys.readouterr().err == "lvseg: interrupted\n"


def test_quiet_silences_messages_but_not_errors(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(quiet=True)
    out.note("reading")
    out.warn("broken")
    assert capsys.readouterr().err == "lvseg: broken\n"


@pytest.mark.filterwarnings("default")
def test_warnings_of_libraries_stay_out_of_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    assert Output().guard(lambda: warnings.warn("odd value", stacklevel=1)) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["segment"],
        ["segment", "x"],
        ["segment", "x", "-o", "y", "--unknown"],
        ["segment", "x", "-o", "y", "--threads", "none"],
        ["segment", "x", "-o", "y", "--runtime", "steam"],
        ["prepare"],
        ["list"],
    ],
)
def test_wrong_usage_is_2_and_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("lvseg: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_wrong_usage_with_json_prints_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["exit"] == 2
    assert "--output" in document["error"]


def test_an_empty_argument_is_not_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "", "-o", "out", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["exit"] == 2
    assert captured.err == "lvseg: expected no empty arguments, found one: check the call\n"


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_a_closed_pipe_ends_quietly() -> None:
    code = (
        "from lvseg.cli.output import Output\n"
        "import sys\n"
        "out = Output()\n"
        "sys.stdin.readline()\n"
        "out.result({}, 'x' * 100000)\n"
        "print('not reached', file=sys.stderr)\n"
    )
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(reader)
        os.close(writer)
        _, err = process.communicate("go\n")
    assert process.returncode == 141
    assert err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="missing: pseudo terminals")
def test_progress_is_drawn_on_a_terminal_and_never_on_stdout() -> None:
    code = (
        "from lvseg.cli.output import Output\n"
        "out = Output(as_json=True)\n"
        "with out.progress('heart') as bar:\n"
        "    bar('predict', 3, 7)\n"
        "    print('other output')\n"
        "out.result({'done': 1}, '')\n"
    )
    outer, inner = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=inner,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(inner)
    drawn = os.read(outer, 100_000).decode()
    os.close(outer)
    assert done.stdout == 'other output\n{"done": 1}\n'
    assert "heart" in drawn


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress("heart") as bar:
        bar("predict", 1, 2)
    assert capsys.readouterr() == ("", "")
