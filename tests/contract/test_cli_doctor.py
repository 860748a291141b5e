"""`lvseg doctor`: what is installed, what is missing, whether results are as they were written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended

from lvseg import dependencies
from lvseg.formats import MANIFEST, MEASUREMENTS
from lvseg.output.checksums import write_manifest

Command = Callable[..., Ended]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An output folder with two results."""
    for name in ("a", "b"):
        folder = tmp_path / "out" / name
        folder.mkdir(parents=True)
        (folder / MEASUREMENTS).write_text("{}")
        write_manifest(folder)
    return tmp_path / "out"


def test_intact_results_end_with_0(results: Path, lvseg_command: Command) -> None:
    ended = lvseg_command("doctor", results)
    assert ended.status == 0, ended.err
    assert ended.out == "2 results: 2 as they were written, 0 not\n"
    assert [each["exit"] for each in lvseg_command("doctor", results, "--json").document["results"]]


def test_a_changed_result_is_one_line_and_3(results: Path, lvseg_command: Command) -> None:
    (results / "a" / MEASUREMENTS).write_text("{ }")
    ended = lvseg_command("doctor", results / "a")
    assert ended.status == 3
    assert ended.err.count("\n") == 1
    assert "changed: measurements.json" in ended.err
    assert lvseg_command("doctor", results / "b").status == 0


def test_some_changed_results_of_several_are_4(results: Path, lvseg_command: Command) -> None:
    (results / "b" / "report.html").write_text("")
    (results / "b" / MEASUREMENTS).unlink()
    ended = lvseg_command("doctor", results, "--json")
    assert ended.status == 4
    whole, altered = ended.document["results"]
    assert (whole["exit"], whole["error"], whole["files"]) == (0, None, 1)
    assert (altered["exit"], altered["missing"]) == (3, [MEASUREMENTS])
    assert altered["extra"] == ["report.html"]
    (results / "b" / MANIFEST).write_text("")
    assert lvseg_command("doctor", results).status == 4


def test_what_is_no_result_is_3(tmp_path: Path, lvseg_command: Command) -> None:
    ended = lvseg_command("doctor", tmp_path / "absent", "--json")
    assert ended.status == 3
    assert ended.document["results"] == []


def test_what_everybody_needs_stands_apart_from_what_some_do(
    lvseg_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dependencies.metadata.version

    def version(name: str) -> str:
        if name in ("nibabel", "optuna"):
            raise dependencies.metadata.PackageNotFoundError
        return real(name)

    monkeypatch.setattr(dependencies.metadata, "version", version)
    found = lvseg_command("doctor", "--json")
    assert found.status == 2
    assert found.document["missing"] == ["nibabel"]
    assert found.document["extras"]["train"] is False
    text = lvseg_command("doctor").out
    assert "MISSING: nibabel" in text
    (line,) = (line for line in text.splitlines() if line.split()[:1] == ["train"])
    assert line.split()[1] == "no"
    assert dependencies.PURPOSES["train"] in line
    assert "pip install 'lvseg[train]'" in line


def test_the_bill_of_materials_is_written_once(tmp_path: Path, lvseg_command: Command) -> None:
    path = tmp_path / "sbom.json"
    ended = lvseg_command("doctor", "--sbom", path)
    assert ended.status == 0, ended.err
    assert "Apache-2.0" in ended.out
    names = {each["name"] for each in json.loads(path.read_text())["components"]}
    assert {"numpy", "pydicom", "lv-sax"} <= names
    assert lvseg_command("doctor", "--sbom", path).status == 2
    again = lvseg_command("doctor", "--sbom", path, "--overwrite", "--json")
    assert again.status == 0
    assert again.document["licences"]["pydicom"] == "MIT"
    assert again.document["unlisted"] == []


def test_results_and_bill_are_two_calls(results: Path, lvseg_command: Command) -> None:
    assert lvseg_command("doctor", results, "--sbom", results / "sbom.json").status == 2
